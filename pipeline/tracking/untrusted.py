"""Reads JSON, YAML and arrays from files that may have been tampered with.

No pickle, no YAML tags or aliases, no links; every size is checked before anything is allocated.
"""

import json
import math
import os
import re
import stat
import zipfile
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import yaml

from pipeline.config.errors import RecordError
from pipeline.config.text import brief

MAX_TEXT_BYTES = 16 * 2**20


MAX_ARRAY_BYTES = 2 * 2**30


MAX_ARRAYS = 10_000


MAX_DEPTH = 32


MAX_BITS = 128
"""Largest size of an integer: seeds have at most 128 bits, and Python refuses to print thousands of digits."""

_HARMLESS = (str, float)


def read_bytes(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises
    ------
    RecordError
        It is missing, not a regular file, or larger.
    """
    with _opened(path, limit) as file:
        return file.read(limit)


def _opened(path: Path, limit: int) -> BinaryIO:
    """Open a regular file, without following a link or waiting for a pipe."""
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
    """Read plain JSON of bounded size and depth."""
    content = read_bytes(path)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path.name} must be JSON, but is not: {brief(str(error))}.") from None
    _check_plain(value, path.name)
    return value


class _PlainLoader(yaml.SafeLoader):
    """Loads plain YAML; refuses aliases, which can expand a small file into a huge value."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> Any:
    """Read plain YAML of bounded size and depth, without tags and aliases."""
    content = read_bytes(path)
    try:
        value = yaml.load(content, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecordError(f"{path.name} must be plain YAML, but is not: {brief(str(error))}.") from None
    _check_plain(value, path.name)
    return value


def _check_plain(value: Any, name: str, depth: int = 0) -> None:
    """Refuse values nested too deep, and integers too long to be printed or to become a float."""
    if depth > MAX_DEPTH:
        raise RecordError(f"{name} must be nested at most {MAX_DEPTH} deep, but is deeper.")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise RecordError(f"{name} must hold integers of at most {MAX_BITS} bits, but one has {value.bit_length():,}.")
    items = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        if not isinstance(item, _HARMLESS):
            _check_plain(item, name, depth + 1)


def read_arrays(path: Path, allowed: re.Pattern[str], limit: int = MAX_ARRAY_BYTES) -> dict[str, np.ndarray]:
    """Read arrays of numbers from an `.npz`, checking sizes before allocating, without unpickling.

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
    """Fill `room` from the stream without a copy; return the number of bytes read."""
    filled = 0
    while filled < len(room) and (count := stream.readinto(room[filled:])):  # type: ignore[attr-defined]
        filled += count
    return filled
