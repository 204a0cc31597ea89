"""What the sweep's own run shows follows from its trials; RUN=all finds and names what was edited there."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread, imsave

from pipeline.config.commands import TrackingConfig
from pipeline.reporting.agreement import Compared, compare_sweep
from pipeline.tracking import notes
from pipeline.tracking.archive import CONCLUSION, Archive
from pipeline.tracking.files import RECORD, sha256
from tests.end_to_end.sweeps import SMALL, run, stored

pytestmark = pytest.mark.slow
SETTINGS = ("study.race=true", "repeats=2", "study.trials=5", "study.name=one")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("original") / "mlruns", "tracking.pictures=false")


@pytest.fixture(scope="module")
def illustrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("illustrated") / "mlruns", "study.race=false")


def swept(store: Path, *settings: str) -> Path:
    ended = run(store, "sweep", *SMALL, *SETTINGS, *settings)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return store


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    """A copy that may be edited, moved like a store that somebody was given."""
    shutil.copytree(original, tmp_path / "mlruns")
    return tmp_path / "mlruns"


@pytest.fixture
def with_pictures(illustrated: Path, tmp_path: Path) -> Path:
    shutil.copytree(illustrated, tmp_path / "mlruns")
    return tmp_path / "mlruns"


def compared(store: Path) -> Compared:
    return compare_sweep(Archive(TrackingConfig(store=str(store))), "one")


def found(store: Path) -> str:
    return "; ".join(compared(store).differences)


def file_of(store: Path, name: str) -> Path:
    [sweep] = stored(store).of_kind("sweep")
    return store / "artifacts" / sweep.info.run_id / "artifacts" / name


def in_note(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change the note alone, as someone would who has made the store show the same."""

    def edit(store: Path) -> None:
        path = file_of(store, notes.FILE)
        note = json.loads(path.read_text())
        change(note)
        path.write_text(json.dumps(note))

    return edit


def painted(store: Path, software: str | None = None) -> None:
    """A point more in a picture, whose digest is made to fit, and perhaps the program that drew it."""
    path = file_of(store, "pictures/history.png")
    [drawn_by] = re.findall(rb"Software\0(Matplotlib version[0-9.]+)", path.read_bytes())
    picture = imread(path)
    picture[100, 100] = (0.8, 0, 0, 1)
    imsave(path, picture, metadata={"Software": software or drawn_by.decode()})
    digest = sha256(path.read_bytes())
    in_note(lambda note: note["files_sha256"].update({"pictures/history.png": digest}))(store)


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
    assert compared(store) == Compared()


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (in_database("UPDATE tags SET value = '{}' WHERE key = 'recommended'"), "one: the tag recommended is {} in"),
        (
            in_database("DELETE FROM tags WHERE key = 'recommended'"),
            "one: the tag recommended is missing in",
        ),
        (in_database("UPDATE latest_metrics SET value = 1 WHERE key = 'gain'"), "one: the metric gain is 1.0 in"),
        (in_database("UPDATE latest_metrics SET value = 1 WHERE key = 'best_dev_error'"), "the metric best_dev_error"),
        (in_database("UPDATE latest_metrics SET value = 99 WHERE key = 'trials'"), "the metric trials is 99.0 in"),
        (in_database("UPDATE tags SET value = 'Well.' WHERE key = 'mlflow.note.content'"), "the description in"),
        (in_database("UPDATE tags SET value = 'x' WHERE key = 'diagnosis_verdict'"), "the tag diagnosis_verdict"),
        (in_database("UPDATE tags SET value = 'ab' WHERE key = 'data_digest'"), "the tag data_digest"),
        (in_database("UPDATE params SET value = '7' WHERE key = 'sampler.seed'"), "the param sampler.seed"),
        (in_conclusion(lambda c: c["gain"].update(mean=0.9)), "has gain.mean = 0.9, but"),
        (in_conclusion(lambda c: c.update(run="baseline")), "has run = baseline, but"),
        (in_conclusion(lambda c: c["values"].update({"regularization.lambd": 9.0})), "regularization.lambd = 9.0"),
        (in_conclusion(lambda c: c["ranges"][0].update(high=1e3)), "has ranges.0.high"),
        (in_note(lambda n: n["params"].update({"sampler.seed": "7"})), "the param sampler.seed was written as 7, but"),
        (in_note(lambda n: n["tags"].update(recommended="{}")), "the tag recommended was written as {}, but"),
        (in_note(lambda n: n["tags"].update(diagnosis_verdict="x")), "the tag diagnosis_verdict was written as x, but"),
        (in_note(lambda n: n["points"]["trials"].update({"5": 9})), "the metric trials was written as 9.0, but"),
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


def test_of_a_sweep_that_was_interrupted_it_is_said_what_is_not_compared(store: Path) -> None:
    in_database("UPDATE runs SET status = 'KILLED' WHERE 1")(store)
    in_note(lambda note: note.update(status="KILLED"))(store)
    assert compared(store).differences == ()
    [remark] = compared(store).remarks
    assert remark.startswith("The run of one is KILLED, not FINISHED: its trials are compared, but not its conclusion")


def test_pictures_are_drawn_again_and_compared_in_every_point(with_pictures: Path) -> None:
    store = with_pictures
    assert compared(store) == Compared()
    painted(store)
    assert compared(store) == Compared(("one: the picture history is not what the records give",))
    file_of(store, "pictures/pruning.png").unlink()
    assert compared(store).differences[0] == "one: The record has no pruning.png"


def test_pictures_of_other_code_or_another_matplotlib_are_said_not_to_be_compared(with_pictures: Path) -> None:
    store = with_pictures
    painted(store, "Matplotlib version2.0")
    assert compared(store).remarks[0].startswith("Another Matplotlib drew history, so")
    in_note(lambda note: note.update(code="0" * 16))(store)
    assert compared(store) == Compared(
        (), ("Other code drew the sweep's pictures, so they are not drawn again to be compared.",)
    )
