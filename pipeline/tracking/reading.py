"""Reads a record from a folder of files, and checks every field before anybody uses it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.errors import RecordError
from pipeline.config.text import brief
from pipeline.tracking.files import (
    CHECKS,
    CHECKS_TEXT,
    CONFIG,
    CURVES,
    DIFF,
    ENVIRONMENT,
    FIT_CURVES,
    IN_RECORD,
    PARAMETERS,
    RECORD,
    TEXTS,
    digests,
    sha256,
)
from pipeline.tracking.sizes import MAX_FITS
from pipeline.tracking.untrusted import read_arrays, read_bytes, read_json, read_yaml
from pipeline.trials.record import FORMATS, TrialRecord

_CURVE_NAME = re.compile(r"(?:\d{1,4}/)?[a-z][a-z0-9_]{0,60}")
_PARAMETER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
_OUTCOMES = ("completed", "early_stopped", "pruned", "diverged", "failed")


def read_folder(folder: Path) -> TrialRecord:
    """Read what `write_folder` wrote.

    Raises
    ------
    RecordError
        A file is missing, too large, of another format, altered, or has invalid content.
    """
    meta = _mapping(read_json(folder / RECORD), RECORD)
    if meta.get("format") not in FORMATS:
        known = " and ".join(map(str, FORMATS))
        raise RecordError(f"{RECORD} has format {brief(meta.get('format'))}; this version reads formats {known}.")
    record = TrialRecord(
        config=_mapping(read_yaml(folder / CONFIG), CONFIG),
        environment=_mapping(read_json(folder / ENVIRONMENT), ENVIRONMENT),
        gradient_checks=_mapping(read_json(folder / CHECKS), CHECKS),
        curves=read_arrays(folder / CURVES, _CURVE_NAME),
        parameters=read_arrays(folder / PARAMETERS, _PARAMETER_NAME),
        fit_curves=_read_fits(folder / FIT_CURVES[meta["format"]]),
        format=meta["format"],
        **{field: meta[field] for field in IN_RECORD if field in meta},
    )
    _check_fields(record)
    _check_unaltered(record, meta, folder)
    if (folder / DIFF).exists():
        record.environment.setdefault("code", {})["diff"] = read_bytes(folder / DIFF).decode(errors="replace")
    return record


def read_meta(folder: Path) -> dict[str, Any]:
    """Read only the text part of a record: its kind, name, outcome and digests."""
    return _mapping(read_json(folder / RECORD), RECORD)


def _read_fits(path: Path) -> list[dict[str, np.ndarray]]:
    """Read the curves of each fit, in the record's order."""
    if not path.exists():
        return []
    fits: dict[int, dict[str, np.ndarray]] = {}
    for key, values in read_arrays(path, _CURVE_NAME).items():
        number, _, name = key.partition("/")
        if not name:
            raise RecordError(f"{path.name} must name arrays <fit>/<curve>, but has {brief(key)}.")
        fits.setdefault(int(number), {})[name] = values
    return [fits[number] for number in sorted(fits)]


def _check_fields(record: TrialRecord) -> None:
    rules: tuple[tuple[str, bool, str], ...] = (
        ("outcome", record.outcome in _OUTCOMES, f"one of {', '.join(_OUTCOMES)}"),
        ("stop_epoch", _is_count(record.stop_epoch), "a count of epochs"),
        ("reason", isinstance(record.reason, str), "a text"),
        ("data", isinstance(record.data, dict), "a mapping"),
        ("pruned", isinstance(record.pruned, dict), "a mapping"),
        ("diagnosis", isinstance(record.diagnosis, dict), "a mapping"),
        ("summary", _all_numbers(record.summary), "a mapping of numbers"),
        ("fits", _are_fits(record.fits), "a list of fits"),
        ("started_at", _is_number(record.started_at), "a number"),
        ("duration_s", _is_number(record.duration_s), "a number"),
    )
    for field, holds, rule in rules:
        if not holds:
            raise RecordError(f"{field} in {RECORD} must be {rule}, but is {brief(getattr(record, field))}.")
    for moment, report in record.gradient_checks.items():
        if not isinstance(report, dict):
            raise RecordError(f"{moment} in {CHECKS} must be a mapping, but is {brief(report)}.")
    _check_environment(record.environment)
    for name, values in record.curves.items():
        if values.ndim != 1:
            raise RecordError(f"{name} in {CURVES} must have one dimension, but has shape {values.shape}.")


def _check_environment(environment: Mapping[str, Any]) -> None:
    """Refuse an environment whose sections differ in type from what `pipeline.trials.environment` writes."""
    blas = environment.get("blas", [])
    rules = {
        "code": isinstance(environment.get("code", {}), dict),
        "packages": isinstance(environment.get("packages", {}), dict),
        "variables": isinstance(environment.get("variables", {}), dict),
        "blas": isinstance(blas, list) and all(isinstance(library, dict) for library in blas),
    }
    for section, holds in rules.items():
        if not holds:
            raise RecordError(f"{section} in {ENVIRONMENT} is not what a record holds: {brief(environment[section])}.")
    diff = environment.get("code", {}).get("diff", "")
    if not isinstance(diff, str):
        raise RecordError(f"code.diff in {ENVIRONMENT} must be a text, but is {brief(diff)}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _all_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and _is_number(v) for k, v in value.items())


def _are_fits(fits: Any) -> bool:
    """Return whether a record's fits have the fields and types of `TrialRecord`."""
    return isinstance(fits, list) and len(fits) <= MAX_FITS and all(_is_fit(fit) for fit in fits)


def _is_fit(fit: Any) -> bool:
    return (
        isinstance(fit, dict)
        and _is_count(fit.get("repeat"))
        and (fit.get("fold") is None or _is_count(fit["fold"]))
        and fit.get("outcome") in (*_OUTCOMES, "stopped")
        and isinstance(fit.get("reason"), str)
        and _is_count(fit.get("epochs"))
        and _all_numbers(fit.get("summary"))
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 10**9


def _check_unaltered(record: TrialRecord, meta: Mapping[str, Any], folder: Path) -> None:
    recorded = dict(_mapping(meta.get("files_sha256", {}), RECORD))
    for name in TEXTS:
        found = sha256(read_bytes(folder / name)) if (folder / name).exists() else None
        if name == CHECKS_TEXT and name not in recorded:
            continue
        if recorded.get(name) != found:
            raise RecordError(f"{name} is not what was recorded: its SHA-256 is {found}, not {recorded.get(name)}.")
    for field, found in digests(record).items():
        if meta.get(field) != found:
            what = field.removesuffix("_sha256")
            raise RecordError(f"The {what} are not what was recorded: their SHA-256 is {found}, not {meta.get(field)}.")


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise RecordError(f"{name} must hold a mapping with text keys, but holds {brief(value)}.")
    return value
