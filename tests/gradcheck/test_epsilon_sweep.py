"""The error of each difference formula against ε, and the slope that is read off it, on errors whose slope is known."""

import numpy as np
import pytest

from pipeline.gradcheck.epsilon_sweep import fitted_slope, sweep_epsilon
from pipeline.gradcheck.problem import Problem
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization

EPSILONS = np.array([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 2e-2, 1e-1])


@pytest.mark.parametrize("order", [1, 2])
def test_the_slope_of_truncation_is_found_beside_rounding(order):
    epsilons = np.logspace(-8, -1, 29)
    assert fitted_slope(epsilons, 3 * epsilons**order + 1e-16 / epsilons) == pytest.approx(order, abs=0.03)


def test_two_points_up_to_1e_2_are_enough_and_larger_ones_do_not_count():
    errors = np.array([1e-9, 1e-9, 1e-8, 1e-6, 1e-4, 0.5, 0.9])
    assert fitted_slope(EPSILONS, errors) == pytest.approx(2)


def test_errors_of_zero_are_no_noise_level():
    errors = np.array([0.0, 1e-12, 5e-12, 1e-6, 1e-4, 0.5, 0.9])
    assert fitted_slope(EPSILONS, errors) == pytest.approx(2)


def test_what_is_not_known_is_left_out_and_without_truncation_there_is_no_slope():
    errors = np.array([1e-9, np.nan, 1e-8, 1e-6, 1e-4, np.nan, np.inf])
    assert fitted_slope(EPSILONS, errors) == pytest.approx(2)
    assert np.isnan(fitted_slope(EPSILONS, np.full(7, np.nan)))
    assert np.isnan(fitted_slope(EPSILONS, 1e-9 / EPSILONS))


def sweep(activation, sizes=(5, 8, 6, 3)):
    architecture = Architecture(sizes, (activation,) * (len(sizes) - 2), "sigmoid" if sizes[-1] == 1 else "softmax")
    network = Network(architecture, Regularization(m=90, lambd=1.0), max_batch=40)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((sizes[0], 40)), rng.integers(0, architecture.num_classes, 40)
    return sweep_epsilon(Problem.of(network, initialize(architecture, rng=rng), X, y), rng=rng)


def test_every_formula_shows_its_order_and_only_the_complex_step_loses_nothing_to_rounding():
    found = sweep("tanh")
    assert np.log10(found.epsilons[[0, -1]]) == pytest.approx([-12, -1])
    assert found.slopes["one_sided"] == pytest.approx(1, abs=0.05)
    assert found.slopes["two_sided"] == pytest.approx(2, abs=0.1)
    assert found.errors["two_sided"][0] > 1e4 * found.errors["two_sided"].min()
    assert found.errors["complex_step"][0] < 1e-15


def test_coordinates_at_kinks_are_left_out_of_the_errors():
    found = sweep("relu")
    assert found.kink_shares["two_sided"][-1] > found.kink_shares["two_sided"][0] == 0
    assert not found.kink_shares["complex_step"].any()
    assert found.slopes["two_sided"] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("sizes", "known"), [((9, 1), True), ((8, 1), False)])
def test_ten_coordinates_are_enough_for_an_error(sizes, known):
    assert np.isfinite(sweep("tanh", sizes).errors["two_sided"]).all() == known
