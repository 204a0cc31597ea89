"""Reads the user's own table: CSV, Parquet or NPZ by the file's suffix, gzipped or not."""

import csv
import gzip
import io
import itertools
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data.csv_chunks import read_csv
from pipeline.data.fingerprint import local_path
from pipeline.data.tables import Source, Table, refuse_duplicates

DELIMITERS = ",;\t|"
MISSING_MARKS = ["?"]  # read as missing in addition to pandas's list: empty, NA, N/A, NaN, null, None, …

Read = tuple[Table, tuple[int, ...] | None, list[str]]


def read_file(config: DataConfig) -> Source:
    """Read the table at `data.path`, and the one at `data.given` if there is one."""
    assert config.path is not None
    assert config.target is not None
    table, image_shape, notes = read_table(local_path(config.path, "data.path"), config.target)
    if config.given is None:
        return Source(table, image_shape=image_shape, notes=notes)
    given, _, more = read_table(local_path(config.given, "data.given"), config.target)
    return Source(table, given=given, image_shape=image_shape, notes=notes + more)


def read_table(path: Path, target: str | None) -> Read:
    """Read features and target of one file, with the image shape and notes on how it was read.

    Raises
    ------
    DataError
        The file cannot be used; the message says why in one sentence.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    suffix = (suffixes[:-1] if zipped else suffixes)[-1:]
    if not suffix or suffix[0] not in READERS:
        raise DataError(f"The file {path.name!r} must end in {', '.join(READERS)}, or one of these and .gz.")
    with _opened(path, zipped) as stream:
        if not stream.read(1):
            raise DataError(f"The file {path.name!r} is empty.")
        stream.seek(0)
        return READERS[suffix[0]](stream, path.name, target)


def _opened(path: Path, zipped: bool) -> IO[bytes]:
    try:
        return _unzipped(path) if zipped else path.open("rb")
    except FileNotFoundError:
        raise DataError(f"There is no file {str(path)!r}.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DataError(f"The file {path.name!r} is not a whole gzip file.") from None
    except OSError as error:
        raise DataError(f"The file {str(path)!r} cannot be read: {error.strerror}.") from None


def _unzipped(path: Path) -> IO[bytes]:
    """Decompress into a temporary file, so that the content is never in memory as a whole."""
    content = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        with gzip.open(path, "rb") as source:
            shutil.copyfileobj(source, content, 2**20)
    except BaseException:
        content.close()
        raise
    content.seek(0)
    return content


def read_columns(path: Path) -> "pd.DataFrame":
    """Read all columns of a file for prediction; none is the target."""
    table, _, _ = read_table(path, None)
    return table.features


def _csv(stream: IO[bytes], name: str, target: str | None) -> Read:
    try:
        names, delimiter = _header(stream, name, least=1 if target is None else 2)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = read_csv(
                stream,
                names,
                delimiter,
                header=0,
                index_col=False,
                encoding="utf-8-sig",
                na_values=MISSING_MARKS,
            )
    except UnicodeDecodeError:
        raise DataError(f"The file {name!r} is not a table of UTF-8 text; save it as UTF-8.") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error, ValueError) as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ").rstrip(".")
        raise DataError(f"The file {name!r} is not a table: {reason}.") from None
    notes = _read_decimal_commas(frame) if delimiter != "," else []
    return _divided(frame, name, target), None, notes


def _read_decimal_commas(frame: "pd.DataFrame") -> list[str]:
    """Turn text columns of numbers such as 1,5 into numbers, in place; the note names them."""
    found = []
    for name in frame:
        texts = frame[name].dropna()
        if len(texts) and pd.api.types.is_string_dtype(texts) and texts.str.fullmatch(r"[+-]?\d*(,\d+)?").all():
            frame[name] = pd.to_numeric(frame[name].str.replace(",", "."))
            found.append(repr(name))
    return [f"Read with decimal commas: {', '.join(found)}."] if found else []


def _header(stream: IO[bytes], name: str, *, least: int) -> tuple[list[str], str]:
    """Return the column names from the first line that is not blank, and its most frequent delimiter."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        line = next((line for line in text if line.strip()), None)
        if line is None:
            raise DataError(f"The file {name!r} is empty.")
        delimiter = max(DELIMITERS, key=line.count)
        cells = next(csv.reader(itertools.chain([line], text), delimiter=delimiter, skipinitialspace=True))
    finally:
        text.detach()
        stream.seek(0)
    if len(cells) < least:
        raise DataError(f"The file {name!r} is not a table: its first line has no comma, semicolon, tab or bar.")
    names = [cell.strip() for cell in cells]
    names = [cell or f"Unnamed: {j}" for j, cell in enumerate(names)]
    refuse_duplicates(names)
    return names, delimiter


