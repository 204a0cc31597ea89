"""Reads a large CSV piece by piece into one array for each column, so that memory holds it once.

`pandas.read_csv` holds a table of numbers about three times while it reads it.
"""

import codecs
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

CHUNK_VALUES = 2**19


class _Mixed(Exception):
    """A column has different types in two pieces."""


def read_csv(stream: IO[bytes], names: list[str], delimiter: str, **options: Any) -> "pd.DataFrame":
    """Read what `pandas.read_csv` reads, without spaces before a value.

    A table with a column of mixed types is read in one piece.
    """
    rows, padded = _most_rows(stream, delimiter.encode())
    options |= {"names": names, "sep": delimiter, "skipinitialspace": padded, "low_memory": False}
    step = max(1_000, CHUNK_VALUES // len(names))
    if rows > step:
        try:
            with pd.read_csv(stream, chunksize=step, **options) as pieces:
                return _joined(pieces, rows)
        except _Mixed:
            stream.seek(0)
    frame: pd.DataFrame = pd.read_csv(stream, **options)
    return frame


def _most_rows(stream: IO[bytes], delimiter: bytes) -> tuple[int, bool]:
    """Return an upper bound of the number of rows, and whether a space may come before a value.

    Line ends in quotes count, too. To look for such spaces takes pandas about a quarter of its time.
    """
    ends, padded, before = 1, False, b"\n"
    starts = [start + b" " for start in (delimiter, b"\n", b"\r", codecs.BOM_UTF8)]
    while block := stream.read(2**20):
        ends += block.count(b"\n") or block.count(b"\r")
        padded = padded or (b" " in block and any(start in before + block for start in starts))
        before = block[-1:]
    stream.seek(0)
    return ends, padded


def _joined(pieces: Any, rows: int) -> "pd.DataFrame":
    columns: dict[str, npt.NDArray[Any] | list[pd.Series[Any]]] = {}
    m = 0
    for piece in pieces:
        for name in piece:
            columns[name] = _extended(columns.get(name), piece[name], m, rows)
        m += len(piece)
    whole = {
        name: pd.Series(column[:m], copy=False)
        if isinstance(column, np.ndarray)
        else pd.concat(column, ignore_index=True)
        for name, column in columns.items()
    }
    return pd.DataFrame(whole, copy=False)


def _extended(
    column: "npt.NDArray[Any] | list[pd.Series[Any]] | None", piece: "pd.Series[Any]", m: int, rows: int
) -> "npt.NDArray[Any] | list[pd.Series[Any]]":
    """Append a piece to a column of m values, converting integers if the piece needs it; return the column."""
    is_number = isinstance(piece.dtype, np.dtype) and piece.dtype.char in "ld"
    if column is None:
        column = np.empty(rows, np.dtype(str(piece.dtype))) if is_number else []
    if isinstance(column, list):
        if is_number or (column and column[0].dtype != piece.dtype):
            raise _Mixed
        return [*column, piece]
    if not is_number:
        raise _Mixed
    if column.dtype != piece.dtype and column.dtype == np.int64:
        column = column.astype(np.float64)
    column[m : m + len(piece)] = piece
    return column
