"""Chooses the reader of a data configuration; readers are imported only when needed."""

from pathlib import Path

from pipeline.config import DataConfig
from pipeline.data.tables import Source


def read_source(config: DataConfig, store: Path) -> Source:
    """The data before splitting, from the built-in sets, the user's file, or OpenML (kept under `store`)."""
    if config.source == "builtin":
        from pipeline.data.builtin import read_builtin

        return read_builtin(config)
    raise NotImplementedError(config.source)
