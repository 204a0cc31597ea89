"""The core against PyTorch: its recorded answers always, PyTorch itself where it is installed."""

import numpy as np
import pytest

from pipeline.training.optimizers import Optimizer
from tests.nn import make_reference_values as reference
from tests.nn.oracle_cases import Case, cases, cost_and_gradient, few_cases, inputs, row_by_row

TOLERANCE = 1e-12


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def train(case: Case, optimizer: str) -> np.ndarray:
    given, rule = inputs(case), Optimizer(optimizer, reference.LEARNING_RATE)
    theta, gradients = given.parameters.theta, given.parameters.like()
    slots, scratch = rule.slots(theta), np.empty_like(theta)
    for step in range(1, reference.STEPS + 1):
        given.network.cost_and_gradients(given.X, given.y, given.parameters, gradients, given.masks)
        rule.update(theta, gradients.theta, slots, step, reference.LEARNING_RATE, scratch)
    return row_by_row(given.parameters)


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(reference.PATH, allow_pickle=False) as file:
        return dict(file)


def test_costs_and_gradients_equal_those_recorded_from_pytorch(recorded: dict[str, np.ndarray]) -> None:
    start = 0
    for case, expected in zip(few_cases(), recorded["costs"], strict=True):
        J, gradient = cost_and_gradient(case)
        assert pytest.approx(expected, rel=TOLERANCE) == J, case.name
        expected_gradient = recorded["gradients"][start : start + gradient.size]
        assert relative_error(gradient, expected_gradient) <= TOLERANCE, case.name
        start += gradient.size
    assert start == recorded["gradients"].size


@pytest.mark.parametrize("optimizer", reference.OPTIMIZERS)
def test_training_ends_where_recorded_pytorch_training_ended(optimizer: str, recorded: dict[str, np.ndarray]) -> None:
    assert relative_error(train(reference.TRAJECTORY, optimizer), recorded[optimizer]) <= TOLERANCE


@pytest.mark.oracle
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_cost_and_gradients_equal_autograd(case: Case) -> None:
    pytest.importorskip("torch", reason="PyTorch is an optional extra")
    from tests.nn import torch_oracle

    J, gradient = cost_and_gradient(case)
    expected, expected_gradient = torch_oracle.cost_and_gradient(case)
    assert pytest.approx(expected, rel=TOLERANCE) == J
    assert relative_error(gradient, expected_gradient) <= TOLERANCE


@pytest.mark.oracle
@pytest.mark.parametrize("optimizer", reference.OPTIMIZERS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_whole_training_equals_torch_optim(optimizer: str, activation: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is an optional extra")
    from tests.nn import torch_oracle

    case = Case(activation, "softmax", "l1_l2", "three", True)
    expected = torch_oracle.train(case, optimizer, reference.STEPS, reference.LEARNING_RATE)
    assert relative_error(train(case, optimizer), expected) <= TOLERANCE


@pytest.mark.oracle
def test_recorded_values_are_what_pytorch_gives_today(recorded: dict[str, np.ndarray]) -> None:
    pytest.importorskip("torch", reason="PyTorch is an optional extra")
    from tests.nn import torch_oracle

    costs = [torch_oracle.cost_and_gradient(case)[0] for case in few_cases()]
    np.testing.assert_allclose(costs, recorded["costs"], rtol=TOLERANCE)
