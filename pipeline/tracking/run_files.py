"""Reads the files of recorded runs from the tracking store alone, and trusts none of what it reads."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config.addresses import mask
from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import RecordError, TrackingError
from pipeline.config.text import brief
from pipeline.tracking import files, reading, untrusted
from pipeline.tracking.connection import Connected
from pipeline.tracking.found import Found
from pipeline.tracking.places import MOVED_AT, UPLOADED
from pipeline.tracking.store import as_folder
from pipeline.trials.record import TrialRecord

_OURS = re.compile(r"(pictures/)?[A-Za-z0-9_-]+\.[a-z]+")


class RunFiles(Connected):
    """Reads the files of the runs of one experiment, which must exist."""

    def __init__(self, tracking: TrackingConfig) -> None:
        super().__init__(tracking)
        found = self._guarded(self._client.get_experiment_by_name, tracking.experiment)
        if found is None:
            raise TrackingError(f"The tracking store {self.store.shown} has no experiment named {tracking.experiment}.")
        self.experiment_id = str(found.experiment_id)
        self._moved_at = _milliseconds(found.tags.get(MOVED_AT))

    def load(self, run: Found) -> TrialRecord:
        """Read the record of a run from its files in the store.

        Raises
        ------
        RecordError
            The run has no complete record, or one that cannot be trusted.
        """
        if run.kind == "sweep":
            raise RecordError(f"{run.run_id} is a whole sweep: name one of its trials, or RUN=all STUDY={run.study}.")
        if folder := self._local_folder(run):
            return reading.read_folder(folder)
        with tempfile.TemporaryDirectory() as staging:
            self._download(run, Path(staging), files.REQUIRED + files.OPTIONAL)
            return reading.read_folder(Path(staging))

    def read_json(self, run: Found, name: str) -> Any:
        """Read a JSON file of a run, such as a sweep's `sweep.json`.

        Raises
        ------
        RecordError
            The file is missing, too large, or not JSON.
        """
        if folder := self._local_folder(run):
            return untrusted.read_json(folder / name)
        with tempfile.TemporaryDirectory() as staging:
            self._download(run, Path(staging), (name,))
            return untrusted.read_json(Path(staging) / name)

    def read_file(self, run: Found, name: str) -> bytes:
        """Read a file that a note names, such as `pictures/history.png`.

        Raises
        ------
        RecordError
            The file is missing or too large, or no file of ours has such a name.
        """
        if not _OURS.fullmatch(name):
            raise RecordError(f"No file of a run is called {brief(name)!r}.")
        limit = untrusted.MAX_ARRAY_BYTES if name.endswith(".npz") else untrusted.MAX_TEXT_BYTES
        if folder := self._local_folder(run):
            return untrusted.read_bytes(folder / name, limit)
        with tempfile.TemporaryDirectory() as staging:
            self._download(run, Path(staging), (name,))
            return untrusted.read_bytes(Path(staging) / Path(name).name, limit)

    def is_foreign(self, run: Found) -> bool:
        """Return whether a run was recorded elsewhere: on a server, or in a store that was moved here since."""
        path, base = as_folder(run.artifact_uri), as_folder(self.store.artifacts or "")
        if self.store.kind == "server" or path is None or base is None:
            return True
        if 1000 * run.started_at < self._moved_at:
            return True
        return not path.resolve().is_relative_to(base.resolve())

    def is_local(self, run: Found) -> bool:
        """Return whether the run's files are on this machine."""
        return self._local_folder(run) is not None

    def _local_folder(self, run: Found) -> Path | None:
        """Return the run's folder on this machine, even after `mlruns/` was moved; None if files are uploaded."""
        path = as_folder(run.artifact_uri)
        if path is None:
            if run.artifact_uri.startswith(UPLOADED) and self.store.kind == "server":
                return None
            if self.store.artifacts and run.artifact_uri.startswith(self.store.artifacts.rstrip("/") + "/"):
                return None
            raise RecordError(
                f"Run {run.run_id} keeps its files at {mask(run.artifact_uri)}, which is outside the store; "
                f"to trust that place, set tracking.artifacts to it."
            )
        base = as_folder(self.store.artifacts or "") if self.store.artifacts else None
        if base is None or not path.resolve().is_relative_to(base.resolve()):
            path = (base or self.store.root / "artifacts") / run.run_id / "artifacts"
        if not path.is_dir():
            raise RecordError(f"Run {run.run_id} has no files in {path.parent}.")
        return path

    def _download(self, run: Found, staging: Path, names: Sequence[str]) -> None:
        """Download files of a run by their known names, after checking each one's size."""
        folders = {name.rpartition("/")[0] or None for name in names}
        listed = {
            item.path: item
            for folder in folders
            for item in self._guarded(self._client.list_artifacts, run.run_id, folder)
        }
        for name in names:
            item = listed.get(name)
            if item is None:
                continue
            limit = untrusted.MAX_ARRAY_BYTES if name.endswith(".npz") else untrusted.MAX_TEXT_BYTES
            if item.is_dir or item.file_size is None or not 0 <= item.file_size <= limit:
                raise RecordError(f"{name} of run {run.run_id} must be a file of at most {limit:,} bytes.")
            place = Path(self._guarded(self._client.download_artifacts, run.run_id, name, str(staging)))
            wanted = staging / Path(name).name  # MLflow leaves out the folder
            if place.resolve() != wanted.resolve():
                raise RecordError(f"{name} of run {run.run_id} was sent to another place than it was asked for.")


def _milliseconds(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
