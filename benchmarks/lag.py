"""What a lag costs and what it finds, beside a search that runs free (study.lag=null).

`python -m benchmarks.lag [part…] [overrides…]`, of these parts:

simulated   time and idle share for 1 to 16 workers. Every segment of a trial is really trained, once, and its CPU time
            kept; who is busy when is then simulated, without the coordinator's own time.
pairs       the real command with two workers, behind the default lag and free, in turns; the ratio of their times.
found       what both find over sampler seeds (two simulated workers): the best by the mean over its own repeats, judged
            on fresh repeats.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.answer import FRESH, Trainings
from benchmarks.sweeps import configure
from pipeline.commands.sweep import make_plan
from pipeline.config.commands import SweepConfig
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.arrays import load_arrays
from pipeline.data.divisions import ensure
from pipeline.data.prepare import prepare
from pipeline.search import coordinator
from pipeline.search.making import make_search
from pipeline.search.outbox import Outbox
from pipeline.search.space import Space
from pipeline.tracking.archive import Archive
from pipeline.trials.trial import Segment

COUNTS, LAGS = (1, 2, 4, 8, 16), (2, 4, 8, 16, None)
DEFAULT = 4
"""The lag that `conf/` has."""


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

    def submit(self, name: str) -> None:
        """Do nothing."""

    def progress(self, name: str, curves: object, started_at: float, elapsed_s: float) -> None:
        """Do nothing."""


def simulate(folder: Path, config: SweepConfig, kept: dict[str, Any]) -> tuple[optuna.Study, float, float]:
    """A sweep with simulated workers: its study, its simulated seconds, and the share of them that workers idled."""
    space = Space(config.search.space, asdict(config.trial))
    prepared = prepare(config.data, folder)
    ensure(prepared, config.data, config.repeat_numbers)
    study, executor = optuna.create_study(), Simulated(config.workers.count, kept)
    real, coordinator.wait = coordinator.wait, executor.wait  # type: ignore[assignment]
    try:
        coordinator.Coordinator(
            study,
            make_search(config, space),
            make_plan(config, space),
            executor=executor,
            outbox=Outbox(folder / "simulated" / f"{time.monotonic_ns()}"),
            tracker=Silent(),
            arrays=prepared.path.resolve(),
        ).run()
    finally:
        coordinator.wait = real
    return study, executor.now, 1 - executor.busy_s / (config.workers.count * executor.now)


def simulated(folder: Path, chosen: argparse.Namespace) -> None:
    """Print the time and the idle share for each lag (null: free-running) and number of workers."""
    kept: dict[str, Any] = {}
    for lag in LAGS:
        for count in COUNTS:
            config = configure(folder, f"study.lag={_spelled(lag)}", f"workers.count={count}", *chosen.overrides)
            _, seconds, idle = simulate(folder, config, kept)
            print(f"  lag {lag!s:>4}  {count:2} workers  {seconds:7.2f} s  idle {idle:5.1%}", flush=True)


def pairs(folder: Path, chosen: argparse.Namespace) -> None:
    """Print the time behind the default lag / free for each pair of real commands, and the median of the ratios.

    Which comes first alternates, since what else the machine does changes slowly. The time is from the first trial's
    beginning to the last one's end, and beside it that of the whole command.
    """
    trials, commands = [], []
    for pair in range(chosen.pairs):
        taken = {lag: _command(folder, lag, pair, chosen.overrides) for lag in (DEFAULT, None)[:: 1 - 2 * (pair % 2)]}
        (ours, whole), (free, whole_free) = taken[DEFAULT], taken[None]
        trials.append(ours / free)
        commands.append(whole / whole_free)
        print(f"  pair {pair}: {ours / free:.3f} of the trials, {whole / whole_free:.3f} of the commands", flush=True)
    for what, ratios in (("the trials", trials), ("the commands", commands)):
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(f"time of {what}, lag {DEFAULT} / free: median {middle:.3f}, quartiles {low:.3f} to {high:.3f}")


def _command(folder: Path, lag: int | None, pair: int, overrides: Sequence[str]) -> tuple[float, float]:
    """Seconds of one real sweep: its trials, and the whole command."""
    name = f"pair-{pair}-{_spelled(lag)}"
    settings = [f"study.lag={_spelled(lag)}", f"study.name={name}", f"sampler.seed={pair}", "workers.count=2"]
    settings += ["study.trials=16", "study.race=false", "study.baseline=false", "tracking.pictures=false", *overrides]
    began = time.perf_counter()
    command = [sys.executable, "-m", "pipeline", "sweep", f"tracking.store={folder}", *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - began
    archive = Archive(configure(folder).tracking)
    records = [archive.load(run) for run in archive.trials(name)]
    last = max(record.started_at + record.duration_s for record in records)
    return last - min(record.started_at for record in records), whole


def found(folder: Path, chosen: argparse.Namespace) -> None:
    """Print the dev cost of what the default lag finds / of what a free search finds, for each seed, and their mean."""
    trainings = Trainings(chosen.cache or folder / "fresh.jsonl")
    logs = []
    for seed in range(chosen.seeds):
        kept: dict[str, Any] = {}
        settings = (f"sampler.seed={seed}", f"data.split_seed={seed}", "gradcheck.enabled=false", *chosen.overrides)
        costs = {
            lag: _judged(
                folder,
                configure(folder, f"study.lag={_spelled(lag)}", "workers.count=2", *settings),
                kept,
                trainings,
                chosen.fresh,
            )
            for lag in (DEFAULT, None)
        }
        logs.append(math.log(costs[DEFAULT] / costs[None]))
        print(f"  seed {seed}: lag {DEFAULT} {costs[DEFAULT]:.4f}, free {costs[None]:.4f}", flush=True)
    mean, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    print(f"dev cost of what is found, lag {DEFAULT} / free, {len(logs)} seeds: {math.exp(mean):.3f} ± {error:.3f}")


def _judged(folder: Path, config: SweepConfig, kept: dict[str, Any], trainings: Trainings, fresh: int) -> float:
    """The mean over fresh repeats of the trial with the lowest mean over its own."""
    study, _, _ = simulate(folder, config, kept)
    space = Space(config.search.space, asdict(config.trial))
    best = parse(TrialConfig, space.apply(space.values(study.best_trial.params)))
    prepared, numbers = prepare(config.data, folder), range(FRESH, FRESH + fresh)
    ensure(prepared, config.data, numbers)
    arrays = load_arrays(prepared.path)
    return statistics.fmean(trainings.fit(best, number, arrays)["dev_cost"] for number in numbers)


def _spelled(lag: int | None) -> str:
    return json.dumps(lag)


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "simulated": simulated,
    "pairs": pairs,
    "found": found,
}


def main() -> None:
    """Print the figures of the parts that are named, or of all."""
    import logging

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "words", nargs="*", metavar="part or override", help=f"{', '.join(PARTS)}; data=breast_cancer …"
    )
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--fresh", type=int, default=20, help="repeats that judge")
    parser.add_argument("--cache", type=Path, help="file that keeps the fresh trainings")
    chosen = parser.parse_args()
    chosen.overrides = [word for word in chosen.words if word not in PARTS]
    for name in ("optuna", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as place:
        for name in [word for word in chosen.words if word in PARTS] or PARTS:
            print(name, flush=True)
            PARTS[name](Path(place), chosen)


if __name__ == "__main__":
    main()
