"""Worker processes on this machine, behind one `concurrent.futures.Executor`; dead and silent ones are replaced.

One pipe connects the coordinator and a worker. The coordinator sends calls; the worker answers each with its result.
A thread of the worker sends heartbeats (empty messages), so that a long calculation does not count as silence.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from pipeline.config.errors import ConfigError
from pipeline.search.serving import LostWorker, Served, WorkersGone

BEATS, BEATS_TO_START = 6, 60
"""Heartbeats that a worker may miss before it counts as stopped; more while it starts, which a busy disk may delay."""

STARTS = 3
"""Attempts to start a worker before the executor gives up."""

_FROM_OUTSIDE = {signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT}


class LocalProcesses(Served):
    """A fixed number of worker processes; the loss of one fails only the task that it was running.

    Workers ignore Ctrl-C, which the coordinator handles, and end immediately when the coordinator closes the executor
    or dies, even by kill -9.

    Parameters
    ----------
    count : number of processes.
    patience : seconds without a heartbeat after which a worker that has a task is killed and replaced.
    prepare : called in each worker before its first task.
    environment : variables for the workers, in addition to those of this process.

    Raises
    ------
    ConfigError
        The processes cannot be started.
    """

    def __init__(
        self,
        count: int,
        *,
        patience: float = 60.0,
        prepare: Callable[[], object] | None = None,
        environment: Mapping[str, str] | None = None,
    ):
        super().__init__(count, "worker")
        self._interval, self._prepare, self._environment = patience / BEATS, prepare, environment or {}
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker | None] = [None] * count
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._watch_silence, name="heartbeats", daemon=True)
        try:
            for slot in range(count):
                self._workers[slot] = self._start()
            self.begin()
            self._watch.start()
        except (OSError, RuntimeError) as error:
            self.shutdown(wait=False)
            raise ConfigError(
                f"workers.count must be a number of processes that can be started here, but with {count} came: {error}."
            ) from None

    def carry_out(self, slot: int, call: Callable[[], Any]) -> Any:
        """Run the call on the slot's worker, replacing it first if it has died."""
        for _ in range(STARTS):
            worker = self._alive(slot)
            answer = worker.ask(call)
            if answer is not None:
                good, value = answer
                if good:
                    return value
                raise value
            self._workers[slot] = None
            if worker.heard or self._closed:
                raise worker.loss()
        raise WorkersGone(
            f"{STARTS} worker processes in a row {worker.end()} while they started; perhaps memory ran out "
            "(ulimit -v). Nothing is lost: the same command continues."
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers finish the submitted tasks, or with `wait=False` end them now."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._ended.set()

    def interrupt(self) -> None:
        """Kill every worker, including stopped ones."""
        for worker in self._workers:
            if worker is not None:
                worker.process.kill()

    def leave(self, slot: int) -> None:
        """Close the pipe, which ends the worker."""
        worker, self._workers[slot] = self._workers[slot], None
        if worker is not None:
            worker.close(self._interval)

    def _alive(self, slot: int) -> "_Worker":
        worker = self._workers[slot]
        if worker is None or not worker.process.is_alive():
            try:
                worker = self._workers[slot] = self._start()
            except OSError as error:
                raise WorkersGone(
                    f"a worker process could not be started: {error}. Nothing is lost: the same command continues."
                ) from None
            if self._closed:
                worker.process.kill()
        return worker

    def _start(self) -> "_Worker":
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._interval, self._prepare), daemon=True)
        with _SPAWNING, _variables(self._environment):
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _watch_silence(self) -> None:
        """Kill each worker that has a task and missed all its heartbeats.

        Missed heartbeats are counted by looks, not by the clock, because this process may have been stopped itself.
        """
        while not self._ended.wait(self._interval):
            for worker in filter(None, self._workers):
                worker.missed += worker.busy
                if worker.missed > (BEATS if worker.heard else BEATS_TO_START) and not worker.silent:
                    worker.silent = True
                    print(
                        f"Worker process {worker.process.pid} has been silent for {self._interval * BEATS:g} s "
                        "(workers.patience) and is replaced; its trial is given to another.",
                        file=sys.stderr,
                    )
                    worker.process.kill()


