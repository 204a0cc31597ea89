"""Writes files of runs where the store keeps them: in the run's folder on this machine, or uploaded to the server."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tracking import files

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


class RunFolders:
    """The folders of an experiment's runs.

    Parameters
    ----------
    local : holds them; None if files are uploaded.
    """

    def __init__(self, client: "MlflowClient", local: Path | None) -> None:
        self._client, self._local = client, local

    @contextmanager
    def writing(self, run_id: str) -> Iterator[Path]:
        """Yield the folder for a run's files: its own if it is local, else one that is uploaded at the end."""
        if self._local is not None:
            folder = self._local / run_id / "artifacts"
            folder.mkdir(parents=True, exist_ok=True)
            yield folder
            return
        with tempfile.TemporaryDirectory() as staging:
            yield Path(staging)
            self._client.log_artifacts(run_id, staging)

    @contextmanager
    def reading(self, run_id: str, name: str) -> Iterator[Path | None]:
        """Yield a file of a run, downloaded if it is not on this machine; None if there is none."""
        if self._local is not None:
            path = self._local / run_id / "artifacts" / name
            yield path if path.exists() else None
            return
        with tempfile.TemporaryDirectory() as staging:
            there = any(item.path == name for item in self._client.list_artifacts(run_id))
            yield Path(self._client.download_artifacts(run_id, name, staging)) if there else None

    def write_text(self, run_id: str, name: str, text: str) -> None:
        """Write a text file in one step."""
        with self.writing(run_id) as folder:
            files.write_bytes(folder / name, text.encode())

    def copy(self, run_id: str, path: Path, below: str) -> None:
        """Copy a file into a folder below the run's."""
        with self.writing(run_id) as folder:
            (folder / below).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / below / path.name)
