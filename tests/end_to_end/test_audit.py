"""`make rerun RUN=search` and RUN=all, after real edits of the database, of files and of the study."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Ended
from tests.end_to_end.test_searches import study_of

TRIALS = 14
Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the study that the tests copy is made once."""
    return tmp_path_factory.mktemp("original") / "mlruns"


@pytest.fixture
def study(sweep_of: Run, original: Path, tmp_path: Path) -> str:
    """A small study in a store of its own."""
    if not original.exists():
        ended = sweep_of(f"study.trials={TRIALS}", "pruner=median", "pruner.startup_trials=2", store=original)
        assert ended.code == 0, ended.err
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    (journal,) = (tmp_path / "studies").glob("*.journal")
    return journal.stem


@pytest.fixture
def audit(pipeline: Run, tmp_path: Path) -> Run:
    return lambda *overrides: pipeline("rerun", "run=search", f"tracking.store={tmp_path}", *overrides)


def edit(store: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(store / "mlflow.db") as database:
        assert database.execute(statement, values).rowcount > 0
    database.close()


def test_an_untouched_study_is_as_recorded_also_when_extended(
    study: str, audit: Run, sweep_of: Run, tmp_path: Path
) -> None:
    ended = audit()
    assert ended.code == 0, ended.err
    assert f"{TRIALS} of {TRIALS} proposals and " in ended.out
    assert ended.out.strip().endswith("decisions as recorded; no trial is missing.")
    sweep_of("study.trials=16", "pruner=median", "pruner.startup_trials=2", store=tmp_path)
    assert "16 of 16 proposals" in audit(f"study={study}").out


def test_an_edited_value_and_an_edited_parameter_of_the_database_are_found_and_not_followed(
    study: str, audit: Run, pipeline: Run, tmp_path: Path
) -> None:
    of = "run_uuid = (SELECT run_uuid FROM runs WHERE name = ?)"
    for table in ("metrics", "latest_metrics"):
        edit(tmp_path, f"UPDATE {table} SET value = 0.0 WHERE key = 'best_dev_cost' AND {of}", "trial-0003")
    edit(tmp_path, f"UPDATE params SET value = '1.5' WHERE key = 'regularization.lambd' AND {of}", "trial-0005")
    ended = audit()
    assert ended.code == 1
    assert "trial-0003 has best_dev_cost 0.0 in the tracking store, but" in ended.out
    assert "trial-0005 has regularization.lambd '1.5' in the tracking store, but" in ended.out
    best = pipeline("rerun", "run=best", f"tracking.store={tmp_path}")
    assert "trial-0003: identical" not in best.out


def test_trials_that_are_gone_are_counted_by_both_audits(study: str, audit: Run, pipeline: Run, tmp_path: Path) -> None:
    edit(tmp_path, "UPDATE runs SET lifecycle_stage = 'deleted' WHERE name IN ('trial-0003', 'trial-0007')")
    gone = f"{TRIALS - 2} of {TRIALS} runs are there: trials 3, 7 are gone"
    assert gone in audit().out
    all_of_it = pipeline("rerun", "run=all", "track=false", "workers.count=1", f"tracking.store={tmp_path}")
    assert all_of_it.code == 1
    assert gone in all_of_it.out
    assert f"{TRIALS - 2} identical" in all_of_it.out


def test_an_edited_history_is_found(study: str, audit: Run, tmp_path: Path) -> None:
    (path,) = tmp_path.rglob("trials.json")
    history = json.loads(path.read_text())
    history["trials"][4]["params"]["regularization.lambd"] *= 2
    path.write_text(json.dumps(history))
    ended = audit()
    assert ended.code == 1
    assert "The first that parts: trial 4 has regularization.lambd" in ended.out
    path.unlink()
    assert "cannot be replayed" in audit().err


def test_an_edited_study_that_is_continued_is_found(study: str, audit: Run, sweep_of: Run, tmp_path: Path) -> None:
    journal = tmp_path / "studies" / f"{study}.journal"
    value = next(trial.value for trial in study_of(tmp_path, study).trials if trial.state.name == "COMPLETE")
    text = journal.read_text()
    assert str(value) in text
    journal.write_text(text.replace(f'"values":[{value}]', '"values":[0.0]'))
    sweep_of(f"study.trials={TRIALS + 1}", "pruner=median", "pruner.startup_trials=2", store=tmp_path)
    ended = audit()
    assert ended.code == 1
    assert "has best_dev_cost" in ended.out


def test_a_study_without_a_lag_cannot_be_replayed(sweep_of: Run, audit: Run, tmp_path: Path) -> None:
    sweep_of("study.trials=2", "study.lag=null", store=tmp_path)
    ended = audit()
    assert ended.code == 1
    assert "ran free (study.lag=null): its search cannot be replayed" in ended.err
    edit(tmp_path, "DELETE FROM params WHERE key = 'study.lag'")
    assert "was made without a lag: its search cannot be replayed" in audit().err
