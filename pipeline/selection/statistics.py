"""The statistics behind a choice: intervals of means and of proportions, and comparisons that share their seeds.

Plain functions of numbers; SciPy does the distributions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

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


def mean_interval(values: ArrayLike) -> Mean:
    """Student's interval: mean ± t · s / √n, with s² = Σ (x - mean)² / (n - 1).

    A single value has an infinite half-width; a value that is not finite makes both infinite.
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        return Mean(math.inf, math.inf, x.size)
    if x.size < 2:
        return Mean(float(x.mean()), math.inf, x.size)
    t = float(stats.t.ppf((1 + LEVEL) / 2, x.size - 1))
    return Mean(float(x.mean()), t * float(x.std(ddof=1)) / math.sqrt(x.size), x.size)


@dataclass(frozen=True)
class PairedTest:
    """How much larger one configuration's values are than another's under the same seeds.

    Attributes
    ----------
    difference : mean of the differences with its interval.
    p : of the two-sided paired t-test, before any adjustment.
    """

    difference: Mean
    p: float


def paired_test(first: ArrayLike, other: ArrayLike) -> PairedTest:
    """Compare `other` with `first`, repetition by repetition: t = mean(d) √n / s(d), d = other - first.

    Differences that are all alike have no spread to test by: p is 1 if they are 0, else 0.
    """
    from scipy import stats

    a, b = (np.asarray(values, dtype=np.float64) for values in (first, other))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return PairedTest(Mean(math.inf, math.inf, a.size), math.nan)
    d = b - a
    difference = mean_interval(d)
    if d.size < 2:
        return PairedTest(difference, 1.0)
    if np.ptp(d) <= 1e-12 * float(np.abs(np.concatenate([a, b])).max()):
        return PairedTest(difference, 1.0 if math.isclose(difference.mean, 0.0, abs_tol=1e-300) else 0.0)
    return PairedTest(difference, float(stats.ttest_rel(b, a).pvalue))


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


def compare_all(values: Mapping[str, ArrayLike]) -> dict[frozenset[str], float]:
    """Adjusted p values of the paired tests between every two configurations, by the pair of their names.

    The configuration that will be called the first is itself picked by these numbers, so the tests against it are
    adjusted for all k (k - 1) / 2 pairs that it could have been picked from, not for k - 1.
    """
    pairs = [frozenset(pair) for pair in combinations(values, 2)]
    tests = [paired_test(*(values[name] for name in sorted(pair))).p for pair in pairs]
    known = [index for index, p in enumerate(tests) if not math.isnan(p)]
    adjusted = dict.fromkeys(pairs, math.nan)
    for index, p in zip(known, holm([tests[index] for index in known]), strict=True):
        adjusted[pairs[index]] = p
    return adjusted


@dataclass(frozen=True)
class Proportion:
    """A share of n examples with its interval."""

    count: float
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself."""
        return self.count / self.n


def proportion(count: float, n: int) -> Proportion:
    """Wilson's score interval (1927): (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n).

    `count` may be broken, as a mean over folds is.
    """
    from scipy import stats

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
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def gap(first: Proportion, second: Proportion) -> Gap:
    """Newcombe's interval (1998, method 10) for p₂ - p₁, made of the two Wilson intervals.

    d - √((p₂ - l₂)² + (u₁ - p₁)²)  to  d + √((u₂ - p₂)² + (p₁ - l₁)²)
    """
    d = second.value - first.value
    low = d - math.hypot(second.value - second.low, first.high - first.value)
    high = d + math.hypot(second.high - second.value, first.value - first.low)
    return Gap(d, low, high)
