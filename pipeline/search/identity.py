"""A study's identity: the part of the configuration that determines its trials, and the study's name."""

import re
from pathlib import Path
from typing import Any

from pipeline.config.commands import SweepConfig
from pipeline.config.digests import plain_digest
from pipeline.config.errors import ConfigError
from pipeline.config.validation import as_plain

_NOT_IN_DIGEST = {
    "workers": None,
    "tracking": None,
    "study": {"name", "trials", "minutes", "fresh", "take_over", "storage", "max_failures", "stall", "prefer", "race"},
}


def identity(config: SweepConfig) -> dict[str, Any]:
    """Return the part of the configuration that determines the study's trials, as plain values."""
    plain = as_plain(config)
    if plain["study"]["from"] is None:
        del plain["study"]["from"]
    if plain["training"]["class_weight"] == "none":  # so that studies from before this key keep their names
        del plain["training"]["class_weight"]
    for section, names in _NOT_IN_DIGEST.items():
        if names is None:
            del plain[section]
        else:
            plain[section] = {key: value for key, value in plain[section].items() if key not in names}
    return plain


def study_name(config: SweepConfig) -> str:
    """Return the given name, or `<data>-<8 hex digits of the configuration's digest>`.

    Raises
    ------
    ConfigError
        The given name cannot be a file's name.
    """
    if config.study.name is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", config.study.name):
            raise ConfigError(
                "study.name must be 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or a digit, "
                f"but is {config.study.name!r}."
            )
        return config.study.name
    digest = plain_digest(identity(config))[:8]
    data = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(config.data.path).stem if config.data.path else config.data.name)
    return f"{data.lstrip('.-_') or 'data'}-{digest}"
