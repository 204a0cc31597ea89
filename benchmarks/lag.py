"""What a lag costs: how long a sweep takes with any number of workers, by simulation with the durations of its trials.

Every segment of a trial is really trained, once, and its CPU time kept; who is busy when is then simulated, without the
coordinator's own time. Behind a lag the trials are the same for every number of workers.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna

from benchmarks.sweeps import configure
from pipeline.commands.sweep import make_plan
from pipeline.data.divisions import ensure
from pipeline.data.prepare import prepare
from pipeline.search import coordinator
from pipeline.search.making import make_search
from pipeline.search.outbox import Outbox
from pipeline.search.space import Space
from pipeline.trials.trial import Segment

COUNTS, LAGS = (1, 2, 4, 8, 16), (2, 4, 8, 16, None)


class Simulated(Executor):
    """Workers on a clock of their own, which moves to the end of the task that ends next."""

    def __init__(self, count: int, kept: dict[str, tuple[Any, float]]):
        self.now, self.busy_s = 0.0, 0.0
        self._free_at = [0.0] * count
        self._ends: dict[Future[Any], tuple[float, Any]] = {}
        self._kept = kept

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Give the task to the worker that is free first."""
        key = repr((args[1], args[2].position if args[2] else 0, kwargs["until"], kwargs["stop"]))
        if key not in self._kept:
            began = time.process_time()
            self._kept[key] = fn(*args, **kwargs | {"seconds": None}), time.process_time() - began
        result, taken = self._kept[key]
        worker = self._free_at.index(min(self._free_at))
        self._free_at[worker] = max(self.now, self._free_at[worker]) + taken
        self.busy_s += taken
        future: Future[Any] = Future()
        self._ends[future] = self._free_at[worker], _copy(result)
        return future

    def wait(self, futures: Sequence["Future[Any]"], **when: Any) -> tuple[set["Future[Any]"], set["Future[Any]"]]:
        """Stand in for `concurrent.futures.wait`."""
        first = min(futures, key=lambda future: self._ends[future][0])
        self.now, result = self._ends.pop(first)
        first.set_result(result)
        return {first}, set(futures) - {first}


def _copy(segment: Segment) -> Segment:
    record = segment.record and replace(segment.record, data=dict(segment.record.data))
    return replace(segment, record=record)


class Silent:
    """A tracker that tracks nothing."""

    def finished(self, name: str) -> None:
        """Do nothing."""

    def progress(self, name: str, segment: Segment) -> None:
        """Do nothing."""


def simulate(folder: Path, lag: int | None, count: int, kept: dict[str, Any], *overrides: str) -> tuple[float, float]:
    """Simulated seconds of a sweep, and the share of them in which workers were idle."""
    config = configure(folder, f"study.lag={'null' if lag is None else lag}", f"workers.count={count}", *overrides)
    space = Space(config.search.space, asdict(config.trial))
    prepared = prepare(config.data, folder)
    ensure(prepared, config.data, config.repeat_numbers)
    executor = Simulated(count, kept)
    real, coordinator.wait = coordinator.wait, executor.wait  # type: ignore[assignment]
    try:
        coordinator.Coordinator(
            optuna.create_study(),
            make_search(config, space),
            make_plan(config, space),
            executor=executor,
            outbox=Outbox(folder / "simulated" / f"{time.monotonic_ns()}"),
            tracker=Silent(),
            arrays=prepared.path.resolve(),
        ).run()
    finally:
        coordinator.wait = real
    return executor.now, 1 - executor.busy_s / (count * executor.now)


def lags(folder: Path, *overrides: str) -> None:
    """Print the time and the idle share for each lag (null: free-running) and number of workers."""
    kept: dict[str, Any] = {}
    for lag in LAGS:
        for count in COUNTS:
            seconds, idle = simulate(folder, lag, count, kept, *overrides)
            print(f"  lag {lag!s:>4}  {count:2} workers  {seconds:7.2f} s  idle {idle:5.1%}", flush=True)


if __name__ == "__main__":
    import logging
    import sys
    import tempfile

    logging.getLogger("optuna").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as place:
        lags(Path(place), *sys.argv[1:])
