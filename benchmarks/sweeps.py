"""Runs whole sweeps in this process, as the command does, and keeps the time of what the benchmark asks about."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import optuna

from pipeline.commands.sweep import make_plan, make_sender
from pipeline.config.commands import SweepConfig
from pipeline.config.validation import parse
from pipeline.console import compose
from pipeline.data.divisions import ensure
from pipeline.data.prepare import prepare
from pipeline.search.coordinator import Coordinator, Flight
from pipeline.search.making import make_search
from pipeline.search.outbox import Outbox
from pipeline.search.processes import LocalProcesses
from pipeline.search.space import Space
from pipeline.search.storage import open_storage
from pipeline.search.study import asked, held, open_study
from pipeline.tracking.sender import Sender
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import Segment


@dataclass
class Sweep:
    """One sweep that was run, and what it took.

    Attributes
    ----------
    train_s : wall time until the last trial was told to the study.
    seconds : wall time until everything was tracked, too.
    told : CPU seconds of this process at the end of each trial, its sender included and its workers not.
    in_hand : share of the time from the first trial's beginning to the last one's in which a worker had a task.
    """

    study: optuna.Study
    train_s: float = 0.0
    seconds: float = 0.0
    told: list[float] = field(default_factory=list)
    in_hand: float = 0.0

    @property
    def cost_ms(self) -> np.ndarray:
        """CPU time of this process from the end of one trial to the end of the next, in ms."""
        return np.diff(self.told) * 1e3

    @property
    def epochs(self) -> int:
        """Epochs trained in all."""
        return sum(int(trial.user_attrs["summary"]["epochs"]) for trial in asked(self.study))


class Watched(LocalProcesses):
    """Worker processes of which it is known when they had a task in hand."""

    def __init__(self, count: int):
        super().__init__(count)
        wait([super(Watched, self).submit(time.sleep, 0.2) for _ in range(count)])  # the workers have started
        self._count, self._open, self._lock = count, 0, threading.Lock()
        self._seen: list[tuple[float, int]] = []  # moment, workers with a task from then on
        self._last_begun = 0.0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Give the task to a worker; a task without a segment begins a trial."""
        future = super().submit(fn, *args, **kwargs)
        self._look(1)
        if args[2] is None:
            self._last_begun = time.perf_counter()
        future.add_done_callback(lambda done: self._look(-1))
        return future

    def _look(self, change: int) -> None:
        with self._lock:
            self._open += change
            self._seen.append((time.perf_counter(), min(self._open, self._count)))

    def in_hand(self) -> float:
        """The share of the time from the first trial's beginning to the last one's, the mean over workers."""
        moments = np.array([moment for moment, _ in self._seen]).clip(max=self._last_begun)
        held_s = float(np.diff(moments) @ [busy for _, busy in self._seen[:-1]])
        return held_s / (self._count * (moments[-1] - moments[0]))


class Inline(Executor):
    """Answers every task at once with the same finished trial: what remains is the coordinator's own work."""

    def __init__(self, record: TrialRecord):
        self._record = record

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Give the finished trial."""
        future: Future[Any] = Future()
        record = replace(self._record, data=dict(self._record.data), started_at=time.time())
        future.set_result(Segment(position=record.stop_epoch, record=record))
        return future


class Timed(Coordinator):
    """A coordinator that notes when it has told a trial; where all trials are ready at once, when it is tracked too."""

    told: list[float]
    sender: Sender

    def _finish(self, flight: Flight, record: TrialRecord) -> None:
        super()._finish(flight, record)
        while isinstance(self.executor, Inline) and self.sender.waiting:
            time.sleep(0.001)
        self.told.append(time.process_time())


def configure(store: Path, *overrides: str) -> SweepConfig:
    """The sweep's configuration as the command composes it, without the pictures at its end and the baseline."""
    fixed = [f"tracking.store={store}", "tracking.pictures=false", "study.baseline=false"]
    with hydra.initialize_config_dir(str(compose.CONF), version_base="1.3"):
        return parse(SweepConfig, compose.plain(hydra.compose("sweep", [*fixed, *overrides])))


def run(store: Path, *overrides: str, executor: Executor | None = None) -> Sweep:
    """Run a sweep to its end and time it; only from the first trial on, the workers having started.

    Parameters
    ----------
    executor : in place of worker processes.
    """
    config = configure(store, *overrides)
    space = Space(config.search.space, asdict(config.trial))
    with held(config) as (name, _):
        prepared = prepare(config.data, store)
        ensure(prepared, config.data, config.repeat_numbers)
        study = open_study(config, name, open_storage(config, name))
        sender = make_sender(config, study, prepared).start()
        sender.opened()
        workers = executor or Watched(config.workers.count)
        result = Sweep(study)
        boss = Timed(
            study,
            make_search(config, space),
            make_plan(config, space),
            executor=workers,
            outbox=Outbox(sender.outbox),
            tracker=sender,
            arrays=prepared.path.resolve(),
            describe=lambda record: record.add_origin(prepared, {}),
        )
        boss.told, boss.sender = result.told, sender
        began = time.perf_counter()
        boss.run()
        result.train_s = time.perf_counter() - began
        left = sender.close(120).names
        result.seconds = time.perf_counter() - began
        workers.shutdown()
        assert not left, f"{len(left)} trials could not be tracked"
        result.in_hand = workers.in_hand() if isinstance(workers, Watched) else 1.0
    return result
