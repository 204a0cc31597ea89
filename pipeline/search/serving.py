"""An executor of threads that run one task each at a time, and the two ways in which workers are lost."""

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from pipeline.config.errors import UserError

T = TypeVar("T")


class LostWorker(Exception):
    """A worker was lost under its task.

    Attributes
    ----------
    own : whether the worker ended by itself, by a crash or out of memory; false if it was killed, stopped or cut off
        from outside, which says nothing about the task.
    """

    def __init__(self, message: str, *, own: bool = False):
        super().__init__(message)
        self.own = own


class WorkersGone(UserError):
    """No workers are left and none can be started, so the command must end."""


@dataclass(frozen=True)
class Task:
    """A call, and the future that gets its result."""

    call: Callable[[], Any]
    future: "Future[Any]"

    @classmethod
    def of(cls, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Task":
        """Return the task of a call; its future counts as running, since tasks are never cancelled."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        return cls(partial(fn, *args, **kwargs), future)


class Served(Executor):
    """Gives tasks, in the order of their submission, to a fixed number of threads.

    The threads are daemons, so that no worker can keep the command from ending.
    """

    def __init__(self, count: int, name: str):
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(slot,), name=f"{name}-{slot}", daemon=True)
            for slot in range(count)
        ]

    def begin(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Queue the task for the next free thread."""
        task = Task.of(fn, args, kwargs)
        self._tasks.put(task)
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Finish the submitted tasks, or with `wait=False` end now and lose the tasks under way."""
        self._closed = not wait
        for _ in self._threads:
            self._tasks.put(None)
        if not wait:
            self.interrupt()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(None if wait else 5.0)

    @abstractmethod
    def carry_out(self, slot: int, call: Callable[[], Any]) -> Any:
        """Return what the call returns, or raise what it raises; `slot` is the number of the thread."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make every `carry_out` under way raise soon."""

    def leave(self, slot: int) -> None:
        """Release the resources of a thread that ends."""

    def _serve(self, slot: int) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                if self._closed:
                    raise LostWorker("the executor was closed")
                task.future.set_result(self.carry_out(slot, task.call))
            except BaseException as error:
                task.future.set_exception(error)
        self.leave(slot)


@contextmanager
def closing(executor: Executor) -> Iterator[Executor]:
    """Shut the executor down at the end of the block, immediately after an exception."""
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False)
        raise
    executor.shutdown(wait=True)
