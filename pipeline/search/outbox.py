"""The folder where finished records wait until the study and the tracking store have them."""

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.errors import StudyError
from pipeline.trials.record import TrialRecord

_NAME = re.compile(r"trial-(\d+)\.npz|baseline\.npz")


class Outbox:
    """One study's folder of finished records, a file each."""

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for torn in folder.glob(".*"):  # what a crash left of a record that was being written
                torn.unlink()
        except OSError as error:
            raise StudyError(f"{folder} must be writable for finished trials, but: {error.strerror}.") from None

    def path(self, number: int) -> Path:
        """Where the record of a trial (or of the baseline, -1) waits."""
        return self.folder / (f"trial-{number:04d}.npz" if number >= 0 else "baseline.npz")

    def load(self, number: int) -> TrialRecord | None:
        """The record of a trial, if it waits here whole; a damaged one is removed, to be trained again alike."""
        path = self.path(number)
        try:
            return TrialRecord.load(path) if path.exists() else None
        except (OSError, ValueError):
            path.unlink(missing_ok=True)
            return None

    def waiting(self) -> Iterator[tuple[int, Path]]:
        """Records that have not been sent, in the order of their numbers."""
        for path in sorted(self.folder.glob("*.npz")):
            if match := _NAME.fullmatch(path.name):
                yield int(match[1] or -1), path
