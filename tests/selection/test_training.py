from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.trial import TrialConfig
from pipeline.search.serving import LostWorker, WorkersGone
from pipeline.selection.repeats import Repeat, repeats
from pipeline.selection.training import train_all
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import WrongGradient


class Scripted(Executor):
    """Does each task at once, with what the script says of its seed."""

    def __init__(self, script: dict[int, list[Exception]]) -> None:
        self.script, self.submitted = script, list[int]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        config = args[1]
        self.submitted.append(config.seed)
        future: Future[Any] = Future()
        if self.script.get(config.seed):
            future.set_exception(self.script[config.seed].pop())
        else:
            future.set_result(TrialRecord(config={"seed": config.seed}))
        return future


def train(script: dict[int, list[Exception]], count: int = 4) -> tuple[Scripted, dict[int, TrialRecord]]:
    executor, found = Scripted(script), dict[int, TrialRecord]()

    def finished(repeat: Repeat, record: TrialRecord) -> None:
        found[repeat.number] = record

    todo = repeats({"trial-0000": TrialConfig()}, range(1, count + 1))
    train_all(todo, Path("arrays"), executor, slots=2, finished=finished)
    return executor, found


def test_every_configuration_is_trained_once() -> None:
    executor, found = train({})
    assert sorted(executor.submitted) == [1, 2, 3, 4]
    assert sorted(found) == [1, 2, 3, 4]


def test_a_training_that_ends_its_workers_fails_and_holds_up_no_other() -> None:
    _, found = train({2: [LostWorker("the worker process died of SIGSEGV", own=True)]})
    assert (found[2].outcome, found[2].reason) == ("failed", "LostWorker: the worker process died of SIGSEGV")
    assert [found[seed].outcome for seed in (1, 3, 4)] == ["completed"] * 3


def test_without_workers_nothing_is_recorded_as_failed() -> None:
    with pytest.raises(WorkersGone, match="no workers"):
        train({2: [WorkersGone("no workers")]})


def test_an_error_in_a_training_is_its_own_failed_record() -> None:
    _, found = train({1: [ValueError("batch_size must be smaller")], 3: [WrongGradient("wrong")]})
    assert found[1].reason == "ValueError: batch_size must be smaller"
    assert (found[3].outcome, found[3].reason) == ("failed", "wrong")
