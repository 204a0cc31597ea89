from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.trial import TrialConfig
from pipeline.search.serving import WorkersGone
from pipeline.selection.blocks import Block, blocks, digest_of, train_all
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import WrongGradient


class Scripted(Executor):
    """Does each task at once, with what the script says of its first repeat."""

    def __init__(self, script: dict[int, Exception]) -> None:
        self.script, self.submitted = script, list[int]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        first = args[1].first_repeat
        self.submitted.append(first)
        future: Future[Any] = Future()
        if first in self.script:
            future.set_exception(self.script[first])
        else:
            future.set_result(TrialRecord(config={}))
        return future


def train(script: dict[int, Exception]) -> dict[str, TrialRecord]:
    found: dict[str, TrialRecord] = {}

    def finished(block: Block, record: TrialRecord) -> None:
        found[block.name] = record

    executor = Scripted(script)
    todo = blocks(TrialConfig(), range(3, 16))
    train_all(todo, Path("arrays"), executor, slots=2, finished=finished)
    assert sorted(executor.submitted) == [3, 7, 11, 15]
    return found


def test_repeats_are_divided_into_rows_of_at_most_four() -> None:
    made = blocks(TrialConfig(), [9, 3, 4, 5, 6, 7, 12])
    assert [list(block.config.repeat_numbers) for block in made] == [[3, 4, 5, 6], [7], [9], [12]]
    assert made[0].name == f"confirm-{digest_of(TrialConfig())[:8]}-3-4"


def test_a_digest_is_the_configuration_s_whichever_repeats_are_trained() -> None:
    assert digest_of(TrialConfig(repeats=3, first_repeat=5)) == digest_of(TrialConfig())
    assert digest_of(replace(TrialConfig(), seed=1)) != digest_of(TrialConfig())


def test_everything_is_trained_once_and_what_goes_wrong_is_a_failed_record() -> None:
    found = train({7: ValueError("batch_size must be smaller"), 15: WrongGradient("wrong")})
    outcomes = {name.split("-")[2]: (record.outcome, record.reason) for name, record in found.items()}
    assert outcomes["7"] == ("failed", "ValueError: batch_size must be smaller")
    assert outcomes["15"] == ("failed", "wrong")
    assert outcomes["3"][0] == outcomes["11"][0] == "completed"


def test_without_workers_nothing_is_called_failed() -> None:
    with pytest.raises(WorkersGone):
        train({7: WorkersGone("gone")})
