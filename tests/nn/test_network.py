import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.nn.parameters import Parameters

ARCHITECTURE = Architecture((4, 6, 5, 3), ("relu", "tanh"), "softmax")
CHUNK = 100


def make(dtype: type = np.float64, max_batch: int = 12, **regularization: object) -> tuple[Network, Parameters]:
    network = Network(ARCHITECTURE, Regularization(m=40, **regularization), dtype=dtype, max_batch=max_batch)  # type: ignore[arg-type]
    return network, initialize(ARCHITECTURE, rng=np.random.default_rng(0), dtype=dtype)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate in chunks of `CHUNK` examples: the widest layer has 6 units."""
    monkeypatch.setattr("pipeline.nn.network.EVALUATION_VALUES", 6 * CHUNK)


def batch(m: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((4, m)), rng.integers(0, 3, m)


def test_forward_by_hand() -> None:
    network = Network(Architecture((2, 2, 1), ("relu",), "sigmoid"), Regularization(m=1), dtype=np.float64, max_batch=2)
    parameters = Parameters((2, 2, 1), np.float64)
    parameters.W[1][:] = [[1, 2], [-1, 0]]
    parameters.b[1][:] = [[0.5], [0]]
    parameters.W[2][:] = [[3, 4]]
    parameters.b[2][:] = -1
    X = np.array([[1.0, -2.0], [1.0, 0.0]])
    # example 1: Z1 = (3.5, -1), A1 = (3.5, 0), Z2 = 9.5; example 2: Z1 = (-1.5, 2), A1 = (0, 2), Z2 = 7
    np.testing.assert_array_equal(network.forward(X, parameters), [[9.5, 7.0]])


def test_without_hidden_layers_it_is_logistic_regression() -> None:
    network = Network(Architecture((3, 1), (), "sigmoid"), Regularization(m=5), dtype=np.float64, max_batch=5)
    parameters, gradients = Parameters((3, 1), np.float64), Parameters((3, 1), np.float64)
    parameters.theta[:] = [0.5, -1, 2, 0.1]
    X, y = np.random.default_rng(0).standard_normal((3, 5)), np.array([0, 1, 1, 0, 1])
    network.cost_and_gradients(X, y, parameters, gradients)
    A = 1 / (1 + np.exp(-(np.array([0.5, -1, 2]) @ X + 0.1)))
    np.testing.assert_allclose(gradients.W[1][0], X @ (A - y) / 5, rtol=1e-13)
    assert gradients.b[1][0, 0] == pytest.approx(np.mean(A - y), rel=1e-13)


@given(st.permutations(range(12)))
def test_the_order_of_examples_changes_no_cost_and_no_gradient(order: list[int]) -> None:
    (network, parameters), (X, y) = make(), batch()
    there, here = parameters.like(), parameters.like()
    J = network.cost_and_gradients(X, y, parameters, there)
    assert network.cost_and_gradients(X[:, order], y[order], parameters, here) == pytest.approx(J, rel=1e-13)
    np.testing.assert_allclose(here.theta, there.theta, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("m", [1, 11, CHUNK, CHUNK + 1, 2 * CHUNK + 30])
@pytest.mark.usefixtures("small_chunks")
def test_evaluation_in_chunks_is_the_mean_over_all_examples(m: int) -> None:
    (network, parameters), (X, y) = make(), batch(m)
    cost, error = network.evaluate(X, y, parameters)
    whole = Network(ARCHITECTURE, Regularization(m=40), dtype=np.float64, max_batch=m)
    assert cost == pytest.approx(whole.cost(X, y, parameters), rel=1e-12)
    logits = whole.forward(X, parameters)
    assert error == np.mean(logits.argmax(axis=0) != y)
    np.testing.assert_allclose(network.logits(X, parameters), logits, rtol=1e-12, atol=1e-12)


def test_the_penalty_is_in_the_cost_and_not_in_the_evaluation() -> None:
    (network, parameters), (X, y) = make(lambd=2.0, lambd_l1=1.0), batch()
    assert network.cost(X, y, parameters) == pytest.approx(
        network.evaluate(X, y, parameters)[0] + network.penalty(parameters), rel=1e-14
    )


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        np.ascontiguousarray,
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: X[:, ::-1][:, ::-1],
        lambda X: X.astype(np.float32),
    ],
    ids=["fortran", "c", "strided", "reversed", "float32"],
)
def test_any_layout_gives_the_same_answer_and_is_left_alone(convert: object) -> None:
    (network, parameters), (X, y) = make(keep_prob=(0.5, 0.5), keep_prob_input=0.5), batch()
    X = np.round(X, 1).astype(np.float32).astype(np.float64)
    masks = [None if D is None else D.copy() for D in network.draw_masks(12, np.random.Generator(np.random.SFC64(0)))]
    there, here, given_X = parameters.like(), parameters.like(), convert(X)  # type: ignore[operator]
    given_X.flags.writeable = False
    before = given_X.copy()
    J = network.cost_and_gradients(X, y, parameters, there, masks)
    assert network.cost_and_gradients(given_X, y, parameters, here, masks) == pytest.approx(J, rel=1e-14)
    np.testing.assert_allclose(here.theta, there.theta, rtol=1e-12, atol=1e-16)
    np.testing.assert_array_equal(given_X, before)


def test_integer_inputs_count_as_numbers() -> None:
    (network, parameters), (_, y) = make(), batch()
    X = np.arange(48).reshape(4, 12) % 7
    assert network.cost(X, y, parameters) == network.cost(X.astype(float), y, parameters)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((3, 5)), np.zeros(5, int), r"X must be \(4, m\), got \(3, 5\)"),
        (np.zeros(4), np.zeros(1, int), r"X must be \(4, m\), got \(4,\)"),
        (np.zeros((4, 5)), np.zeros(4, int), "one label for each of the 5 examples, got 4"),
        (np.zeros((4, 13)), np.zeros(13, int), r"1\.\.12 examples, got 13"),
        (np.zeros((4, 0)), np.zeros(0, int), r"1\.\.12 examples, got 0"),
    ],
)
def test_wrong_shapes_are_refused(X: np.ndarray, y: np.ndarray, message: str) -> None:
    network, parameters = make()
    with pytest.raises(ValueError, match=message):
        network.cost_and_gradients(X, y, parameters, parameters.like())


@pytest.mark.parametrize(("m", "labels"), [(0, 0), (5, 4), (5, 6), (CHUNK + 1, CHUNK)])
@pytest.mark.usefixtures("small_chunks")
def test_evaluation_wants_a_label_for_each_of_some_examples(m: int, labels: int) -> None:
    network, parameters = make()
    with pytest.raises(ValueError, match=f"got {labels} for {m}"):
        network.evaluate(np.zeros((4, m)), np.zeros(labels, int), parameters)


def test_a_network_needs_room_for_a_batch_and_a_keep_prob_for_each_hidden_layer() -> None:
    with pytest.raises(ValueError, match="max_batch must be at least 1, got 0"):
        make(max_batch=0)
    with pytest.raises(ValueError, match=r"keep_prob must be one per hidden layer \(2\), got \(0.5,\)"):
        make(keep_prob=(0.5,))


def test_smaller_batches_use_the_same_memory_and_forget_what_larger_ones_left() -> None:
    (network, parameters), (X, y) = make(keep_prob=(0.5, 0.5)), batch()
    fresh = make(keep_prob=(0.5, 0.5))[0].cost(X[:, :5], y[:5], parameters)
    network.cost_and_gradients(X, y, parameters, parameters.like(), network.draw_masks(12, np.random.default_rng(0)))
    assert network.cost(X[:, :5], y[:5], parameters) == fresh


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_step_allocates_no_array(output: str, activation: str) -> None:
    sizes = (100, 256, 256, 3 if output == "softmax" else 1)
    regularization = Regularization(m=9, lambd=1.0, lambd_l1=1.0, keep_prob=(0.5, 0.5), keep_prob_input=0.5)
    network = Network(Architecture(sizes, (activation,) * 2, output), regularization, max_batch=512)
    parameters = initialize(network.architecture, rng=np.random.default_rng(0))
    gradients, y = parameters.like(), np.zeros(512, np.intp)
    X = np.ones((512, 100), np.float32).T
    masks = network.draw_masks(512, np.random.default_rng(0))
    network.cost_and_gradients(X, y, parameters, gradients, masks)
    tracemalloc.start()
    network.cost_and_gradients(X, y, parameters, gradients, masks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    numpy_buffer = np.getbufsize() * 4  # which NumPy allots to a ufunc that broadcasts or casts
    assert peak < 2 * numpy_buffer < 256 * 512 * 4


def test_traced_layers_are_those_of_the_forward_pass() -> None:
    (network, parameters), (X, _) = make(), batch()
    logits = network.forward(X, parameters).copy()
    Z, A = network.trace(X, parameters)
    np.testing.assert_allclose(Z[-1], logits, rtol=1e-14)
    np.testing.assert_array_equal(A[0], X)
    np.testing.assert_allclose(A[1], np.maximum(Z[0], 0))
    np.testing.assert_allclose(A[2], np.tanh(Z[1]))


def test_the_activations_of_a_batch_end_with_the_probabilities() -> None:
    (network, parameters), (X, y) = make(), batch()
    network.cost(X, y, parameters)
    Z, A = network.trace(X, parameters)
    P = np.exp(Z[-1]) / np.exp(Z[-1]).sum(axis=0)
    for found, expected in zip(network.activations(12), [*A[1:], P], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [(4, 6, 5, 3), (4, 6, 5, 1)], ids=["softmax", "sigmoid"])
def test_each_of_the_networks_side_by_side_has_the_bits_that_it_has_alone(
    sizes: tuple[int, ...], weighted: bool
) -> None:
    architecture = Architecture(sizes, ("relu", "tanh"), "softmax" if sizes[-1] > 1 else "sigmoid")
    regularization = Regularization(m=40, lambd=2.0, lambd_l1=1.0, keep_prob=(0.5, 0.8), keep_prob_input=0.9)
    rng, classes = np.random.default_rng(0), architecture.num_classes
    weights = rng.uniform(0.5, 2, (2, classes)) if weighted else None
    X, y = rng.standard_normal((2, 4, 12)), rng.integers(0, classes, (2, 12))
    both = Parameters(
        sizes, np.float64, theta=np.stack([initialize(architecture, rng=rng, dtype=np.float64).theta for _ in range(2)])
    )
    gradients = both.like()
    together = Network(architecture, regularization, dtype=np.float64, max_batch=20, stack=2, class_weights=weights)
    masks = together.draw_masks(12, *(np.random.Generator(np.random.SFC64(seed)) for seed in range(2)))
    J = together.cost_and_gradients(X, y, both, gradients, masks)
    for row in range(2):
        one = None if weights is None else weights[row]
        alone = Network(architecture, regularization, dtype=np.float64, max_batch=20, class_weights=one)
        parameters = Parameters(sizes, np.float64, theta=both.theta[row].copy())
        gradient = parameters.like()
        masks = alone.draw_masks(12, np.random.Generator(np.random.SFC64(row)))
        assert alone.cost_and_gradients(X[row], y[row], parameters, gradient, masks) == J[row]
        np.testing.assert_array_equal(gradients.theta[row], gradient.theta)
