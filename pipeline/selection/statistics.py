"""The statistics behind a choice: intervals of means and of proportions, and comparisons that share their repeats.

Plain functions of numbers; the distributions are SciPy's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
"""Coverage of every interval; 1 - LEVEL is the probability of a false alarm in every test."""


@dataclass(frozen=True)
class Mean:
    """The mean of some repetitions with its interval."""

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half_width


def mean_interval(values: ArrayLike, *, overlap: float = 0.0, comparisons: float = 1.0) -> Mean:
    """Return the interval of a mean of repeats: mean ± t · √((1/n + overlap) s²), with s² = Σ (x - mean)² / (n - 1).

    Without overlap this is Student's interval for the mean over further repeats on the same rows. Repeats that divide
    the same rows anew share most of their training rows, so their spread is too small for new rows; with
    overlap = dev rows / training rows this is the corrected resampled t interval (Nadeau & Bengio 2003, section 5).
    For repeated cross-validation x are the values of all folds, and overlap = 1 / (folds - 1) (Bouckaert & Frank 2004).

    Parameters
    ----------
    comparisons : number of intervals that must hold simultaneously; t is taken at (1 - LEVEL) / comparisons.

    A single value has an infinite half-width; a value that is not finite makes both infinite.
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        return Mean(math.inf, math.inf, x.size)
    if x.size < 2:
        return Mean(float(x.mean()), math.inf, x.size)
    t = float(stats.t.ppf(1 - (1 - LEVEL) / (2 * comparisons), x.size - 1))
    return Mean(float(x.mean()), t * float(standard_error(x, overlap=overlap)), x.size)


def standard_error(values: ArrayLike, *, overlap: float = 0.0) -> NDArray[np.float64]:
    """Return the standard error of the mean along the last axis: √((1/n + overlap) s²), s² with n - 1."""
    x = np.asarray(values, dtype=np.float64)
    error: NDArray[np.float64] = np.sqrt((1 / x.shape[-1] + overlap) * x.var(axis=-1, ddof=1))
    return error


@dataclass(frozen=True)
class PairedTest:
    """How much larger one configuration's values are than another's on the same repeats.

    Attributes
    ----------
    difference : mean of the differences with its interval.
    p : of the two-sided paired t-test, before any adjustment; NaN if it is undefined.
    """

    difference: Mean
    p: float


