import pytest

from pipeline.training.diagnosis import BIAS_REMEDIES, VARIANCE_REMEDIES, diagnose


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
