"""A shipped model is that of its run: parameters, statistics, columns, and the dev cost that made it champion."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.config.trial import DataConfig, ModelConfig, TrainingConfig, TrialConfig
from pipeline.data.arrays import load_arrays
from pipeline.data.divisions import ensure
from pipeline.data.prepare import PreparedData, prepare
from pipeline.models.inference import Classifier
from pipeline.selection.candidates import Candidate
from pipeline.selection.winner import shipped_otherwise, winner
from pipeline.tracking.found import Found
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import run_trial

Shipped = tuple[Classifier, dict[str, str], TrialRecord, PreparedData]


@pytest.fixture(scope="module", params=[{}, {"repeats": 2}, {"data": DataConfig(name="breast_cancer", folds=3)}])
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """A trial of one fit, of repeats or of folds, and the model made of it."""
    given = {"data": DataConfig(name="breast_cancer"), **request.param}
    config = TrialConfig(model=ModelConfig(hidden_units=[4]), training=TrainingConfig(num_epochs=3), **given)
    config = replace(config, gradcheck=replace(config.gradcheck, enabled=False))
    store = tmp_path_factory.mktemp("store")
    prepared = prepare(config.data, store)
    if config.repeats > 1:
        ensure(prepared, config.data, config.repeat_numbers)
    arrays = load_arrays(prepared.path)
    record = run_trial(config, arrays)
    run = Found("0" * 32, "trial-0000", "trial", "s", "FINISHED", record.outcome, 0.0, {}, {}, {}, "")
    found = winner(Candidate(run, record, config), arrays, prepared)
    return found.classifier, {"dev_cost": repr(found.dev_cost)}, record, prepared


def test_a_model_as_it_was_shipped_is_its_runs(shipped: Shipped) -> None:
    assert shipped_otherwise(*shipped) == []


def _changed(classifier: Classifier, part: str) -> Any:
    if part == "normalisation":
        statistics = classifier.normalization
        return replace(classifier, normalization=replace(statistics, mean=statistics.mean + np.float32(1e-3)))
    if part == "layers":
        return replace(classifier, architecture=replace(classifier.architecture, activations=("tanh",)))
    if part == "columns and classes":
        recipe = dict(classifier.recipe)
        return replace(classifier, recipe=recipe | {"classes": recipe["classes"][::-1]})
    return replace(classifier, parameters={name: -values for name, values in classifier.parameters.items()})


@pytest.mark.parametrize("part", ["normalisation", "layers", "columns and classes", "parameters"])
def test_what_was_exchanged_in_a_model_is_named(shipped: Shipped, part: str) -> None:
    classifier, tags, record, prepared = shipped
    retrained = part == "parameters" and record.config["data"]["folds"]
    found = shipped_otherwise(_changed(classifier, part), tags, record, prepared)
    assert found == ([] if retrained else [part])


def test_a_dev_cost_that_is_not_the_runs_is_named(shipped: Shipped) -> None:
    classifier, _, record, prepared = shipped
    assert shipped_otherwise(classifier, {"dev_cost": "0.001"}, record, prepared) == ["dev cost"]
