import numpy as np
import pytest

from pipeline.gradcheck.numerical import METHODS, numerical_gradient, relative_error
from pipeline.gradcheck.problem import Problem
from pipeline.gradcheck.restart import KINKED
from pipeline.nn.activations import ACTIVATIONS
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization


def make_problem(sizes=(5, 7, 4, 3), activation="tanh", output="softmax", m=6, masked=False, seed=0, **regularization):
    rng = np.random.default_rng(seed)
    hidden = len(sizes) - 2
    keep = (0.7,) * hidden if masked else ()
    settings = Regularization(m=50, keep_prob=keep, keep_prob_input=0.8 if masked else 1.0, **regularization)
    architecture = Architecture(sizes, (activation,) * hidden, output)
    network = Network(architecture, settings, dtype=np.float64, max_batch=m)
    parameters = initialize(architecture, rng=rng, dtype=np.float64)
    for b in parameters.b.values():
        b[...] = rng.standard_normal(b.shape)
    masks = network.draw_masks(m, rng) if masked else None
    X, y = rng.standard_normal((sizes[0], m)), rng.integers(0, architecture.num_classes, m)
    return Problem.of(network, parameters, X, y, masks)


def plain_loop(problem, method="two_sided", epsilon=1e-5):
    moved = problem.parameters.copy(np.complex128 if method == "complex_step" else None)

    def J(theta):
        moved.theta[...] = theta
        return problem.cost(moved)

    return numerical_gradient(J, problem.parameters.theta, epsilon=epsilon, method=method)


def all_quotients(problem, method="two_sided", epsilon=1e-5):
    return problem.quotients(np.arange(problem.parameters.theta.size), METHODS[method], epsilon)


