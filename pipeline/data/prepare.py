"""Makes the arrays that trials read: source, split, encoding, statistics, digest, and one atomic write.

Only the coordinator calls it. Test rows go to a directory of their own that trials never open.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data import store as files
from pipeline.data.arrays import CACHE_VALUES, Fold, Index, row_blocks
from pipeline.data.encoding import Recipe, encode, feature_names, unseen
from pipeline.data.fingerprint import fingerprint
from pipeline.data.sources import check_source, read_source

if TYPE_CHECKING:
    from pipeline.data.labelled import Labelled
    from pipeline.data.split import Split

Matrix = npt.NDArray[np.generic]
EXACT_TYPES = ("uint8", "int8", "uint16", "int16", "float32", "int32", "float64")


@dataclass(frozen=True)
class PreparedData:
    """The place of the arrays, and what tracking and prediction need to know about them.

    Attributes
    ----------
    path, heldout
        Directories of the trial arrays and of the test rows.
    digest
        Over every byte that determines a trial or a test: rows, labels, folds, test rows.
    source_digest
        Over the data before it was sampled and split.
    description
        Plain values for people: sizes, classes, counts, notes, columns.
    recipe
        Turns raw columns of another table into the network's input (`pipeline.data.encoding`).
    """

    path: Path
    heldout: Path
    digest: str
    source_digest: str
    description: dict[str, Any]
    recipe: Recipe


def prepare(config: DataConfig, store: Path) -> PreparedData:
    """Return the arrays of this configuration, prepared now or earlier.

    Finding them needs neither scikit-learn nor pandas.
    """
    check_source(config)
    key = fingerprint(config)
    found = files.find(store, key)
    if found is None:
        found = _make(config, store)
        files.remember(store, key, found)
    path, heldout = files.directories(store, found["digest"])
    return PreparedData(path=path, heldout=heldout, **found)


def find_arrays(description: Mapping[str, Any], store: Path) -> PreparedData | None:
    """Return the arrays with the digest in a record's data, if the store has them unchanged."""
    digest = str(description.get("digest"))
    path, heldout = files.directories(store, digest)
    if not files.restore(path):
        return None
    return PreparedData(path, heldout, digest, str(description.get("source_digest")), dict(description), {})


def find_prepared(digest: str, store: Path) -> PreparedData | None:
    """Return the prepared data with this digest, if the store has them unchanged."""
    found = files.find_digest(store, digest)
    return None if found is None else PreparedData(*files.directories(store, digest), **found)


def _make(config: DataConfig, store: Path) -> dict[str, Any]:
    from pipeline.data.labelled import label
    from pipeline.data.split import split

    data = label(read_source(config, store), config)
    parts = split(data.y, data.classes, config, given=data.given, groups=data.groups)
    recipe = data.recipe(parts, config)
    description = data.description(parts, recipe, config)
    with files.writing(store) as draft:
        for directory, rows in ((draft.trial, parts.visible), (draft.heldout, parts.test)):
            _write_rows(directory / "X.npy", data, rows, recipe)
            files.save(directory, y=data.y[rows], rows=data.rows[rows])
        if data.groups is not None:
            files.save(draft.trial, groups=data.groups[parts.visible])
        image_shape, unknown = data.image_shape, unseen(recipe, data.features.iloc[parts.test])
        del data  # frees the table's memory early
        folds, everything = _folds(np.load(draft.trial / "X.npy", mmap_mode="r"), parts, image_shape, config)
        meta = {
            "classes": recipe["classes"],
            "image_shape": recipe["image_shape"],
            "features": feature_names(recipe),
            "standardize": config.standardize,
            "missing": config.missing,
            "folds": len(folds),
        }
        digest = draft.finish(meta, folds, everything, unknown)
    return {
        "digest": digest,
        "source_digest": description["source_digest"],
        "description": {**description, "digest": digest},
        "recipe": recipe,
    }


def _folds(
    X: Matrix, parts: "Split", image_shape: tuple[int, ...] | None, config: DataConfig
) -> tuple[list[Fold], Fold]:
    """Return the folds: row numbers become positions in X, with the statistics of each training part."""
    from pipeline.data.normalization import fold

    positions = [tuple(np.searchsorted(parts.visible, rows) for rows in pair) for pair in parts.pairs]
    settings: dict[str, Any] = {
        "standardize": config.standardize,
        "missing": config.missing,
        "image_shape": image_shape,
    }
    folds = [fold(X, train, dev, **settings) for train, dev in positions]
    return folds, fold(X, np.arange(len(X)), np.arange(0), **settings)


def _write_rows(path: Path, data: "Labelled", rows: Index, recipe: Recipe) -> None:
    """Encode block by block into a file, in the smallest type that holds every value exactly.

    It is written, not mapped, because a full disk would end the process on access to a mapped file.
    """
    n_x = len(feature_names(recipe))

    def blocks() -> Iterator[Matrix]:
        return (_encoded(data, rows[s], recipe) for s in row_blocks(len(rows), n_x, CACHE_VALUES * 4))

    dtype = smallest_type(blocks())
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (len(rows), n_x)}
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks():
                file.write(np.ascontiguousarray(block, dtype).data)
    except OSError as error:
        raise DataError(f"The prepared data cannot be written to {str(path)!r}: {error.strerror}.") from None


def _encoded(data: "Labelled", rows: Index, recipe: Recipe) -> Matrix:
    """Encode some rows; rows close together are taken as one slice, which pandas does many times faster."""
    start, stop = rows[0], rows[-1] + 1
    if stop - start > 2 * len(rows):
        return encode(recipe, data.features.iloc[rows])
    chosen: Matrix = encode(recipe, data.features.iloc[start:stop])[rows - start]
    return chosen


def smallest_type(blocks: Iterable[Matrix]) -> np.dtype[Any]:
    """Return the first of EXACT_TYPES that holds every value without loss."""
    left = [np.dtype(name) for name in EXACT_TYPES]
    for block in blocks:
        left = [dtype for dtype in left[:-1] if _exact(block, dtype)] + left[-1:]
        if len(left) == 1:
            break
    return left[0]


def _exact(block: Matrix, dtype: np.dtype[Any]) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        back = block.astype(dtype).astype(block.dtype)
    return bool((back == block).all()) or (dtype.kind == "f" and np.array_equal(back, block, equal_nan=True))
