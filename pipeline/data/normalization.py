"""Mean, standard deviation and median of the training rows, in bounded memory."""

import numpy as np
import numpy.typing as npt

from pipeline.data.arrays import Index, Normalization, Vector, row_blocks


def statistics(X: npt.NDArray[np.generic], train: Index, *, standardize: bool) -> Normalization:
    """Statistics of the training rows: mu = mean(x), sigma² = mean((x - mu)²), the 1/m convention.

    Parameters
    ----------
    X : (m, n_x)
    train : (m_train,)
        The only rows that are looked at.
    standardize
        False leaves the features as they are: mean 0 and inv_std 1, but inv_std 0 for a feature that is constant here.
    """
    fill = _medians(X, train)
    mean, largest, smallest = _means_and_range(X, train, fill)
    variance = _mean_square(X, train, fill, mean)
    constant = largest == smallest
    if not standardize:
        return Normalization(fill, np.zeros_like(mean), np.where(constant, 0.0, 1.0))
    return Normalization(fill, mean, np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance))))


def _medians(X: npt.NDArray[np.generic], train: Index) -> Vector:
    """Median of each feature's known values; 0 where a feature has none, and where nothing is missing (never used)."""
    fill = np.zeros(X.shape[1])
    if not np.issubdtype(X.dtype, np.floating):
        return fill
    missing = np.zeros(X.shape[1], dtype=bool)
    for rows in row_blocks(len(train), X.shape[1]):
        missing |= np.isnan(X[train[rows]]).any(axis=0)
    for j in np.flatnonzero(missing):
        known = X[train, j]
        known = known[~np.isnan(known)]
        fill[j] = np.median(known) if known.size else 0.0
    return fill


def _filled(rows: npt.NDArray[np.generic], fill: Vector) -> Vector:
    values = rows.astype(np.float64)
    return np.where(np.isnan(values), fill, values)


def _means_and_range(X: npt.NDArray[np.generic], train: Index, fill: Vector) -> tuple[Vector, Vector, Vector]:
    total = np.zeros(X.shape[1])
    largest, smallest = np.full(X.shape[1], -np.inf), np.full(X.shape[1], np.inf)
    for rows in row_blocks(len(train), X.shape[1]):
        values = _filled(X[train[rows]], fill)
        total += values.sum(axis=0)
        np.maximum(largest, values.max(axis=0), out=largest)
        np.minimum(smallest, values.min(axis=0), out=smallest)
    return total / len(train), largest, smallest


def _mean_square(X: npt.NDArray[np.generic], train: Index, fill: Vector, mean: Vector) -> Vector:
    total = np.zeros(X.shape[1])
    for rows in row_blocks(len(train), X.shape[1]):
        total += np.square(_filled(X[train[rows]], fill) - mean).sum(axis=0)
    return total / len(train)
