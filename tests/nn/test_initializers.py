from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from pipeline.nn.architecture import Architecture
from pipeline.nn.initializers import SCHEMES, initialize

SIZES = (300, 200, 120, 40)
VARIANCES = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "xavier": lambda fan_in, fan_out: 1 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "fixed": lambda fan_in, fan_out: 1e-4,
}


def architecture(*activations: str) -> Architecture:
    return Architecture(SIZES, activations, "softmax")


@pytest.mark.parametrize("scheme", VARIANCES)
@settings(max_examples=5)
@given(scale=st.floats(0.01, 100), seed=st.integers(0, 2**32))
def test_weights_are_normal_with_the_schemes_variance_times_scale_squared(scheme: str, scale: float, seed: int) -> None:
    parameters = initialize(
        architecture("relu", "tanh"), scheme, scale, rng=np.random.default_rng(seed), dtype=np.float64
    )
    for W in parameters.W.values():
        std = scale * sqrt(VARIANCES[scheme](W.shape[1], W.shape[0]))
        assert kstest(W.ravel() / std, "norm").pvalue > 1e-7
        assert np.var(W) == pytest.approx(std**2, rel=7 * sqrt(2 / W.size))


def test_auto_is_he_for_relus_and_xavier_for_others_and_the_output_layer() -> None:
    relus = initialize(architecture("relu", "leaky_relu"), rng=np.random.default_rng(0), dtype=np.float64)
    for layer, factor in ((1, 2), (2, 2), (3, 1)):
        assert np.var(relus.W[layer]) * relus.W[layer].shape[1] == pytest.approx(factor, rel=0.1)
    for activation in ("tanh", "sigmoid", "identity"):
        others = initialize(architecture(activation, activation), rng=np.random.default_rng(0), dtype=np.float64)
        for W in others.W.values():
            assert np.var(W) * W.shape[1] == pytest.approx(1, rel=0.1)


def test_biases_start_at_zero_and_zeros_is_all_zero() -> None:
    drawn = initialize(architecture("relu", "relu"), rng=np.random.default_rng(0))
    assert not any(b.any() for b in drawn.b.values())
    assert not initialize(architecture("relu", "relu"), "zeros", rng=np.random.default_rng(0)).theta.any()


@pytest.mark.parametrize("scheme", [*SCHEMES, "auto"])
def test_every_scheme_draws_as_much_from_the_stream(scheme: str) -> None:
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    initialize(architecture("relu", "tanh"), scheme, rng=rng)
    initialize(architecture("relu", "tanh"), "he", 3.0, rng=other)
    assert rng.random() == other.random()


def test_scale_multiplies_the_same_draws() -> None:
    once = initialize(architecture("relu", "tanh"), rng=np.random.default_rng(0), dtype=np.float64)
    twice = initialize(architecture("relu", "tanh"), scale=2.0, rng=np.random.default_rng(0), dtype=np.float64)
    np.testing.assert_array_equal(twice.theta, 2 * once.theta)


def test_the_courses_draws_come_from_the_legacy_stream() -> None:
    drawn = initialize(
        Architecture((2, 4, 1), ("relu",), "sigmoid"), "fixed", 1000, rng=np.random.RandomState(3), dtype=np.float64
    )
    legacy = np.random.RandomState(3)
    np.testing.assert_allclose(drawn.W[1], legacy.randn(4, 2) * 10, rtol=1e-15)
    np.testing.assert_allclose(drawn.W[2], legacy.randn(1, 4) * 10, rtol=1e-15)


def test_zeros_keep_the_units_of_a_layer_equal() -> None:
    from pipeline.nn.network import Network, Regularization

    network = Network(Architecture((3, 4, 2), ("tanh",), "softmax"), Regularization(m=8), dtype=np.float64, max_batch=8)
    parameters = initialize(network.architecture, "zeros", rng=np.random.default_rng(0), dtype=np.float64)
    gradients = parameters.like()
    X, y = np.random.default_rng(0).standard_normal((3, 8)), np.array([0, 1, 1, 1, 0, 1, 1, 0])
    for _ in range(20):
        network.cost_and_gradients(X, y, parameters, gradients)
        parameters.theta[:] -= 0.5 * gradients.theta
    assert np.ptp(parameters.W[1], axis=0).max() == 0


@pytest.mark.parametrize(
    ("scheme", "scale", "message"),
    [
        ("kaiming", 1.0, "scheme must be one of auto, he, .*, got 'kaiming'"),
        ("he", 0.0, "scale must be positive and finite, got 0.0"),
        ("he", float("inf"), "scale"),
    ],
)
def test_unknown_schemes_and_scales_are_refused(scheme: str, scale: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        initialize(architecture("relu", "relu"), scheme, scale, rng=np.random.default_rng(0))


def test_identity_puts_the_scale_on_the_diagonal_and_nothing_beside_it() -> None:
    architecture = Architecture((3, 3, 2), ("identity",), "softmax")
    parameters = initialize(architecture, "identity", 1.5, rng=np.random.default_rng(0), dtype=np.float64)
    np.testing.assert_array_equal(parameters.W[1], 1.5 * np.eye(3))
    np.testing.assert_array_equal(parameters.W[2], 1.5 * np.eye(2, 3))
