"""Whole fits, batches and all, against PyTorch and scikit-learn from the same initial values."""

import warnings
from typing import Any

import numpy as np
import pytest

from pipeline.nn.parameters import Parameters
from pipeline.training.optimizers import Optimizer
from pipeline.training.streams import streams
from tests.training.problems import begin, digits, digits_fit

EPOCHS = 4
NEXT_TO_NOTHING = 1e-14
TORCH_OPTIMIZERS: dict[str, Any] = {
    "gradient_descent": lambda torch, leaves: torch.optim.SGD(leaves, lr=0.02),
    "momentum": lambda torch, leaves: torch.optim.SGD(leaves, lr=0.02, momentum=0.9),
    "rmsprop": lambda torch, leaves: torch.optim.RMSprop(leaves, lr=0.02, alpha=0.999, eps=1e-8),
    "adam": lambda torch, leaves: torch.optim.Adam(leaves, lr=0.02, betas=(0.9, 0.999), eps=1e-8),
}


@pytest.mark.oracle
@pytest.mark.parametrize("optimizer", TORCH_OPTIMIZERS)
def test_a_fit_with_dropout_and_penalties_equals_pytorchs(optimizer: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is an optional extra")
    parts = digits(100, "float64")
    fit = digits_fit(
        m=100,
        dtype="float64",
        examples=parts,
        optimizer=Optimizer(optimizer, 0.02),
        num_epochs=EPOCHS,
        keep_prob=(0.8, 0.6),
        lambd=2.0,
    )
    state = fit.advance(begin(fit))
    initial, random = begin(fit).parameters(), streams(0)
    leaves = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in initial.as_dict().items()}
    rule = TORCH_OPTIMIZERS[optimizer](torch, list(leaves.values()))
    for _ in range(EPOCHS):
        for X, y in parts[0].batches(32, random):
            masks = fit.network.draw_masks(len(y), random.dropout)
            A = torch.from_numpy(X.copy())
            for layer in (1, 2):
                mask = torch.from_numpy(masks[layer].copy())
                A = torch.relu(leaves[f"W{layer}"] @ A + leaves[f"b{layer}"]) * mask
            J = torch.nn.functional.cross_entropy((leaves["W3"] @ A + leaves["b3"]).T, torch.from_numpy(y.copy()))
            J = J + 2.0 / 200 * sum((leaves[f"W{layer}"] ** 2).sum() for layer in (1, 2, 3))
            rule.zero_grad()
            J.backward()
            rule.step()
    expected = Parameters(state.layer_sizes, np.float64)
    for name, value in expected.as_dict().items():
        value[...] = leaves[name].detach().numpy()
    assert np.linalg.norm(state.theta - expected.theta) / np.linalg.norm(expected.theta) < 1e-10


@pytest.mark.parametrize(("optimizer", "solver"), [("momentum", "sgd"), ("adam", "adam")])
def test_a_full_batch_fit_with_l2_equals_scikit_learns(optimizer: str, solver: str) -> None:
    """scikit-learn divides λ by the batch's size, here m; its Adam corrects no ε."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    train, _ = digits(100, "float64")
    fit = digits_fit(
        m=100,
        dtype="float64",
        examples=(train, None),
        optimizer=Optimizer(optimizer, 0.02, epsilon=NEXT_TO_NOTHING),
        batch_size=100,
        num_epochs=20,
        lambd=3.0,
    )
    initial = begin(fit)
    state = fit.advance(initial)
    (X, y) = next(train.blocks())
    model = neural_network.MLPClassifier(
        (16, 12),
        solver=solver,
        alpha=3.0,
        batch_size=100,
        learning_rate_init=0.02,
        momentum=0.9,
        nesterovs_momentum=False,
        shuffle=False,
        max_iter=1,
        warm_start=True,
        epsilon=NEXT_TO_NOTHING,
        n_iter_no_change=1000,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X.T, y)
        given = initial.parameters()
        model.coefs_ = [W.T.copy() for W in given.W.values()]
        model.intercepts_ = [b.ravel().copy() for b in given.b.values()]
        model.set_params(max_iter=20)
        model.fit(X.T, y)
    expected = np.concatenate([W.ravel() for W in model.coefs_] + model.intercepts_)
    np.testing.assert_allclose(state.theta, expected, rtol=1e-8, atol=1e-9)
    J = state.curves()["train_cost_penalized"][1:]
    np.testing.assert_allclose(J, model.loss_curve_[-20:], rtol=1e-9)
