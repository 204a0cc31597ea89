"""Fits side by side have the bits that each has alone, whatever the network, and also when one breaks down."""

import numpy as np
import pytest

from pipeline.data.arrays import Normalization
from pipeline.data.batches import Examples, side_by_side
from pipeline.nn.architecture import Architecture, Regularization
from pipeline.nn.costs import balanced_weights
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Network
from pipeline.training import stack
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.fit import Fit, FitState
from pipeline.training.optimizers import Optimizer
from pipeline.training.stack import Stack, grouped
from pipeline.training.streams import streams

M, N_X, EPOCHS = 129, 5, 3  # 129 = 2 · 64 + 1: the last batch has one example


def make_fit(seed: int, output: str = "softmax", m: int = M, rate: float = 0.05, **changes: object) -> Fit:
    """A fit on random examples of its own."""
    rng = np.random.default_rng(seed)
    classes = 3 if output == "softmax" else 2
    X, y = rng.standard_normal((m + 20, N_X)), rng.integers(0, classes, m + 20)
    y[[0, -1]] = classes - 1
    as_it_is = Normalization(np.zeros(N_X), np.zeros(N_X), np.ones(N_X))
    settings = {"dtype": "float32", "optimizer": "momentum", "activation": "relu", "keep": (1.0, 1.0), "lambd": 0.7}
    s = settings | {"weighted": False, "decay": "none", "decay_rate": 0.0} | changes
    architecture = Architecture((N_X, 16, 8, classes if classes > 2 else 1), (str(s["activation"]),) * 2, output)
    regularization = Regularization(m=m, lambd=s["lambd"], lambd_l1=s["lambd"] / 3, keep_prob=s["keep"])
    weights = balanced_weights(y[:m], classes) if s["weighted"] else None
    return Fit(
        Network(architecture, regularization, dtype=s["dtype"], max_batch=64, class_weights=weights),
        Examples(X, y, np.arange(m), as_it_is, s["dtype"]),
        Examples(X, y, np.arange(m, m + 20), as_it_is, s["dtype"]),
        Optimizer(str(s["optimizer"]), learning_rate=rate, decay=str(s["decay"]), decay_rate=s["decay_rate"]),
        batch_size=64,
        num_epochs=50,
        stopper=EarlyStopping(),
    )


def begun(fit: Fit, seed: int) -> FitState:
    drawn = streams(seed)
    return fit.begin(initialize(fit.network.architecture, rng=drawn.init, dtype=fit.network.dtype), drawn)


def assert_same_bits(one: FitState, other: FitState) -> None:
    assert (one.epoch, one.step, one.outcome, one.reason, one.memory) == (
        other.epoch,
        other.step,
        other.outcome,
        other.reason,
        other.memory,
    )
    arrays = zip((one.theta, one.best_theta, *one.slots), (other.theta, other.best_theta, *other.slots), strict=True)
    assert all(a.tobytes() == b.tobytes() for a, b in arrays)
    assert one.history.values.tobytes() == other.history.values.tobytes()


CASES: dict[str, dict[str, object]] = {
    "momentum": {},
    "sigmoid output": {"output": "sigmoid", "activation": "tanh"},
    "dropout": {"keep": (0.8, 0.5)},
    "class weights": {"weighted": True},
    "class weights, sigmoid output": {"weighted": True, "output": "sigmoid", "dtype": "float64"},
    "adam in float64": {"optimizer": "adam", "dtype": "float64", "activation": "sigmoid"},
    "decay": {"decay": "exponential", "decay_rate": 0.5},
    "no penalty": {"lambd": 0.0, "optimizer": "rmsprop", "rate": 0.001, "activation": "leaky_relu"},
}


@pytest.mark.parametrize("case", CASES)
def test_each_fit_of_a_stack_has_the_bits_that_it_has_alone(case: str) -> None:
    alone, together = ([make_fit(seed, **CASES[case]) for seed in range(3)] for _ in range(2))
    expected = [fit.advance(begun(fit, seed), EPOCHS) for seed, fit in enumerate(alone)]
    for seed, fit in enumerate(together):
        fit.resume(begun(fit, seed))
    stacked = Stack(together, side_by_side)
    for _ in range(EPOCHS):
        stacked.run_epoch()
    for fit, state in zip(together, expected, strict=True):
        assert_same_bits(fit.pause(), state)


def test_a_fit_that_leaves_the_stack_goes_on_alone_with_the_same_bits() -> None:
    alone, together = ([make_fit(seed) for seed in range(2)] for _ in range(2))
    expected = [fit.advance(begun(fit, seed), 4) for seed, fit in enumerate(alone)]
    for seed, fit in enumerate(together):
        fit.resume(begun(fit, seed))
    Stack(together, side_by_side).run_epoch()
    Stack(together[::-1], side_by_side).run_epoch()
    for fit, state in zip(together, expected, strict=True):
        fit.run_epoch()
        fit.run_epoch()
        assert_same_bits(fit.pause(), state)


def test_a_fit_whose_cost_overflows_ends_as_alone_and_the_others_go_on() -> None:
    settings = {"rate": 300.0, "optimizer": "gradient_descent", "m": 64 * 9 + 1}
    alone, together = ([make_fit(seed, **settings) for seed in range(4)] for _ in range(2))
    expected = [fit.advance(begun(fit, seed), 1) for seed, fit in enumerate(alone)]
    assert {state.outcome for state in expected} == {"diverged", None}
    for seed, fit in enumerate(together):
        fit.resume(begun(fit, seed))
    Stack(together, side_by_side).run_epoch()
    for fit, state in zip(together, expected, strict=True):
        assert_same_bits(fit.pause(), state)


def sizes(groups: list[list[Fit]]) -> list[int]:
    return [len(group) for group in groups]


def resumed(count: int, **changes: object) -> list[Fit]:
    fits = [make_fit(seed, **changes) for seed in range(count)]
    for seed, fit in enumerate(fits):
        fit.resume(begun(fit, seed))
    return fits


def test_groups_are_as_large_as_the_cache_allows_and_of_equal_size(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = resumed(8)
    assert sizes(grouped(fits)) == [8]
    monkeypatch.setattr(stack, "CACHE_BYTES", 5 * stack.bytes_of(fits[0]))
    assert sizes(grouped(fits)) == [4, 4]
    monkeypatch.setattr(stack, "CACHE_BYTES", stack.bytes_of(fits[0]) // 2)
    assert sizes(grouped(fits)) == [1] * 8


def test_a_fit_is_counted_with_its_vectors_and_three_arrays_for_each_layer_and_two_for_each_dropped() -> None:
    n = 5 * 16 + 16 * 8 + 8 * 3 + 16 + 8 + 3
    assert stack.bytes_of(*resumed(1)) == 4 * (4 * n + 64 * 3 * (16 + 8 + 3))  # θ, dθ, scratch and momentum's slot
    dropped = resumed(1, keep=(0.8, 1.0), dtype="float64", optimizer="gradient_descent")
    assert stack.bytes_of(*dropped) == 8 * (3 * n + 64 * (3 * (16 + 8 + 3) + 2 * 16))


def test_training_parts_of_another_size_and_full_batches_are_not_stacked() -> None:
    assert sizes(grouped([*resumed(2), *resumed(2, m=130)])) == [2, 2]
    assert sizes(grouped(resumed(3, m=64))) == [1, 1, 1]
