"""Intervals for unequal classes: values are scikit-learn's, limits cover the truth about as often as they say."""

import numpy as np
import pytest
from sklearn import metrics

from pipeline.selection import unequal
from pipeline.selection.statistics import proportion
from pipeline.selection.unequal import balanced_error, rankings


def test_values_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(300) < 0.1
    z = rng.normal(size=300) + y
    found = rankings(z, y)
    assert found["roc_auc"].value == pytest.approx(metrics.roc_auc_score(y, z))
    assert found["average_precision"].value == pytest.approx(metrics.average_precision_score(y, z))
    wrong = (z > 0.5) != y
    errors = [proportion(int(wrong[y == k].sum()), int((y == k).sum())) for k in (False, True)]
    assert balanced_error(errors).value == pytest.approx(1 - metrics.balanced_accuracy_score(y, z > 0.5))


def test_the_limits_of_one_class_are_wilsons() -> None:
    of_one = proportion(3, 20)
    found = balanced_error([of_one])
    assert (found.low, found.high) == pytest.approx((of_one.low, of_one.high))


def test_the_balanced_errors_limits_cover_the_truth() -> None:
    rng = np.random.default_rng(1)
    truth, sizes = (0.02, 0.4), (400, 30)
    found = [
        balanced_error([proportion(int(rng.binomial(n, p)), n) for n, p in zip(sizes, truth, strict=True)])
        for _ in range(400)
    ]
    assert 0.92 <= np.mean([each.low <= sum(truth) / 2 <= each.high for each in found]) <= 0.98


def test_the_limits_of_the_auc_cover_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unequal, "RESAMPLES", 200)
    rng = np.random.default_rng(2)
    y = np.arange(120) < 40
    found = [rankings(rng.normal(size=120) + y, y)["roc_auc"] for _ in range(80)]
    truth = 0.7602  # of two normal distributions one deviation apart
    assert 0.88 <= np.mean([each.low <= truth <= each.high for each in found]) <= 1.0


def test_without_both_classes_there_is_no_ranking() -> None:
    assert rankings(np.ones(3), np.ones(3, bool)) == {}
