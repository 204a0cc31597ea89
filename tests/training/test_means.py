"""Means over fits: a fit that ended holds its kept value, and errors of the mean are over repeats."""

import numpy as np
import pytest

from pipeline.training.means import mean_by_repeat, mean_curves, mean_measures, mean_summary

CURVES = [{"dev_cost": np.array(values)} for values in ([3.0, 2.0, 1.0], [5.0, 4.0], [4.0, 3.0, 2.0, 6.0])]


def summary(dev_cost: float, best_epoch: float = 1.0) -> dict[str, float]:
    return {"best_epoch": best_epoch, "best_dev_cost": dev_cost, "best_dev_error": dev_cost / 10}


def test_a_fit_that_ended_holds_the_value_of_its_kept_epoch() -> None:
    means = mean_curves(CURVES, kept=[1, 0, 2])
    np.testing.assert_array_equal(means["dev_cost"], [4.0, 3.0, (1 + 5 + 2) / 3, (2 + 5 + 6) / 3])


def test_the_spread_of_a_curve_is_the_standard_deviation_over_fits_at_each_epoch() -> None:
    spread = mean_curves(CURVES, kept=[1, 0, 2])["dev_cost_sd"]
    assert spread[1] == pytest.approx(np.std([2, 4, 3], ddof=1))
    assert len(spread) == 4


def test_a_single_fit_is_its_own_mean_and_has_no_spread() -> None:
    assert list(mean_curves(CURVES[:1], kept=[2])) == ["dev_cost"]
    assert mean_summary([summary(1.0)], [0]) == summary(1.0)


def test_a_summary_has_means_and_the_median_best_epoch() -> None:
    mean = mean_summary([summary(1.0, 2), summary(4.0, 30), summary(2.0, 4)], [0, 1, 2])
    assert mean["best_dev_cost"] == pytest.approx(7 / 3)
    assert mean["best_epoch"] == 4.0


def test_the_standard_error_is_over_repeats_whose_folds_are_averaged_first() -> None:
    mean = mean_summary([summary(cost) for cost in (1.0, 3.0, 4.0, 8.0)], [0, 0, 1, 1])
    assert mean["best_dev_cost"] == 4.0
    assert mean["best_dev_cost_se"] == pytest.approx(2.0)  # repeats 2 and 6: deviation √8, over √2
    assert mean["best_dev_error_se"] == pytest.approx(0.2)
    assert mean["best_dev_cost_std"] == pytest.approx(np.std([1, 3, 4, 8], ddof=1))


def test_folds_of_one_repeat_have_a_spread_but_no_standard_error() -> None:
    mean = mean_summary([summary(1.0), summary(3.0)], [0, 0])
    assert "best_dev_cost_std" in mean
    assert "best_dev_cost_se" not in mean


def test_values_are_averaged_by_repeat() -> None:
    assert mean_by_repeat([1.0, 3.0, 7.0, 9.0], [4, 4, 5, 5]) == {4: 2.0, 5: 8.0}


def test_measures_are_averaged_and_one_that_a_fit_lacks_is_left_out() -> None:
    one, other = {"dev_recall": 0.5, "dev_roc_auc": 0.9}, {"dev_recall": 0.7}
    assert mean_measures([one, other]) == mean_measures([other, one]) == {"dev_recall": pytest.approx(0.6)}
    assert mean_measures([one]) == one
