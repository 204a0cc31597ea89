"""Reads a record from a folder of files, and trusts none of them.

No pickle, no YAML tags or aliases, known names only, and every size is checked before anything is allocated.
"""

import itertools
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import yaml

from pipeline.config.errors import ConfigError, RecordError
from pipeline.config.text import brief
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
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
from pipeline.trials.record import FORMATS, TrialRecord

MAX_TEXT_BYTES = 16 * 2**20
MAX_ARRAY_BYTES = 2 * 2**30
MAX_ARRAYS = 10_000
MAX_DEPTH = 32
MAX_BITS = 128
"""Of an integer: seeds have this many at most, and Python refuses to print one of thousands of digits."""
MAX_UNITS, MAX_LAYERS, MAX_EXAMPLES, MAX_FITS = 100_000, 1_000, 10_000_000, 1_000
MAX_WEIGHTS = 200_000_000

_CURVE_NAME = re.compile(r"(?:\d{1,4}/)?[a-z][a-z0-9_]{0,60}")
_PARAMETER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
_OUTCOMES = ("completed", "early_stopped", "pruned", "diverged", "failed")


def read_folder(folder: Path) -> TrialRecord:
    """Read what `write_folder` wrote.

    Raises
    ------
    RecordError
        A file is missing, too large, of another format, not what was recorded, or holds what a record may not.
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
    """The text part of a record alone: its kind, name, outcome and digests."""
    return _mapping(read_json(folder / RECORD), RECORD)


def _read_fits(path: Path) -> list[dict[str, np.ndarray]]:
    """The curves of each fit, by its place in the record."""
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
    """Refuse an environment whose sections are not what `pipeline.trials.environment` writes."""
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
    """Whether a record's fits have the fields and types that `TrialRecord` says."""
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


