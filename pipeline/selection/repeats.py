"""Trains configurations again on new seeds or repeats, in workers; it writes nothing itself."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.config.trial import TrialConfig
from pipeline.search.serving import WorkersGone
from pipeline.tracking.found import Found
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import failed_record, work_whole


@dataclass
class Repeat:
    """One configuration to be trained once more: with a new seed, or as a further repeat of its own list."""

    trial: str
    number: int
    config: TrialConfig
    kind: Literal["seed", "repeat"] = "seed"

    @property
    def name(self) -> str:
        """The run's name, trial-0007-seed-3 or trial-0007-repeat-16."""
        return f"{self.trial}-{self.kind}-{self.number}"


def repeats(configs: dict[str, TrialConfig], seeds: Iterable[int]) -> list[Repeat]:
    """Return every configuration with every seed, seed by seed, so that interruption treats all alike."""
    return [Repeat(trial, seed, replace(config, seed=seed)) for seed in seeds for trial, config in configs.items()]


def further_repeats(configs: dict[str, TrialConfig], numbers: Iterable[int]) -> list[Repeat]:
    """Return every configuration on each of these repeats, repeat by repeat."""
    return [
        Repeat(trial, number, replace(config, first_repeat=number, repeats=1), "repeat")
        for number in numbers
        for trial, config in configs.items()
    ]


def first_unused(runs: Iterable[Found]) -> int:
    """Return the first repeat number that none of these runs used."""
    return max((int(run.params.get("first_repeat", 0)) + int(run.params.get("repeats", 1)) for run in runs), default=0)


def new_seeds(count: int, used: Iterable[int]) -> list[int]:
    """Return the first `count` seeds from 1 on that no trial of the study used."""
    seeds: list[int] = []
    taken, seed = set(used), 1
    while len(seeds) < count:
        if seed not in taken:
            seeds.append(seed)
        seed += 1
    return seeds


def train_all(
    todo: list[Repeat], arrays: Path, executor: Executor, *, slots: int, finished: Callable[[Repeat, TrialRecord], None]
) -> None:
    """Train all runs, `slots` at a time, and call `finished` with each result while the workers go on."""
    waiting, flights = iter(todo), dict[Future[TrialRecord], Repeat]()
    for repeat in _take(waiting, slots):
        flights[_submit(executor, arrays, repeat)] = repeat
    while flights:
        done, _ = wait(flights, return_when=FIRST_COMPLETED)
        ended = [(flights.pop(future), future) for future in done]
        for following in _take(waiting, len(ended)):
            flights[_submit(executor, arrays, following)] = following
        for repeat, future in ended:
            finished(repeat, _result(repeat, future))


def _take(waiting: Iterator[Repeat], count: int) -> list[Repeat]:
    return [repeat for _, repeat in zip(range(count), waiting, strict=False)]


def _submit(executor: Executor, arrays: Path, repeat: Repeat) -> "Future[TrialRecord]":
    return executor.submit(work_whole, arrays, repeat.config)


def _result(repeat: Repeat, future: "Future[TrialRecord]") -> TrialRecord:
    """Return the record of a task; an error gives a failed record, unless no workers are left."""
    try:
        return future.result()
    except WorkersGone:
        raise
    except Exception as error:
        return failed_record(asdict(repeat.config), error)