_SPAWNING = threading.Lock()
"""Held while this process's own variables are those of a worker."""


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Worker:
    """One process and the coordinator's end of its pipe.

    Attributes
    ----------
    heard : whether it has reported that it is ready.
    trouble : why it could not start, if it reported that.
    missed : looks since its last message.
    silent : whether it was killed for its silence.
    """

    def __init__(self, process: SpawnProcess, pipe: "Connection[Any, Any]"):
        self.process, self.pipe = process, pipe
        self.heard = self.busy = self.silent = False
        self.missed = 0
        self.trouble = ""
        self._killed_before = 0

    def ask(self, call: Callable[[], Any]) -> tuple[bool, Any] | None:
        """Return whether the call succeeded, with its result or exception; None if the worker was lost."""
        message = pickle.dumps(call)
        self.missed, self.busy = 0, True
        self._killed_before = _out_of_memory_kills()
        try:
            self.pipe.send_bytes(message)
            while not self.heard or not (answer := self.pipe.recv_bytes()):
                if not self.heard:
                    self.trouble = self.pipe.recv_bytes().decode()
                    self.heard = not self.trouble
                self.missed = 0
        except (EOFError, OSError):
            return None
        finally:
            self.busy = False
        good, value = pickle.loads(answer)
        return good, value

    def loss(self) -> LostWorker:
        """Return the loss of the ended worker, as an exception."""
        return LostWorker(f"the worker process {self.end()}", own=self._ended_by_itself())

    def end(self) -> str:
        """Return in words how the process ended."""
        self.process.join(5.0)
        code = self.process.exitcode
        if self.silent:
            return "fell silent"
        if self.trouble:
            return f"failed ({self.trouble})"
        if code is not None and code < 0:
            return f"died of {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def close(self, patience: float) -> None:
        """Let the idle process end by itself, else kill it."""
        self.pipe.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()

    def _ended_by_itself(self) -> bool:
        """Return whether the process crashed, exited, or was killed by the kernel because memory ran out."""
        if self.silent or self.process.exitcode is None:
            return False
        if self.process.exitcode == -signal.SIGKILL:
            return _out_of_memory_kills() > self._killed_before
        return -self.process.exitcode not in _FROM_OUTSIDE


def _out_of_memory_kills() -> int:
    """Return how many processes Linux has killed because memory ran out; 0 where that is unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _work(pipe: "Connection[Any, Any]", interval: float, prepare: Callable[[], object] | None) -> None:
    """Report that the process is ready, or why not; then answer calls until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = threading.Lock()
    try:
        if prepare is not None:
            prepare()
        threading.Thread(target=_beat, args=(pipe, lock, interval), daemon=True).start()
        with lock:
            pipe.send_bytes(b"")
    except Exception as error:
        pipe.send_bytes(f"{type(error).__name__}: {error}".encode())
        return
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        answer = _answer(message)
        with lock:
            pipe.send_bytes(answer)


def _beat(pipe: "Connection[Any, Any]", lock: threading.Lock, interval: float) -> None:
    """Send the heartbeat, and end the process when the coordinator is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    try:
        while True:
            with lock:
                pipe.send_bytes(b"")
            if wait([parent.sentinel], interval):
                break
    except OSError:
        pass
    os._exit(1)


def _answer(message: bytes) -> bytes:
    """Run the call and return the pickled (True, result) or (False, exception)."""
    try:
        return pickle.dumps((True, pickle.loads(message)()))
    except Exception as error:
        try:
            pickle.loads(told := pickle.dumps((False, error)))
        except Exception:  # send only the text of an exception that cannot be pickled
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        return told
