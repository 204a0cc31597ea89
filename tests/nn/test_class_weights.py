"""Class weights: the loss of an example counts as often as its class's weight says, in J and its gradient alone."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

from pipeline.gradcheck.check import check_gradients
from pipeline.nn.costs import balanced_weights, cross_entropy_gradient
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.nn.parameters import Parameters

RARE = np.array([0] * 8 + [1] * 3 + [2])
OUTPUTS = {"softmax": RARE, "sigmoid": np.minimum(RARE, 1)}


def make(y: np.ndarray, weights: np.ndarray | None, lambd: float = 0.0) -> tuple[Network, Parameters, np.ndarray]:
    classes = y.max() + 1
    architecture = Architecture(
        (4, 5, 1 if classes == 2 else classes), ("tanh",), "softmax" if classes > 2 else "sigmoid"
    )
    network = Network(
        architecture, Regularization(m=y.size, lambd=lambd), dtype=np.float64, max_batch=100, class_weights=weights
    )
    rng = np.random.default_rng(0)
    return network, initialize(architecture, rng=rng, dtype=np.float64), rng.standard_normal((4, y.size))


def cost_and_gradient(
    y: np.ndarray, weights: np.ndarray | None, X: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    network, parameters, own = make(y, weights)
    gradients = parameters.like()
    return network.cost_and_gradients(own if X is None else X, y, parameters, gradients), gradients.theta


def test_balanced_weights_by_hand() -> None:
    np.testing.assert_allclose(balanced_weights(np.array([0, 0, 0, 1]), 2), [4 / (2 * 3), 4 / (2 * 1)])


def test_a_class_that_does_not_occur_has_no_weight_and_is_not_counted_among_the_classes() -> None:
    np.testing.assert_allclose(balanced_weights(np.array([0, 0, 0, 2]), 3), [4 / (2 * 3), 0, 4 / (2 * 1)])


def test_balanced_weights_are_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=RARE)
    np.testing.assert_allclose(balanced_weights(RARE, 3), expected)


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_weight_of_3_is_an_example_that_stands_there_3_times(output: str) -> None:
    y = OUTPUTS[output]
    weights = np.array([1, 3, 2])[: y.max() + 1]
    J, gradient = cost_and_gradient(y, weights)
    times = weights[y]
    X = np.repeat(make(y, None)[2], times, axis=1)
    J_repeated, gradient_repeated = cost_and_gradient(np.repeat(y, times), None, X)
    share = times.sum() / y.size  # both divide by the number of examples that they are given
    assert pytest.approx(J_repeated * share, rel=1e-13) == J
    np.testing.assert_allclose(gradient, gradient_repeated * share, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("output", OUTPUTS)
def test_weights_of_one_change_no_bit(output: str) -> None:
    y = OUTPUTS[output]
    J, gradient = cost_and_gradient(y, None)
    J_weighted, gradient_weighted = cost_and_gradient(y, np.ones(y.max() + 1))
    assert (J, gradient.tobytes()) == (J_weighted, gradient_weighted.tobytes())


@pytest.mark.oracle
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_full_batch_has_pytorchs_weighted_cross_entropy(output: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is an optional extra")
    y = OUTPUTS[output]
    weights = balanced_weights(y, y.max() + 1)
    network, parameters, X = make(y, weights)
    leaves = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in parameters.as_dict().items()}
    Z = leaves["W2"] @ torch.tanh(leaves["W1"] @ torch.from_numpy(X) + leaves["b1"]) + leaves["b2"]
    logits = torch.cat([torch.zeros_like(Z), Z]) if output == "sigmoid" else Z  # σ(z) is the softmax of (0, z)
    expected = torch.nn.functional.cross_entropy(logits.T, torch.from_numpy(y), weight=torch.from_numpy(weights))
    expected.backward()
    gradients = parameters.like()
    J = network.cost_and_gradients(X, y, parameters, gradients)
    assert pytest.approx(expected.item(), rel=1e-12) == J
    for name, gradient in gradients.as_dict().items():
        np.testing.assert_allclose(gradient, leaves[name].grad.numpy(), rtol=1e-11, atol=1e-14)


def test_scikit_learns_balanced_logistic_regression_is_a_minimum() -> None:
    rng, y, lambd = np.random.default_rng(0), np.array([0] * 90 + [1] * 10), 2.0
    X = rng.standard_normal((3, 100)) + y
    expected = LogisticRegression(C=1 / lambd, class_weight="balanced", tol=1e-10, max_iter=1000).fit(X.T, y)
    architecture = Architecture((3, 1), (), "sigmoid")
    regularization, weights = Regularization(m=100, lambd=lambd), balanced_weights(y, 2)
    network = Network(architecture, regularization, dtype=np.float64, max_batch=100, class_weights=weights)
    parameters = Parameters((3, 1), np.float64)
    parameters.W[1][...], parameters.b[1][...] = expected.coef_, expected.intercept_
    gradients = parameters.like()
    network.cost_and_gradients(X, y, parameters, gradients)
    np.testing.assert_allclose(gradients.theta, 0, atol=1e-7)


def test_what_is_evaluated_has_no_weights() -> None:
    network, parameters, X = make(RARE, balanced_weights(RARE, 3))
    plain = make(RARE, None)[0]
    assert network.evaluate(X, RARE, parameters) == plain.evaluate(X, RARE, parameters)


@pytest.mark.parametrize("method", ["two_sided", "complex_step"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_the_gradient_check_covers_the_weights(output: str, method: str) -> None:
    y = OUTPUTS[output]
    network, parameters, X = make(y, balanced_weights(y, y.max() + 1), lambd=2.0)
    report = check_gradients(network, parameters, X, y, rng=np.random.default_rng(1), method=method)
    assert report.verdict == "good"
    assert report.cost == network.cost(X, y, parameters)


def test_a_gradient_without_the_weights_is_wrong() -> None:
    network, parameters, X = make(RARE, balanced_weights(RARE, 3))
    forgetful = network._output._replace(gradient=lambda A, Y, dZ, w: cross_entropy_gradient(A, Y, dZ))

    class Forgetful(Network):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[arg-type]
            self._output = forgetful

    wrong = Forgetful(
        network.architecture,
        network.regularization,
        dtype=np.float64,
        max_batch=12,
        class_weights=network.class_weights,
    )
    report = check_gradients(wrong, parameters, X, RARE, rng=np.random.default_rng(1))
    assert report.verdict == "wrong"


def test_weights_must_be_one_for_each_class() -> None:
    with pytest.raises(ValueError, match=r"class_weights must be one per class, got an array of shape \(2,\)"):
        make(RARE, np.ones(2))
