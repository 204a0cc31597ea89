"""Trials on a Dask cluster; the only module that imports `distributed`."""

import errno
import logging
import os
import platform
import threading
import uuid
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, KilledWorker

from pipeline.config.commands import WorkersConfig
from pipeline.config.errors import ConfigError
from pipeline.search.losses import GivenOutAgain
from pipeline.search.serving import LostWorker, Served, WorkersGone, closing
from pipeline.trials import trial
from pipeline.trials.kernels import Arithmetic, OtherArithmetic, current, require

CONNECT_S = 10.0

LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}
"""Errors of writing that stay until a person acts: no space, no quota, a read-only disk, no permission."""

PIECE = 2**23
"""Bytes of a file that are sent at a time; Dask holds a few copies of them in each process on the way."""


@contextmanager
def cluster(config: WorkersConfig, arrays: Sequence[Path], arithmetic: Arithmetic) -> Iterator[Executor]:
    """Open an executor on the cluster at `config.address`, whose workers see the arrays or receive them.

    Raises
    ------
    ConfigError
        No scheduler answers at the address, or a worker has another arithmetic.
    WorkersGone
        A worker cannot write the arrays to its disk.
    """
    assert config.address is not None, "check_workers refuses this"
    for name in ("distributed", "distributed.client"):  # both have levels of their own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # losses are reported here, in sentences
    inner = Cluster(config.address, config.count, arrays, arithmetic, patience=config.patience)
    inner.begin()
    with closing(GivenOutAgain(inner)) as executor:
        yield executor


class Cluster(Served):
    """The workers of a Dask scheduler, `count` tasks at a time.

    Dask replaces dead workers itself and gives their tasks to others; a task under which several died is reported as
    lost. If the scheduler goes away, the executor waits for it.
    """

    def __init__(self, address: str, count: int, arrays: Sequence[Path], arithmetic: Arithmetic, *, patience: float):
        super().__init__(count, "cluster")
        self._address, self._patience = address, patience
        self._arrays, self._arithmetic = arrays, arithmetic
        self._lock = threading.Lock()
        self._brought: dict[Path, frozenset[Path]] = {}
        try:
            self._client = self._connect(CONNECT_S)
        except (OSError, ValueError) as error:
            raise ConfigError(f"workers.address must be a Dask scheduler's, but {address}: {error}.") from None
        except Exception as error:
            if lacks_code(error):
                raise ConfigError(without_code(error)) from None
            raise
        for worker, found in self._client.run(current).items():
            require(arithmetic, f"the Dask worker {worker}", found)

    def carry_out(self, slot: int, call: Callable[[], Any]) -> Any:
        """Run the call on a worker."""
        client, future = self._client, None
        try:
            arrays = self._bring(client)
            future = client.submit(_under, self._arithmetic, arrays, call, pure=False)
            return future.result()
        except WorkersGone:
            raise
        except ArraysAway:
            with self._lock:
                self._brought = {}  # so that all files are sent again
            raise LostWorker("a Dask worker lacks some of the arrays") from None
        except OtherArithmetic as error:
            raise WorkersGone(f"{error} Nothing is lost: the same command continues.") from None
        except KilledWorker as error:
            raise LostWorker(f"several Dask workers died, {error.last_worker.address} last", own=True) from None
        except (Exception, CancelledError) as error:  # asyncio's is not an Exception
            if lacks_code(error):
                raise WorkersGone(f"{without_code(error)} Nothing is lost: the same command continues.") from None
            if future is not None and future.status == "error":
                raise  # raised by the call itself
            self._replace(client)
            raise LostWorker("the Dask scheduler was lost") from None

    def interrupt(self) -> None:
        """Abandon the tasks under way."""
        self._client.close(timeout=2.0)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the cluster finish the submitted tasks, or with `wait=False` abandon them."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._client.close(timeout=2.0)

    def _connect(self, timeout_s: float) -> Client:
        client = Client(self._address, timeout=f"{timeout_s:g}s", set_as_default=False)
        self._brought = {}
        self._share(client)
        return client

    def _bring(self, client: Client) -> dict[Path, frozenset[Path]]:
        """Share files written since, such as divisions for a race; return all files that workers now have."""
        with self._lock:
            if client is self._client:
                self._share(client)
            return {path: files_in(path) for path in self._arrays}

    def _share(self, client: Client) -> None:
        for path in self._arrays:
            there = files_in(path)
            if there != self._brought.get(path):
                share(client, path, there)
                self._brought[path] = there

    def _replace(self, lost: Client) -> None:
        """Reconnect, once for all tasks that lost this connection.

        Raises
        ------
        WorkersGone
            No scheduler answers for `workers.patience` seconds, or a worker cannot write the arrays to its disk.
        """
        with self._lock:
            if self._client is not lost or self._closed:
                return
            lost.close(timeout=2.0)
            try:
                self._client = self._connect(self._patience)
            except (OSError, ValueError) as error:
                raise WorkersGone(
                    f"the Dask scheduler at {self._address} is gone, and none answered for {self._patience:g} s "
                    f"(workers.patience): {error}. Nothing is lost: the same command continues."
                ) from None


