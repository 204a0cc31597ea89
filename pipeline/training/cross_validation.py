"""What the fits of a cross-validation say together: their mean curves, and means with spreads of their summaries."""

from dataclasses import dataclass

import numpy as np

Curves = dict[str, np.ndarray]


@dataclass(frozen=True)
class FoldResult:
    """One finished fit: its outcome with the reason, its curves, its summary and its best parameters."""

    outcome: str
    reason: str
    curves: Curves
    summary: dict[str, float]
    parameters: dict[str, np.ndarray]


def mean_curves(folds: list[FoldResult]) -> Curves:
    """The mean over folds, as far as all of them went."""
    epochs = min(len(fold.curves["dev_cost"]) for fold in folds)
    return {name: np.mean([fold.curves[name][:epochs] for fold in folds], axis=0) for name in folds[0].curves}


def mean_summary(folds: list[FoldResult]) -> dict[str, float]:
    """The mean over folds of each measure, their median best epoch, and the spread of dev cost and error.

    The spread is the standard deviation over folds, with k − 1 (0 for a single fold).
    """
    summary = {name: float(np.mean([fold.summary[name] for fold in folds])) for name in folds[0].summary}
    summary["best_epoch"] = float(np.median([fold.summary["best_epoch"] for fold in folds]))
    for name in ("best_dev_cost", "best_dev_error"):
        values = [fold.summary[name] for fold in folds]
        summary[f"{name}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return summary
