"""Training without networks: the coordinator's `work` as arithmetic, and an executor whose order a test decides."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import InMemoryStorage

from pipeline.config.trial import TrialConfig
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import Segment

EPOCHS = 20


class Shuffled(Executor):
    """Runs tasks in the test's own process, one at each `wait`, in an order drawn from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self._tasks: dict[Future[Any], Callable[[], Any]] = {}
        self._order = random.Random(seed)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self._tasks[future] = lambda: fn(*args, **kwargs)
        return future

    def wait(self, futures: Sequence["Future[Any]"], **when: Any) -> tuple[set["Future[Any]"], set["Future[Any]"]]:
        """Stands in for `concurrent.futures.wait`."""
        chosen = self._order.choice(list(futures))
        try:
            chosen.set_result(self._tasks.pop(chosen)())
        except Exception as error:
            chosen.set_exception(error)
        return {chosen}, set(futures) - {chosen}


class Killed(BaseException):
    """The coordinator was killed; what it left is in the study and in the outbox."""


class Mortal(InMemoryStorage):
    """A study in memory whose coordinator is killed in place of one of its writes.

    Attributes
    ----------
    writes_left : how many writes succeed before; None: all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writes_left: int | None = None

    def _count(self) -> None:
        if self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise Killed

    def create_new_trial(self, *args: Any, **kwargs: Any) -> int:
        self._count()
        return super().create_new_trial(*args, **kwargs)

    def set_trial_intermediate_value(self, *args: Any, **kwargs: Any) -> None:
        self._count()
        super().set_trial_intermediate_value(*args, **kwargs)

    def set_trial_user_attr(self, *args: Any, **kwargs: Any) -> None:
        self._count()
        super().set_trial_user_attr(*args, **kwargs)

    def set_study_user_attr(self, *args: Any, **kwargs: Any) -> None:
        self._count()
        super().set_study_user_attr(*args, **kwargs)

    def set_trial_state_values(self, *args: Any, **kwargs: Any) -> bool:
        self._count()
        return super().set_trial_state_values(*args, **kwargs)


class FakeSegment(Segment):
    """A trial under way, of which only its best cost so far is known."""

    @property
    def summary(self) -> dict[str, float]:
        return {"best_dev_cost": self.checks["best"]["cost"], "best_dev_error": 0.1, "best_balanced_error": 0.1}  # type: ignore[index]

    @property
    def curves(self) -> dict[str, np.ndarray]:
        return {}


class Arithmetic:
    """Stands in for `work`: a trial's cost follows from λ, and falls with the epochs.

    Parameters
    ----------
    surprise : called with (number of the call, configuration) before each segment; it may raise, or return an outcome.
    """

    def __init__(self, surprise: Callable[[int, TrialConfig], str | None] = lambda call, config: None) -> None:
        self.surprise = surprise
        self.calls: list[tuple[float, int]] = []  # (λ, epoch it was to reach) of each segment

    def __call__(
        self,
        arrays: Path,
        config: TrialConfig,
        segment: Segment | None,
        *,
        until: int | None = None,
        seconds: float | None = None,
        stop: bool = False,
    ) -> Segment:
        lambd = config.regularization.lambd
        position = segment.position if segment else 0
        reached = position if stop else min(until or EPOCHS, EPOCHS)
        self.calls.append((lambd, reached))
        outcome = self.surprise(len(self.calls), config)
        cost = abs(lambd - 3) + 1 / (1 + reached)
        advanced = FakeSegment(position=reached, checks={"best": {"cost": cost}})
        outcome = "pruned" if stop else outcome or ("completed" if reached == EPOCHS else None)
        if outcome:
            advanced.record = TrialRecord(
                config=asdict(config),
                outcome=outcome,
                reason="arithmetic",
                stop_epoch=reached,
                summary={"best_dev_cost": cost, "best_dev_error": 0.1, "best_balanced_error": 0.1},
            )
        return advanced

    @property
    def begun(self) -> list[float]:
        """λ of each first segment."""
        seen: list[float] = []
        for lambd, _ in self.calls:
            if lambd not in seen:
                seen.append(lambd)
        return seen


class Witness:
    """Stands in for the tracking side: remembers what it was told."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.shown: list[str] = []

    def submit(self, name: str) -> None:
        self.names.append(name)

    def progress(self, name: str, curves: object, started_at: float, elapsed_s: float) -> None:
        self.shown.append(name)
