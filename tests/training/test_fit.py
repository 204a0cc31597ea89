import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.arrays import Normalization
from pipeline.data.batches import Examples
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.fit import Fit, FitState
from pipeline.training.optimizers import RULES, Optimizer
from tests.training.problems import begin, digits, digits_fit


def same_bits(a: FitState, b: FitState) -> bool:
    """Return whether two states have the same bits in everything that training continues from, and in every curve."""
    left, right = a.curves(), b.curves()
    return (
        a.theta.tobytes() == b.theta.tobytes()
        and a.best_theta.tobytes() == b.best_theta.tobytes()
        and all(x.tobytes() == y.tobytes() for x, y in zip(a.slots, b.slots, strict=True))
        and all(left[name].tobytes() == right[name].tobytes() for name in left)
        and (a.epoch, a.step, a.outcome, a.reason, a.memory) == (b.epoch, b.step, b.outcome, b.reason, b.memory)
        and repr(a.streams) == repr(b.streams)
    )


DEMANDING = {"keep_prob": (0.8, 0.5), "keep_prob_input": 0.9, "lambd": 0.5, "lambd_l1": 0.1}


def noisy(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows + rng.standard_normal(rows.shape)


@pytest.fixture(scope="module")
def parts() -> tuple:
    return digits()


@pytest.mark.parametrize("optimizer", RULES)
def test_every_optimiser_learns(optimizer: str, parts: tuple) -> None:
    rate = {"gradient_descent": 0.1, "momentum": 0.03, "rmsprop": 0.003, "adam": 0.01}[optimizer]
    fit = digits_fit(examples=parts, optimizer=Optimizer(optimizer, rate), num_epochs=30)
    state = fit.advance(begin(fit))
    assert state.outcome == "completed"
    assert state.summary()["best_dev_error"] < 0.25
    assert state.curves()["train_cost"][-1] < 0.1 * state.curves()["train_cost"][0]


@pytest.mark.parametrize("optimizer", RULES)
@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, 6), max_size=6))
def test_segments_of_any_lengths_give_the_same_bits(optimizer: str, cuts: list[int], parts: tuple) -> None:
    rule = Optimizer(optimizer, 0.01, decay="cosine")
    fit = digits_fit(examples=parts, optimizer=rule, num_epochs=6, augment=noisy, **DEMANDING)
    whole = fit.advance(begin(fit))
    state = begin(fit)
    for cut in cuts:
        state = digits_fit(examples=parts, optimizer=rule, num_epochs=6, augment=noisy, **DEMANDING).advance(
            pickle.loads(pickle.dumps(state)), until_epoch=cut
        )
    assert same_bits(fit.advance(state), whole)


def test_segments_change_no_bit_of_an_early_stop(parts: tuple) -> None:
    fit = digits_fit(examples=parts, optimizer=Optimizer("momentum", 0.2), num_epochs=60, patience=3)
    whole, state = fit.advance(begin(fit)), begin(fit)
    assert whole.outcome == "early_stopped"
    while state.outcome is None:
        state = fit.advance(state, until_epoch=state.epoch + 1)
    assert same_bits(state, whole)


def test_advancing_leaves_the_state_it_was_given_alone(parts: tuple) -> None:
    fit = digits_fit(examples=parts, **DEMANDING)
    state = fit.advance(begin(fit), until_epoch=2)
    copy = pickle.loads(pickle.dumps(state))
    fit.advance(state)
    assert same_bits(state, copy)


def test_a_finished_fit_advances_no_further(parts: tuple) -> None:
    fit = digits_fit(examples=parts, num_epochs=2)
    done = fit.advance(begin(fit))
    assert same_bits(fit.advance(done), done)


def test_keep_prob_and_lambda_change_neither_initial_weights_nor_order(parts: tuple) -> None:
    plain, regularised = digits_fit(examples=parts), digits_fit(examples=parts, **DEMANDING)
    a, b = begin(plain), begin(regularised)
    assert a.theta.tobytes() == b.theta.tobytes()
    a, b = plain.advance(a, until_epoch=1), regularised.advance(b, until_epoch=1)
    assert repr(a.streams["shuffle"]) == repr(b.streams["shuffle"])


def test_the_best_epochs_parameters_are_returned_exactly(parts: tuple) -> None:
    fit = digits_fit(examples=parts, optimizer=Optimizer("momentum", 0.2), num_epochs=40, patience=5)
    state = fit.advance(begin(fit))
    best = int(state.summary()["best_epoch"])
    again = fit.advance(begin(fit), until_epoch=best)
    assert 0 < best < state.epoch
    assert state.best_theta.tobytes() == again.theta.tobytes()
    X, y = next(parts[1].blocks())
    cost, error = fit.network.evaluate(X, y, state.parameters())
    assert (cost, error) == (state.summary()["best_dev_cost"], state.summary()["best_dev_error"])
    assert cost == state.curves()["dev_cost"].min()


