"""Chooses the reader of a data configuration; readers are imported only when needed."""

from pathlib import Path

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data.tables import Source


def check_source(config: DataConfig) -> None:
    """Refuse a missing field that the source needs, or a given one that it would ignore."""
    needed = {"file": ("path", "target")}.get(config.source, ())
    ignored = {"builtin": ("path", "target", "given", "group"), "openml": ("path", "given")}.get(config.source, ())
    if not config.name:
        raise DataError(f"data.name must be given for data={config.source}, such as mnist_784.")
    for name in needed:
        if getattr(config, name) is None:
            raise DataError(f"data.{name} must be given for data={config.source}.")
    for name in ignored:
        if getattr(config, name) is not None:
            raise DataError(f"data.{name} is given but the source is {config.source}: say data=file to read a file.")


def read_source(config: DataConfig, store: Path) -> Source:
    """Read the data before splitting, from the built-in sets, the user's file, or OpenML (kept under `store`)."""
    if config.source == "builtin":
        from pipeline.data.builtin import read_builtin

        return read_builtin(config)
    if config.source == "openml":
        from pipeline.data.openml import read_openml

        return read_openml(config, store / "openml")
    from pipeline.data.files import read_file

    return read_file(config)
