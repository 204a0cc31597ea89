"""Divides rows by whole groups, such as all rows of a patient, or all copies of one row."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.config.errors import DataError
from pipeline.data.arrays import Index

TRIES = 100  # random orders of the groups, of which the one with the best sizes is taken
ROOM = 0.5  # a part may be larger or smaller than it was asked to be by this share of its size


def group_numbers(*labels: npt.NDArray[np.integer]) -> Index:
    """Return the numbers of the smallest groups that unite all rows with an equal label of any kind: (m,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: Index = np.unique(labels[0], return_inverse=True)[1].astype(np.int64)
    for label in labels[1:]:
        other = np.unique(label, return_inverse=True)[1] + numbers.max() + 1
        size = int(other.max()) + 1
        graph = coo_array((np.ones(len(numbers)), (numbers, other)), shape=(size, size))
        numbers = np.asarray(connected_components(graph, directed=False)[1], np.int64)[numbers]
    return numbers


def draw_groups(
    y: Index, rows: Index, groups: Index, size: int, part: str, *, random_state: np.random.RandomState
) -> tuple[Index, Index]:
    """Draw whole groups of about `size` rows, with the classes as all rows have them: (the others, the part).

    Groups are added in a random order as long as the part gets closer to its size; of many orders, the one with class
    counts closest to the wanted ones is used.

    Raises
    ------
    DataError
        The groups are too large or too few for such a part.
    """
    _, number = np.unique(groups[rows], return_inverse=True)
    counts = _class_counts(number, y[rows])
    wanted = size * counts.sum(axis=0) / len(rows)
    best, least = np.arange(0), np.inf
    for _ in range(TRIES):
        order = random_state.permutation(len(counts))
        taken = order[: 1 + int(np.abs(np.cumsum(counts[order].sum(axis=1)) - size).argmin())]
        distance = float(np.abs(counts[taken].sum(axis=0) - wanted).sum())
        if distance < least:
            best, least = taken, distance
    chosen = np.isin(number, best)
    _require_division(y, rows, chosen, size, part, len(counts))
    return rows[~chosen], rows[chosen]


def group_folds(
    y: Index, classes: Sequence[str], rows: Index, groups: Index, k: int, *, random_state: np.random.RandomState
) -> tuple[tuple[Index, Index], ...]:
    """Return train and dev rows of k folds of whole groups, stratified as well as groups allow."""
    from sklearn.model_selection import StratifiedGroupKFold

    number = np.unique(groups[rows], return_inverse=True)[1]
    counts = _class_counts(number, y[rows])
    for name, in_groups in zip(classes, (counts > 0).sum(axis=0), strict=True):
        if in_groups < k:
            raise DataError(
                f"data.folds={k} needs every class in {k} groups or more, but class {name!r} is in {in_groups}; groups "
                "are not divided."
            )
    divider = StratifiedGroupKFold(k, shuffle=True, random_state=random_state)
    pairs = tuple((rows[train], rows[dev]) for train, dev in divider.split(rows, y[rows], number))
    if any(len(np.unique(y[train])) < len(classes) or not len(dev) for train, dev in pairs):
        raise DataError(f"The {len(counts):,} groups cannot be divided into {k} folds with every class in training.")
    return pairs


def require_apart(groups: Index, train: Index, given: Index) -> None:
    """Refuse given dev and test rows that share a group, or an equal row, with the training rows."""
    shared = np.intersect1d(groups[train], groups[given])
    if len(shared):
        rows = int(np.isin(groups[given], shared).sum())
        raise DataError(
            f"{rows:,} rows of data.given belong to groups (data.group, data.deduplicate) that data.path has too, so "
            "they cannot be kept in one part; leave them out of one of the files."
        )


def _class_counts(number: npt.NDArray[np.intp], y: Index) -> npt.NDArray[np.int64]:
    """Return the number of examples of each class in each group: (groups, C)."""
    classes = int(y.max()) + 1
    return np.bincount(number * classes + y, minlength=(int(number.max()) + 1) * classes).reshape(-1, classes)


def _require_division(y: Index, rows: Index, chosen: npt.NDArray[np.bool_], size: int, part: str, groups: int) -> None:
    found = int(chosen.sum())
    classes = {len(np.unique(y[rows[each]])) for each in (chosen, ~chosen)} | {len(np.unique(y[rows]))}
    if abs(found - size) > max(1, ROOM * size) or len(classes) > 1 or found == len(rows):
        raise DataError(
            f"{groups:,} groups that are not divided are too few or too large: the {part} part should have {size:,} of "
            f"{len(rows):,} rows and every class, but the best division found gives it {found:,}."
        )
