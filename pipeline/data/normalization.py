"""Mean, standard deviation and median of the training rows, in bounded memory."""

from collections.abc import Sequence
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.data.arrays import BLOCK_VALUES, Fold, Index, Normalization, Vector, row_blocks

Standardize = bool | Literal["pixels"]


def fold(
    X: npt.NDArray[np.generic],
    train: Index,
    dev: Index,
    *,
    standardize: Standardize,
    missing: str,
    image_shape: Sequence[int] | None,
) -> Fold:
    """Return a training and a dev part with the statistics of that training part alone."""
    normalization = statistics(
        X,
        train,
        standardize=standardize,
        fill_missing=missing == "median",
        channels=prod((image_shape or ())[2:]),
    )
    return Fold(train, dev, normalization)


def statistics(
    X: npt.NDArray[np.generic],
    train: Index,
    *,
    standardize: Standardize,
    fill_missing: bool = False,
    channels: int = 1,
) -> Normalization:
    """Return the statistics of the training rows: mu = mean(x), sigma² = mean((x - mu)²), the 1/m convention.

    Parameters
    ----------
    X : (m, n_x)
    train : (m_train,)
        The only rows that are used.
    standardize
        True: by feature. "pixels": one mu and sigma for all pixels of a channel, so that a pixel which hardly varies is
        not magnified when augmentation moves something into it. False leaves the features as they are: mean 0
        and inv_std 1. Except for "pixels", a feature that is constant here gets inv_std 0.
    fill_missing
        Compute each feature's median, even if nothing is missing; otherwise `fill` is 0 and unused.
    """
    medians = _medians(X, train) if fill_missing else None
    mean, largest, smallest = _means_and_range(X, train, medians)
    variance = _mean_square(X, train, medians, mean)
    fill = np.zeros(X.shape[1]) if medians is None else medians
    if standardize == "pixels":
        mean, variance = _pooled(mean, variance, channels)
        return Normalization(fill, mean, _inverse(variance, variance == 0))
    constant = largest == smallest
    if not standardize:
        return Normalization(fill, np.zeros_like(mean), np.where(constant, 0.0, 1.0))
    return Normalization(fill, mean, _inverse(variance, constant))


def _inverse(variance: Vector, constant: npt.NDArray[np.bool_]) -> Vector:
    return np.where(constant, 0.0, 1.0 / np.sqrt(np.where(constant, 1.0, variance)))


def _pooled(mean: Vector, variance: Vector, channels: int) -> tuple[Vector, Vector]:
    """Return mean and variance over all pixels of each channel: mean((x - mu)²) = mean(sigma_j² + (mu_j - mu)²)."""
    of_pixels = mean.reshape(-1, channels)
    mu = of_pixels.mean(axis=0)
    pooled = (variance.reshape(-1, channels) + np.square(of_pixels - mu)).mean(axis=0)
    pixels = len(of_pixels)
    return np.tile(mu, pixels), np.tile(pooled, pixels)


def _medians(X: npt.NDArray[np.generic], train: Index) -> Vector:
    """Return the median of each feature's known values; 0 if there are none."""
    fill = np.zeros(X.shape[1])
    width = max(1, 2 * BLOCK_VALUES // len(train))  # columns gathered in one pass over the rows
    for start in range(0, X.shape[1], width):
        columns = np.empty((min(width, X.shape[1] - start), len(train)))
        for rows in row_blocks(len(train), X.shape[1]):
            columns[:, rows] = X[train[rows], start : start + width].T
        for j, values in enumerate(columns, start):
            known = values[~np.isnan(values)]
            fill[j] = np.median(known) if known.size else 0.0
    return fill


def _gathered(X: npt.NDArray[np.generic], rows: Index, fill: Vector | None) -> Vector:
    """Return a copy of some rows as float64, with missing values filled if there may be any."""
    values = X[rows].astype(np.float64, copy=False)
    if fill is not None:
        np.copyto(values, fill, where=np.isnan(values))
    return values


def _means_and_range(X: npt.NDArray[np.generic], train: Index, fill: Vector | None) -> tuple[Vector, Vector, Vector]:
    total = np.zeros(X.shape[1])
    largest, smallest = np.full(X.shape[1], -np.inf), np.full(X.shape[1], np.inf)
    for rows in row_blocks(len(train), X.shape[1]):
        values = _gathered(X, train[rows], fill)
        total += values.sum(axis=0)
        np.maximum(largest, values.max(axis=0), out=largest)
        np.minimum(smallest, values.min(axis=0), out=smallest)
    return total / len(train), largest, smallest


def _mean_square(X: npt.NDArray[np.generic], train: Index, fill: Vector | None, mean: Vector) -> Vector:
    total = np.zeros(X.shape[1])
    for rows in row_blocks(len(train), X.shape[1]):
        values = _gathered(X, train[rows], fill)
        values -= mean
        total += np.square(values, out=values).sum(axis=0)
    return total / len(train)