@pytest.mark.parametrize("monitor", ["dev_cost", "dev_error", "balanced_error"])
def test_the_best_epoch_is_that_of_the_monitored_measure(monitor: str, parts: tuple) -> None:
    fit = digits_fit(examples=parts, num_epochs=8, monitor=monitor)
    state = fit.advance(begin(fit))
    assert state.summary()["best_epoch"] == state.curves()[monitor].argmin()


def test_without_a_dev_part_the_last_epoch_is_returned(parts: tuple) -> None:
    fit = digits_fit(examples=(parts[0], None), num_epochs=3, patience=1)
    state = fit.advance(begin(fit))
    assert state.outcome == "completed"
    assert state.summary()["best_epoch"] == 3
    assert np.isnan(state.curves()["dev_cost"]).all()
    assert state.best_theta.tobytes() == state.theta.tobytes()


@pytest.mark.parametrize(
    ("dtype", "rate"), [("float32", 1e3), ("float32", 1e30), ("float64", 1e30), ("float64", 1e200)]
)
def test_divergence_is_an_outcome_without_a_warning(dtype: str, rate: float) -> None:
    fit = digits_fit(m=100, dtype=dtype, optimizer=Optimizer("gradient_descent", rate), num_epochs=200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = fit.advance(begin(fit, scale=10.0))
    assert state.outcome == "diverged"
    assert state.reason == f"the cost was no longer a finite number in epoch {state.epoch}"
    assert len(state.curves()["train_cost"]) == state.epoch + 1
    assert np.isfinite(state.best_theta).all()
    assert np.isfinite(state.summary()["best_dev_cost"])


def test_an_objective_that_overflows_diverges_in_the_first_epoch_too(parts: tuple) -> None:
    fit = digits_fit(examples=parts)
    fit.resume(begin(fit))
    fit.end_epoch(np.inf)
    state = fit.pause()
    assert (state.outcome, state.epoch) == ("diverged", 1)


def test_initial_weights_that_overflow_diverge_before_the_first_epoch(parts: tuple) -> None:
    fit = digits_fit(examples=parts)
    state = begin(fit, scale=1e30)
    assert (state.outcome, state.epoch) == ("diverged", 0)
    assert fit.advance(state).epoch == 0


def test_a_dev_cost_that_overflows_alone_is_divergence_too(parts: tuple) -> None:
    far_away = Normalization(np.zeros(64), np.zeros(64), np.full(64, 1e37))
    dev = Examples(np.full((2, 64), 9), np.arange(2), np.arange(2), far_away)
    state = begin(digits_fit(examples=(parts[0], dev)))
    assert np.isfinite(state.curves()["train_cost"]).all()
    assert (state.outcome, state.epoch) == ("diverged", 0)


def test_curves_cover_epoch_zero_to_the_last(parts: tuple) -> None:
    fit = digits_fit(examples=parts, num_epochs=3, lambd=5.0)
    state = fit.advance(begin(fit))
    curves = state.curves()
    assert {len(curve) for curve in curves.values()} == {4}
    assert np.isnan(curves["train_cost_penalized"][0])
    assert np.isfinite(curves["train_cost_penalized"][1:]).all()
    others = [curve for name, curve in curves.items() if name != "train_cost_penalized"]
    assert all(np.isfinite(curve).all() for curve in others)


def test_norms_are_of_each_layer(parts: tuple) -> None:
    fit = digits_fit(examples=parts, dtype="float32", num_epochs=2, lambd=5.0)
    state = fit.advance(begin(fit))
    curves, parameters = state.curves(), fit.network.architecture
    final = begin(fit).parameters()
    final.theta[:] = state.theta
    gradients = final.like()
    X, y = parts[0].head(32)
    fit.network.cost_and_gradients(X, y, final, gradients)
    A = [*fit.network.trace(X, final)[1][1:], fit.network.activations(32)[-1]]
    for layer in range(1, parameters.num_layers + 1):
        assert curves[f"weight_norm_{layer}"][-1] == pytest.approx(np.linalg.norm(final.W[layer]), rel=1e-5)
        assert curves[f"gradient_norm_{layer}"][-1] == pytest.approx(np.linalg.norm(gradients.W[layer]), rel=1e-4)
        assert curves[f"activation_norm_{layer}"][-1] == pytest.approx(
            np.linalg.norm(A[layer - 1]) / np.sqrt(32), rel=1e-4
        )


def test_the_penalised_cost_is_what_full_batch_descent_minimises(parts: tuple) -> None:
    fit = digits_fit(
        examples=parts, batch_size=300, optimizer=Optimizer("gradient_descent", 0.05), num_epochs=30, lambd=3.0
    )
    state = fit.advance(begin(fit))
    J = state.curves()["train_cost_penalized"][1:]
    assert (np.diff(J) < 0).all()
    initial = begin(fit)
    assert J[0] == pytest.approx(
        initial.curves()["train_cost"][0] + fit.network.penalty(initial.parameters()), rel=1e-5
    )


def test_the_first_epoch_has_the_whole_learning_rate_and_the_second_the_decayed_one(parts: tuple) -> None:
    rule = Optimizer("gradient_descent", 0.1, decay="inverse", decay_rate=1.0)
    fit = digits_fit(examples=parts, dtype="float64", batch_size=300, optimizer=rule, num_epochs=2)
    state = fit.advance(begin(fit))
    expected = begin(fit).parameters()
    gradients, (X, y) = expected.like(), next(parts[0].blocks())
    for alpha in (0.1, 0.05):
        fit.network.cost_and_gradients(X, y, expected, gradients)
        expected.theta[:] -= alpha * gradients.theta
    np.testing.assert_allclose(state.theta, expected.theta, rtol=1e-9, atol=1e-12)


def test_a_last_batch_that_is_short_counts_by_its_examples(parts: tuple) -> None:
    rule = Optimizer("gradient_descent", 1e-12)
    fit = digits_fit(examples=parts, dtype="float64", batch_size=128, optimizer=rule, num_epochs=1, lambd=3.0)
    curves = fit.advance(begin(fit)).curves()  # batches of 128, 128 and 44 on weights that do not move
    J = curves["train_cost"][0] + fit.network.penalty(begin(fit).parameters())
    assert curves["train_cost_penalized"][1] == pytest.approx(J, rel=1e-9)


def test_a_batch_of_every_example_and_of_one_are_allowed() -> None:
    few = digits(4)
    for size in (1, 4):
        fit = digits_fit(m=4, examples=few, batch_size=size, num_epochs=1)
        assert fit.advance(begin(fit)).step == 4 // size


def test_l1_makes_weights_sparse(parts: tuple) -> None:
    plain, sparse = (digits_fit(examples=parts, num_epochs=30, lambd_l1=strength) for strength in (0.0, 20.0))
    shares = [fit.advance(begin(fit)).summary()["sparsity"] for fit in (plain, sparse)]
    assert shares[1] > shares[0] + 0.1


def test_memory_does_not_grow_with_the_number_of_epochs(parts: tuple) -> None:
    fit = digits_fit(examples=parts, num_epochs=60, **DEMANDING)
    state = fit.advance(begin(fit), until_epoch=2)
    peaks = []
    for epochs in (5, 50):
        tracemalloc.start()
        fit.advance(state, until_epoch=2 + epochs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    rows = 45 * len(state.history.names) * 64
    assert peaks[1] - peaks[0] < rows


def test_blocks_smaller_than_the_data_train_to_the_same_bits(parts: tuple) -> None:
    whole, pieces = digits_fit(examples=parts), digits_fit(examples=digits(resident_bytes=64 * 64 * 4))
    a, b = whole.advance(begin(whole)), pieces.advance(begin(pieces))
    assert a.theta.tobytes() == b.theta.tobytes()
    np.testing.assert_allclose(a.curves()["dev_cost"], b.curves()["dev_cost"], rtol=1e-6)


def test_without_a_dev_part_nothing_stops_early_and_the_last_epoch_is_returned(parts: tuple) -> None:
    fit = digits_fit(examples=(parts[0], None), num_epochs=5, patience=1, min_delta=1.5)
    state = fit.advance(begin(fit))
    assert (state.outcome, state.memory.best_epoch) == ("completed", 5)
    assert state.best_theta.tobytes() == state.theta.tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 301}, r"batch_size must be in 1\.\.300, the number of training examples, got 301"),
        ({"batch_size": 0}, "batch_size|max_batch"),
        ({"num_epochs": 0}, "num_epochs must be at least 1, got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, int], message: str, parts: tuple) -> None:
    with pytest.raises(ValueError, match=message):
        digits_fit(examples=parts, **changes)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((63, 10), "the examples have 64 features, the network takes 63"),
        ((64, 9), r"labels must be in 0\.\.8, got 9"),
    ],
)
def test_examples_that_do_not_fit_the_network_are_refused(sizes: tuple[int, int], message: str, parts: tuple) -> None:
    network = Network(Architecture(sizes, (), "softmax"), Regularization(m=300), max_batch=10)
    with pytest.raises(ValueError, match=message):
        Fit(network, *parts, Optimizer(), batch_size=10, num_epochs=1, stopper=EarlyStopping())


def test_the_balanced_error_is_the_mean_error_over_classes_as_scikit_learn_has_it(parts: tuple) -> None:
    fit = digits_fit(examples=parts, num_epochs=2)
    state = fit.advance(begin(fit))
    final = state.parameters()
    final.theta[:] = state.theta
    (X, y) = parts[1].head(parts[1].m)
    answers = fit.network.logits(X, final).argmax(axis=0)
    expected = 1 - sklearn.metrics.balanced_accuracy_score(y, answers)
    assert state.curves()["balanced_error"][-1] == pytest.approx(expected, abs=1e-12)
    assert fit.dev_measures(state)["dev_recall"] == pytest.approx(1 - state.summary()["best_balanced_error"], abs=1e-12)
