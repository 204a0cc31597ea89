"""The examples as a trial sees them: raw rows mapped into memory, the split, and the statistics of its parts.

Workers import this module, so it needs NumPy alone; it never reads a test row.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.errors import DataError

Index = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float64]

BLOCK_VALUES = 2**21  # numbers handled at a time, so that memory stays bounded whatever the size of the data set
CACHE_VALUES = 2**17  # smaller, for blocks that go through several steps and should stay in the processor's cache


@dataclass(frozen=True)
class Normalization:
    """x -> (x' - mean) * inv_std, where x' is x with a missing value replaced by `fill`.

    Attributes
    ----------
    fill, mean, inv_std : (n_x,)
        Of the training part only; inv_std = 1 / sqrt(mean((x - mean)²)), and 0 for a feature constant in that part.
    """

    fill: Vector
    mean: Vector
    inv_std: Vector


@dataclass(frozen=True)
class Fold:
    """One division of the rows: training rows, dev rows, and the training rows' statistics.

    Attributes
    ----------
    train : (m,)
    dev : (m_dev,)
        Row numbers, in ascending order.
    """

    train: Index
    dev: Index
    normalization: Normalization


@dataclass(frozen=True)
class TrialArrays:
    """The data that a trial may see.

    Attributes
    ----------
    X : (m, n_x)
        Raw rows of the training and dev parts, memory-mapped, in the smallest type that holds them exactly.
    y : (m,)
        Class numbers 0..C-1, the positions in `classes`.
    folds
        One fold is a fixed dev part, several are cross-validation.
    everything
        All rows as the training part, with an empty dev part, for retraining the winner of a cross-validation.
    digest, checksum
        Of rows, labels and divisions; and of divisions with their statistics.
    """

    X: npt.NDArray[np.generic]
    y: Index
    folds: tuple[Fold, ...]
    everything: Fold
    classes: tuple[str, ...]
    image_shape: tuple[int, ...] | None
    digest: str
    checksum: str = ""
    path: Path | None = None

    def division(self, number: int) -> tuple[Fold, ...]:
        """Return the folds of repeat `number`: 0 is `folds`, the others from the files of `divisions.ensure`."""
        if number == 0:
            return self.folds
        if self.path is None:
            raise ValueError(f"arrays without a path have no division {number}")
        return read_division(self.path, number)


def load_arrays(path: Path) -> TrialArrays:
    """Open the arrays that `pipeline.data.prepare` wrote; X is mapped, not read.

    Raises
    ------
    DataError
        The statistics are not those that were written.
    """
    meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    folds = read_folds(path / "folds.npz", meta.get("arrays_checksum"))
    return TrialArrays(
        X=np.load(path / "X.npy", mmap_mode="r", allow_pickle=False),
        y=np.load(path / "y.npy", allow_pickle=False),
        folds=tuple(folds[str(k)] for k in range(meta["folds"])),
        everything=folds["everything"],
        classes=tuple(meta["classes"]),
        image_shape=None if meta["image_shape"] is None else tuple(meta["image_shape"]),
        digest=meta["digest"],
        checksum=meta["arrays_checksum"],
        path=path,
    )


def read_folds(file: Path, wanted: str | None = None) -> dict[str, Fold]:
    """Read folds from a file by name, and check rows and statistics by the given checksum, or the file's own.

    Raises
    ------
    DataError
        They have changed, or cannot be read.
    """
    try:
        with np.load(file, allow_pickle=False) as parts:
            arrays = {name: parts[name] for name in parts.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"The division of the data in {file} cannot be read: {error}.") from None
    own = arrays.pop("checksum", np.empty(0, np.uint8))
    if checksum(arrays) != (wanted or bytes(own).decode(errors="replace")):
        raise DataError(f"The division of the data in {file} is not what was written: its checksum is another.")
    names = [name.removeprefix("train_") for name in arrays if name.startswith("train_")]
    return {name: _fold(arrays, name) for name in names}


def checksum(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return the checksum of a division's row numbers and statistics."""
    return digest_arrays({name: arrays[name] for name in sorted(arrays)})


def division_file(path: Path, number: int) -> Path:
    """Return the path of the division of repeat `number`."""
    return path / "repeats" / f"{number}.npz"


@lru_cache(maxsize=64)
def read_division(path: Path, number: int) -> tuple[Fold, ...]:
    """Read the division of one repeat.

    Raises
    ------
    DataError
        It is missing or damaged.
    """
    return tuple(read_folds(division_file(path, number)).values())


def _fold(parts: Mapping[str, npt.NDArray[Any]], name: str) -> Fold:
    normalization = Normalization(*(parts[f"{field}_{name}"] for field in ("fill", "mean", "inv_std")))
    return Fold(parts[f"train_{name}"], parts[f"dev_{name}"], normalization)


def row_blocks(m: int, n_x: int, values: int = BLOCK_VALUES) -> Iterator[slice]:
    """Return slices that cover m rows of n_x numbers, each of about so many values."""
    step = max(1, values // max(1, n_x))
    return (slice(start, min(start + step, m)) for start in range(0, m, step))


def digest_arrays(arrays: dict[str, npt.NDArray[np.generic]], text: str = "") -> str:
    """Return 32 hexadecimal digits (SHA-256) over every byte of the arrays, their names, shapes and types."""
    total = hashlib.sha256(text.encode())
    for name, array in arrays.items():
        total.update(f"{name} {array.dtype.newbyteorder('<').str} {array.shape}".encode())
        for rows in row_blocks(len(array), array[0].size if len(array) else 1):
            block = np.ascontiguousarray(array[rows])
            total.update(block.astype(block.dtype.newbyteorder("<"), copy=False).data)
    return total.hexdigest()[:32]
