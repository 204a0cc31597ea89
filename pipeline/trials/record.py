"""What a trial leaves behind, as one plain value that can be written to a single file and read back.

A record file is an `.npz` archive of arrays and one JSON text, read without pickle, so that nothing in it can run.
"""

import dataclasses
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pipeline.data.prepare import PreparedData

FORMAT = 1
"""Version of the record's layout; readers refuse what they do not know."""

_META = "record.json"


@dataclass
class TrialRecord:
    """Everything a trial produced. Every value is JSON-able or a NumPy array.

    Attributes
    ----------
    config : the `TrialConfig` as plain values.
    data : what the arrays were (digest, sizes, classes), as plain values.
    outcome : "completed", "early_stopped", "pruned", "diverged" or "failed".
    reason : a sentence that says why it ended.
    stop_epoch : epochs trained; with folds, folds trained. A rerun passes it to stop at the same place.
    curves : per-epoch values, each (epochs + 1,); row 0 is the initial parameters.
    parameters : W1, b1, … at the best epoch.
    summary : best_epoch, best_dev_cost, ….
    gradient_checks : "init" and "trained" reports as plain values.
    diagnosis : bias and variance with verdicts and remedies.
    fold_curves : the curves of each fold, when the trial was cross-validated.
    environment : the software and hardware that trained it.
    started_at : seconds since 1970-01-01 UTC.
    duration_s : seconds of work, waiting between segments not counted.
    """

    config: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    outcome: str = "completed"
    reason: str = ""
    stop_epoch: int = 0
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    summary: dict[str, float] = field(default_factory=dict)
    gradient_checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    diagnosis: dict[str, Any] = field(default_factory=dict)
    fold_curves: list[dict[str, np.ndarray]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    started_at: float = 0.0
    duration_s: float = 0.0

    def add_origin(self, prepared: "PreparedData", code: dict[str, Any]) -> None:
        """Add what the trial itself does not know: the data's description and the code's version."""
        self.data = prepared.description | {"digest": prepared.digest, "source_digest": prepared.source_digest}
        self.environment["code"] = code

    def save(self, path: Path) -> None:
        """Write the record so that a crash leaves either the whole file or none."""
        arrays = {f"curves/{name}": values for name, values in self.curves.items()}
        arrays |= {f"parameters/{name}": values for name, values in self.parameters.items()}
        for number, curves in enumerate(self.fold_curves):
            arrays |= {f"fold_curves/{number}/{name}": values for name, values in curves.items()}
        meta = {"format": FORMAT, **{name: getattr(self, name) for name in _PLAIN_FIELDS}}
        arrays[_META] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Path) -> "TrialRecord":
        """Read a record written by `save`.

        Raises
        ------
        ValueError
            The file is no record, is damaged, or has a format this version does not know.
        OSError
            It cannot be read at all.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                meta = json.loads(bytes(archive[_META]))
                arrays = {name: archive[name] for name in archive.files if name != _META}
        except (KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path.name} is no whole record: {error}") from None
        if meta.pop("format", None) != FORMAT:
            raise ValueError(f"{path.name} is not a record of format {FORMAT}")
        folds = sorted({int(name.split("/")[1]) for name in arrays if name.startswith("fold_curves/")})
        return cls(
            **meta,
            curves=_under("curves/", arrays),
            parameters=_under("parameters/", arrays),
            fold_curves=[_under(f"fold_curves/{number}/", arrays) for number in folds],
        )


_ARRAY_FIELDS = ("curves", "parameters", "fold_curves")
_PLAIN_FIELDS = tuple(f.name for f in dataclasses.fields(TrialRecord) if f.name not in _ARRAY_FIELDS)


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
