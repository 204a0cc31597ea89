"""Trains configurations to their end in the workers that trials use; it writes nothing itself."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from pipeline.config.trial import TrialConfig
from pipeline.search.serving import WorkersGone
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import failed_record, work_whole


class Configured(Protocol):
    """A training to be done: whatever has a configuration."""

    @property
    def config(self) -> TrialConfig:
        """What is trained."""


Training = TypeVar("Training", bound=Configured)


def train_all(
    todo: Sequence[Training],
    arrays: Path,
    executor: Executor,
    *,
    slots: int,
    finished: Callable[[Training, TrialRecord], None],
) -> None:
    """Train everything, `slots` at a time, and call `finished` with each result while the workers go on."""
    waiting, flights = iter(todo), dict[Future[TrialRecord], Training]()

    def submit(following: Iterator[Training]) -> None:
        flights.update((executor.submit(work_whole, arrays, each.config), each) for each in following)

    submit(islice(waiting, slots))
    while flights:
        done, _ = wait(flights, return_when=FIRST_COMPLETED)
        ended = [(flights.pop(future), future) for future in done]
        submit(islice(waiting, len(ended)))
        for training, future in ended:
            finished(training, _result(training.config, future))


def _result(config: TrialConfig, future: "Future[TrialRecord]") -> TrialRecord:
    """Return the record of a task; an error gives a failed record, unless no workers are left."""
    try:
        return future.result()
    except WorkersGone:
        raise
    except Exception as error:
        return failed_record(asdict(config), error)
