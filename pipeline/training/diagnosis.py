"""Bias and variance from three errors, with what to try next; errors are fractions of the examples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BIAS_REMEDIES = ("a bigger network", "training longer", "another architecture")
VARIANCE_REMEDIES = ("more data", "regularisation", "another architecture")


@dataclass(frozen=True)
class Diagnosis:
    """What the errors say.

    Attributes
    ----------
    avoidable_bias : train error − optimal error
    variance : dev error − train error
    verdict : "high bias", "high variance", "high bias and high variance" or "neither"
    remedies : what to try, in order; variance waits until bias is low.
    """

    train_error: float
    dev_error: float
    optimal_error: float
    threshold: float
    avoidable_bias: float
    variance: float
    high_bias: bool
    high_variance: bool
    verdict: str
    remedies: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "remedies": list(self.remedies)}


def diagnose(train_error: float, dev_error: float, *, optimal_error: float = 0.0, threshold: float = 0.02) -> Diagnosis:
    """Call bias or variance high when it is above `threshold`.

    >>> diagnose(0.15, 0.16).verdict
    'high bias'
    >>> diagnose(0.15, 0.16, optimal_error=0.15).verdict
    'neither'
    """
    avoidable_bias = round(train_error - optimal_error, 12)  # 0.13 - 0.11 is not above 0.02
    variance = round(dev_error - train_error, 12)
    high_bias, high_variance = avoidable_bias > threshold, variance > threshold
    found = [name for name, high in (("high bias", high_bias), ("high variance", high_variance)) if high]
    remedies = BIAS_REMEDIES if high_bias else VARIANCE_REMEDIES if high_variance else ()
    return Diagnosis(
        train_error,
        dev_error,
        optimal_error,
        threshold,
        avoidable_bias,
        variance,
        high_bias,
        high_variance,
        verdict=" and ".join(found) or "neither",
        remedies=remedies,
    )


def basis(judged_by: str) -> str:
    """Return which errors a diagnosis is about; nothing need be said unless runs are judged by the balanced error."""
    if judged_by != "balanced_error":
        return ""
    return "plain errors, since the balanced error is recorded for the dev part only"


def diagnosis_of(
    fits: Sequence[Mapping[str, np.ndarray]], summary: Mapping[str, float], optimal_error: float, threshold: float
) -> dict[str, Any]:
    """Return the diagnosis of a trial as plain values; empty if its costs are not finite, when errors are meaningless.

    Bias is about what the network can learn, so its train error is the lowest over the epochs; the dev error is that of
    the kept epoch, which may be an earlier one: variance is what is lost between the two.

    Parameters
    ----------
    fits : the curves of each fit.
    """
    if not math.isfinite(summary["best_train_cost"]):
        return {}
    errors = lowest_train_error(fits), summary["best_dev_error"]
    return diagnose(*errors, optimal_error=optimal_error, threshold=threshold).as_dict()


def lowest_train_error(fits: Sequence[Mapping[str, np.ndarray]]) -> float:
    """Return the lowest train error over the epochs in which the cost was finite, as the mean over fits."""
    return float(np.mean([fit["train_error"][np.isfinite(fit["train_cost"])].min() for fit in fits]))