def paired_test(first: ArrayLike, other: ArrayLike, *, overlap: float = 0.0) -> PairedTest:
    """Compare `other` with `first`, repeat by repeat: t = mean(d) / √((1/n + overlap) s²), d = other - first.

    Differences that are all 0 give p = 1. Equal differences other than 0, or a single difference, have no spread to
    test by: p is NaN and the interval infinite.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, other))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return PairedTest(Mean(math.inf, math.inf, a.size), math.nan)
    d = b - a
    if not d.any():
        return PairedTest(Mean(0.0, 0.0, d.size), 1.0)
    if d.size < 2 or np.ptp(d) <= 1e-12 * float(np.abs(np.concatenate([a, b])).max()):
        return PairedTest(Mean(float(d.mean()), math.inf, d.size), math.nan)
    return PairedTest(mean_interval(d, overlap=overlap), float(p_of_mean(d, overlap=overlap)))


def p_of_mean(d: ArrayLike, *, overlap: float = 0.0) -> NDArray[np.float64]:
    """Return the two-sided p of mean(d) = 0 along the last axis, by Student's t with n - 1 degrees of freedom.

    `overlap` corrects for repeats that share training rows (`mean_interval`).
    """
    from scipy import stats

    x = np.asarray(d, dtype=np.float64)
    p: NDArray[np.float64] = 2 * stats.t.sf(
        np.abs(x.mean(axis=-1)) / standard_error(x, overlap=overlap), x.shape[-1] - 1
    )
    return p


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number (Holm 1979): p'_(i) = max_{j ≤ i} min(1, (n - j + 1) p_(j)), p_(1) the smallest.

    Rejecting where p' is below α makes any false rejection among all of them less likely than α.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = largest
    return adjusted


def compare_all(values: Mapping[str, ArrayLike], *, overlap: float = 0.0) -> dict[frozenset[str], float]:
    """Return adjusted p values of the paired tests between every two configurations, by the pair of names.

    The first configuration is itself chosen by these numbers, so the tests against it are adjusted for all
    k (k - 1) / 2 pairs, not for k - 1.
    """
    pairs = [frozenset(pair) for pair in combinations(values, 2)]
    tests = [paired_test(*(values[name] for name in sorted(pair)), overlap=overlap).p for pair in pairs]
    known = [index for index, p in enumerate(tests) if not math.isnan(p)]
    adjusted = dict.fromkeys(pairs, math.nan)
    for index, p in zip(known, holm([tests[index] for index in known]), strict=True):
        adjusted[pairs[index]] = p
    return adjusted


@dataclass(frozen=True)
class Gain:
    """The fraction by which one mean is lower than another; its interval may be asymmetric or unbounded."""

    mean: float
    low: float
    high: float
    n: int


def gain_interval(baseline: ArrayLike, values: ArrayLike) -> Gain:
    """Return the fraction by which mean(values) is lower than mean(baseline) on the same repeats, with its interval.

    gain = 1 - R with R = mean(values) / mean(baseline), by Fieller (1954): R lies in the interval if the mean of
    values - R baseline, whose spread is seen over the repeats, cannot be told from 0 by Student's t. The ends are the
    roots of (v - R b)² = t² (s_vv - 2 R s_vb + R² s_bb) / n. If the baseline's mean cannot be told from 0 itself, there
    are no two such ends, and the interval is unbounded. An interval from the first-order error would miss the truth too
    often for skewed costs: with 8 repeats that vary by a factor of 2, in 11 % of cases.

    A baseline of mean 0 or with a value that is not finite has no gain: the result is NaN.
    """
    from scipy import stats

    b, v = (np.asarray(x, dtype=np.float64) for x in (baseline, values))
    if not (np.isfinite(b).all() and np.isfinite(v).all()) or b.mean() == 0:
        return Gain(math.nan, -math.inf, math.inf, b.size)
    gain = 1 - float(v.mean() / b.mean())
    if b.size < 2:
        return Gain(gain, -math.inf, math.inf, b.size)
    t = float(stats.t.ppf((1 + LEVEL) / 2, b.size - 1))
    (s_bb, s_vb), (_, s_vv) = t**2 * np.cov(b, v) / b.size
    square, half, rest = b.mean() ** 2 - s_bb, b.mean() * v.mean() - s_vb, v.mean() ** 2 - s_vv
    root = half**2 - square * rest
    if square <= 0 or root < 0:
        return Gain(gain, -math.inf, math.inf, b.size)
    low, high = (float(1 - (half + sign * math.sqrt(root)) / square) for sign in (1, -1))
    return Gain(gain, low, high, b.size)


@dataclass(frozen=True)
class Proportion:
    """A proportion of n examples with its interval."""

    count: float
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The proportion itself."""
        return self.count / self.n


def proportion(count: float, n: int) -> Proportion:
    """Wilson's score interval (1927): (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n).

    SciPy computes it for integer counts; `count` may be fractional, such as a mean over folds.
    """
    from scipy import stats

    if float(count).is_integer():
        found = stats.binomtest(int(count), n).proportion_ci(LEVEL, method="wilson")
        return Proportion(count, n, 0.0 if count == 0 else float(found.low), 1.0 if count == n else float(found.high))
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    p, c = count / n, z * z / n
    half = z * math.sqrt(p * (1 - p) / n + c / (4 * n))
    return Proportion(count, n, max(0.0, (p + c / 2 - half) / (1 + c)), min(1.0, (p + c / 2 + half) / (1 + c)))


@dataclass(frozen=True)
class Gap:
    """The difference of two proportions, second minus first, with its interval."""

    difference: float
    low: float
    high: float

    @property
    def is_real(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def gap(first: Proportion, second: Proportion) -> Gap:
    """Newcombe's interval (1998, method 10) for p₂ - p₁, from the two Wilson intervals.

    d - √((p₂ - l₂)² + (u₁ - p₁)²)  to  d + √((u₂ - p₂)² + (p₁ - l₁)²)
    """
    d = second.value - first.value
    low = d - math.hypot(second.value - second.low, first.high - first.value)
    high = d + math.hypot(second.high - second.value, first.value - first.low)
    return Gap(d, low, high)
