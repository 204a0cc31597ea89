"""The plain implementation that the bench compares with is held to the core's answers."""

import numpy as np
import pytest

from benchmarks.course_style import CourseStyle
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.training.optimizers import Optimizer


@pytest.mark.parametrize("keep_prob", [1.0, 0.7])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_course_style_and_core_train_alike(optimizer: str, keep_prob: float) -> None:
    architecture = Architecture((6, 8, 5, 3), ("relu", "relu"), "softmax")
    regularization = Regularization(m=40, lambd=0.8, keep_prob=(keep_prob,) * 2)
    network = Network(architecture, regularization, dtype=np.float64, max_batch=16)
    parameters = initialize(architecture, rng=np.random.default_rng(0), dtype=np.float64)
    rule, gradients, scratch = Optimizer(optimizer, 0.02), parameters.like(), np.empty_like(parameters.theta)
    slots = rule.slots(parameters.theta)
    course = CourseStyle(
        parameters.as_dict(), optimizer=optimizer, learning_rate=0.02, keep_prob=keep_prob, lambd=0.8, m=40
    )
    rng, random = np.random.default_rng(1), np.random.Generator(np.random.SFC64(2))
    for step in range(1, 31):
        X, y = rng.standard_normal((6, 16)), rng.integers(0, 3, 16)
        masks = network.draw_masks(16, random)
        dropped = {f"D{layer}": D > 0 for layer, D in enumerate(masks) if D is not None}
        J = network.cost_and_gradients(X, y, parameters, gradients, masks)
        rule.update(parameters.theta, gradients.theta, slots, step, 0.02, scratch)
        assert course.step(X, np.eye(3)[y].T, dropped) == pytest.approx(J, rel=1e-11)
    for name, value in parameters.as_dict().items():
        np.testing.assert_allclose(course.parameters[name], value, rtol=1e-9, atol=1e-12)
