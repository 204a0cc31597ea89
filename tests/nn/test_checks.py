import numpy as np
import pytest

from pipeline.nn.checks import check_examples


def test_good_examples_pass() -> None:
    check_examples(np.zeros((2, 3)), np.array([0, 1, 2]), 2, 3)
    check_examples(np.zeros((2, 3), np.uint8), np.array([0, 1, 2], np.uint8), 2, 3)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((3, 3)), np.zeros(3, int), r"X must be \(2, m\), got \(3, 3\)"),
        (np.zeros((2, 0)), np.zeros(0, int), "at least one example"),
        (np.zeros((2, 3)), np.zeros(2, int), r"y must be \(3,\)"),
        (np.zeros((2, 3)), np.zeros((3, 1), int), r"y must be \(3,\)"),
        (np.zeros((2, 3)), np.zeros(3), "labels must be integers, got float64"),
        (np.zeros((2, 3)), np.array([0, 1, 3]), r"labels must be in 0..2, got 0..3"),
        (np.zeros((2, 3)), np.array([0, -1, 1]), r"labels must be in 0..2, got -1..1"),
        (np.array([[0.0, 1], [2, np.nan]]), np.zeros(2, int), "nan in feature 1 of example 1"),
        (np.array([[0.0, np.inf], [2, 3]]), np.zeros(2, int), "inf in feature 0 of example 1"),
    ],
)
def test_bad_examples_are_refused_with_what_is_wrong(X: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_examples(X, y, 2, 3)
