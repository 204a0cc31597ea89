"""What the sweep's own run shows follows from its trials; RUN=all finds and names what was edited there."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.config.commands import TrackingConfig
from pipeline.reporting.agreement import sweep_disagreements
from pipeline.tracking.archive import CONCLUSION, Archive
from pipeline.tracking.files import RECORD
from tests.end_to_end.sweeps import SMALL, run, stored

pytestmark = pytest.mark.slow
SETTINGS = ("study.race=true", "repeats=2", "study.trials=5", "study.name=one", "tracking.pictures=false")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("original") / "mlruns"
    ended = run(store, "sweep", *SMALL, *SETTINGS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return store


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    """A copy that may be edited, moved like a store that somebody was given."""
    shutil.copytree(original, tmp_path / "mlruns")
    return tmp_path / "mlruns"


def found(store: Path) -> str:
    return "; ".join(sweep_disagreements(Archive(TrackingConfig(store=str(store))), "one"))


def in_database(statement: str) -> Callable[[Path], None]:
    def edit(store: Path) -> None:
        of_sweep = "run_uuid = (SELECT run_uuid FROM runs WHERE name = 'one')"
        with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
            assert connection.execute(f"{statement} AND {of_sweep}").rowcount > 0

    return edit


def in_conclusion(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(store: Path) -> None:
        (path,) = store.rglob(CONCLUSION)
        plain = json.loads(path.read_text())
        change(plain)
        path.write_text(json.dumps(plain))

    return edit


def in_a_record(store: Path) -> None:
    """A lower cost of the first fit of a trial, in the record's file alone."""
    (trial,) = [r for r in stored(store).of_kind("trial") if r.info.run_name == "trial-0002"]
    path = store / "artifacts" / trial.info.run_id / "artifacts" / RECORD
    meta = json.loads(path.read_text())
    meta["fits"][0]["summary"]["best_dev_cost"] /= 10
    path.write_text(json.dumps(meta))


def test_an_untouched_sweep_agrees_with_its_records(store: Path) -> None:
    assert found(store) == ""


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (in_database("UPDATE tags SET value = '{}' WHERE key = 'recommended'"), "the tag recommended of"),
        (
            in_database("DELETE FROM tags WHERE key = 'recommended'"),
            "the tag recommended of the sweep's run is missing",
        ),
        (in_database("UPDATE latest_metrics SET value = 1 WHERE key = 'gain'"), "the metric gain of the sweep's run"),
        (in_database("UPDATE latest_metrics SET value = 1 WHERE key = 'best_dev_error'"), "the metric best_dev_error"),
        (in_database("UPDATE latest_metrics SET value = 99 WHERE key = 'trials'"), "the metric trials of"),
        (in_database("UPDATE tags SET value = 'Well.' WHERE key = 'mlflow.note.content'"), "mlflow.note.content"),
        (in_database("UPDATE tags SET value = 'x' WHERE key = 'diagnosis_verdict'"), "the tag diagnosis_verdict"),
        (in_database("UPDATE tags SET value = 'ab' WHERE key = 'data_digest'"), "the tag data_digest"),
        (in_database("UPDATE params SET value = '7' WHERE key = 'sampler.seed'"), "the param sampler.seed"),
        (in_conclusion(lambda c: c["gain"].update(mean=0.9)), "has gain.mean = 0.9, but"),
        (in_conclusion(lambda c: c.update(run="baseline")), "has run = baseline, but"),
        (in_conclusion(lambda c: c["values"].update({"regularization.lambd": 9.0})), "regularization.lambd = 9.0"),
        (in_conclusion(lambda c: c["ranges"][0].update(high=1e3)), "has ranges.0.high"),
        (in_a_record, "a run is gone or a record was changed"),
    ],
)
def test_what_was_edited_of_a_sweep_is_named(store: Path, edit: Callable[[Path], None], told: str) -> None:
    edit(store)
    assert told in found(store)


def test_a_run_that_the_conclusion_rests_on_and_is_gone_is_named(store: Path) -> None:
    with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name LIKE 'confirm-%'")
    assert "no run has repeat" in found(store)
