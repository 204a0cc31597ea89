"""A trial is a pure function, and where it is cut changes no bit of it."""

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.trial import (
    DataConfig,
    GradcheckConfig,
    ModelConfig,
    RegularizationConfig,
    TrainingConfig,
    TrialConfig,
)
from pipeline.data.arrays import TrialArrays, load_arrays
from pipeline.data.prepare import prepare
from pipeline.data.sampling import stratified_sample
from pipeline.nn import penalties
from pipeline.trials import trial
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import WrongGradient, advance, run_trial


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> TrialArrays:
    return load_arrays(prepare(DataConfig(name="breast_cancer"), tmp_path_factory.mktemp("store")).path)


@pytest.fixture(scope="module")
def three_folds(tmp_path_factory: pytest.TempPathFactory) -> TrialArrays:
    return load_arrays(prepare(DataConfig(name="breast_cancer", folds=3), tmp_path_factory.mktemp("store")).path)


def config(**training: object) -> TrialConfig:
    return TrialConfig(
        model=ModelConfig(hidden_units=[8, 4]),
        regularization=RegularizationConfig(lambd=0.5, keep_prob=0.8),
        training=TrainingConfig(**{"num_epochs": 12, **training}),  # type: ignore[arg-type]
        gradcheck=GradcheckConfig(examples=4),
    )


def in_pieces(config: TrialConfig, arrays: TrialArrays, step: int) -> TrialRecord:
    """Segment after segment, each carried to another process as bytes."""
    segment, until = None, 0
    while segment is None or segment.record is None:
        until += step
        segment = pickle.loads(pickle.dumps(advance(config, arrays, segment, until=until)))
    return segment.record


def assert_same_bits(a: TrialRecord, b: TrialRecord) -> None:
    assert (a.outcome, a.reason, a.stop_epoch, a.summary) == (b.outcome, b.reason, b.stop_epoch, b.summary)
    assert a.gradient_checks == b.gradient_checks
    for one, other in [
        (a.parameters, b.parameters),
        (a.curves, b.curves),
        *zip(a.fold_curves, b.fold_curves, strict=True),
    ]:
        assert one.keys() == other.keys()
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.parametrize("step", [1, 5])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_segments_of_any_length_give_the_same_bits(arrays: TrialArrays, step: int, optimizer: str) -> None:
    settings = config(optimizer=optimizer)
    assert_same_bits(run_trial(settings, arrays), in_pieces(settings, arrays, step))


def test_a_trial_cut_by_the_clock_in_every_epoch_gives_the_same_bits(arrays: TrialArrays) -> None:
    segment = advance(config(), arrays, seconds=0.0)
    while segment.record is None:
        segment = advance(config(), arrays, segment, seconds=0.0)
    assert_same_bits(run_trial(config(), arrays), segment.record)


