"""Writes a record as a folder of plain files, the content of a run's artifacts and of an export.

`pipeline.tracking.reading` reads it back.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline.config.addresses import mask
from pipeline.config.writing import replacing
from pipeline.gradcheck.report import GradientReport
from pipeline.trials.record import TrialRecord

RECORD, CONFIG, ENVIRONMENT, DIFF = "record.json", "config.yaml", "environment.json", "code.diff"
CURVES, PARAMETERS = "curves.npz", "parameters.npz"
FIT_CURVES = {1: "fold_curves.npz", 2: "fit_curves.npz"}
"""The file of each fit's curves by the record's format."""

CHECKS, CHECKS_TEXT = "gradcheck.json", "gradcheck.txt"
REQUIRED = (RECORD, CONFIG, ENVIRONMENT, CHECKS, CURVES, PARAMETERS)
OPTIONAL = (DIFF, CHECKS_TEXT, *FIT_CURVES.values())

TEXTS = (CONFIG, ENVIRONMENT, CHECKS, CHECKS_TEXT, DIFF)
"""Files whose SHA-256 is in `record.json`; the text of the gradient checks only since 0.3."""
IN_RECORD = (
    "data",
    "outcome",
    "reason",
    "stop_epoch",
    "summary",
    "fits",
    "diagnosis",
    "started_at",
    "duration_s",
    "pruned",
)
_Dumper = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of arrays, independent of their file."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        sha.update(values.tobytes())
    return sha.hexdigest()


def digests(record: TrialRecord) -> dict[str, str]:
    """The SHA-256 of a record's parameters and of its curves, those of each fit included."""
    curves = {**record.curves, **_by_fit(record)}
    return {"parameters_sha256": digest(record.parameters), "curves_sha256": digest(curves)}


def _by_fit(record: TrialRecord) -> dict[str, np.ndarray]:
    """Return the curves of each fit as "0/dev_cost" and so on."""
    return {f"{n}/{name}": values for n, curves in enumerate(record.fit_curves) for name, values in curves.items()}


def masked(value: Any) -> Any:
    """Return a copy of nested plain values with the credentials in every text masked."""
    if isinstance(value, Mapping):
        return {key: masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return mask(value) if isinstance(value, str) else value


def write_folder(
    record: TrialRecord, folder: Path, *, kind: str = "trial", name: str = "", more: Mapping[str, Any] | None = None
) -> None:
    """Write every file of `record`, each in one step, so that writing again is harmless.

    Parameters
    ----------
    kind, name : of the run.
    more : further entries of `record.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = _texts(record)
    for file_name, text in texts.items():
        write_bytes(folder / file_name, text.encode())
    write_arrays(folder / CURVES, record.curves)
    write_arrays(folder / PARAMETERS, record.parameters)
    if record.fit_curves:
        write_arrays(folder / FIT_CURVES[record.format], _by_fit(record))
    meta = {
        "format": record.format,
        "kind": kind,
        "name": name,
        **(more or {}),
        **{field: masked(getattr(record, field)) for field in IN_RECORD},
        **digests(record),
        "files_sha256": {key: sha256(texts[key].encode()) for key in TEXTS if key in texts},
    }
    write_bytes(folder / RECORD, _json(meta).encode())


def _texts(record: TrialRecord) -> dict[str, str]:
    environment = masked(record.environment)
    code = environment.get("code")
    diff = code.pop("diff", "") if isinstance(code, dict) else ""
    texts = {
        CONFIG: yaml.dump(masked(record.config), Dumper=_Dumper, sort_keys=False, allow_unicode=True),
        ENVIRONMENT: _json(environment),
        CHECKS: _json(masked(record.gradient_checks)),
        CHECKS_TEXT: checks_text(record.gradient_checks),
    }
    return {**texts, DIFF: diff} if diff else texts


def checks_text(checks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the gradient checks as readable text."""
    return "\n\n\n".join(f"{moment}\n{_check_text(report)}" for moment, report in checks.items() if report) + "\n"


def _check_text(report: Mapping[str, Any]) -> str:
    try:
        return GradientReport(**report).table()
    except (TypeError, KeyError, ValueError):  # of another version of the report
        return f"{report.get('verdict')}, relative error {report.get('relative_error')}"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an uncompressed `.npz` in one step."""
    with replacing(path) as file:
        np.savez(file, **{name: np.asarray(values) for name, values in arrays.items()})  # type: ignore[arg-type]


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    with replacing(path) as file:
        file.write(content)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
