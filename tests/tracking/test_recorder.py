"""Everything goes through MLflow's own API: what a recorder writes is read back with a client of its own."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import TrackingError
from pipeline.tracking import files
from pipeline.tracking.points import Span
from pipeline.tracking.recorder import Recorder
from pipeline.trials.record import TrialRecord

MakeRecord = Callable[..., TrialRecord]
STUDY = "digits-0123abcd"


@pytest.fixture
def client(recorder: Recorder) -> MlflowClient:
    return MlflowClient(recorder.store.uri)


def write_trial(recorder: Recorder, record: TrialRecord, parent: str, name: str = "trial-0007") -> str:
    return recorder.write(record, kind="trial", name=name, parent=parent, tags={"study": STUDY, "trial": name[6:]})


def steps(client: MlflowClient, run_id: str, name: str) -> list[int]:
    return [point.step for point in client.get_metric_history(run_id, name)]


def grow(recorder: Recorder, run_id: str, record: TrialRecord, until: int, *, elapsed_s: float = 1.0) -> None:
    """Show the curves of a trial under way up to an epoch."""
    curves = {name: values[: until + 1] for name, values in record.curves.items()}
    recorder.progress(run_id, curves, Span.of(curves, record.started_at, elapsed_s))


def children_of(client: MlflowClient, recorder: Recorder, parent: str) -> list[str]:
    runs = client.search_runs([recorder.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
    return [run.info.run_id for run in runs]


def assert_curves_are_stored(client: MlflowClient, run_id: str, record: TrialRecord) -> None:
    for name in ("train_cost", "dev_cost", "train_error", "dev_error"):
        history = client.get_metric_history(run_id, name)
        assert sorted((point.step, point.value) for point in history) == list(enumerate(record.curves[name].tolist()))
    assert sorted(steps(client, run_id, "train_cost_penalized")) == list(range(1, record.stop_epoch + 1))


def test_a_trial_becomes_a_finished_child_with_every_epoch_of_its_curves(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord
) -> None:
    record = make_record()
    parent = recorder.open_sweep(STUDY, {"study": {"trials": 5}})
    run = client.get_run(write_trial(recorder, record, parent))
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "trial-0007"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["kind"] == "trial"
    assert run.data.tags["outcome"] == "completed"
    assert run.data.tags["gradcheck_trained"] == "look_again"
    assert run.data.params["regularization.lambd"] == "0.0"
    assert run.data.params["model.hidden_units"] == "[3]"
    assert run.data.metrics["best_dev_cost"] == 0.5
    assert run.data.metrics["gradcheck_init_relative_error"] == 1e-9
    assert run.data.metrics["variance"] == 0.05
    assert "make rerun RUN=digits-0123abcd/trial-0007" in run.data.tags["mlflow.note.content"]
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_000, 1_700_000_002_000)
    [dataset] = run.inputs.dataset_inputs
    assert dataset.dataset.digest == ("ab" * 32)[:36]
    assert_curves_are_stored(client, run.info.run_id, record)


def test_the_files_of_a_run_are_plain_and_named(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord
) -> None:
    run_id = write_trial(recorder, make_record(), recorder.open_sweep(STUDY, {}))
    names = {item.path for item in client.list_artifacts(run_id)}
    assert names == {*files.REQUIRED, files.DIFF, files.CHECKS_TEXT}


def test_the_description_says_what_it_was_how_it_went_and_how_to_repeat_it(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord
) -> None:
    run_id = recorder.write(make_record(), kind="train", name="train")
    note = client.get_run(run_id).data.tags["mlflow.note.content"]
    for words in (
        "**train train**: digits, hidden units [3], relu, λ = 0",
        "**Outcome:** completed: All epochs were trained.",
        "| best dev cost | 0.5 |",
        "high variance (avoidable bias 1.0%, variance 5.0%); try, in this order: more data",
        "init good, trained look_again",
        f"make rerun RUN={run_id}",
    ):
        assert words in note


def test_the_gradient_checks_can_be_read_as_a_table(recorder: Recorder, root: Path, make_record: MakeRecord) -> None:
    run_id = recorder.write(make_record(), kind="train", name="train")
    text = (root / "artifacts" / run_id / "artifacts" / files.CHECKS_TEXT).read_text()
    assert text.startswith("init\nGradient check: good. Relative error 1.0e-09")
    assert "W1[0, 1]" in text


def test_a_gradient_report_of_another_version_is_still_written(make_record: MakeRecord) -> None:
    text = files.checks_text({"init": {"verdict": "good", "relative_error": 1e-9, "unknown": 1}, "trained": {}})
    assert text == "init\ngood, relative error 1e-09\n"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("completed", "FINISHED"),
        ("early_stopped", "FINISHED"),
        ("pruned", "FINISHED"),
        ("diverged", "FINISHED"),
        ("failed", "FAILED"),
    ],
)
def test_only_a_failed_trial_is_a_failed_run(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord, outcome: str, status: str
) -> None:
    run_id = write_trial(recorder, make_record(outcome=outcome), recorder.open_sweep(STUDY, {}))
    assert client.get_run(run_id).info.status == status


def test_a_diverged_curve_with_infinities_and_no_numbers_is_stored(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord
) -> None:
    record = make_record(outcome="diverged")
    record.curves["train_cost"][-1], record.curves["dev_cost"][-1] = np.inf, np.nan
    run_id = write_trial(recorder, record, recorder.open_sweep(STUDY, {}))
    assert client.get_metric_history(run_id, "train_cost")[-1].value > 1e300
    assert math.isnan(client.get_metric_history(run_id, "dev_cost")[-1].value)


def test_writing_a_record_again_changes_nothing_also_from_another_process(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord, root: Path
) -> None:
    record, parent = make_record(), recorder.open_sweep(STUDY, {})
    first = write_trial(recorder, record, parent)
    other = Recorder(TrackingConfig(experiment="tests", store=str(root)))
    assert other.open_sweep(STUDY, {}) == parent
    assert write_trial(other, record, parent) == first
    assert write_trial(recorder, record, parent) == first
    assert_curves_are_stored(client, first, record)
    assert recorder.child(parent, "trial-0007") == first
    assert len(children_of(client, recorder, parent)) == 1


def test_a_run_without_a_parent_is_recognised_by_its_key(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord
) -> None:
    ids = [recorder.write(make_record(), kind="train", name="train", key=key) for key in ("one", "one", "two")]
    assert ids[0] == ids[1] != ids[2]


STAGES = ("_open_run", "_log", "_write_files", "_write_data", "set_terminated")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_write_cut_off_anywhere_is_continued_in_place(
    recorder: Recorder,
    client: MlflowClient,
    make_record: MakeRecord,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    when: str,
) -> None:
    record, parent = make_record(), recorder.open_sweep(STUDY, {})
    owner = recorder if stage.startswith("_") else recorder._client
    inner = getattr(owner, stage)

    def dies(*arguments: object, **named: object) -> object:
        if when == "after":
            inner(*arguments, **named)
        raise ConnectionError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(owner, stage, dies)
        with pytest.raises(TrackingError, match="cut off"):
            write_trial(recorder, record, parent)
    again = Recorder(TrackingConfig(experiment="tests", store=str(root)))
    run_id = write_trial(again, record, again.open_sweep(STUDY, {}))
    assert_curves_are_stored(client, run_id, record)
    assert client.get_run(run_id).info.status == "FINISHED"
    assert len(children_of(client, recorder, parent)) == 1


def test_curves_that_grew_while_training_are_completed_without_doubling(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord, root: Path
) -> None:
    record, parent = make_record(epochs=20), recorder.open_sweep(STUDY, {})
    run_id = recorder.open_run("trial", "trial-0007", {"study": STUDY}, parent=parent)
    for until in (5, 5, 11):
        grow(recorder, run_id, record, until)
    assert steps(client, run_id, "dev_cost") == list(range(12))
    again = Recorder(
        TrackingConfig(experiment="tests", store=str(root))
    )  # as after a crash, with the trial under way once more
    parent = again.open_sweep(STUDY, {})
    assert again.open_run("trial", "trial-0007", {"study": STUDY}, parent=parent) == run_id
    grow(again, run_id, record, 13)
    assert write_trial(again, record, parent) == run_id
    assert_curves_are_stored(client, run_id, record)


def times_of(client: MlflowClient, run_id: str) -> list[int]:
    """Times of a run's points in ms, in the order of their steps, whatever the metric."""
    names = client.get_run(run_id).data.metrics
    points = [point for name in names for point in client.get_metric_history(run_id, name)]
    return [point.timestamp for point in sorted(points, key=lambda point: (point.step, point.timestamp))]


