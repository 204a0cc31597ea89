"""Cross-validated trials of format-1 records are repeated as they were trained: fold after fold, counted in folds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.trial import DataConfig, ModelConfig, TrainingConfig, TrialConfig
from pipeline.data.arrays import TrialArrays, load_arrays
from pipeline.data.prepare import PreparedData, prepare
from pipeline.trials.format_1 import repeat_folds
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import run_trial, work_whole

CONFIG = TrialConfig(
    data=DataConfig(name="breast_cancer", folds=3),
    model=ModelConfig(hidden_units=[8]),
    training=TrainingConfig(num_epochs=30, patience=2),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(CONFIG.data, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def arrays(prepared: PreparedData) -> TrialArrays:
    return load_arrays(prepared.path)


def fold_alone(arrays: TrialArrays, number: int) -> TrialRecord:
    return run_trial(CONFIG, replace(arrays, folds=(arrays.folds[number],)))


def test_curves_end_with_the_shortest_fold_and_the_best_epoch_is_the_median(arrays: TrialArrays) -> None:
    record, folds = repeat_folds(CONFIG, arrays), [fold_alone(arrays, k) for k in range(3)]
    lengths = [len(fold.curves["dev_cost"]) for fold in folds]
    assert min(lengths) < max(lengths)
    expected = np.mean([fold.curves["dev_cost"][: min(lengths)] for fold in folds], axis=0)
    np.testing.assert_array_equal(record.curves["dev_cost"], expected)
    assert record.summary["best_epoch"] == np.median([fold.summary["best_epoch"] for fold in folds])
    costs = [fold.summary["best_dev_cost"] for fold in folds]
    assert record.summary["best_dev_cost_std"] == np.std(costs, ddof=1)
    assert (record.stop_epoch, record.format, record.fits) == (3, 1, [])
    assert record.parameters["fold2_W1"].tobytes() == folds[1].parameters["W1"].tobytes()
    assert record.gradient_checks == folds[0].gradient_checks


def test_a_trial_pruned_after_two_folds_is_trained_on_two(arrays: TrialArrays) -> None:
    record = repeat_folds(CONFIG, arrays, stop_fold=2)
    assert (record.outcome, record.stop_epoch, len(record.fit_curves)) == ("pruned", 2, 2)
    assert record.reason == "the pruner stopped it after 2 folds"


def test_a_trial_that_trained_all_folds_was_not_pruned(arrays: TrialArrays) -> None:
    assert repeat_folds(CONFIG, arrays, stop_fold=3).outcome == "early_stopped"


def test_the_format_of_the_record_decides_what_a_rerun_trains(prepared: PreparedData) -> None:
    old, new = (work_whole(prepared.path, CONFIG, 2, record_format=number) for number in (1, 2))
    assert (old.format, old.stop_epoch, len(old.fit_curves)) == (1, 2, 2)
    assert (new.format, new.stop_epoch, len(new.fit_curves)) == (2, 2, 3)


def test_a_record_of_format_1_is_saved_and_loaded_as_such(arrays: TrialArrays, tmp_path: Path) -> None:
    record = repeat_folds(CONFIG, arrays)
    record.save(tmp_path / "trial.npz")
    again = TrialRecord.load(tmp_path / "trial.npz")
    assert (again.format, again.fit_names) == (1, ["fold 1", "fold 2", "fold 3"])
    assert again.values("dev_cost") == {0: record.summary["best_dev_cost"]}
    assert again.num_parameters == 30 * 8 + 8 + 8 + 1
    assert sorted(again.first_parameters()) == ["W1", "W2", "b1", "b2"]
