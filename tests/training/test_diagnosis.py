import numpy as np
import pytest

from pipeline.training.diagnosis import BIAS_REMEDIES, VARIANCE_REMEDIES, diagnose, diagnosis_of, lowest_train_error


@pytest.mark.parametrize(
    ("train_error", "dev_error", "optimal_error", "verdict"),
    [
        (0.01, 0.11, 0.0, "high variance"),
        (0.15, 0.16, 0.0, "high bias"),
        (0.15, 0.30, 0.0, "high bias and high variance"),
        (0.005, 0.01, 0.0, "neither"),
        (0.15, 0.16, 0.15, "neither"),
    ],
)
def test_the_courses_worked_cases(train_error: float, dev_error: float, optimal_error: float, verdict: str) -> None:
    assert diagnose(train_error, dev_error, optimal_error=optimal_error).verdict == verdict


def test_the_numbers_are_differences_of_errors() -> None:
    diagnosis = diagnose(0.05, 0.09, optimal_error=0.02)
    assert (diagnosis.avoidable_bias, diagnosis.variance) == (pytest.approx(0.03), pytest.approx(0.04))


def test_bias_comes_first_and_variance_once_bias_is_low() -> None:
    assert diagnose(0.15, 0.30).remedies == BIAS_REMEDIES
    assert diagnose(0.01, 0.11).remedies == VARIANCE_REMEDIES
    assert diagnose(0.005, 0.01).remedies == ()


def test_exactly_the_threshold_is_not_above_it() -> None:
    assert diagnose(0.11, 0.13, optimal_error=0.09).verdict == "neither"
    assert diagnose(0.11, 0.13, optimal_error=0.09, threshold=0.0199).verdict == "high bias and high variance"


def test_it_becomes_plain_values() -> None:
    plain = diagnose(0.01, 0.11).as_dict()
    assert plain["remedies"] == list(VARIANCE_REMEDIES)
    assert plain["high_variance"] is True


def curves(train_error: list[float], train_cost: list[float]) -> dict[str, np.ndarray]:
    return {"train_error": np.array(train_error), "train_cost": np.array(train_cost)}


def test_bias_is_of_the_lowest_train_error_and_variance_of_the_kept_epochs_dev_error() -> None:
    """The kept epoch is 0, before anything is learnt; the training part is learnt two epochs later."""
    summary = {"best_train_cost": 0.7, "best_train_error": 0.5, "best_dev_error": 0.45}
    found = diagnosis_of([curves([0.5, 0.2, 0.0], [0.7, 0.4, 0.1])], summary, 0.0, 0.02)
    assert (found["train_error"], found["variance"], found["verdict"]) == (0.0, 0.45, "high variance")


def test_the_lowest_train_error_is_a_mean_over_fits_and_of_finite_costs_only() -> None:
    fits = [curves([0.5, 0.3, 0.0], [1.0, 0.5, np.nan]), curves([0.4, 0.1], [1.0, 0.5])]
    assert lowest_train_error(fits) == pytest.approx(0.2)


def test_costs_that_are_not_numbers_are_not_diagnosed() -> None:
    assert diagnosis_of([curves([0.5], [np.nan])], {"best_train_cost": np.nan}, 0.0, 0.02) == {}
