"""Names a data configuration by everything that decides its arrays, without reading the data as a table."""

import hashlib
import json
import re
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig

ARRAYS_FORMAT = 1  # raised whenever the same configuration would give other arrays or another recipe


def fingerprint(config: DataConfig) -> str:
    """32 hexadecimal digits that change with the configuration, its files' bytes, and the libraries that read them."""
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
    text = json.dumps([ARRAYS_FORMAT, deciding, libraries], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; a file that cannot be read is refused."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"There is no file {str(path)!r}.") from None
    except OSError as error:
        raise DataError(f"The file {str(path)!r} cannot be read: {error.strerror}.") from None


def local_path(text: str, field: str) -> Path:
    """A path on this machine; an address is refused, and shown without anything in it that could be a secret."""
    address = re.match(r"([a-zA-Z][\w+.-]*://)(?:[^/]*@)?([^/?#]*)", text)
    if address:
        shown = f"{address[1]}{address[2].rpartition('@')[2]}/…"
        raise DataError(f"{field} must be a file on this machine, not an address ({shown}); download it first.")
    return Path(text).expanduser()