def test_the_points_of_a_run_are_spread_over_the_time_it_took(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord
) -> None:
    run_id = recorder.write(make_record(epochs=4), kind="train", name="train")
    history = client.get_metric_history(run_id, "dev_cost")
    assert [(point.step, point.timestamp - 1_700_000_000_000) for point in history] == [
        (0, 0),
        (1, 500),
        (2, 1000),
        (3, 1500),
        (4, 2000),
    ]


@pytest.mark.parametrize("clock_s", [-3600.0, 0.0, 7.0])
def test_times_never_run_backwards_also_when_a_trial_is_trained_again_by_another_clock(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord, root: Path, clock_s: float
) -> None:
    record, parent = make_record(epochs=20), recorder.open_sweep(STUDY, {})
    run_id = recorder.open_run("trial", "trial-0007", {"study": STUDY}, parent=parent, started_at=record.started_at)
    grow(recorder, run_id, record, 5, elapsed_s=0.4)
    again = Recorder(TrackingConfig(experiment="tests", store=str(root)))
    again.open_sweep(STUDY, {})
    record = dataclasses.replace(record, started_at=record.started_at + clock_s)
    grow(again, run_id, record, 11, elapsed_s=1.2)
    write_trial(again, record, parent)
    info, times = client.get_run(run_id).info, times_of(client, run_id)
    assert info.start_time == 1_700_000_000_000
    assert times == sorted(times)
    assert info.start_time <= times[0] <= times[-1] <= info.end_time
    if clock_s == 0.0:
        history = client.get_metric_history(run_id, "dev_cost")
        assert [point.timestamp - info.start_time for point in history[5:12:6]] == [400, 1200]