def lacks_code(error: BaseException) -> bool:
    """Whether a worker or the scheduler cannot import what it was sent, which Dask reports in one of two ways."""
    return any(words in str(error) for words in ("No module named", "deserialization of the task graph"))


def without_code(error: BaseException) -> str:
    """A sentence on what a cluster must be able to import."""
    return (
        "workers.address must be of a cluster whose scheduler and workers can import this project (start them with its "
        f"folder in PYTHONPATH, or install it there), but they cannot: {str(error).split('. ')[0]}."
    )


class ArraysAway(Exception):
    """A worker lacks files of the arrays, for instance because it joined later."""


def _under(arithmetic: Arithmetic, arrays: dict[Path, frozenset[Path]], call: Callable[[], Any]) -> Any:
    """Run the call on this worker, provided that it has the right arithmetic and the arrays."""
    require(arithmetic, f"the Dask worker on {platform.node()}")
    if not all(_sees(path, names) for path, names in arrays.items()):
        raise ArraysAway
    return call()


def files_in(path: Path) -> frozenset[Path]:
    """Return every file of a folder of arrays, relative to it."""
    names = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    return frozenset(name for name in names if not name.name.startswith("."))  # those are drafts


@dataclass(frozen=True)
class Piece:
    """Bytes of the file `name` of a folder, which begin at `start`; a sender sends them in order."""

    path: Path
    name: Path
    sender: str
    start: int
    content: bytes
    last: bool


def share(client: Client, path: Path, names: frozenset[Path]) -> None:
    """Send each worker the files of a folder that it lacks, to a folder on its own disk.

    A worker that fails on the way or joins later lacks them still, which its next task finds (`ArraysAway`).

    Raises
    ------
    WorkersGone
        A worker cannot write them to its disk.
    """
    lacking = client.run(_lacking, path, names)
    for name in sorted(names):
        _send(client, path, name, [worker for worker, missing in lacking.items() if name in missing])
    receivers = [worker for worker, missing in lacking.items() if missing]
    client.run(_complete, path, names, workers=receivers, on_error="ignore")


def _send(client: Client, path: Path, name: Path, workers: Sequence[str]) -> None:
    """Send a file in pieces, so that no process has the whole of it in memory; leave out workers that fail."""
    size, sender = (path / name).stat().st_size, uuid.uuid4().hex
    with (path / name).open("rb") as file:
        for start in range(0, max(size, 1), PIECE):
            if not workers:
                return
            piece = Piece(path, name, sender, start, file.read(PIECE), last=start + PIECE >= size)
            received = client.run(_receive, piece, workers=workers, on_error="ignore")
            for refusal in filter(None, received.values()):
                raise WorkersGone(f"{refusal}. Nothing is lost: the same command continues.")
            workers = list(received)


def _sees(path: Path, names: frozenset[Path]) -> bool:
    return not _missing(trial.MOVED.get(path, path), names)


def _missing(folder: Path, names: frozenset[Path]) -> frozenset[Path]:
    return frozenset(name for name in names if not (folder / name).is_file())


def _lacking(path: Path, names: frozenset[Path]) -> frozenset[Path]:
    """Return the files to send to this worker: all of them if it sees only some of the coordinator's."""
    if _sees(path, names):
        return frozenset()
    return _missing(trial.MOVED[path], names) if path in trial.MOVED else names


def _own(path: Path, worker: Any) -> Path:
    """Return the folder on this worker's own disk that stands in for the coordinator's."""
    return trial.MOVED.get(path) or Path(worker.local_directory, "arrays", *path.parts[1:])


def _receive(piece: Piece, dask_worker: Any) -> str:
    """Append a piece to the sender's draft of the file, which gets its name with the last piece.

    Returns why this worker's disk cannot be written, which sending again would not change; usually an empty text.

    Raises
    ------
    OSError
        Writing fails for another reason, or the pieces before are not there, as after a restart of the worker.
    """
    file = _own(piece.path, dask_worker) / piece.name
    draft = file.with_name(f".{file.name}.{piece.sender}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("ab") as stream:
            if stream.tell() != piece.start:
                raise OSError(f"{draft} has {stream.tell()} bytes instead of {piece.start}")
            stream.write(piece.content)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        if error.errno not in LASTING:
            raise
        where = f"{file.parent} on {platform.node()}"
        return f"a Dask worker cannot write the arrays to {where}: {os.strerror(error.errno)}"
    if piece.last:
        draft.replace(file)
    return ""


def _complete(path: Path, names: frozenset[Path], dask_worker: Any) -> None:
    """Let this worker's tasks use its own files, if it has all of them."""
    folder = _own(path, dask_worker)
    if not _missing(folder, names):
        trial.MOVED[path] = folder
