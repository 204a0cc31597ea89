"""Sums up several fits of one configuration: mean curves, mean summaries, and their spread.

The fits are repeats, folds, or the folds of each repeat.
"""

from collections.abc import Sequence

import numpy as np

Curves = dict[str, np.ndarray]
MEASURES = ("dev_cost", "dev_error", "balanced_error")
"""Measures of which the spread is given too."""


def mean_curves(curves: Sequence[Curves], kept: Sequence[int]) -> Curves:
    """Return the mean of each curve over the fits, and the standard deviation of dev cost and error (`dev_cost_sd`).

    The means are as long as the longest fit: one that ended earlier holds the value of its kept epoch. A single fit's
    curves are returned as they are.

    Parameters
    ----------
    curves : of each fit, arrays indexed by epoch.
    kept : the epoch of each fit whose parameters are kept.
    """
    if len(curves) == 1:
        return dict(curves[0])
    length = max(len(values) for fit in curves for values in fit.values())
    means = {}
    with np.errstate(all="ignore"):  # a diverged fit has infinite and NaN values
        for name in curves[0]:
            held = np.array([_hold(fit[name], epoch, length) for fit, epoch in zip(curves, kept, strict=True)])
            means[name] = np.mean(held, axis=0)
            if name in MEASURES:
                means[f"{name}_sd"] = np.std(held, axis=0, ddof=1)
    return means


def _hold(values: np.ndarray, kept: int, length: int) -> np.ndarray:
    """A curve made longer by its value at the kept epoch: (length,)."""
    return np.concatenate([values, np.full(length - len(values), values[kept])])


def mean_summary(summaries: Sequence[dict[str, float]], repeats: Sequence[int]) -> dict[str, float]:
    """Return the means over the fits, with spreads; a single fit's summary is returned as it is.

    `best_epoch` is the median. `best_dev_cost_std` is the standard deviation over the fits, and with several repeats
    `best_dev_cost_se` the standard error of the mean over repeats, of each of which the folds are averaged first.

    Parameters
    ----------
    summaries : of each fit.
    repeats : the number of each fit's repeat.
    """
    if len(summaries) == 1:
        return dict(summaries[0])
    mean = {name: float(np.mean([summary[name] for summary in summaries])) for name in summaries[0]}
    mean["best_epoch"] = float(np.median([summary["best_epoch"] for summary in summaries]))
    with np.errstate(all="ignore"):
        for name in (f"best_{measure}" for measure in MEASURES if f"best_{measure}" in mean):
            values = [summary[name] for summary in summaries]
            mean[f"{name}_std"] = float(np.std(values, ddof=1))
            by_repeat = list(mean_by_repeat(values, repeats).values())
            if len(by_repeat) > 1:
                mean[f"{name}_se"] = float(np.std(by_repeat, ddof=1) / np.sqrt(len(by_repeat)))
    return mean


def mean_measures(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the means of further measures over the fits; one that a fit lacks is left out."""
    common = [name for name in measured[0] if all(name in each for each in measured)]
    return {name: float(np.mean([each[name] for each in measured])) for name in common}


def mean_by_repeat(values: Sequence[float], repeats: Sequence[int]) -> dict[int, float]:
    """Return the mean over the folds of each repeat, by its number."""
    pairs = list(zip(repeats, values, strict=True))
    return {number: float(np.mean([v for r, v in pairs if r == number])) for number in dict.fromkeys(repeats)}
