"""Trials on a Dask cluster; the only module that imports `distributed`."""

import hashlib
import logging
import platform
import tempfile
import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, KilledWorker, WorkerPlugin

from pipeline.config.commands import WorkersConfig
from pipeline.config.errors import ConfigError
from pipeline.search.losses import GivenOutAgain
from pipeline.search.serving import LostWorker, Served, WorkersGone, closing
from pipeline.trials import trial
from pipeline.trials.kernels import Arithmetic, OtherArithmetic, current, require

CONNECT_S = 10.0


@contextmanager
def cluster(config: WorkersConfig, arrays: Sequence[Path], arithmetic: Arithmetic) -> Iterator[Executor]:
    """Open an executor on the cluster at `config.address`, whose workers see the arrays or receive them.

    Raises
    ------
    ConfigError
        No scheduler answers at the address, or a worker has another arithmetic.
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
            if new := there - self._brought.get(path, frozenset()):
                share(client, path, new)
                self._brought[path] = there

    def _replace(self, lost: Client) -> None:
        """Reconnect, once for all tasks that lost this connection.

        Raises
        ------
        WorkersGone
            No scheduler answers for `workers.patience` seconds.
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


def share(client: Client, path: Path, names: frozenset[Path]) -> None:
    """Send these files to every worker once, also to later ones, unless all workers see them already."""
    if not all(client.run(_sees, path, names).values()):
        client.register_plugin(CarryArrays(path, names))


def _sees(path: Path, names: frozenset[Path]) -> bool:
    folder = trial.MOVED.get(path, path)
    return all((folder / name).is_file() for name in names)


class CarryArrays(WorkerPlugin):  # type: ignore[misc]
    """Copies files of one folder of arrays to a worker's own disk, where the worker maps them into memory.

    Later files come with a plugin of another name, which a joining worker runs after the first. The scheduler keeps the
    bytes for such workers; a worker drops them once they are on its disk.
    """

    def __init__(self, path: Path, names: frozenset[Path]):
        self.path = path
        self._files = {name: (path / name).read_bytes() for name in sorted(names)}
        self.name = f"arrays-{path.name}-{hashlib.sha256(repr(sorted(names)).encode()).hexdigest()[:8]}"

    def setup(self, worker: Any) -> None:
        """Write the files that this worker lacks, and register their place."""
        files, self._files = self._files, {}
        if _sees(self.path, frozenset(files)):
            return
        folder = trial.MOVED.get(self.path) or Path(tempfile.mkdtemp(dir=worker.local_directory, prefix=self.name))
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            if not (folder / name).exists():
                (folder / name).write_bytes(content)
        trial.MOVED[self.path] = folder
