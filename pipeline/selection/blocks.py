"""Trains further repeats of configurations in the sweep's workers; it writes nothing itself."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.config.trial import TrialConfig
from pipeline.search.serving import WorkersGone
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import failed_record, work_whole

LONGEST = 4
"""Largest number of repeats in one run; more are divided into several runs, so that all workers are busy."""


@dataclass(eq=False)
class Block:
    """Consecutive repeats of one configuration."""

    config: TrialConfig

    @property
    def name(self) -> str:
        """The run's name, confirm-<8 hex of the configuration's digest>-<first repeat>-<number of repeats>."""
        return f"confirm-{digest_of(self.config)[:8]}-{self.config.first_repeat}-{self.config.repeats}"


def digest_of(config: TrialConfig) -> str:
    """Return 16 hexadecimal digits (SHA-256) of a configuration, independent of its repeats."""
    plain = asdict(config)
    del plain["repeats"], plain["first_repeat"]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def blocks(config: TrialConfig, repeats: Iterable[int]) -> list[Block]:
    """Divide the repeats of a configuration into runs of at most LONGEST consecutive numbers."""
    made: list[Block] = []
    for repeat in sorted(repeats):
        last = made[-1].config if made else None
        if last is not None and last.repeat_numbers.stop == repeat and last.repeats < LONGEST:
            made[-1] = Block(replace(last, repeats=last.repeats + 1))
        else:
            made.append(Block(replace(config, first_repeat=repeat, repeats=1)))
    return made


def train_all(
    todo: list[Block], arrays: Path, executor: Executor, *, slots: int, finished: Callable[[Block, TrialRecord], None]
) -> None:
    """Train all runs, `slots` at a time, and call `finished` with each result while the workers go on."""
    waiting, flights = iter(todo), dict[Future[TrialRecord], Block]()
    for block in _take(waiting, slots):
        flights[_submit(executor, arrays, block)] = block
    while flights:
        done, _ = wait(flights, return_when=FIRST_COMPLETED)
        ended = [(flights.pop(future), future) for future in done]
        for following in _take(waiting, len(ended)):
            flights[_submit(executor, arrays, following)] = following
        for block, future in ended:
            finished(block, _result(block, future))


def _take(waiting: Iterator[Block], count: int) -> list[Block]:
    return [block for _, block in zip(range(count), waiting, strict=False)]


def _submit(executor: Executor, arrays: Path, block: Block) -> "Future[TrialRecord]":
    return executor.submit(work_whole, arrays, block.config)


def _result(block: Block, future: "Future[TrialRecord]") -> TrialRecord:
    """Return the record of a task; an error gives a failed record, unless no workers are left."""
    try:
        return future.result()
    except WorkersGone:
        raise
    except Exception as error:
        return failed_record(asdict(block.config), error)
