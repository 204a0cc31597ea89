"""What is evaluated and shipped: the recorded parameters, or after cross-validation one training on all folds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.errors import RecordError, UserError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.arrays import TrialArrays, load_arrays
from pipeline.data.divisions import ensure
from pipeline.data.prepare import PreparedData, prepare
from pipeline.selection.candidates import Candidate
from pipeline.selection.winner import example_rows, winner
from pipeline.tracking.found import Found
from pipeline.trials.trial import run_trial

Trained = tuple[Candidate, TrialArrays, PreparedData]


def trained(store: Path, *, repeats: int = 1, data: dict[str, Any], **training: Any) -> Trained:
    """A small trial on these data, with its arrays."""
    plain = {
        "data": data,
        "model": {"hidden_units": [4]},
        "training": {"num_epochs": 4, "batch_size": 32, **training},
        "gradcheck": {"enabled": False},
        "repeats": repeats,
    }
    config = parse(TrialConfig, plain)
    prepared = prepare(config.data, store)
    ensure(prepared, config.data, range(repeats))
    arrays = load_arrays(prepared.path)
    run = Found("id", "trial-0003", "trial", "s", "FINISHED", "completed", 0.0, {}, {}, {}, "")
    return Candidate(run, run_trial(config, arrays), config), arrays, prepared


@pytest.fixture(scope="module")
def simple(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("store"), data={"name": "circles", "examples": 200})


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("store"), data={"name": "circles", "examples": 200}, repeats=2)


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("store"), data={"name": "circles", "examples": 200, "folds": 2}, patience=2)


def test_the_recorded_parameters_win_with_the_dev_cost_and_error_that_were_recorded(simple: Trained) -> None:
    found, summary = winner(*simple), simple[0].record.summary
    assert found.dev_cost == summary["best_dev_cost"]
    assert found.dev_error.value == pytest.approx(summary["best_dev_error"])
    assert found.dev_error.n == 40
    assert found.how == f"the recorded parameters of s/trial-0003, from epoch {summary['best_epoch']:.0f}"


def test_the_network_of_the_first_of_several_repeats_is_shipped_and_the_note_says_so(repeated: Trained) -> None:
    candidate, arrays, _ = repeated
    found, costs = winner(*repeated), candidate.record.values("dev_cost")
    assert found.dev_cost == costs[0]
    assert f"repeat 0 alone (dev cost {costs[0]:.4g}; its 2 repeats cost {min(costs.values()):.4g} to" in found.how
    dev = arrays.folds[0].dev
    assert found.classifier.cost(arrays.X[dev], arrays.y[dev]) == pytest.approx(costs[0], rel=1e-5)


def test_parameters_that_do_not_give_what_was_recorded_of_them_are_refused(simple: Trained) -> None:
    candidate, arrays, prepared = simple
    altered = {name: values * 3 for name, values in candidate.record.parameters.items()}
    tampered = replace(candidate, record=replace(candidate.record, parameters=altered))
    with pytest.raises(RecordError, match=r"parameters of s/trial-0003 give a dev cost of .*, but .* was recorded"):
        winner(tampered, arrays, prepared)


@pytest.mark.parametrize(("best", "epochs"), [(2.6, 3), (0.0, 1)])
def test_after_cross_validation_one_network_is_trained_on_all_rows_for_the_median_of_the_best_epochs(
    folded: Trained, best: float, epochs: int
) -> None:
    candidate, arrays, prepared = folded
    summary = candidate.record.summary | {"best_epoch": best}
    found = winner(replace(candidate, record=replace(candidate.record, summary=summary)), arrays, prepared)
    assert f"trained on all 2 folds together for {epochs} epochs" in found.how
    assert (found.dev_cost, found.dev_error.n) == (summary["best_dev_cost"], len(arrays.y))
    assert found.dev_error.value == pytest.approx(summary["best_dev_error"])
    training = replace(candidate.config.training, num_epochs=epochs, patience=None)
    alone = run_trial(replace(candidate.config, training=training), replace(arrays, folds=(arrays.everything,)))
    assert all(np.array_equal(found.classifier.parameters[name], W) for name, W in alone.parameters.items())


def test_a_configuration_that_diverges_on_all_folds_together_is_reported_in_one_sentence(folded: Trained) -> None:
    candidate, arrays, prepared = folded
    training = replace(candidate.config.training, learning_rate=1e30, optimizer="gradient_descent")
    with pytest.raises(UserError, match=r"s/trial-0003 diverged when it was trained on all folds together"):
        winner(replace(candidate, config=replace(candidate.config, training=training)), arrays, prepared)


def test_example_rows_are_training_rows_as_raw_columns_with_nothing_missing(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [
        f"{'' if k % 7 == 0 else k},{'red' if k % 3 else 'blue'},{k % 5},{k % 4},{'yes' if k % 2 else 'no'}"
        for k in range(120)
    ]
    table.write_text("\n".join(["a,colour,b,c,label", *rows]))
    data = {"name": "own", "source": "file", "path": str(table), "target": "label", "missing": "median"}
    candidate, arrays, prepared = trained(tmp_path / "store", data=data)
    classifier = winner(candidate, arrays, prepared).classifier
    shown = example_rows(classifier, arrays)
    assert list(shown.columns) == ["a", "colour", "b", "c"]
    assert len(shown) == 3
    assert not shown.isna().to_numpy().any()
    assert set(shown["colour"]) <= {"red", "blue"}
    numbers, _ = classifier.classify(arrays.X[arrays.folds[0].train[:3]])
    assert [row["label"] for _, row in classifier.predict(shown).iterrows()] == [classifier.classes[k] for k in numbers]


def test_example_rows_are_the_first_of_the_rows_that_trained(simple: Trained, folded: Trained) -> None:
    for (candidate, arrays, prepared), part in ((simple, simple[1].folds[0]), (folded, folded[1].everything)):
        turned = replace(arrays, folds=arrays.folds[::-1])  # of two folds the second begins with other rows than all
        shown = example_rows(winner(candidate, turned, prepared).classifier, turned)
        assert np.array_equal(shown.to_numpy(), arrays.X[part.train[:3]])
