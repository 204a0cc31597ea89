"""Identifies a data configuration by everything that determines its arrays, without parsing the data."""

import hashlib
import re
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from pipeline.config.digests import plain_digest
from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig

ARRAYS_FORMAT = 1  # raised whenever the same configuration would give other arrays or another recipe


def fingerprint(config: DataConfig) -> str:
    """Return 32 hexadecimal digits that depend on the configuration, its files' bytes, and the reading libraries."""
    deciding = asdict(config)
    del deciding["optimal_error"]
    for name, neutral in (("group", None), ("deduplicate", False)):  # absent: the fingerprints of 0.2.0 stay valid
        if deciding[name] == neutral:
            del deciding[name]
    for name in ("path", "given"):
        if deciding[name] is not None:
            path = local_path(deciding[name], f"data.{name}")
            deciding[name] = path.suffixes, file_digest(path)
    libraries = {name: version(name) for name in ("numpy", "pandas", "scikit-learn")}
    return plain_digest([ARRAYS_FORMAT, deciding, libraries])[:32]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; refuse a file that cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"There is no file {str(path)!r}.") from None
    except OSError as error:
        raise DataError(f"The file {str(path)!r} cannot be read: {error.strerror}.") from None


def local_path(text: str, field: str) -> Path:
    """Return a local path; refuse an address, shown without its secrets."""
    address = re.match(r"([a-zA-Z][\w+.-]*://)(?:[^/]*@)?([^/?#]*)", text)
    if address:
        shown = f"{address[1]}{address[2].rpartition('@')[2]}/…"
        raise DataError(f"{field} must be a file on this machine, not an address ({shown}); download it first.")
    return Path(text).expanduser()