@pytest.mark.parametrize("method", ["two_sided", "complex_step"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_restarting_gives_the_plain_loops_gradient(activation, output, masked, method):
    sizes = (5, 7, 4, 3) if output == "softmax" else (5, 7, 4, 1)
    problem = make_problem(sizes, activation, output, masked=masked, lambd=2.0, lambd_l1=1.0)
    fast = all_quotients(problem, method)
    assert relative_error(fast.values[~fast.kinks], plain_loop(problem, method)[~fast.kinks]) <= 1e-9


def test_restarting_agrees_with_the_plain_loop_on_the_default_network_to_1e_9():
    problem = make_problem((64, 64, 32, 10), "relu", m=4)
    some = np.sort(np.random.default_rng(0).choice(problem.parameters.theta.size, 400, replace=False))
    fast = problem.quotients(some, METHODS["two_sided"], 1e-5)
    moved = problem.parameters.copy()

    def J(values):
        moved.theta[some] = values
        return problem.cost(moved)

    assert relative_error(fast.values, numerical_gradient(J, problem.parameters.theta[some])) <= 1e-9


@pytest.mark.parametrize("sizes", [(4, 3), (1, 1), (3, 1, 2), (2, 5, 1, 6, 1, 2)])
def test_any_depth_and_width_restarts(sizes):
    output = "sigmoid" if sizes[-1] == 1 else "softmax"
    problem = make_problem(sizes, "sigmoid", output)
    assert relative_error(all_quotients(problem).values, plain_loop(problem)) <= 1e-9


@pytest.mark.parametrize("elements", [20, 200])  # less than one coordinate takes, and a few coordinates
def test_cutting_the_batch_into_small_blocks_changes_nothing(monkeypatch, elements):
    whole = all_quotients(make_problem(activation="relu", masked=True)).values
    monkeypatch.setattr("pipeline.gradcheck.restart.BLOCK_ELEMENTS", elements)
    np.testing.assert_allclose(all_quotients(make_problem(activation="relu", masked=True)).values, whole, atol=1e-12)


def test_one_problem_serves_several_methods_in_turn():
    problem = make_problem()
    exact = all_quotients(problem, "complex_step").values
    for method, close in [("two_sided", 1e-9), ("one_sided", 1e-4), ("complex_step", 1e-15)]:
        assert relative_error(all_quotients(problem, method).values, exact) <= close


def test_some_coordinates_give_what_all_of_them_give():
    problem = make_problem()
    some = np.array([0, 3, 36, 40, 80, 81, 85, 88])
    np.testing.assert_allclose(
        problem.quotients(some, METHODS["two_sided"], 1e-5).values, all_quotients(problem).values[some], atol=1e-12
    )


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_a_unit_at_its_kink_is_found_and_others_are_not(activation):
    problem = make_problem((3, 2, 2), activation, m=1)
    W, b = problem.parameters.W, problem.parameters.b
    b[1][0] = -W[1][0] @ problem.X[:, 0]  # Z[1][0] = 0
    W[1][1], b[1][1] = 0.0, 1.0
    kinks = {problem.parameters.coordinate(i) for i in np.flatnonzero(all_quotients(problem).kinks)}
    assert kinks == {"W1[0, 0]", "W1[0, 1]", "W1[0, 2]", "b1[0]"}


def test_a_kink_in_a_later_layer_is_found():
    problem = make_problem((2, 1, 1, 2), "leaky_relu", m=1)
    W, b = problem.parameters.W, problem.parameters.b
    W[1][...], b[1][...], W[2][...] = 0.0, 1.0, 1.0
    b[2][...] = -1.0  # Z[1] = 1, Z[2] = 0
    kinks = {problem.parameters.coordinate(i) for i in np.flatnonzero(all_quotients(problem).kinks)}
    assert kinks == {"W1[0, 0]", "W1[0, 1]", "b1[0]", "W2[0, 0]", "b2[0]"}


def test_a_kink_of_a_dropped_unit_is_none():
    problem = make_problem((3, 2, 2), "relu", m=1, masked=True)
    problem.masks[1][...] = [[0.0], [2.0]]
    problem.parameters.b[1][0] = -problem.parameters.W[1][0] @ (problem.X * problem.masks[0])[:, 0]
    problem.parameters.b[1][1] = 5.0
    assert not all_quotients(problem).kinks.any()


@pytest.mark.parametrize("dropped", [0, 1])
def test_a_kink_in_a_later_layer_counts_unless_its_unit_is_dropped(dropped):
    problem = make_problem((2, 1, 2, 2), "relu", m=1, masked=True)
    problem.masks[0][...] = problem.masks[1][...] = 1.0
    problem.masks[2][...] = np.where(np.arange(2) == dropped, 0.0, 2.0)[:, None]
    W, b = problem.parameters.W, problem.parameters.b
    W[1][...], b[1][...], W[2][...], b[2][...] = 0.0, 1.0, 1.0, [[-1.0], [4.0]]  # Z[1] = 1, Z[2] = 0 and 5
    kinks = {problem.parameters.coordinate(i) for i in np.flatnonzero(all_quotients(problem).kinks)}
    assert kinks == (set() if dropped == 0 else {"W1[0, 0]", "W1[0, 1]", "b1[0]", "W2[0, 0]", "b2[0]"})


def test_weights_within_epsilon_of_zero_are_kinks_of_l1_and_biases_are_not():
    problem = make_problem(lambd_l1=1.0)
    problem.parameters.W[2][1, 3] = 5e-6
    problem.parameters.b[2][1] = 0.0
    kinks = np.flatnonzero(all_quotients(problem).kinks)
    assert [problem.parameters.coordinate(i) for i in kinks] == ["W2[1, 3]"]


def test_l1_without_strength_has_no_kinks():
    problem = make_problem(lambd_l1=0.0)
    problem.parameters.W[2][1, 3] = 0.0
    assert not all_quotients(problem).kinks.any()


def test_the_complex_step_crosses_no_kink_and_follows_the_convention_at_0():
    problem = make_problem((3, 2, 2), "relu", m=1)
    problem.parameters.b[1][...] = -problem.parameters.W[1] @ problem.X
    quotients = all_quotients(problem, "complex_step")
    gradient = problem.backpropagation()[1]
    assert not quotients.kinks.any()
    np.testing.assert_allclose(quotients.values, gradient.theta, atol=1e-15)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_defined_cost_is_the_networks_cost(output, scale):
    problem = make_problem((5, 4, 3 if output == "softmax" else 1), output=output, lambd=3.0, lambd_l1=2.0)
    problem.parameters.b[2][...] *= scale
    network_cost, _ = problem.backpropagation()
    assert problem.cost(problem.parameters) == pytest.approx(network_cost, rel=1e-12)


def test_directional_quotients_are_projections_of_the_gradient():
    problem = make_problem(lambd=2.0, lambd_l1=1.0)
    v = np.random.default_rng(1).standard_normal(problem.parameters.theta.size)
    v /= np.linalg.norm(v)
    _, gradient = problem.backpropagation()
    for method, close in [("two_sided", 1e-8), ("complex_step", 1e-12)]:
        value, straddles = problem.directional(v, METHODS[method], 1e-5)
        assert value == pytest.approx(v @ gradient.theta, rel=close)
        assert not straddles


def test_a_direction_across_a_kink_says_so():
    problem = make_problem((3, 2, 2), "relu", m=1)
    problem.parameters.b[1][...] = -problem.parameters.W[1] @ problem.X
    v = np.zeros(problem.parameters.theta.size)
    v[0] = 1.0
    assert problem.directional(v, METHODS["two_sided"], 1e-5)[1]


@pytest.mark.parametrize("lambd_l1", [0.0, 1.0])
def test_a_direction_that_turns_the_sign_of_a_weight_crosses_a_kink_if_l1_has_strength(lambd_l1):
    problem = make_problem(lambd_l1=lambd_l1)
    problem.parameters.W[2][1, 3] = 0.0
    v = np.ones(problem.parameters.theta.size)
    assert problem.directional(v, METHODS["two_sided"], 1e-5)[1] == bool(lambd_l1)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_exactly_the_activations_with_a_corner_at_0_count_as_kinked(name):
    left, right = np.array([-1e-9 + 1e-20j]), np.array([1e-9 + 1e-20j])
    for z in (left, right):
        ACTIVATIONS[name].forward(z, np.empty(1))
    assert (abs(left.imag - right.imag)[0] > 1e-25) == (name in KINKED)


def test_rounding_may_move_the_gradient_of_an_output_bias_by_sixteen_roundings_of_one():
    problem = make_problem((5, 7, 4, 3), "sigmoid")
    floor = problem.rounding_floor[-3:]  # b[3]
    np.testing.assert_allclose(floor, 16 * 2.0**-53, rtol=1e-12)  # Σ over m examples of u/m


def test_rounding_is_passed_on_by_the_slope_of_each_layer():
    architecture = Architecture((1, 1, 1, 1), ("relu", "identity"), "sigmoid")
    network = Network(architecture, Regularization(m=1), max_batch=1)
    parameters = initialize(architecture, rng=np.random.default_rng(0))
    parameters.theta[...] = [-1, 2, 3, 0, 0, 0]  # W[1], W[2], W[3], b; the ReLU is shut, its A and slope are 0
    problem = Problem.of(network, parameters, np.ones((1, 1)), np.zeros(1, int))
    # E[3] = u, M[3] = 1;  E[2] = 3u + 3u, M[2] = 3;  E[1] = 0 · 2 E[2] + u · 2 M[2]
    np.testing.assert_allclose(problem.rounding_floor, 16 * 2.0**-53 * np.array([6, 0, 0, 6, 6, 1]), rtol=1e-12)
