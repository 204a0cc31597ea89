import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.optimizers import DECAYS, RULES, Optimizer


def run(name: str, gradients: list[float], **constants: float) -> float:
    """Return a single parameter after these gradients, from 1 on with rate 0.1."""
    rule, theta = Optimizer(name, 0.1, **constants), np.ones(1)
    slots, scratch = rule.slots(theta), np.empty(1)
    for step, gradient in enumerate(gradients, start=1):
        rule.update(theta, np.array([gradient]), slots, step, 0.1, scratch)
    return float(theta[0])


def test_gradient_descent_by_hand() -> None:
    assert run("gradient_descent", [2.0, 3.0]) == pytest.approx(1 - 0.2 - 0.3)


def test_momentum_by_hand() -> None:
    # v = 2, then 0.9 * 2 + 3 = 4.8
    assert run("momentum", [2.0, 3.0]) == pytest.approx(1 - 0.2 - 0.48)


def test_rmsprop_by_hand() -> None:
    # s = 0.1 * 4 = 0.4, then 0.9 * 0.4 + 0.1 * 9 = 1.26
    expected = 1 - 0.1 * 2 / math.sqrt(0.4) - 0.1 * 3 / math.sqrt(1.26)
    assert run("rmsprop", [2.0, 3.0], beta2=0.9, epsilon=1e-12) == pytest.approx(expected)


def test_adam_by_hand() -> None:
    # corrected means: v' = 2, s' = 4; then v' = (0.18 + 0.3) / 0.19, s' = (0.36 + 0.9) / 0.19
    expected = 1 - 0.1 * 2 / 2 - 0.1 * (0.48 / 0.19) / math.sqrt(1.26 / 0.19)
    assert run("adam", [2.0, 3.0], beta2=0.9, epsilon=1e-12) == pytest.approx(expected)


@given(gradient=st.floats(1e-3, 1e3), epsilon=st.floats(1e-12, 1e-6))
def test_adams_first_step_is_the_rate_whatever_the_gradient(gradient: float, epsilon: float) -> None:
    assert run("adam", [gradient], epsilon=epsilon) == pytest.approx(0.9, abs=2e-4)


def test_momentum_zero_is_gradient_descent() -> None:
    assert run("momentum", [2.0, -1.0, 0.5], momentum=0.0) == run("gradient_descent", [2.0, -1.0, 0.5])


@pytest.mark.parametrize("name", RULES)
def test_no_rule_touches_the_gradient_or_leaves_float32(name: str) -> None:
    rule, theta, gradient = Optimizer(name), np.ones(4, np.float32), np.arange(4, dtype=np.float32)
    slots = rule.slots(theta)
    rule.update(theta, gradient, slots, 1, 0.1, np.empty(4, np.float32))
    np.testing.assert_array_equal(gradient, np.arange(4))
    assert {theta.dtype, *(slot.dtype for slot in slots)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("decay", "rate", "expected"),
    [
        ("none", 0.0, [0.1, 0.1, 0.1]),
        ("inverse", 0.5, [0.1, 0.1 / 1.5, 0.1 / 2]),
        ("exponential", 0.5, [0.1, 0.1 * math.exp(-0.5), 0.1 * math.exp(-1)]),
        ("cosine", 0.0, [0.1, 0.1 * (1 + math.cos(math.pi / 10)) / 2, 0.1 * (1 + math.cos(math.pi / 5)) / 2]),
    ],
)
def test_learning_rates_decay_as_written(decay: str, rate: float, expected: list[float]) -> None:
    rule = Optimizer("momentum", 0.1, decay=decay, decay_rate=rate)
    assert [rule.rate(epoch, 10) for epoch in range(3)] == pytest.approx(expected)


@pytest.mark.parametrize("decay", DECAYS)
def test_every_decay_starts_at_the_learning_rate_and_stays_positive(decay: str) -> None:
    rule = Optimizer("momentum", 0.1, decay=decay, decay_rate=0.01)
    rates = [rule.rate(epoch, 200) for epoch in range(200)]
    assert rates[0] == 0.1
    assert min(rates) > 0
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "sgd"}, "optimizer must be one of gradient_descent, momentum, rmsprop, adam, got 'sgd'"),
        ({"decay": "linear"}, "decay must be one of none, inverse, exponential, cosine, got 'linear'"),
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite, got 0.0"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"beta2": -0.1}, "beta2"),
        ({"decay_rate": -1.0}, "decay_rate must be finite and not negative, got -1.0"),
    ],
)
def test_constants_out_of_range_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Optimizer(**values)  # type: ignore[arg-type]
