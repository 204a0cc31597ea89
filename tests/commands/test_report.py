"""`make report` and the end of a sweep, from commands that really run."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.config.commands import TrackingConfig
from pipeline.tracking.archive import Archive
from pipeline.tracking.untrusted import read_json
from tests.end_to_end.sweeps import SMALL, Stored, run, started, stored

PICTURES = {"history", "importance", "slices", "contours", "learning-curves", "bias-variance", "pruning"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("swept") / "mlruns"
    ended = run(store, "sweep", *SMALL, "study.trials=9", "workers.count=1", "pruner=none")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return store


def test_a_sweep_ends_with_its_pictures_its_description_and_its_diagnosis_on_its_run(swept: Path) -> None:
    there: Stored = stored(swept)
    (parent,) = there.of_kind("sweep")
    listed = there.client.list_artifacts(parent.info.run_id, "pictures")
    assert {Path(item.path).stem for item in listed} == PICTURES
    assert all(item.file_size < 300_000 for item in listed)
    note = parent.data.tags["mlflow.note.content"]
    assert "| | trial-" in note
    assert "no regularisation" in note
    assert "make rerun RUN=" in note
    best = min(run.data.metrics["best_dev_cost"] for run in there.of_kind("trial"))
    assert parent.data.metrics["best_dev_cost"] == best
    assert {"diagnosis_verdict", "diagnosis_limit"} <= set(parent.data.tags)
    assert {"avoidable_bias", "variance"} <= set(parent.data.metrics)


def test_every_trial_has_its_diagnosis_as_tags_and_metrics(swept: Path) -> None:
    for trial in stored(swept).of_kind("trial"):
        assert {"avoidable_bias", "variance"} <= set(trial.data.metrics)
        high = trial.data.tags["diagnosis_verdict"] != "neither"
        assert high == ("diagnosis_remedies" in trial.data.tags)


def test_report_writes_one_file_from_the_tracking_store_alone_and_prints_its_path(swept: Path, tmp_path: Path) -> None:
    for journal in (swept / "studies").glob("*.journal"):
        journal.rename(tmp_path / journal.name)
    ended = run(swept, "report")
    assert ended.returncode == 0, ended.stderr
    path = Path(re.search(r": (\S+\.html)$", ended.stdout, re.MULTILINE)[1])
    page = path.read_text()
    assert path.parent == swept / "reports"
    assert page.count("data:image/png;base64,") == len(PICTURES)
    assert "The test set is unopened" in page
    assert "unconfirmed" in page
    archive = Archive(TrackingConfig(store=str(swept)))
    for trial in archive.children(archive.latest_study()):
        assert trial.run_id in page
    config = read_json(swept / "artifacts" / archive.studies()[0].run_id / "artifacts" / "sweep.json")
    assert config["search"]["space"]


def test_report_refuses_an_unknown_study_in_one_sentence(swept: Path) -> None:
    ended = run(swept, "report", "study=nobody")
    assert ended.returncode == 1
    assert "STUDY must be one of those in the store" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_curves_of_a_running_trial_grow_in_the_store_and_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    store = tmp_path / "mlruns"
    long = ("data=breast_cancer", "model.hidden_units=[128]", "training.num_epochs=100000", "training.patience=null")
    options = (*long, "study.trials=1", "study.baseline=false", "workers.count=1", "pruner=none")
    with started(store, "sweep", *options) as process:
        first = _steps_beyond(store, 0, process)
        second = _steps_beyond(store, first, process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=300)
    assert 0 < first < second
    assert process.returncode == 130, output
    there = stored(store)
    assert {run.info.status for run in there.runs} == {"KILLED"}
    steps = there.steps(there.of_kind("trial")[0], "dev_cost")
    assert steps == list(range(len(steps)))


def _steps_beyond(store: Path, known: int, process: subprocess.Popen[str]) -> int:
    """Wait until the trial's curve in the store has more than `known` points; returns how many it has."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (store / "mlflow.db").exists():
            for trial in stored(store).of_kind("trial"):
                count = len(stored(store).steps(trial, "dev_cost"))
                if count > known:
                    return count
        time.sleep(0.2)
    raise AssertionError("the curves do not grow")
