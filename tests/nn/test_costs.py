import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_expit, logsumexp, softmax

from pipeline.nn.costs import OUTPUTS

LOGITS = st.floats(-1e4, 1e4)


def cost(output: str, Z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return J, the probabilities and dZ."""
    Y, A, dZ = (np.empty_like(Z) for _ in range(3))
    OUTPUTS[output].encode(y, np.arange(len(Z))[:, None], Y)
    J = OUTPUTS[output].cost(Z.copy(), Y, A, np.empty((1, Z.shape[1]), Z.dtype))
    OUTPUTS[output].gradient(A, Y, dZ)
    return float(J), A, dZ


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes() -> None:
    y = np.array([0, 1, 2])
    assert cost("softmax", np.zeros((5, 3)), y)[0] == pytest.approx(np.log(5), rel=1e-15)
    assert cost("sigmoid", np.zeros((1, 3)), np.array([0, 1, 1]))[0] == pytest.approx(np.log(2), rel=1e-15)


@given(arrays(np.float64, (4, 3), elements=LOGITS))
def test_softmax_cost_equals_scipys(Z: np.ndarray) -> None:
    y = np.array([3, 0, 2])
    J, A, dZ = cost("softmax", Z, y)
    expected = np.mean(logsumexp(Z, axis=0) - Z[y, np.arange(3)])
    assert pytest.approx(expected, rel=1e-10, abs=1e-10) == J
    np.testing.assert_allclose(A, softmax(Z, axis=0), atol=1e-12)
    np.testing.assert_allclose(dZ, (softmax(Z, axis=0) - np.eye(4)[y].T) / 3, atol=1e-12)


@given(arrays(np.float64, (1, 3), elements=LOGITS))
def test_sigmoid_cost_equals_scipys(Z: np.ndarray) -> None:
    y = np.array([1, 0, 1])
    J, A, dZ = cost("sigmoid", Z, y)
    expected = -np.mean(np.where(y, log_expit(Z[0]), log_expit(-Z[0])))
    assert pytest.approx(expected, rel=1e-12, abs=1e-300) == J
    np.testing.assert_allclose(A[0], np.exp(log_expit(Z[0])), atol=1e-15)
    np.testing.assert_allclose(dZ, (A - y) / 3, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("output", OUTPUTS)
def test_huge_logits_cost_what_they_should_without_float_errors(output: str, dtype: type) -> None:
    Z = np.array([[1e4, -1e4]], dtype) if output == "sigmoid" else np.array([[-1e4, 1e4], [1e4, -1e4]], dtype)
    slope = 1e4 if output == "sigmoid" else 2e4
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        right, _, right_dZ = cost(output, Z, np.array([1, 0]))
        wrong, _, wrong_dZ = cost(output, Z, np.array([0, 1]))
    assert right == 0
    assert wrong == slope
    assert np.abs(right_dZ).max() == 0
    assert np.abs(wrong_dZ).max() == 0.5


def test_a_class_absent_from_the_batch_only_loses_probability() -> None:
    _, _, dZ = cost("softmax", np.zeros((3, 2)), np.array([0, 0]))
    np.testing.assert_allclose(dZ[2], 1 / 3 / 2)


def test_predictions_are_the_first_largest_logit_and_the_sign() -> None:
    np.testing.assert_array_equal(OUTPUTS["softmax"].predict(np.array([[1.0, 0], [1.0, 2.0]])), [0, 1])
    np.testing.assert_array_equal(OUTPUTS["sigmoid"].predict(np.array([[-1.0, 0.0, 0.1]])), [0, 0, 1])
