"""Means over folds: each point of a curve is of all folds, and the spread is the standard deviation with k - 1."""

import numpy as np
import pytest

from pipeline.training.cross_validation import FoldResult, mean_curves, mean_summary


def fold(dev_cost: list[float], best: int) -> FoldResult:
    summary = {"best_epoch": float(best), "best_dev_cost": dev_cost[best], "best_dev_error": dev_cost[best] / 10}
    return FoldResult("completed", "", {"dev_cost": np.array(dev_cost)}, summary, {})


FOLDS = [fold([3.0, 2.0, 1.0], 2), fold([5.0, 4.0], 1), fold([4.0, 3.0, 2.0, 6.0], 2)]


def test_a_mean_curve_ends_where_the_first_fold_did() -> None:
    np.testing.assert_array_equal(mean_curves(FOLDS)["dev_cost"], [4.0, 3.0])


def test_the_summary_has_means_spreads_and_the_median_best_epoch() -> None:
    summary = mean_summary(FOLDS)
    assert summary["best_dev_cost"] == pytest.approx((1 + 4 + 2) / 3)
    assert summary["best_dev_cost_std"] == pytest.approx(np.std([1, 4, 2], ddof=1))
    assert summary["best_dev_error_std"] == pytest.approx(np.std([0.1, 0.4, 0.2], ddof=1))
    assert summary["best_epoch"] == 2.0


def test_one_fold_has_no_spread() -> None:
    assert mean_summary(FOLDS[:1])["best_dev_cost_std"] == 0.0