def _parquet(stream: IO[bytes], name: str, target: str | None) -> Read:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(stream)
        refuse_duplicates(table.column_names)
        frame = table.to_pandas()
    except (pa.ArrowException, OSError, ValueError):
        raise DataError(f"The file {name!r} is not a Parquet table.") from None
    index = [str(level) for level in frame.index.names if level is not None]
    notes = [f"Left out of {name}, the table's index: {', '.join(index)}."] if index else []
    return _divided(frame, name, target), None, notes


def _npz(stream: IO[bytes], name: str, target: str | None) -> Read:
    try:
        with np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile):
        raise DataError(f"The file {name!r} is not an NPZ file of plain arrays.") from None
    if target is None:
        return Table(_joined(arrays), pd.Series(dtype=object)), None, []
    if target not in arrays:
        raise no_target(target, list(arrays), name, of="arrays")
    labels = arrays.pop(target)
    if labels.ndim == 0 or labels.size != len(labels):
        raise DataError(f"The target {target!r} must be one label per row, but its shape is {labels.shape}.")
    features = {key: array for key, array in arrays.items() if array.ndim and len(array) == len(labels)}
    ignored = sorted(arrays.keys() - features.keys())
    notes = [f"Ignored in {name}, not of {len(labels):,} rows: {', '.join(ignored)}."] if ignored else []
    shapes = [array.shape[1:] for array in features.values()]
    image_shape = shapes[0] if len(shapes) == 1 and len(shapes[0]) in (2, 3) else None
    return Table(_joined(features), pd.Series(_text(labels.reshape(-1)), name=target)), image_shape, notes


def _joined(arrays: dict[str, npt.NDArray[Any]]) -> "pd.DataFrame":
    """Return one frame with the flattened columns of every array: X of shape (m, 2, 2) gives X[0] … X[3]."""
    frames = []
    for key, array in arrays.items():
        flat = _text(array.reshape(len(array), -1))
        if flat.dtype.kind not in "biufUOMmc":
            raise DataError(f"The array {key!r} holds neither numbers nor text.")
        names = [key] if flat.shape[1] == 1 else [f"{key}[{j}]" for j in range(flat.shape[1])]
        frames.append(pd.DataFrame(flat, columns=names, copy=False))
    if not frames:
        return pd.DataFrame()
    return frames[0] if len(frames) == 1 else pd.concat(frames, axis=1)


def _text(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array


def _divided(frame: "pd.DataFrame", name: str, target: str | None) -> Table:
    frame.columns = pd.Index([str(column) for column in frame])
    if target is None:
        return Table(frame, pd.Series(dtype=object))
    if target not in frame:
        raise no_target(target, list(map(str, frame)), name)
    return Table(frame.drop(columns=target), frame[target])


def no_target(target: str, names: Sequence[str], where: str, *, of: str = "columns") -> DataError:
    """Return the refusal of a missing target, with the columns or arrays that exist."""
    named = " (the first line names them)" if of == "columns" else ""
    shown = ", ".join(map(repr, names[:12])) + (", …" if len(names) > 12 else "")
    return DataError(f"There is no {of[:-1]} {target!r} in {where}; its {of} are {shown}{named}.")


READERS: dict[str, Callable[[IO[bytes], str, str | None], Read]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".txt": _csv,
    ".parquet": _parquet,
    ".npz": _npz,
}
