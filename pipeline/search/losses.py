"""The rule on lost workers: a task fails only if it ends its worker by itself twice, the second time running alone.

A task whose worker was killed, stopped or cut off from outside runs again. If the worker ended by itself, the task may
be a victim of its neighbours, which share the memory, so it runs once more with no other task beside it.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pipeline.search.serving import LostWorker, Task, WorkersGone

T = TypeVar("T")

ALONE_AFTER = 3
"""Losses from outside after which a task runs alone: if a program other than the kernel guards the memory, its kills
cannot be told from others."""

MOST = 12
"""So many losses of one task from outside end the command, which can be repeated; the task does not fail."""


@dataclass(eq=False)
class _Given:
    """A task that is repeated until it has a result; `alone` says that no other may run beside it."""

    task: Task
    lost: int = 0
    alone: bool = False


class GivenOutAgain(Executor):
    """An executor that repeats tasks lost by the one below it.

    A future holds `LostWorker` only if the task ended its worker by itself twice, the second time alone; it holds
    `WorkersGone` if no workers are left.
    """

    def __init__(self, inner: Executor):
        self.inner = inner
        self._closed = False
        self._lock = threading.RLock()
        self._under_way = 0
        self._held = deque[_Given]()
        self._lonely = deque[_Given]()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Submit the task, or hold it back while another runs alone or waits to."""
        given = _Given(Task.of(fn, args, kwargs))
        with self._lock:
            self._held.append(given)
            self._go_on()
        return given.task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the executor below; tasks that it then loses are not repeated."""
        self._closed = not wait
        self.inner.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _go_on(self) -> None:
        """Submit the tasks that may run now: first a task that must run alone, once nothing else runs."""
        if self._lonely:
            if self._under_way == 0:
                self._give_out(self._lonely[0])
            return
        while self._held:
            self._give_out(self._held.popleft())

    def _give_out(self, given: _Given) -> None:
        self._under_way += 1
        self.inner.submit(given.task.call).add_done_callback(partial(self._take_back, given))

    def _take_back(self, given: _Given, done: "Future[Any]") -> None:
        """Pass a result on, or apply the rule to a loss."""
        error = done.exception()
        with self._lock:
            self._under_way -= 1
            if given.alone:
                self._lonely.remove(given)
            final = self._after_loss(given, error) if isinstance(error, LostWorker) else error
            if final is not None or not isinstance(error, LostWorker):
                _settle(given.task.future, final, done)
            self._go_on()

    def _after_loss(self, given: _Given, loss: LostWorker) -> Exception | None:
        """Queue the task again, or return the exception that ends it."""
        if self._closed:
            return loss
        if loss.own and given.alone:
            return LostWorker(f"{loss}, also with no other trial beside it; perhaps memory ran out", own=True)
        given.lost += not loss.own
        if given.lost >= MOST:
            return WorkersGone(
                f"a trial lost its worker {MOST} times ({loss}) by no fault of its own: something outside ends the "
                "workers. Nothing is lost: the same command continues."
            )
        given.alone = given.alone or loss.own or given.lost >= ALONE_AFTER
        (self._lonely if given.alone else self._held).append(given)
        return None


def _settle(future: "Future[Any]", error: BaseException | None, done: "Future[Any]") -> None:
    if error is None:
        future.set_result(done.result())
    else:
        future.set_exception(error)
