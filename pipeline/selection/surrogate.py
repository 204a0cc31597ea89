"""A Gaussian process with noise through the means of configurations: proposes values, and tells which do as well.

It knows only the searched values and the measure; it trains and reads nothing.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import IntDistribution
from threadpoolctl import threadpool_limits

from pipeline.search.space import Leaf

Vector = NDArray[np.float64]

WORST = 3.0
"""Means above this many medians, or infinite, are set to it: how badly a network collapsed does not matter."""

LEAST = 0.2
"""Adjusted means below this share of the median are set to it, so that logarithms stay moderate."""

POINTS_POWER = 9
"""A proposal is the best of 2^9 points spread over the space (Sobol's sequence, fixed)."""

DIGITS = 2
"""Significant digits of a proposed value."""

ALONG = 61
"""Points along a range at which the process predicts which values do as well."""


LEARNT_FROM = 300
"""Configurations that the length scales are learnt from: evenly spread ones of more, since that costs their cube."""


@dataclass(frozen=True)
class Fitted:
    """The fitted process.

    Attributes
    ----------
    leaves : the searched values, in the order of the inputs.
    """

    leaves: Sequence[Leaf]
    process: Any

    def expected(self, configurations: Sequence[Mapping[str, Any]]) -> Vector:
        """Return the logarithm of the expected measure of each configuration: (n,)."""
        mean: Vector = self.process.predict(encode(self.leaves, configurations))
        return mean

    def behind(self, configurations: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> tuple[Vector, Vector]:
        """Return how much worse than `best` each is expected to be, in logarithms, and standard errors: (n,) each."""
        mean, covariance = self.process.predict(encode(self.leaves, [*configurations, best]), return_cov=True)
        variance = np.diag(covariance) + covariance[-1, -1] - 2 * covariance[:, -1]
        return mean[:-1] - mean[-1], np.sqrt(np.maximum(variance[:-1], 0.0))

    def propose(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values with the lowest expected measure, rounded; some leaves may be `fixed`."""
        from scipy.stats import qmc

        free = [leaf for leaf in self.leaves if leaf.path not in fixed]
        if not free:
            return dict(fixed)
        points = qmc.Sobol(len(free), seed=0).random_base2(POINTS_POWER)
        tried = [{leaf.path: decode(leaf, u) for leaf, u in zip(free, point, strict=True)} for point in points]
        candidates = [{**fixed, **values} for values in tried]
        return candidates[int(np.argmin(self.expected(candidates)))]


def fit(
    leaves: Sequence[Leaf], configurations: Sequence[Mapping[str, Any]], values: Sequence[Mapping[int, float]]
) -> Fitted:
    """Fit the process to the logarithm of each configuration's mean, with noise by its number of repeats.

    Parameters
    ----------
    values : for each configuration, the measure by repeat; infinite where a training diverged.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    means, noise = adjusted_means(values)
    Z, t = encode(leaves, configurations), np.log(means)
    spread = max(float(t.std()), 1e-6)
    kernel = ConstantKernel(1.0, (0.1, 10.0)) * Matern(np.full(Z.shape[1], 0.7), (0.15, 5.0), nu=2.5)
    alpha, some = (noise / spread) ** 2 + 1e-8, slice(None, None, math.ceil(len(Z) / LEARNT_FROM))
    process = GaussianProcessRegressor(kernel, alpha=alpha[some], normalize_y=True)
    with warnings.catch_warnings(), threadpool_limits(1):  # threads slow down such small matrices
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is harmless here
        process.fit(Z[some], t[some])
        if len(Z) > LEARNT_FROM:
            process = GaussianProcessRegressor(process.kernel_, alpha=alpha, optimizer=None, normalize_y=True).fit(Z, t)
        return Fitted(leaves, process)


def adjusted_means(values: Sequence[Mapping[int, float]]) -> tuple[Vector, Vector]:
    """Return means of configurations as if all had been trained on the same repeats, and relative standard errors.

    value = mean of the configuration + effect of the repeat + noise, by alternating least squares: some repeats are
    harder than others, and not every configuration has all of them.

    Returns
    -------
    means, relative standard errors : (n,), (n,)
    """
    repeats = sorted({repeat for by_repeat in values for repeat in by_repeat})
    Y = np.array([[by_repeat.get(repeat, math.nan) for repeat in repeats] for by_repeat in values])
    known = ~np.isnan(Y)
    rows = [Y[i, known[i]] for i in range(len(Y))]
    finite = [float(row.mean()) for row in rows if np.isfinite(row).all()]
    worst = WORST * float(np.median(finite)) if finite else 1.0
    Y = np.minimum(Y, worst)
    steady = np.array([float(np.minimum(row, worst).mean()) < worst for row in rows])
    effect, mean = np.zeros(len(repeats)), np.zeros(len(Y))
    for _ in range(30):
        mean = _row_means(Y - effect, known)
        left = np.where(known & steady[:, None], Y - mean[:, None], np.nan)
        effect = np.array([np.nanmean(column) if np.isfinite(column).any() else 0.0 for column in left.T])
        effect -= effect.mean()
    middle = float(np.median(mean))
    mean = np.clip(mean, LEAST * middle, worst) if middle > 0 else np.full(len(Y), 1e-12)
    residual = (Y - mean[:, None] - effect) / mean[:, None]
    counted = residual[known & steady[:, None]]
    freedom = max(1, counted.size - int(steady.sum()) - len(repeats) + 1)
    sigma = math.sqrt(float(counted @ counted) / freedom) if counted.size else 1.0
    return mean, np.maximum(sigma, 1e-3) / np.sqrt(known.sum(axis=1))


def _row_means(Y: Vector, known: NDArray[np.bool_]) -> Vector:
    """Return the mean of each row's known values, taking rows with the same known columns together: (n,)."""
    means = np.empty(len(Y))
    patterns, pattern_of = np.unique(known, axis=0, return_inverse=True)
    for number, columns in enumerate(patterns):
        rows = pattern_of.reshape(-1) == number
        means[rows] = np.ascontiguousarray(Y[rows][:, columns]).mean(axis=1)
    return means


def encode(leaves: Sequence[Leaf], configurations: Sequence[Mapping[str, Any]]) -> Vector:
    """Return searched values as numbers: a range becomes 0 to 1 (of its logarithm if searched so), a choice columns.

    A value outside its range, such as λ = 0, becomes the nearest end; a missing leaf becomes the middle.
    """
    return np.array([[number for leaf in leaves for number in _place(leaf, values)] for values in configurations])


def _place(leaf: Leaf, values: Mapping[str, Any]) -> list[float]:
    if leaf.is_choice:
        return [float(leaf.path in values and values[leaf.path] == choice) for choice in leaf.choices]
    if leaf.path not in values or leaf.range.high <= leaf.range.low:
        return [0.5]
    return [place(leaf, values[leaf.path])]


def place(leaf: Leaf, value: float) -> float:
    """Return the position of a value in its range, 0 to 1."""
    d = leaf.range
    value = min(max(float(value), d.low), d.high)
    low, high, at = (math.log(x) if d.log else float(x) for x in (d.low, d.high, value))
    return (at - low) / (high - low) if high > low else 0.5


def decode(leaf: Leaf, u: float) -> Any:
    """Return the value at position u of 0 to 1, rounded to two significant digits and clipped to the range."""
    if leaf.is_choice:
        return leaf.choices[min(int(u * len(leaf.choices)), len(leaf.choices) - 1)]
    d, value = leaf.range, value_at(leaf, u)
    if d.step is not None and not d.log:
        value = d.low + round((value - d.low) / d.step) * d.step
        return int(value) if isinstance(d, IntDistribution) else min(max(value, d.low), d.high)
    if isinstance(d, IntDistribution):
        return round(value)
    return min(max(float(f"{value:.{DIGITS}g}"), d.low), d.high)


def does_as_well(fitted: Fitted, leaf: Leaf, best: Mapping[str, Any]) -> list[Any]:
    """Return the values of a leaf that are predicted to do as well as the best, others fixed: [low, high] or choices.

    As well: the predicted difference is at most one standard error of that difference.
    """
    if leaf.is_choice:
        behind, error = fitted.behind([dict(best) | {leaf.path: value} for value in leaf.choices], best)
        return [v for v, b, e in zip(leaf.choices, behind, error, strict=True) if b <= e or v == best[leaf.path]]
    own = place(leaf, best[leaf.path])
    places = np.unique([*np.linspace(0, 1, ALONG), own])
    points = [dict(best) | {leaf.path: value_at(leaf, u)} for u in places]
    behind, error = fitted.behind(points, best)
    well = behind <= error
    at = int(np.argmin(np.abs(places - own)))
    low = high = at
    while low > 0 and well[low - 1]:
        low -= 1
    while high < len(places) - 1 and well[high + 1]:
        high += 1
    ends = [value_at(leaf, places[low]), value_at(leaf, places[high])]
    value = float(best[leaf.path])
    return [min(ends[0], value), max(ends[1], value)]


def value_at(leaf: Leaf, u: float) -> float:
    """Return the value at position u of 0 to 1 of a range, on its own scale and not rounded."""
    d = leaf.range
    return float(d.low * (d.high / d.low) ** u if d.log else d.low + (d.high - d.low) * u)
