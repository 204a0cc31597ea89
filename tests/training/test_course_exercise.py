"""The course's "Initialization" exercise gives its published costs and accuracies through the ordinary fit."""

import numpy as np
import pytest

from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.fit import Fit, FitState
from pipeline.training.optimizers import Optimizer
from pipeline.training.streams import streams
from tests.training.problems import course_circles

PUBLISHED_HE = [
    0.883053746341976,
    0.6879825919728063,
    0.6751286264523371,
    0.6526117768893807,
    0.6082958970572937,
    0.5304944491717495,
    0.4138645817071794,
    0.3117803464844441,
    0.23696215330322562,
    0.1859728720920684,
    0.15015556280371808,
    0.12325079292273551,
    0.09917746546525937,
    0.08457055954024283,
    0.07357895962677366,
]
PUBLISHED_LARGE = {14_000: 0.3827}  # to four figures; the naive formula gives inf at 0


def train(scheme: str, scale: float = 1.0) -> FitState:
    architecture = Architecture((2, 10, 5, 1), ("relu", "relu"), "sigmoid")
    network = Network(architecture, Regularization(m=300), dtype=np.float64, max_batch=300)
    initial = initialize(architecture, scheme, scale, rng=np.random.RandomState(3), dtype=np.float64)
    fit = Fit(
        network,
        *course_circles(),
        Optimizer("gradient_descent", 0.01),
        batch_size=300,
        num_epochs=15_000,
        stopper=EarlyStopping(patience=None),
    )
    return fit.advance(fit.begin(initial, streams(0)))


def accuracies(state: FitState) -> tuple[float, float]:
    """Accuracy on train and dev after the last iteration."""
    curves = state.curves()
    return round(1 - curves["train_error"][-1], 12), round(1 - curves["dev_error"][-1], 12)


def test_he_initialisation_follows_the_published_costs() -> None:
    state = train("he")
    np.testing.assert_allclose(state.curves()["train_cost"][:15_000:1000], PUBLISHED_HE, rtol=1e-9)
    assert accuracies(state) == (round(298 / 300, 12), 0.96)


def test_large_random_initialisation_ends_where_published() -> None:
    state = train("fixed", 1000.0)
    costs = state.curves()["train_cost"]
    assert np.isfinite(costs).all()
    for iteration, cost in PUBLISHED_LARGE.items():
        assert costs[iteration] == pytest.approx(cost, abs=5e-5)
    assert accuracies(state) == (0.83, 0.86)


def test_zero_initialisation_never_learns() -> None:
    state = train("zeros")
    np.testing.assert_allclose(state.curves()["train_cost"], np.log(2), rtol=1e-9)
    assert accuracies(state) == (0.5, 0.5)
