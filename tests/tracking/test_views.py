"""Views are what MLflow's front end reads: a named envelope round a compressed state."""

import base64
import json
import zlib
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.commands.ui import offer_views
from pipeline.config.commands import TrackingConfig
from pipeline.tracking.found import Found
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.views import ALL, TAG, searched, views_of

PARAMS = {
    "search.space.regularization.lambd.low": "0.01",
    "search.space.regularization.lambd.high": "30.0",
    "search.space.regularization.keep_prob.0.low": "0.5",
    "search.space.regularization.keep_prob.1.low": "0.5",
    "search.space.training.momentum.low": "0.5",
    "search.space.training.momentum.when.training.optimizer": "momentum",
    "search.space.model.hidden_units.choices.small": "[32]",
    "search.space.training.optimizer.choices": '["momentum", "adam"]',
    "regularization.lambd": "0.0",
}


def a_sweep(study: str, params: dict[str, str] = PARAMS) -> Found:
    return Found("ab" * 16, study, "sweep", study, "FINISHED", "", 1.7e9, params, {}, {}, "")


def opened(value: str) -> dict:
    """The state inside a view, read as the front end reads it."""
    envelope = json.loads(value)
    assert isinstance(envelope["name"], str)
    assert isinstance(envelope["createdAt"], int)
    prefix, _, packed = envelope["state"].partition(";")
    assert prefix == "deflate"
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_searched_values_are_read_from_the_params_of_a_sweep_once_each():
    assert searched(PARAMS) == [
        "regularization.lambd",
        "regularization.keep_prob",
        "training.momentum",
        "model.hidden_units",
        "training.optimizer",
    ]


def test_the_view_of_everything_shows_results_searched_values_and_verdicts_the_newest_first():
    state = opened(views_of([a_sweep("digits-1")])[ALL])
    assert state["selectedColumns"][:4] == [
        "metrics.`best_dev_cost`",
        "metrics.`best_dev_error`",
        "params.`regularization.lambd`",
        "params.`regularization.keep_prob`",
    ]
    assert {"tags.`outcome`", "tags.`gradcheck_init`", "tags.`gradcheck_trained`"} <= set(state["selectedColumns"])
    assert (state["orderByKey"], state["orderByAsc"], state["searchFilter"]) == ("attributes.start_time", False, "")


def test_a_sweeps_own_view_has_its_runs_alone_the_best_first_with_its_values_as_coordinates():
    views = views_of([a_sweep("digits-1")])
    assert [json.loads(value)["createdAt"] for value in views.values()] == [0, 1_700_000_000_000]  # in milliseconds
    state = opened(views["digits-1"])
    assert state["searchFilter"] == f"tags.mlflow.parentRunId = '{'ab' * 16}'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best_dev_cost`", True)
    charts = {chart["type"]: chart for chart in state["compareRunCharts"]}
    assert charts["PARALLEL"]["selectedParams"] == searched(PARAMS)
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == {
        section["uuid"] for section in state["compareRunSections"]
    }


def test_a_store_without_a_sweep_has_the_view_of_everything():
    assert list(views_of([])) == [ALL]


def test_views_fit_into_a_tag_however_much_is_searched():
    params = {f"search.space.section.a_rather_long_name_{n}.low": "0" for n in range(50)}
    views = views_of([a_sweep(f"data-{n}", params) for n in range(40)])
    assert all(len(value) < 5000 for value in views.values())
    assert len(views) == 21


@pytest.mark.parametrize("study", ["digits-1", "with.dots_and-more"])
def test_make_ui_saves_the_views_and_links_to_the_one_of_everything(recorder: Recorder, root: Path, study: str):
    config = {"search": {"space": {"regularization": {"lambd": {"low": 0.01, "high": 30.0}}}}}
    recorder.open_sweep(study, config | {"regularization": {"lambd": 0.0}})
    link = offer_views(TrackingConfig(experiment="tests", store=str(root)), recorder)
    assert link.endswith(f"/runs?workflowType=machine_learning&viewStateShareKey={ALL}")
    tags = MlflowClient(f"sqlite:///{root}/mlflow.db").get_experiment(recorder.experiment_id).tags
    assert {f"{TAG}{ALL}", f"{TAG}{study}"} <= set(tags)
    assert opened(tags[f"{TAG}{study}"])["compareRunCharts"][0]["selectedParams"] == ["regularization.lambd"]


def test_the_run_of_a_sweep_has_no_param_for_what_its_trials_search(recorder: Recorder, root: Path):
    config = {"search": {"space": {"regularization": {"lambd": {"low": 0.01, "high": 30.0}}}}}
    run_id = recorder.open_sweep("digits-1", config | {"regularization": {"lambd": 0.0, "lambd_l1": 0.0}})
    params = MlflowClient(f"sqlite:///{root}/mlflow.db").get_run(run_id).data.params
    assert "regularization.lambd" not in params
    assert params["regularization.lambd_l1"] == "0.0"
