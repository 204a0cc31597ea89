"""The folder where finished records wait until the study and the tracking store have them."""

from pathlib import Path

from pipeline.config.errors import StudyError
from pipeline.trials.record import TrialRecord


class Outbox:
    """The folder of one study's finished records, one file each."""

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for torn in folder.glob(".*"):  # left by a crash during a write
                torn.unlink()
        except OSError as error:
            raise StudyError(f"{folder} must be writable for finished trials, but: {error.strerror}.") from None

    def path(self, name: str) -> Path:
        """Where the record of the run `name` waits."""
        return self.folder / f"{name}.npz"

    def put(self, name: str, record: TrialRecord) -> None:
        """Write a record, unless a whole one waits here already."""
        if self.load(name) is None:
            record.save(self.path(name))

    def load(self, name: str) -> TrialRecord | None:
        """Return the record of a run, if it waits here; remove a damaged one, whose trial will be trained again."""
        path = self.path(name)
        try:
            return TrialRecord.load(path) if path.exists() else None
        except (OSError, ValueError):
            path.unlink(missing_ok=True)
            return None

    def waiting(self) -> list[str]:
        """Names of the runs whose records have not been sent, in their order."""
        return sorted(path.stem for path in self.folder.glob("*.npz"))
