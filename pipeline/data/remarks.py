"""Remarks on a table before training: rows in two parts, a column that gives the class away, rare classes."""

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.data.arrays import Index, TrialArrays
from pipeline.data.commonest import UNEQUAL, always_commonest, in_words

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.data.split import Split

ENOUGH_DEV_ROWS = 200  # with fewer, one error is more than half a percentage point
SAMPLE = 1_000  # most training rows used to judge columns
TELLING = 0.05  # a column gives the class away if it leaves at most this share of the commonest class's errors
LEAST_ROWS = 20
FEW = 8  # columns that usually tell rows of measurements apart


def row_keys(features: "pd.DataFrame", y: Index) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each row and its class, equal for equal rows: (m,).

    It is that of a few columns if they tell all rows apart.
    """
    import pandas as pd

    table = pd.concat([features, pd.Series(y, features.index, name="")], axis=1)  # assign warns about wide tables
    keys = pd.util.hash_pandas_object(table.iloc[:, :: table.shape[1] // FEW + 1], index=False)
    if not keys.is_unique:
        keys = pd.util.hash_pandas_object(table, index=False)
    return np.asarray(keys, dtype=np.uint64)


def rows_in_two_parts(keys: npt.NDArray[np.uint64], parts: "Split") -> list[str]:
    """Return a sentence on how many rows of one part are in another one too; empty if none is."""
    named = {"train": parts.pairs[0][0], "dev": parts.pairs[0][1], "test": parts.test}
    if len(parts.pairs) > 1:
        named = {"folds": parts.visible, "test": parts.test}
    ordered = {name: np.sort(keys[rows]) for name, rows in named.items() if len(rows)}
    found = [
        f"{count:,} {other} row{'s also stand' if count > 1 else ' also stands'} in {name}"
        for name, other in combinations(ordered, 2)
        if (count := _shared(ordered[name], ordered[other]))
    ]
    twice = int(np.count_nonzero(np.diff(ordered["folds"]) == 0)) if "folds" in ordered else 0
    found += [f"{twice:,} of the folds' rows repeat others"] if twice else []
    if not found:
        return []
    return [f"Exact duplicates: {'; '.join(found)}. data.deduplicate=true keeps equal rows in one part."]


def _shared(larger: npt.NDArray[np.uint64], smaller: npt.NDArray[np.uint64]) -> int:
    """Return how many of the smaller's keys are in the larger; both in ascending order."""
    at = np.minimum(np.searchsorted(larger, smaller), len(larger) - 1)
    return int(np.count_nonzero(larger[at] == smaller))


def telling_columns(features: "pd.DataFrame", y: Index, train: Index) -> list[str]:
    """Return a sentence for each column that alone predicts nearly all classes of the training rows."""
    step = max(1, len(train) // SAMPLE)
    rows = train[::step]
    labels = y[rows]
    baseline = len(rows) - int(np.bincount(labels).max())
    if len(rows) < LEAST_ROWS or baseline == 0:
        return []
    table = features.iloc[rows]
    most = int(TELLING * baseline)
    wrong = {name: _errors(table[name], labels, most) for name in table}
    return [
        f"Column {name!r} alone gives the class away: it tells {1 - errors / len(rows):.1%} of {len(rows):,} training "
        f"rows; if it is not known before the class is, data.drop=[{name!r}]."
        for name, errors in wrong.items()
        if errors <= most
    ]


def _errors(column: "pd.Series[Any]", y: Index, most: int) -> int:
    """Return the errors of the best simple rule on one column: a class per category, or per one of C ranges of numbers.

    If there are clearly more than `most`, the number of all rows is returned: along a column, in ascending order, the
    class changes at each of the C - 1 bounds, and at most twice for each error or value that occurs again.
    """
    import pandas as pd

    codes, distinct = pd.factorize(column, use_na_sentinel=False)
    if column.dtype == object or len(distinct) <= len(np.unique(y)):
        if len(distinct) > len(y) / 2:  # too few rows of a category for a rule
            return len(y)
        return len(y) - int(pd.crosstab(codes, y).to_numpy().max(axis=1).sum())
    x = column.to_numpy(np.float64)[:, None]
    changes = np.count_nonzero(np.diff(y[np.argsort(x[:, 0])]))
    if changes >= len(np.unique(y)) + 2 * (most + len(y) - len(distinct)):
        return len(y)
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=max(2, len(np.unique(y))), random_state=0)
    return int(np.count_nonzero(tree.fit(x, y).predict(x) != y))


def of_the_dev_part(description: Mapping[str, Any]) -> list[str]:
    """Return remarks on the reference for dev errors, on rare classes, and on the size of one error of few dev rows."""
    found = always_commonest(description)
    if found is None:
        return []
    lines = [in_words(description)]
    if found[1] < UNEQUAL:
        lines.append(
            "other classes are rare: study.objective=balanced_error judges all classes alike (train: "
            "training.monitor=balanced_error), training.class_weight=balanced trains them alike"
        )
    m = description["examples"].get("dev", ENOUGH_DEV_ROWS)
    if m < ENOUGH_DEV_ROWS:
        lines.append(f"{m:,} dev rows: one error is {100 / m:.1f} points; data.folds or repeats judge on more")
    return lines


def of_pixels(arrays: TrialArrays, standardize: bool | str, *, augmented: bool) -> list[str]:
    """Return a sentence for each setting that would help, if the columns are pixels of images."""
    shape = arrays.image_shape or _pixel_shape(arrays.X)
    if shape is None:
        return []
    said, sides = [], "×".join(map(str, shape))
    if arrays.image_shape is None:
        said.append(f"The columns look like the pixels of {sides} images; say data.image_shape={list(shape)}.")
    if standardize is False:
        said.append("Pixels that are not scaled hardly train: data.standardize=pixels subtracts one mean for all.")
    elif standardize is True:
        said.append("data.standardize=pixels treats all pixels of these images alike, as augmentation needs it.")
    if not augmented:
        said.append("augmentation=digits helps images more than any regularisation does (flips: augmentation=photos).")
    return said


def _pixel_shape(X: npt.NDArray[np.generic]) -> tuple[int, int] | None:
    """Return height and width, if the columns are integers from 0 to 16 or 255 and their number is a square."""
    side = round(X.shape[1] ** 0.5)
    if X.dtype != np.uint8 or side < 4 or side * side != X.shape[1]:
        return None
    largest = int(X[:SAMPLE].max())
    return (side, side) if 12 <= largest <= 16 or largest > 128 else None
