import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.nn import penalties
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.nn.parameters import Parameters
from pipeline.training.optimizers import Optimizer


def network(m: int = 50, **strengths: float) -> Network:
    architecture = Architecture((2, 3, 2), ("tanh",), "softmax")
    return Network(architecture, Regularization(m=m, **strengths), dtype=np.float64, max_batch=8)


def random_parameters(seed: int = 0) -> Parameters:
    parameters = Parameters((2, 3, 2), np.float64)
    parameters.theta[:] = np.random.default_rng(seed).standard_normal(parameters.theta.size)
    return parameters


def test_l2_cost_grows_by_lambd_over_2m_times_squared_weights() -> None:
    assert penalties.l2_cost(np.array([1.0, -2.0, 3.0]), 0.5, 10) == pytest.approx(0.5 / 20 * 14)


def test_l1_cost_grows_by_lambd_over_2m_times_absolute_weights() -> None:
    assert penalties.l1_cost(np.array([1.0, -2.0, 3.0]), 0.5, 10, np.empty(3)) == pytest.approx(0.5 / 20 * 6)


def test_l1_gradient_is_the_sign_and_zero_at_zero() -> None:
    gradient = np.zeros(3)
    penalties.add_l1_gradient(np.array([2.0, 0.0, -0.1]), 0.5, 10, gradient, np.empty(3))
    np.testing.assert_allclose(gradient, [0.025, 0, -0.025])


def test_biases_are_not_penalised() -> None:
    parameters = Parameters((2, 3, 2), np.float64)
    for b in parameters.b.values():
        b[:] = 100
    assert network(lambd=1.0, lambd_l1=1.0).penalty(parameters) == 0


@given(lambd=st.floats(0, 50), alpha=st.floats(1e-4, 0.5), m=st.integers(1, 1000))
def test_l2_equals_weight_decay_under_plain_gradient_descent(lambd: float, alpha: float, m: int) -> None:
    X, y = np.random.default_rng(1).standard_normal((2, 8)), np.arange(8) % 2
    stepped, gradients = random_parameters(), Parameters((2, 3, 2), np.float64)
    network(m, lambd=lambd).cost_and_gradients(X, y, stepped, gradients)
    Optimizer("gradient_descent", alpha).update(
        stepped.theta, gradients.theta, (), 1, alpha, np.empty_like(stepped.theta)
    )
    decayed = random_parameters()
    network(m).cost_and_gradients(X, y, decayed, gradients)
    decayed.weights[:] *= 1 - alpha * lambd / m
    decayed.theta[:] -= alpha * gradients.theta
    np.testing.assert_allclose(stepped.theta, decayed.theta, rtol=1e-9, atol=1e-12 * (1 + alpha * lambd / m))


@given(strength=st.floats(0, 10), batch=st.integers(1, 8))
def test_lambda_means_the_same_whatever_the_batch_size(strength: float, batch: int) -> None:
    X, y = np.random.default_rng(1).standard_normal((2, 8)), np.arange(8) % 2
    parameters, plain, penalised = random_parameters(), random_parameters().like(), random_parameters().like()
    network().cost_and_gradients(X[:, :batch], y[:batch], parameters, plain)
    J = network(lambd=strength, lambd_l1=strength).cost_and_gradients(X[:, :batch], y[:batch], parameters, penalised)
    weights = parameters.weights
    penalty = strength / 100 * (np.sum(weights**2) + np.sum(np.abs(weights)))
    assert J - network().cost(X[:, :batch], y[:batch], parameters) == pytest.approx(penalty, rel=1e-9, abs=1e-12)
    expected = strength / 50 * weights + strength / 100 * np.sign(weights)
    np.testing.assert_allclose(penalised.weights - plain.weights, expected, rtol=1e-9, atol=1e-12)


def test_sparsity_counts_zeros_and_what_is_a_thousandth_of_the_largest() -> None:
    assert penalties.sparsity(np.array([0.0, 1e-4, -1e-2, 2.0])) == 0.5
    assert penalties.sparsity(np.zeros(3)) == 1.0
