"""The slope that is read off the error against ε, on errors whose slope is known."""

import numpy as np
import pytest

from pipeline.gradcheck.epsilon_sweep import fitted_slope

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
