"""A task is failed for its lost workers only if it ends them by itself, also alone; nothing else changes a result."""

import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from pipeline.search.losses import ALONE_AFTER, MOST, GivenOutAgain
from pipeline.search.processes import LocalProcesses
from pipeline.search.serving import LostWorker, WorkersGone


class ByHand(Executor):
    """Tasks under way, which the test ends one by one."""

    def __init__(self) -> None:
        self.under_way: dict[str, tuple[Callable[[], Any], Future[Any]]] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.under_way[fn()] = (fn, future)
        return future

    def end(self, name: str, loss: LostWorker | None = None) -> None:
        fn, future = self.under_way.pop(name)
        if loss is None:
            future.set_result(fn())
        else:
            future.set_exception(loss)


@pytest.fixture
def inner() -> ByHand:
    return ByHand()


CRASH, KILL = (
    LostWorker("the worker process died of SIGSEGV", own=True),
    LostWorker("the worker process died of SIGKILL"),
)


def test_a_task_that_ends_its_worker_runs_once_more_alone_and_then_fails(inner: ByHand) -> None:
    executor = GivenOutAgain(inner)
    a, b = executor.submit(str, "a"), executor.submit(str, "b")
    inner.end("a", CRASH)
    c = executor.submit(str, "c")
    assert list(inner.under_way) == ["b"], "a waits for b to end, and c for a"
    inner.end("b")
    assert list(inner.under_way) == ["a"]
    inner.end("a", CRASH)
    assert list(inner.under_way) == ["c"]
    inner.end("c")
    assert (b.result(), c.result()) == ("b", "c")
    assert isinstance(a.exception(), LostWorker)
    assert "died of SIGSEGV, also with no other trial beside it" in str(a.exception())


def test_the_victim_of_a_neighbour_ends_well_alone(inner: ByHand) -> None:
    executor = GivenOutAgain(inner)
    greedy, victim = executor.submit(str, "greedy"), executor.submit(str, "victim")
    inner.end("victim", CRASH)
    inner.end("greedy", CRASH)
    inner.end("victim")
    inner.end("greedy", CRASH)
    assert victim.result() == "victim"
    assert isinstance(greedy.exception(), LostWorker)


def test_a_random_killer_that_hits_one_task_again_and_again_changes_nothing(inner: ByHand) -> None:
    executor = GivenOutAgain(inner)
    future, other = executor.submit(str, "a"), executor.submit(str, "b")
    for _ in range(ALONE_AFTER):
        inner.end("a", KILL)
    assert list(inner.under_way) == ["b"]
    inner.end("b")
    for _ in range(MOST - ALONE_AFTER - 1):
        inner.end("a", KILL)
    inner.end("a")
    assert (future.result(), other.result()) == ("a", "b")


def test_endless_kills_end_the_command_and_fail_no_task(inner: ByHand) -> None:
    future = GivenOutAgain(inner).submit(str, "a")
    for _ in range(MOST):
        inner.end("a", KILL)
    assert isinstance(future.exception(), WorkersGone)
    assert "by no fault of its own" in str(future.exception())


def test_an_exception_belongs_to_the_task_that_raised_it(inner: ByHand) -> None:
    class Raising(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
            future: Future[Any] = Future()
            future.set_exception(ZeroDivisionError("no"))
            return future

    with pytest.raises(ZeroDivisionError):
        GivenOutAgain(Raising()).submit(str, "a").result()


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_lost_every_task_gets_its_result_and_one_that_must_run_alone_does(seed: int) -> None:
    inner, chance = ByHand(), random.Random(seed)
    executor = GivenOutAgain(inner)
    futures = {name: executor.submit(str, name) for name in "abcdefgh"}
    losses = {name: [chance.choice([CRASH, KILL]) for _ in range(chance.randint(0, 2))] for name in futures}
    crashed = set[str]()
    while inner.under_way:
        assert len(inner.under_way) == 1 or not crashed & inner.under_way.keys()
        name = chance.choice(list(inner.under_way))
        loss = losses[name].pop() if losses[name] else None
        if loss is CRASH and name in crashed:
            loss = KILL
        if loss is CRASH:
            crashed.add(name)
        inner.end(name, loss)
    assert {name: future.result() for name, future in futures.items()} == {name: name for name in futures}


def test_a_closed_executor_repeats_no_task() -> None:
    executor = GivenOutAgain(LocalProcesses(1))
    futures = [executor.submit(__import__("time").sleep, 600) for _ in range(3)]
    executor.shutdown(wait=False)
    assert [type(future.exception()) for future in futures] == [LostWorker] * 3


@pytest.mark.parametrize(("given", "waits"), [({}, True), ({"wait": False}, False)])
def test_closing_it_closes_what_is_below_and_waits_unless_told_otherwise(given: dict[str, bool], waits: bool) -> None:
    class Noting(ByHand):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            self.waits = wait

    below = Noting()
    GivenOutAgain(below).shutdown(**given)
    assert below.waits == waits
