"""Measures for unequal classes with their intervals: the balanced error, and for two classes ROC AUC and AP."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.selection.statistics import LEVEL, Proportion
from pipeline.training.measures import of_ranking

RESAMPLES = 1_000


@dataclass(frozen=True)
class Measure:
    """A measure with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Value and interval with three digits."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def balanced_error(errors: Sequence[Proportion]) -> Measure:
    """Return the mean of the classes' errors, with limits from theirs (Zou and Donner, 2008).

    low = e - √(Σ_c (e_c - l_c)²) / C and high = e + √(Σ_c (u_c - e_c)²) / C, where l_c and u_c are Wilson's limits.
    """
    C, e = len(errors), math.fsum(each.value for each in errors) / len(errors)
    below = math.hypot(*(each.value - each.low for each in errors)) / C
    above = math.hypot(*(each.high - each.value for each in errors)) / C
    return Measure(e, max(0.0, e - below), min(1.0, e + above))


def rankings(scores: NDArray[Any], positive: NDArray[np.bool_]) -> dict[str, Measure]:
    """Return ROC AUC and average precision of scores (m,); empty if a class is absent.

    Limits are percentiles over 1,000 resamples of the rows within each class, with a fixed seed (Efron, 1979). A
    perfect ranking has an interval of width 0, because resampling cannot produce errors.
    """
    values = of_ranking(scores, positive)
    if not values:
        return {}
    rng = np.random.default_rng(0)
    parts = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    drawn = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([rng.choice(part, len(part)) for part in parts])
        drawn.append(list(of_ranking(scores[rows], positive[rows]).values()))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {
        name.removeprefix("dev_"): Measure(value, float(low[k]), float(high[k]))
        for k, (name, value) in enumerate(values.items())
    }
