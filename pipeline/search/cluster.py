"""Trials on a Dask cluster, through its own `concurrent.futures` executor; alone it imports `distributed`."""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, WorkerPlugin

from pipeline.config.commands import WorkersConfig
from pipeline.config.errors import ConfigError
from pipeline.trials import trial


@contextmanager
def cluster(config: WorkersConfig, arrays: Sequence[Path]) -> Iterator[Executor]:
    """The executor of the cluster at `config.address`, whose workers have or get the arrays.

    A worker that dies is Dask's to replace: its trials are given to others, and fail after three deaths on one trial.

    Raises
    ------
    ConfigError
        No scheduler answers at the address.
    """
    assert config.address is not None, "check_workers has seen to that"
    try:
        client = Client(config.address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"workers.address must be a Dask scheduler's, but {config.address}: {error}.") from None
    with client:
        for path in arrays:
            share(client, path)
        executor: Executor = client.get_executor(pure=False)
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False)
            raise
        executor.shutdown(wait=True)


def share(client: Client, path: Path) -> None:
    """Send the arrays to every worker once, those that join later too, unless all see them in a shared file system."""
    if not all(client.run(_sees, str(path)).values()):
        client.register_plugin(CarryArrays(path))


def _sees(path: str) -> bool:
    return Path(path).is_dir()


class CarryArrays(WorkerPlugin):  # type: ignore[misc]
    """Brings one folder of arrays to a worker's own disk, where the worker maps it into memory."""

    def __init__(self, path: Path):
        self.path = path
        self.name = f"arrays-{path.name}"
        self._files = {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}

    def setup(self, worker: Any) -> None:
        """Write the files where this worker does not have them, and tell the trials so."""
        if self.path.is_dir():
            return
        folder = Path(tempfile.mkdtemp(dir=worker.local_directory, prefix=self.name))
        for name, content in self._files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        trial.MOVED[self.path] = folder