def test_metrics_of_an_earlier_process_are_not_doubled_whichever_is_written_first(
    recorder: Recorder, client: MlflowClient, root: Path
) -> None:
    parent = recorder.open_sweep(STUDY, {})
    recorder.annotate(parent, metrics={"best_dev_cost": 0.5, "trials": 4.0}, step=4)
    again = Recorder(TrackingConfig(experiment="tests", store=str(root)))
    again.annotate(parent, metrics={"best_dev_cost": 0.5}, step=4)
    again.annotate(parent, metrics={"trials": 4.0}, step=4)
    again.annotate(parent, metrics={"trials": 6.0}, step=6)
    assert steps(client, parent, "best_dev_cost") == [4]
    assert steps(client, parent, "trials") == [4, 6]


def test_a_run_that_does_not_exist_is_reported_in_one_sentence(recorder: Recorder) -> None:
    with pytest.raises(TrackingError, match="not found"):
        recorder.annotate("0" * 32, metrics={"best_dev_cost": 1.0})


def test_a_run_that_begins_has_its_tags_and_params_at_once(recorder: Recorder, client: MlflowClient) -> None:
    run = client.get_run(recorder.open_run("train", "λ", {"record_key": "k"}, {"seed": 3}, started_at=1.7e9))
    assert (run.data.tags["kind"], run.data.tags["record_key"], run.data.params) == ("train", "k", {"seed": "3"})
    assert (run.info.status, run.info.start_time) == ("RUNNING", 1_700_000_000_000)


def test_a_killed_run_is_continued_in_place(recorder: Recorder, client: MlflowClient, make_record: MakeRecord) -> None:
    record, parent = make_record(), recorder.open_sweep(STUDY, {})
    run_id = recorder.open_run("trial", "trial-0007", {"study": STUDY}, parent=parent)
    recorder.close(run_id, "KILLED")
    assert write_trial(recorder, record, parent) == run_id
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_curve_longer_than_one_request_arrives_whole(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord
) -> None:
    record = make_record(epochs=1200)
    run_id = write_trial(recorder, record, recorder.open_sweep(STUDY, {}))
    assert_curves_are_stored(client, run_id, record)


def test_norms_go_to_mlflow_at_few_steps_with_first_and_last(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord
) -> None:
    run_id = write_trial(recorder, make_record(epochs=100), recorder.open_sweep(STUDY, {}))
    found = sorted(steps(client, run_id, "weight_norm_1"))
    assert (found[0], found[-1]) == (0, 100)
    assert len(found) <= 8


