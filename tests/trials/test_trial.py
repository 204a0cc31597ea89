"""A trial is a pure function, and where it is cut changes no bit of it."""

import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
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
from pipeline.config.validation import parse
from pipeline.data.arrays import Fold, Normalization, TrialArrays, load_arrays
from pipeline.data.divisions import ensure
from pipeline.data.prepare import prepare
from pipeline.nn import penalties
from pipeline.reporting.layers_picture import draw_layers
from pipeline.training.fit import Fit
from pipeline.trials import fits
from pipeline.trials.fits import make_fit, plan
from pipeline.trials.gradients import stratified_sample
from pipeline.trials.parts import architecture_of
from pipeline.trials.record import TrialRecord
from pipeline.trials.threads import controller, one_thread
from pipeline.trials.trial import WrongGradient, advance, run_trial, work


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> TrialArrays:
    return prepared_with_repeats(DataConfig(name="breast_cancer"), tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def three_folds(tmp_path_factory: pytest.TempPathFactory) -> TrialArrays:
    return prepared_with_repeats(DataConfig(name="breast_cancer", folds=3), tmp_path_factory.mktemp("store"))


def prepared_with_repeats(data: DataConfig, store: Path) -> TrialArrays:
    prepared = prepare(data, store)
    ensure(prepared, data, range(3))
    return load_arrays(prepared.path)


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
        *zip(a.fit_curves, b.fit_curves, strict=True),
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
    for epoch in range(1, 12):
        assert (segment.fits[0].epoch, segment.record) == (epoch, None)
        segment = advance(config(), arrays, segment, seconds=0.0)
    assert segment.record is not None
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
        return {library["num_threads"] for library in controller().info() if library["user_api"] == "blas"}

    before = threads()
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threads() == {1}
    second.__exit__(None, None, None)
    assert threads() == before


@pytest.mark.parametrize("step", [1, 5])
def test_several_fits_cut_anywhere_give_the_same_bits(three_folds: TrialArrays, step: int) -> None:
    settings = replace(config(patience=3), repeats=2)
    whole = run_trial(settings, three_folds)
    assert_same_bits(whole, in_pieces(settings, three_folds, step))
    assert whole.stop_epoch == max(fit["epochs"] for fit in whole.fits)
    assert whole.stop_epoch > min(fit["epochs"] for fit in whole.fits), "one should have stopped before the others"
    assert [(fit["repeat"], fit["fold"]) for fit in whole.fits] == [(r, k) for r in (0, 1) for k in (1, 2, 3)]
    assert len(whole.fit_curves) == 6
    assert "repeat1_fold3_W1" in whole.parameters


def test_each_fit_of_a_trial_has_the_bits_of_that_repeat_alone(arrays: TrialArrays) -> None:
    together = run_trial(replace(config(patience=3), repeats=3), arrays)
    for number in range(3):
        alone = run_trial(replace(config(patience=3), first_repeat=number), arrays)
        assert alone.summary == together.fits[number]["summary"]
        assert alone.reason == together.fits[number]["reason"]
        for name, values in together.fit_curves[number].items():
            assert values.tobytes() == alone.curves[name].tobytes()
        for name, values in alone.parameters.items():
            assert values.tobytes() == together.parameters[f"repeat{number}_{name}"].tobytes()
    assert together.values("dev_cost") == {n: together.fits[n]["summary"]["best_dev_cost"] for n in range(3)}
    assert together.summary["best_dev_cost"] == pytest.approx(np.mean(list(together.values("dev_cost").values())))
    assert together.summary["best_dev_cost_se"] > 0


def test_repeats_differ_in_initial_weights_and_in_their_division(arrays: TrialArrays) -> None:
    record = run_trial(replace(config(num_epochs=1), repeats=2), arrays)
    assert not np.array_equal(record.parameters["repeat0_W1"], record.parameters["repeat1_W1"])
    same_seed = replace(config(num_epochs=1, learning_rate=1e-12), seed=1)
    assert len(set(run_trial(same_seed, arrays).values("dev_cost"))) == 1


def test_the_folds_of_a_repeat_begin_with_the_same_weights(three_folds: TrialArrays) -> None:
    record = run_trial(config(num_epochs=1, learning_rate=1e-30), three_folds)
    assert record.parameters["fold1_W1"].tobytes() == record.parameters["fold2_W1"].tobytes()


def test_a_pruned_trial_of_several_fits_is_the_beginning_of_the_whole_one(arrays: TrialArrays) -> None:
    settings = replace(config(patience=None), repeats=2)
    whole, part = run_trial(settings, arrays), run_trial(settings, arrays, stop_epoch=7)
    assert (part.outcome, part.stop_epoch) == ("pruned", 7)
    assert [fit["outcome"] for fit in part.fits] == ["pruned", "pruned"]
    assert part.curves["dev_cost"].tobytes() == whole.curves["dev_cost"][:8].tobytes()
    assert part.values("dev_cost")[1] == part.fit_curves[1]["dev_cost"].min()


def test_a_fit_that_diverges_makes_the_trial_diverged_at_that_epoch(
    arrays: TrialArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(fit: Fit, J: float) -> None:
        end_epoch(fit, np.inf if fit.state.epoch == 4 and fit is last[-1] else J)

    last: list[Fit] = []
    end_epoch, resume = Fit.end_epoch, Fit.resume
    monkeypatch.setattr(Fit, "resume", lambda fit, state: (last.append(fit), resume(fit, state))[1])
    monkeypatch.setattr(Fit, "end_epoch", explode)
    record = run_trial(replace(config(patience=None), repeats=3), arrays)
    assert (record.outcome, record.stop_epoch) == ("diverged", 5)
    assert [fit["outcome"] for fit in record.fits] == ["stopped", "stopped", "diverged"]
    assert record.reason == "repeat 2: the cost was no longer a finite number in epoch 5"
    assert record.values("dev_cost") == dict.fromkeys(range(3), np.inf)


def test_a_block_of_later_repeats_counts_from_its_first(arrays: TrialArrays) -> None:
    record = run_trial(replace(config(num_epochs=1), first_repeat=1, repeats=2), arrays)
    assert list(record.values("dev_error")) == [1, 2]
    assert record.first_parameters()["W1"].shape == (8, 30)
    assert record.num_parameters == 8 * 30 + 8 + 4 * 8 + 4 + 4 + 1


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
    settings = config(batch_size=2, num_epochs=1)
    reports = run_trial(settings, arrays).gradient_checks
    assert {report["dropout"] for report in reports.values()} == {"masks frozen"}
    settings.regularization.keep_prob = 1.0
    assert {report["dropout"] for report in run_trial(settings, arrays).gradient_checks.values()} == {"off"}


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


def test_a_worker_trains_on_arrays_that_it_reads_once(tmp_path: Path) -> None:
    path = prepare(DataConfig(name="breast_cancer"), tmp_path).path
    segment = work(path, config(), None, until=2)
    shutil.rmtree(path)
    record = work(path, config(), segment, stop=True).record
    assert record is not None
    assert (segment.fits[0].epoch, record.outcome, record.stop_epoch) == (2, "pruned", 2)


def test_a_stratified_sample_has_every_class_if_it_can() -> None:
    y = np.repeat([0, 1, 2], [90, 8, 2])
    chosen = stratified_sample(y, 6, rng=np.random.default_rng(0))
    assert np.bincount(y[chosen]).tolist() == [2, 2, 2]
    assert len(set(chosen)) == 6


def test_random_columns_are_learnt_by_heart_which_is_variance_though_an_earlier_epoch_is_kept() -> None:
    rng = np.random.default_rng(2)
    rows, nothing = np.arange(40), np.zeros(500)
    fold = Fold(rows[:30], rows[30:], Normalization(nothing, nothing, nothing + 1))
    noise = TrialArrays(rng.standard_normal((40, 500)), rows % 2, (fold,), fold, ("0", "1"), None, "")
    settings = config(patience=None, learning_rate=0.1, num_epochs=25)
    record = run_trial(replace(settings, regularization=RegularizationConfig()), noise)
    assert record.summary["best_train_error"] == pytest.approx(0.1)
    assert record.diagnosis["train_error"] == 0.0
    assert record.diagnosis["verdict"] == "high variance"


def test_layers_of_folds_are_drawn_at_their_median_best_epoch(three_folds: TrialArrays, tmp_path: Path) -> None:
    settings = replace(config(patience=1, num_epochs=40), regularization=RegularizationConfig())
    record = run_trial(settings, three_folds)
    assert record.summary["best_epoch"] > min(fit["epochs"] for fit in record.fits), "the shortest fold has no such"
    assert draw_layers(record, tmp_path / "layers.png") is not None


def test_the_layers_of_older_means_are_drawn_at_their_last_epoch(tmp_path: Path) -> None:
    curves = {f"{name}_norm_1": np.ones(4) for name in ("weight", "activation", "gradient")}
    record = TrialRecord({}, curves=curves, summary={"best_epoch": 9.0}, format=1)
    assert draw_layers(record, tmp_path / "layers.png") is not None


def test_examples_that_are_not_kept_give_the_same_bits(arrays: TrialArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(config(), repeats=2)
    expected = run_trial(settings, arrays)
    fits.forget_others(arrays, [])
    monkeypatch.setattr(fits, "KEPT_BYTES", 50_000)  # one training part, of 341 rows of 30 floats, and not the other
    assert_same_bits(run_trial(settings, arrays), expected)
    kept = [examples.kept_bytes for *_, examples in fits._KEPT.examples.values()]
    assert sorted(size > 0 for size in kept) == [False, False, False, True]
    fits.forget_others(arrays, [])


@pytest.mark.parametrize("training", [{"batch_size": 16}, {"batch_size": "full"}])
def test_class_weights_come_from_the_training_part_of_each_fit(
    arrays: TrialArrays, training: dict[str, object]
) -> None:
    weighted = replace(config(class_weight="balanced", **training), repeats=2)
    for planned in plan(weighted, arrays):
        fit = make_fit(weighted, architecture_of(weighted, arrays), arrays, planned.rows)
        counts = np.bincount(arrays.y[planned.rows.train])
        np.testing.assert_allclose(fit.network.class_weights, len(planned.rows.train) / (2 * counts), rtol=1e-6)


def test_weighted_trials_have_the_same_bits_in_pieces_and_in_one_go(arrays: TrialArrays) -> None:
    weighted = replace(config(class_weight="balanced"), repeats=2)
    record = run_trial(weighted, arrays)
    assert_same_bits(in_pieces(weighted, arrays, 5), record)
    assert record.gradient_checks["init"]["verdict"] == record.gradient_checks["trained"]["verdict"] == "good"
    assert (
        record.curves["dev_cost"].tobytes()
        != run_trial(replace(config(), repeats=2), arrays).curves["dev_cost"].tobytes()
    )


def test_a_record_without_the_key_has_no_class_weights() -> None:
    plain = asdict(TrialConfig())
    del plain["training"]["class_weight"]
    assert parse(TrialConfig, plain).training.class_weight == "none"
