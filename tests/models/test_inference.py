"""A classifier gives what the network gave in training, to the same bits whatever else is asked at the same time."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig, TrialConfig
from pipeline.config.validation import parse
from pipeline.data.arrays import TrialArrays, load_arrays
from pipeline.data.prepare import PreparedData, prepare
from pipeline.models.inference import Classifier, probabilities
from pipeline.trials.parts import architecture_of
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import run_trial


@pytest.fixture(scope="module", params=["breast_cancer", "digits"])  # a sigmoid output, and a softmax
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Classifier, TrialArrays, TrialRecord]:
    plain = {"data": {"name": request.param}, "model": {"hidden_units": [16]}, "training": {"num_epochs": 5}}
    config = parse(TrialConfig, plain)
    prepared: PreparedData = prepare(config.data, tmp_path_factory.mktemp("store"))
    arrays = load_arrays(prepared.path)
    record = run_trial(config, arrays)
    normalization = arrays.folds[0].normalization
    return (
        Classifier(prepared.recipe, normalization, architecture_of(config, arrays), record.parameters),
        arrays,
        record,
    )


def frame(classifier: Classifier, X: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(X, columns=[column["name"] for column in classifier.recipe["columns"]])


def test_on_the_dev_part_it_gives_the_dev_cost_and_error_of_training(trained) -> None:
    classifier, arrays, record = trained
    dev = arrays.folds[0].dev
    assert classifier.cost(arrays.X[dev], arrays.y[dev]) == pytest.approx(record.summary["best_dev_cost"], rel=1e-5)
    numbers, P = classifier.classify(arrays.X[dev])
    assert np.mean(numbers != arrays.y[dev]) == record.summary["best_dev_error"]
    assert np.mean(-np.log(P[np.arange(len(dev)), arrays.y[dev]])) == pytest.approx(
        record.summary["best_dev_cost"], rel=1e-5
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_a_row_gets_the_same_bits_whatever_table_it_is_in(trained, activation: str) -> None:
    classifier, arrays, _ = trained
    layers = replace(classifier.architecture, activations=(activation,))
    classifier = replace(classifier, architecture=layers)
    together = classifier.predict(frame(classifier, arrays.X[:300]))
    for rows in (slice(0, 1), slice(299, 300), slice(5, 8), slice(31, 33), slice(100, 228)):
        alone = classifier.predict(frame(classifier, arrays.X[rows])).set_index(together.index[rows])
        pd.testing.assert_frame_equal(alone, together.iloc[rows], check_exact=True)


def test_a_row_gets_the_same_bits_at_every_place(trained) -> None:
    classifier, arrays, _ = trained
    _, P = classifier.classify(np.repeat(arrays.X[:1], 130, axis=0))
    assert len({row.tobytes() for row in P}) == 1


def test_probabilities_sum_to_one_and_the_label_has_the_largest(trained) -> None:
    classifier, arrays, _ = trained
    answer = classifier.predict(frame(classifier, arrays.X[:100]))
    P = answer.iloc[:, 1:].to_numpy()
    assert P.sum(axis=1) == pytest.approx(np.ones(100), abs=1e-12)
    assert [classifier.classes[k] for k in P.argmax(axis=1)] == answer["label"].tolist()


def test_written_and_read_back_it_answers_with_the_same_bits(trained, tmp_path: Path) -> None:
    classifier, arrays, _ = trained
    classifier.save(tmp_path / "model")
    table = frame(classifier, arrays.X[:20])
    pd.testing.assert_frame_equal(
        Classifier.load(tmp_path / "model").predict(table), classifier.predict(table), check_exact=True
    )


def test_columns_may_come_in_any_order_with_others_among_them(trained) -> None:
    classifier, arrays, _ = trained
    table = frame(classifier, arrays.X[:20])
    shuffled = table[table.columns[::-1]].assign(note="x")
    pd.testing.assert_frame_equal(classifier.predict(shuffled), classifier.predict(table), check_exact=True)


def test_a_missing_column_is_named(trained) -> None:
    classifier, arrays, _ = trained
    table = frame(classifier, arrays.X[:2])
    with pytest.raises(DataError, match=f"lacks column '{table.columns[3]}'"):
        classifier.predict(table.drop(columns=table.columns[3]))


def test_an_empty_table_gives_an_empty_answer(trained) -> None:
    classifier, arrays, _ = trained
    answer = classifier.predict(frame(classifier, arrays.X[:0].astype(float)))
    assert answer.shape == (0, 1 + len(classifier.classes))


def test_files_of_another_format_or_that_do_not_fit_together_are_refused(trained, tmp_path: Path) -> None:
    classifier, _, _ = trained
    classifier.save(tmp_path)
    text = json.loads((tmp_path / "classifier.json").read_text())
    with np.load(tmp_path / "parameters.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    with pytest.raises(ValueError, match="has format 9"):
        Classifier.restore(text | {"format": 9}, arrays)
    with pytest.raises(ValueError, match="W1 must have shape"):
        Classifier.restore(text, arrays | {"W1": arrays["W1"][:, 1:]})


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_extreme_logits_give_probabilities_of_zero_and_one(output: str) -> None:
    Z = np.array([[1e4, -1e4], [-1e4, 1e4]]) if output == "softmax" else np.array([[-1e4], [1e4]])
    assert probabilities(Z, output).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_text_columns_and_missing_values_are_taken_as_in_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "green", "blue"], 120)
    size = np.where(rng.random(120) < 0.1, np.nan, rng.normal(size=120))
    path = tmp_path / "things.csv"
    pd.DataFrame({"colour": colour, "size": size, "kind": np.where(colour == "red", "a", "b")}).to_csv(
        path, index=False
    )
    data = DataConfig(name="things", source="file", path=str(path), target="kind", missing="median")
    config = TrialConfig(data=data)
    prepared = prepare(data, tmp_path / "store")
    arrays = load_arrays(prepared.path)
    record = run_trial(config, arrays)
    classifier = Classifier(
        prepared.recipe, arrays.folds[0].normalization, architecture_of(config, arrays), record.parameters
    )
    answer = classifier.predict(pd.DataFrame({"size": [0.1, None], "colour": ["red", "violet"]}))
    assert answer["label"][0] == "a"
    assert np.isfinite(answer.iloc[:, 1:].to_numpy()).all()
