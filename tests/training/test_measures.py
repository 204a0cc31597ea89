"""The measures equal scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from pipeline.training.measures import measures


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("m", "share"), [(200, 0.5), (200, 0.05), (4, 0.3)])
def test_two_classes_as_scikit_learn(seed: int, m: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    y = (rng.random(m) < share).astype(np.int64)
    z = np.round(rng.normal(size=m) + y, 1)  # many equal scores
    y[0], y[1] = 0, 1
    assert measures(z[None], y) == pytest.approx(
        {
            "dev_precision": metrics.precision_score(y, z > 0, zero_division=0),
            "dev_recall": metrics.recall_score(y, z > 0),
            "dev_roc_auc": metrics.roc_auc_score(y, z),
            "dev_average_precision": metrics.average_precision_score(y, z),
        },
        abs=1e-12,
    )


def test_more_classes_are_means_over_them_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y, Z = rng.integers(0, 4, 100), rng.normal(size=(4, 100))
    Z[3] -= 100  # never answered
    answers = Z.argmax(axis=0)
    assert measures(Z, y) == pytest.approx(
        {
            "dev_precision": metrics.precision_score(y, answers, average="macro", zero_division=0),
            "dev_recall": metrics.recall_score(y, answers, average="macro"),
        }
    )


@pytest.mark.parametrize(
    ("z", "y"),
    [([1, 1, 1], [1, 1, 1]), ([1, 1, 1], [0, 0, 0]), ([np.nan, 1, 1], [0, 1, 0])],
    ids=["all positive", "none positive", "not a number"],
)
def test_there_is_no_ranking_without_both_classes_and_finite_scores(z: list[float], y: list[int]) -> None:
    assert set(measures(np.array([z], float), np.array(y))) == {"dev_precision", "dev_recall"}