def test_a_sweep_is_found_again_and_runs_again(recorder: Recorder, client: MlflowClient) -> None:
    parent = recorder.open_sweep(STUDY, {"study": {"trials": 5}})
    recorder.close(parent, "KILLED")
    assert recorder.open_sweep(STUDY, {"study": {"trials": 9}}) == parent
    run = client.get_run(parent)
    assert run.info.status == "RUNNING"
    assert run.data.tags["kind"] == "sweep"
    assert run.data.params["study.trials"] == "5"


def test_a_store_that_has_lost_the_trials_of_a_study_is_refused(recorder: Recorder) -> None:
    with pytest.raises(TrackingError, match=r"digits-0123abcd has 4 finished trials, .* has no run of it: restore"):
        recorder.open_sweep(STUDY, {}, tracked=4)
    parent = recorder.open_sweep(STUDY, {})
    assert recorder.open_sweep(STUDY, {}, tracked=4) == parent


def test_of_two_sweeps_of_one_name_the_older_is_continued_and_of_two_trials_too(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord, root: Path
) -> None:
    made = []
    for start in (3000, 1000, 2000):
        tags = {"kind": "sweep", "study": STUDY}
        parent = client.create_run(recorder.experiment_id, start, tags, STUDY).info.run_id
        made.append(parent)
    assert recorder.open_sweep(STUDY, {}) == made[1]
    trials = [
        client.create_run(recorder.experiment_id, start, {"mlflow.parentRunId": made[1]}, "trial-0007").info.run_id
        for start in (3000, 1000, 2000)
    ]
    assert write_trial(recorder, make_record(), made[1]) == trials[1]


def test_another_study_of_the_same_name_is_refused(recorder: Recorder, client: MlflowClient) -> None:
    parent = recorder.open_sweep("s", {"seed": 0}, {"study_id": "one"})
    with pytest.raises(TrackingError, match=r"holds another sweep called s; give this one another study\.name"):
        recorder.open_sweep("s", {"seed": 9}, {"study_id": "two"})
    assert recorder.open_sweep("s", {"seed": 0}, {"study_id": "one"}) == parent
    assert client.get_run(parent).data.params["seed"] == "0"


def test_no_credential_of_a_configuration_reaches_the_store(
    recorder: Recorder, client: MlflowClient, make_record: MakeRecord, root: Path
) -> None:
    record = make_record()
    record.config["data"]["path"] = "https://ann:hunter2@example.org/x.csv?token=hunter2&v=1"
    record.data["path"] = record.config["data"]["path"]
    record = dataclasses.replace(record, reason="cannot read s3://ann:hunter2@bucket")
    recorder.write(record, kind="train", name="train")
    recorder.open_sweep(STUDY, {"tracking": {"uri": "postgresql://ann:hunter2@db/mlflow"}})
    stored = [path for path in root.rglob("*") if path.is_file()]
    assert len(stored) > 5
    for path in stored:
        assert b"hunter2" not in path.read_bytes(), path


def test_a_quotation_mark_in_a_study_name_is_refused(recorder: Recorder) -> None:
    with pytest.raises(TrackingError, match="quotation mark"):
        recorder.open_sweep("it's", {})


def test_pictures_and_values_can_be_kept_with_the_parent_run(
    recorder: Recorder, client: MlflowClient, root: Path, tmp_path: Path
) -> None:
    parent = recorder.open_sweep(STUDY, {"study": {"trials": 5}})
    picture = tmp_path / "history.png"
    picture.write_bytes(b"png")
    recorder.write_file(parent, picture, "pictures")
    recorder.annotate(parent, {"best": "trial-0003"}, {"best_dev_cost": 0.1}, step=3)
    recorder.annotate(parent, {}, {"best_dev_cost": 0.1}, step=3)
    run = client.get_run(parent)
    assert [item.path for item in client.list_artifacts(parent, "pictures")] == ["pictures/history.png"]
    assert steps(client, parent, "best_dev_cost") == [3]
    assert run.data.tags["best"] == "trial-0003"
    assert json.loads((root / "artifacts" / parent / "artifacts" / "sweep.json").read_text()) == {
        "study": {"trials": 5}
    }
