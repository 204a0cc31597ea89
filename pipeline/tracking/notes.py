"""Notes what is written to a run without a record of its own, so that what is changed there later is found.

The runs of sweeps, confirmations and openings keep the note among their files. It is written before the store is: after
a crash it may name what the store lacks, but everything in the store is in it.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.config.errors import RecordError
from pipeline.config.validation import read_as
from pipeline.tracking import facts, untrusted
from pipeline.tracking.files import sha256
from pipeline.tracking.run_folders import RunFolders
from pipeline.trials.environment import PACKAGE, code_digest

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

FILE = "page.json"
NOTE = "mlflow.note.content"
"""MLflow's tag for a run's description."""


@dataclass
class Note:
    """What was written to a run.

    Attributes
    ----------
    status : RUNNING until the run was ended.
    points : of each metric the value by step.
    files_sha256 : of the run's other files, by their path below the run's.
    code : digest of the code that wrote the description.
    """

    name: str
    started_ms: int
    status: str = "RUNNING"
    ended_ms: int = 0
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: dict[str, dict[int, float]] = field(default_factory=dict)
    files_sha256: dict[str, str] = field(default_factory=dict)
    code: str = ""

    def add(
        self,
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, Any] | None = None,
        points: Mapping[str, Mapping[int, float]] | None = None,
        files: Mapping[str, bytes] | None = None,
        status: str | None = None,
        ended_ms: int = 0,
    ) -> None:
        """Note a further write; a status comes with the time of the end, which is 0 if the run goes on."""
        self.params |= params or {}
        self.tags |= {key: facts.tag(value) for key, value in (tags or {}).items()}
        self.files_sha256 |= {path: sha256(content) for path, content in (files or {}).items()}
        for name, values in (points or {}).items():
            self.points.setdefault(name, {}).update(values)
        if NOTE in (tags or {}):
            self.code = code_digest(PACKAGE)
        if status:
            self.status, self.ended_ms = status, ended_ms

    def text(self) -> str:
        """Return the content of the file."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @property
    def latest(self) -> dict[str, float]:
        """The value of each metric at its last step."""
        return {name: values[max(values)] for name, values in self.points.items() if values}

    @property
    def by_this_code(self) -> bool:
        """Whether this version of the code wrote the description, so that it would write the same again."""
        return self.code == code_digest(PACKAGE)


def read(value: Any) -> Note:
    """Read a note from a plain value.

    Raises
    ------
    RecordError
        The value is not a note.
    """
    return read_as(Note, value, file=FILE, what="a note of a run")


class Notes:
    """The notes of the runs that this process opened."""

    def __init__(self, client: "MlflowClient", folders: RunFolders) -> None:
        self._client, self._folders = client, folders
        self._notes: dict[str, Note] = {}

    def open(self, run_id: str, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Begin the note of a new run, or continue that of an earlier process; a run from before 0.3 has none."""
        if note := self._begun(run_id):
            self._notes[run_id] = note
        self.add(run_id, tags=tags, params=params, status="RUNNING")

    def add(self, run_id: str, **written: Any) -> None:
        """Note what is about to be written to a run, if it keeps a note; the arguments are those of `Note.add`."""
        if note := self._notes.get(run_id):
            note.add(**written)
            self._folders.write_text(run_id, FILE, note.text())

    def _begun(self, run_id: str) -> Note | None:
        run = self._client.get_run(run_id)
        with suppress(RecordError), self._folders.reading(run_id, FILE) as path:  # a damaged note stays as it is
            if path is not None:
                return read(untrusted.read_json(path))
            if not run.data.params and not run.data.metrics:
                return Note(str(run.info.run_name), int(run.info.start_time))
        return None
