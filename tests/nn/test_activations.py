import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.nn.activations import ACTIVATIONS

SMOOTH_POINTS = arrays(np.float64, (3, 4), elements=st.floats(-20, 20).filter(lambda z: abs(z) > 1e-3))


def activate(name: str, Z: np.ndarray) -> np.ndarray:
    A = Z.copy()
    ACTIVATIONS[name].forward(A, np.empty(A.shape, A.real.dtype))
    return A


def slope(name: str, Z: np.ndarray) -> np.ndarray:
    A, G, dA = Z.copy(), np.empty_like(Z), np.ones_like(Z)
    ACTIVATIONS[name].forward(A, G)
    ACTIVATIONS[name].backward(dA, A, G)
    return dA


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0, 0, 2]),
        ("leaky_relu", [-0.03, 0, 2]),
        ("identity", [-3, 0, 2]),
        ("tanh", np.tanh([-3, 0, 2])),
        ("sigmoid", 1 / (1 + np.exp([3.0, 0, -2]))),
    ],
)
def test_values_by_hand(name: str, expected: list[float]) -> None:
    np.testing.assert_allclose(activate(name, np.array([[-3.0, 0.0, 2.0]]))[0], expected, rtol=1e-15)


@pytest.mark.parametrize(("name", "expected"), [("relu", 0.0), ("leaky_relu", 0.01), ("identity", 1.0)])
def test_slope_at_zero_is_the_documented_one(name: str, expected: float) -> None:
    assert slope(name, np.zeros((1, 1)))[0, 0] == expected


@given(Z=SMOOTH_POINTS)
def test_slope_is_the_derivative(Z: np.ndarray) -> None:
    for name in ACTIVATIONS:
        derivative = activate(name, Z + 1e-30j).imag / 1e-30
        np.testing.assert_allclose(slope(name, Z), derivative, rtol=1e-9, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_inputs_neither_overflow_nor_give_nan(name: str, dtype: type) -> None:
    Z = np.array([[-1e4, -50.0, 50.0, 1e4]], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        A, g = activate(name, Z), slope(name, Z)
    assert A.dtype == dtype
    assert np.isfinite(A).all()
    assert np.isfinite(g).all()


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_complex_inputs_are_decided_by_the_real_part(name: str) -> None:
    low = {"relu": 0.0, "leaky_relu": 0.01}[name]
    Z = np.array([[1 - 5j, -1 + 5j, 0 + 5j]])
    np.testing.assert_allclose(activate(name, Z), Z * [1, low, low])