def read_bytes(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """The whole of a regular file of at most `limit` bytes.

    Raises
    ------
    RecordError
        It is missing, no regular file, or larger.
    """
    with _opened(path, limit) as file:
        return file.read(limit)


def _opened(path: Path, limit: int) -> BinaryIO:
    """An open regular file; a link is not followed and a pipe not waited for."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except FileNotFoundError:
        raise RecordError(f"The record has no {path.name}.") from None
    except OSError as error:
        raise RecordError(f"{path.name} must be a regular file, but cannot be opened: {error.strerror}.") from None
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
        file.close()
        rule = f"a regular file of at most {limit:,} bytes"
        raise RecordError(f"{path.name} must be {rule}, but has mode {status.st_mode:o} and {status.st_size:,} bytes.")
    return file


def read_json(path: Path) -> Any:
    """Plain JSON of bounded size and depth."""
    content = read_bytes(path)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path.name} must be JSON, but is not: {brief(str(error))}.") from None
    _check_plain(value, path.name)
    return value


class _PlainLoader(yaml.SafeLoader):
    """YAML's plain values; an alias could multiply a small file into a huge value, so there are none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> Any:
    """Plain YAML of bounded size and depth, without tags and aliases."""
    content = read_bytes(path)
    try:
        value = yaml.load(content, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecordError(f"{path.name} must be plain YAML, but is not: {brief(str(error))}.") from None
    _check_plain(value, path.name)
    return value


def _check_plain(value: Any, name: str, depth: int = 0) -> None:
    """Refuse what is nested too deep, and integers that are too long to be printed or to become a float."""
    if depth > MAX_DEPTH:
        raise RecordError(f"{name} must be nested at most {MAX_DEPTH} deep, but is deeper.")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise RecordError(f"{name} must hold integers of at most {MAX_BITS} bits, but one has {value.bit_length():,}.")
    items = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        _check_plain(item, name, depth + 1)


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise RecordError(f"{name} must hold a mapping with text keys, but holds {brief(value)}.")
    return value


def read_arrays(path: Path, allowed: re.Pattern[str], limit: int = MAX_ARRAY_BYTES) -> dict[str, np.ndarray]:
    """Arrays of numbers from an `.npz`; sizes are checked before anything is allocated, and nothing is unpickled.

    Raises
    ------
    RecordError
        The archive is damaged, too large, or holds other names or types than a record does.
    """
    arrays = {}
    try:
        with _opened(path, limit) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            size = os.fstat(file.fileno()).st_size
            if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > size:
                raise RecordError(
                    f"{path.name} must hold at most {MAX_ARRAYS:,} arrays, uncompressed, but its {size:,} bytes claim "
                    f"to be {sum(member.file_size for member in members):,} in {len(members):,}."
                )
            for member in members:
                name = member.filename.removesuffix(".npy")
                if not allowed.fullmatch(name) or name in arrays:
                    raise RecordError(f"{path.name} holds {brief(name)!r}, which is no name of a record's array.")
                with archive.open(member) as stream:
                    arrays[name] = _read_array(stream, member.file_size, f"{path.name}: {name}")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise RecordError(f"{path.name} is damaged or no .npz archive: {brief(str(error))}.") from None
    return arrays


def _read_array(stream: IO[bytes], size: int, label: str) -> np.ndarray:
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read_header[version](stream)
    except (ValueError, KeyError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise RecordError(f"{label} must be a .npy array, but is not: {brief(str(error))}.") from None
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise RecordError(f"{label} must hold numbers of at most 8 bytes, but holds {brief(dtype.str)}.")
    num_bytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or len(shape) > 2 or num_bytes > size:
        raise RecordError(f"{label} claims shape {brief(shape)}, which its {size:,} bytes cannot hold.")
    values = np.empty(shape[::-1] if fortran else shape, dtype)
    room = values.reshape(-1).view(np.uint8).data
    if _read_into(stream, room) != num_bytes or stream.read(1):
        raise RecordError(f"{label} must be {num_bytes:,} bytes long for its shape {shape}, but is not.")
    return values.T if fortran else values


def _read_into(stream: IO[bytes], room: memoryview) -> int:
    """Fill `room` from the stream as far as it goes, without another copy; how many bytes that were."""
    filled = 0
    while filled < len(room) and (count := stream.readinto(room[filled:])):  # type: ignore[attr-defined]
        filled += count
    return filled


def config_of(record: TrialRecord) -> TrialConfig:
    """The record's configuration, checked like any other, and by `check_sizes`.

    Raises
    ------
    RecordError
        A value is refused.
    """
    try:
        config = parse(TrialConfig, record.config)
    except (ConfigError, TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"The recorded configuration is refused: {error}") from None
    check_sizes(config, record)
    return config


def check_sizes(config: TrialConfig, record: TrialRecord) -> None:
    """Refuse a recorded configuration for sizes that whoever typed it would have noticed.

    Raises
    ------
    RecordError
        Training it would take absurd amounts of memory, or it contradicts the recorded parameters.
    """
    units = config.model.hidden_units
    weights = sum(before * after for before, after in itertools.pairwise(units))
    for name, value, limit in (
        ("the sum of model.hidden_units", sum(units), MAX_UNITS),
        ("the number of hidden layers", len(units), MAX_LAYERS),
        ("the number of weights between hidden layers", weights, MAX_WEIGHTS),
        ("data.examples", config.data.examples or 0, MAX_EXAMPLES),
        ("repeats times data.folds", config.repeats * (config.data.folds or 1), MAX_FITS),
    ):
        if value > limit:
            raise RecordError(
                f"The recorded configuration is refused: {name} must be at most {limit:,}, but is {value}."
            )
    recorded = [len(values) for name, values in record.parameters.items() if re.fullmatch(r"W\d+", name)]
    if recorded and recorded[:-1] != units:
        raise RecordError(f"The recorded parameters are of a network with hidden units {recorded[:-1]}, not {units}.")
