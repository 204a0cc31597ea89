"""Writes a run into one folder that can be attached to a paper and that `make rerun` reads back."""

import csv
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.config.errors import RecordError
from pipeline.tracking import facts, files
from pipeline.trials.record import TrialRecord

CSV, PARQUET, REPORT = "metrics.csv", "metrics.parquet", "README.md"


def export(record: TrialRecord, folder: Path, *, kind: str, name: str, run_id: str = "") -> Path:
    """Write the record's own files, its metrics by epoch as CSV and Parquet, and a report; return the folder.

    Raises
    ------
    RecordError
        The folder holds something other than an earlier export, or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / files.RECORD).is_file():
            raise RecordError(f"The folder {folder} must be empty, new or an earlier export, but holds other files.")
        files.write_folder(record, folder, kind=kind, name=name)
        names, rows = metrics_table(record)
        _write_csv(folder / CSV, names, rows)
        _write_parquet(folder / PARQUET, names, rows)
        files.write_bytes(folder / REPORT, report(record, folder, kind=kind, name=name, run_id=run_id).encode())
    except OSError as error:
        raise RecordError(f"The folder {folder} must be writable, but is not: {error.strerror}.") from None
    return folder


def rerun_command(record: TrialRecord, folder: Path) -> str:
    """Return the command that repeats an exported run; data that are not built in must be allowed."""
    allowed = "" if _is_built_in(record) else " ARGS=allow_path=true"
    return f"make rerun RUN={shlex.quote(str(folder))}{allowed}"


def _is_built_in(record: TrialRecord) -> bool:
    data = record.config.get("data", {})
    return not isinstance(data, Mapping) or data.get("source", "builtin") == "builtin"


def metrics_table(record: TrialRecord) -> tuple[list[str], np.ndarray]:
    """Return the curves as a table, one row per epoch.

    Returns
    -------
    names : epoch and the names of the curves; with several fits also "repeat 0/dev_cost" and so on.
    rows : (epochs + 1, len(names)); NaN where a curve has no value.
    """
    curves = dict(record.curves)
    for fit, own in zip(record.fit_names, record.fit_curves, strict=False):
        curves |= {f"{fit}/{name}": values for name, values in own.items()}
    length = max((len(values) for values in curves.values()), default=0)
    rows = np.full((length, 1 + len(curves)), np.nan)
    rows[:, 0] = np.arange(length)
    for column, values in enumerate(curves.values(), start=1):
        rows[: len(values), column] = values
    return ["epoch", *curves], rows


def _write_csv(path: Path, names: list[str], rows: np.ndarray) -> None:
    """Write numbers as Python does, so that reading gives the same bits; an empty cell is a missing value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for epoch, *values in rows.tolist():
            writer.writerow([int(epoch), *("" if value != value else repr(value) for value in values)])


def _write_parquet(path: Path, names: list[str], rows: np.ndarray) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = [rows[:, 0].astype(np.int64), *(rows[:, i] for i in range(1, len(names)))]
    pyarrow.parquet.write_table(pyarrow.table(columns, names=names), path)


def report(record: TrialRecord, folder: Path, *, kind: str, name: str, run_id: str) -> str:
    """Return a Markdown page: configuration, result, environment, and the meaning of each file."""
    where = record.environment
    blas = ", ".join(
        f"{library.get('name')} {library.get('version')} ({library.get('kernel')}, {library.get('threads')} threads)"
        for library in where.get("blas") or []
    )
    code = where.get("code") or {}
    packages = where.get("packages") or {}
    lines = [
        f"# {kind} {name}".rstrip(),
        "",
        facts.description(record, kind, name, ""),
        "",
        *_how_to_repeat(record, folder),
        "## Data",
        *_bullets({key: value for key, value in record.data.items() if not isinstance(value, dict | list)}),
        "",
        "## Surroundings",
        *_bullets({"run id": run_id, "commit": code.get("commit") or code.get("state"), "changed": code.get("dirty")}),
        *_bullets({"python": where.get("python"), "numpy": packages.get("numpy"), "linear algebra": blas}),
        *_bullets({"processor": where.get("processor"), "platform": where.get("platform")}),
        "",
        "## Parameters",
        *(f"- {key}: {values.dtype} {values.shape}" for key, values in record.parameters.items()),
        *_bullets(files.digests(record)),
        "",
        "## Files",
        *_bullets(_FILES),
        "",
    ]
    return "\n".join(lines)


def _how_to_repeat(record: TrialRecord, folder: Path) -> list[str]:
    """Return how anybody can repeat the run, and what that proves about the folder."""
    allowed = "" if _is_built_in(record) else " allow_path=true"
    data = (
        []
        if _is_built_in(record)
        else [
            "",
            "Its data are not in this folder: the command reads the file or download that `config.yaml` names, which "
            "`allow_path=true` permits, and compares its digest.",
        ]
    )
    return [
        "## Repeat it",
        "With the package installed (`pip install` of the project's folder or wheel), from the folder above this one:",
        "",
        f"    sweep-pipeline rerun run={shlex.quote(folder.name)}{allowed}",
        "",
        "It trains again from the recorded configuration and ends with 0 if every bit is the same.",
        *data,
        "",
        "Verified by it: the configuration, every metric at every epoch, all parameters, the errors of the gradient "
        "checks, the outcome, the digest of the data; and before that, by SHA-256, that no file was damaged.",
        "Only recorded, as whoever made this folder says: the commit and the uncommitted changes, the processor and "
        "the times, this page, and the metrics as CSV and Parquet.",
        "",
    ]


_FILES = {
    files.RECORD: "outcome, summary, data, and the SHA-256 of all the rest",
    files.CONFIG: "the complete configuration",
    f"{CSV}, {PARQUET}": "every metric at every epoch",
    files.CURVES: "the same with all bits, NumPy",
    files.PARAMETERS: "weights and biases at the best epoch, NumPy",
    f"{files.CHECKS}, {files.CHECKS_TEXT}": "the gradient checks before and after training",
    files.ENVIRONMENT: "software, processor, linear-algebra library",
    files.DIFF: "uncommitted changes to the code, if there were any",
}


def _bullets(items: Mapping[str, object]) -> list[str]:
    return [f"- {key}: {value}" for key, value in items.items() if value not in (None, "")]
