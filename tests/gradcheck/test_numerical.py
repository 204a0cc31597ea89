import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.gradcheck.numerical import (
    METHODS,
    numerical_derivative,
    numerical_gradient,
    relative_error,
)


def cube(theta):
    return theta**3


def test_two_sided_difference_of_theta_cubed_at_1_is_3_0001():
    assert numerical_derivative(cube, 1.0, epsilon=0.01, method="two_sided") == pytest.approx(3.0001, abs=1e-12)


def test_one_sided_difference_of_theta_cubed_at_1_is_3_0301():
    assert numerical_derivative(cube, 1.0, epsilon=0.01, method="one_sided") == pytest.approx(3.0301, abs=1e-12)


def test_complex_step_of_theta_cubed_at_1_is_exactly_3():
    assert numerical_derivative(cube, 1.0, method="complex_step") == 3.0


@pytest.mark.parametrize(("method", "order"), [("two_sided", 2), ("one_sided", 1)])
def test_truncation_error_falls_with_the_order_of_the_formula(method, order):
    errors = [abs(numerical_derivative(np.exp, 0.5, epsilon=e, method=method) - np.exp(0.5)) for e in (1e-1, 1e-2)]
    assert np.log10(errors[0] / errors[1]) == pytest.approx(order, abs=0.05)


def test_rounding_takes_over_below_the_best_epsilon():
    error = {e: abs(numerical_derivative(np.exp, 0.5, epsilon=e) - np.exp(0.5)) for e in (1e-5, 1e-11)}
    assert error[1e-11] > 100 * error[1e-5]


@pytest.mark.parametrize("method", METHODS)
def test_gradient_of_a_quadratic_form_is_twice_the_matrix_times_theta(method):
    rng = np.random.default_rng(0)
    S = rng.standard_normal((6, 6))
    S = S + S.T
    theta = rng.standard_normal(6)
    gradient = numerical_gradient(lambda t: t @ S @ t, theta, epsilon=1e-6, method=method)
    np.testing.assert_allclose(gradient, 2 * S @ theta, rtol=1e-4, atol=1e-4)


def test_gradient_leaves_theta_as_it_was():
    theta = np.arange(3.0)
    numerical_gradient(lambda t: t.sum(), theta)
    np.testing.assert_array_equal(theta, np.arange(3.0))


def test_unknown_method_lists_the_known_ones():
    with pytest.raises(ValueError, match="two_sided, one_sided, complex_step but got 'central'"):
        numerical_derivative(cube, 1.0, method="central")


vectors = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5)


@given(vectors)
def test_relative_error_of_a_vector_and_itself_is_0(values):
    assert relative_error(np.array(values), np.array(values)) == 0


@given(vectors)
def test_relative_error_is_symmetric_and_between_0_and_1(values):
    a, b = np.array(values), np.roll(np.array(values), 1) + 1
    assert relative_error(a, b) == relative_error(b, a)
    assert 0 <= relative_error(a, b) <= 1


def test_relative_error_by_hand():
    assert relative_error(np.array([3.0, 4.0]), np.array([3.0, 0.0])) == pytest.approx(4 / 8)


def test_two_zero_vectors_agree_without_dividing_zero_by_zero():
    assert relative_error(np.zeros(3), np.zeros(3)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_agree_with_nothing(bad):
    assert relative_error(np.array([bad, 1.0]), np.ones(2)) == 1
