"""The one rule on lost workers: only a task that ends its worker by itself, also when it runs alone, fails for it.

A task whose worker was killed, stopped or cut off from outside is given out again. One whose worker ended by itself
may be the victim of its neighbours, which share the memory, so it is given out once more with no other beside it.
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
"""Losses from outside after which a task runs alone: where the memory is watched by another program than the kernel,
its kills look like anybody's."""

MOST = 12
"""Losses from outside of one task that end the command, which can be repeated; the task is not to blame."""


@dataclass(eq=False)
class _Given:
    """A task that is given out until it has a result; `alone` says that no other may run beside it."""

    task: Task
    lost: int = 0
    alone: bool = False


class GivenOutAgain(Executor):
    """An executor without losses, over one that has them.

    A future holds `LostWorker` only if the task ended its worker by itself twice, the second time alone; it holds
    `WorkersGone` if the workers are gone altogether.
    """

    def __init__(self, inner: Executor):
        self.inner = inner
        self._closed = False
        self._lock = threading.RLock()
        self._under_way = 0
        self._held = deque[_Given]()
        self._lonely = deque[_Given]()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Give the task out; while another waits to run alone, or does, this one waits too."""
        given = _Given(Task.of(fn, args, kwargs))
        with self._lock:
            self._held.append(given)
            self._go_on()
        return given.task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the executor below; what it then loses is lost."""
        self._closed = not wait
        self.inner.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _go_on(self) -> None:
        """Give out what may run now: first, once nothing else runs, a task that is to run alone."""
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
        """Pass a result on, or decide about a loss."""
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
        """Put the task back among those to be given out, or return the exception that ends it."""
        if self._closed:
            return loss
        if loss.own and given.alone:
            return LostWorker(f"{loss}, also with no other trial beside it, perhaps for want of memory", own=True)
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
