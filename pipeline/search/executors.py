"""Where trials run: worker processes on this machine, or a Dask cluster, behind one `concurrent.futures.Executor`.

A lost worker shows as a `LostWorker` exception on the futures it held, and on those alone.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config.commands import WorkersConfig
from pipeline.config.errors import ConfigError

T = TypeVar("T")


class LostWorker(Exception):
    """The worker process died under its task; the task can be given to another."""


@dataclass(eq=False)
class _Worker:
    """One process, which does the tasks it is given in their order; `lost` once one of them was told that it died."""

    pool: ProcessPoolExecutor
    in_hand: int = 0
    lost: bool = False


class LocalProcesses(Executor):
    """A fixed number of worker processes, each replaced when it dies.

    Every worker is a pool of its own, because one death breaks a whole `ProcessPoolExecutor`: so it is known which task
    a worker died of, and the others go on; what only waited for that worker is given to another. Workers ignore Ctrl-C,
    which is the coordinator's to handle, and end at once when the coordinator closes the executor or dies, also by
    kill -9.
    """

    def __init__(self, count: int):
        self._context = multiprocessing.get_context("spawn")
        # The workers hold the reading end and leave when it reports the end of the file; nothing is ever sent.
        self._watched, self._alive = self._context.Pipe(duplex=False)
        self._workers = [self._new_worker() for _ in range(count)]
        self._lock = threading.RLock()
        self._closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Give the task to the worker with the fewest tasks in hand."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        self._give(partial(fn, *args, **kwargs), future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers finish what they have, or with `wait=False` end them now."""
        self._closed = not wait
        if not wait:
            self._alive.close()
        for worker in self._workers:
            worker.pool.shutdown(wait=wait, cancel_futures=cancel_futures or not wait)

    def _new_worker(self) -> _Worker:
        return _Worker(ProcessPoolExecutor(1, self._context, initializer=_start_worker, initargs=(self._watched,)))

    def _give(self, task: Callable[[], T], outer: "Future[T]") -> None:
        with self._lock:
            worker = min(self._workers, key=lambda worker: worker.in_hand)
            try:
                inner = worker.pool.submit(task)
            except BrokenProcessPool:
                worker = self._replace(worker)
                inner = worker.pool.submit(task)
            worker.in_hand += 1
        inner.add_done_callback(lambda done: self._finish(worker, task, done, outer))

    def _replace(self, worker: _Worker) -> _Worker:
        new = self._new_worker()
        self._workers[self._workers.index(worker)] = new
        return new

    def _finish(self, worker: _Worker, task: Callable[[], T], inner: "Future[T]", outer: "Future[T]") -> None:
        with self._lock:
            worker.in_hand -= 1
        if inner.cancelled():
            outer.set_exception(LostWorker("cancelled"))
        elif isinstance(inner.exception(), BrokenProcessPool):
            self._lose(worker, task, outer)
        elif error := inner.exception():
            outer.set_exception(error)
        else:
            outer.set_result(inner.result())

    def _lose(self, worker: _Worker, task: Callable[[], T], outer: "Future[T]") -> None:
        """Tell the task under way that its worker died, which is the first to hear of it; the others only waited."""
        with self._lock:
            first, worker.lost = not worker.lost, True
            if worker in self._workers and not self._closed:
                self._replace(worker)
        if first or self._closed:
            outer.set_exception(LostWorker("the worker process died"))
        else:
            self._give(task, outer)


def _start_worker(watched: Connection) -> None:
    """Prepare a worker process: Ctrl-C is not for it, and it never outlives its coordinator."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def leave_with_coordinator() -> None:
        watched.poll(None)
        os._exit(1)

    threading.Thread(target=leave_with_coordinator, daemon=True).start()


def check_workers(config: WorkersConfig) -> None:
    """Refuse at once what `open_executor` could not open.

    Raises
    ------
    ConfigError
        No address of a cluster is given, or its package is not installed.
    """
    if config.backend == "dask":
        if config.address is None:
            raise ConfigError("workers.address must be the address of a Dask scheduler for workers=dask, but is null.")
        if find_spec("distributed") is None:
            raise ConfigError("workers=dask needs the package distributed; install it with: pip install distributed")


@contextmanager
def open_executor(config: WorkersConfig, arrays: Sequence[Path] = ()) -> Iterator[Executor]:
    """The executor that `config.backend` names; if the block is left by an exception, its tasks end at once.

    Parameters
    ----------
    arrays : absolute paths of the arrays that trials will map, for workers that do not share this file system.

    Raises
    ------
    ConfigError
        No cluster at the address, or its package is not installed.
    """
    check_workers(config)
    with _cluster(config, arrays) if config.backend == "dask" else _local(config.count) as executor:
        yield executor


@contextmanager
def _local(count: int) -> Iterator[Executor]:
    # NumPy reads these when a worker first loads it. Trials pin their threads themselves, too; this saves the start-up
    # of threads that would never be used.
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
    executor = LocalProcesses(count)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False)
        raise
    executor.shutdown(wait=True)


def _cluster(config: WorkersConfig, arrays: Sequence[Path]) -> AbstractContextManager[Executor]:
    from pipeline.search.cluster import cluster

    return cluster(config, arrays)