def test_trials_in_several_threads_of_one_process_give_the_same_bits_as_one_after_the_other(
    arrays: TrialArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [config(batch_size=8) for _ in range(4)]
    for seed, each in enumerate(settings):
        each.seed = seed
    alone = [run_trial(each, arrays) for each in settings]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(2) as threads:
            together = list(threads.map(lambda each: run_trial(each, arrays), settings))
    finally:
        sys.setswitchinterval(before)
    for one, other in zip(alone, together, strict=True):
        assert_same_bits(one, other)


def test_blas_stays_pinned_to_one_thread_until_the_last_of_several_trials_has_ended() -> None:
    def threads() -> set[int]:
        return {library["num_threads"] for library in trial._controller().info() if library["user_api"] == "blas"}

    before = threads()
    first, second = trial._one_thread(), trial._one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threads() == {1}
    second.__exit__(None, None, None)
    assert threads() == before


def test_folds_carried_out_one_by_one_give_the_same_bits(three_folds: TrialArrays) -> None:
    whole = run_trial(config(), three_folds)
    assert_same_bits(whole, in_pieces(config(), three_folds, 1))
    assert whole.stop_epoch == 3
    assert len(whole.fold_curves) == 3
    assert {name for name in whole.parameters if name.endswith("_W1")} == {"fold1_W1", "fold2_W1", "fold3_W1"}


def test_a_trial_stopped_at_an_epoch_is_the_beginning_of_the_whole_one(arrays: TrialArrays) -> None:
    whole, part = run_trial(config(), arrays), run_trial(config(), arrays, stop_epoch=7)
    assert (part.outcome, part.stop_epoch) == ("pruned", 7)
    assert part.curves["dev_cost"].tobytes() == whole.curves["dev_cost"][:8].tobytes()


def test_another_keep_prob_leaves_the_initial_weights_and_another_seed_does_not(arrays: TrialArrays) -> None:
    def initial_cost(seed: int, keep_prob: float) -> float:
        settings = config(num_epochs=1)
        settings.seed, settings.regularization.keep_prob = seed, keep_prob
        return float(run_trial(settings, arrays).curves["dev_cost"][0])

    assert initial_cost(0, 0.8) == initial_cost(0, 0.5)
    assert initial_cost(0, 0.8) != initial_cost(1, 0.8)


def test_a_wrong_gradient_is_refused_before_training_unless_allowed(
    arrays: TrialArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(penalties, "add_l2_gradient", lambda *arguments: None)
    with pytest.raises(WrongGradient, match="wrong"):
        run_trial(config(), arrays)
    allowed = config()
    allowed.gradcheck.allow_wrong = True
    assert run_trial(allowed, arrays).gradient_checks["init"]["verdict"] == "wrong"


def test_dropout_is_checked_with_its_masks_frozen_also_when_the_batches_are_smaller_than_the_check(
    arrays: TrialArrays,
) -> None:
    reports = run_trial(config(batch_size=2, num_epochs=1), arrays).gradient_checks
    assert {report["dropout"] for report in reports.values()} == {"masks frozen"}


def test_a_training_part_smaller_than_a_batch_is_one_batch(arrays: TrialArrays) -> None:
    m = len(arrays.folds[0].train)
    small, whole = (run_trial(config(batch_size=size), arrays) for size in (m + 1, "full"))
    np.testing.assert_array_equal(small.curves["train_cost"], whole.curves["train_cost"])


def test_norms_are_of_the_same_examples_whatever_the_batch_size(arrays: TrialArrays) -> None:
    one, two = (run_trial(config(batch_size=size, num_epochs=1, dtype="float64"), arrays).curves for size in (8, 64))
    for name in ("weight_norm_1", "gradient_norm_1", "activation_norm_1"):
        assert one[name][0] == pytest.approx(two[name][0], rel=1e-12)


def test_a_trial_that_cannot_begin_is_not_diagnosed(arrays: TrialArrays) -> None:
    settings = config()
    settings.model.init.scale, settings.gradcheck.enabled = 1e300, False
    record = run_trial(settings, arrays)
    assert (record.outcome, record.diagnosis) == ("diverged", {})


def test_a_cost_that_overflows_is_an_outcome(arrays: TrialArrays) -> None:
    record = run_trial(config(learning_rate=1e6, optimizer="gradient_descent"), arrays)
    assert record.outcome == "diverged"
    assert "no longer a finite number" in record.reason


def test_arrays_are_read_once_in_a_process(tmp_path: Path) -> None:
    path = prepare(DataConfig(name="breast_cancer"), tmp_path).path
    assert trial._arrays(path) is trial._arrays(path)


def test_a_stratified_sample_has_every_class_if_it_can() -> None:
    y = np.repeat([0, 1, 2], [90, 8, 2])
    chosen = stratified_sample(y, 6, rng=np.random.default_rng(0))
    assert np.bincount(y[chosen]).tolist() == [2, 2, 2]
    assert len(set(chosen)) == 6
