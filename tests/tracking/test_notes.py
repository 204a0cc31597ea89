"""A run without a record keeps a note of what is written to it, and what is changed there later is found and named."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import RecordError
from pipeline.tracking import notes
from pipeline.tracking.archive import Archive
from pipeline.tracking.connection import connect
from pipeline.tracking.notes import NOTE
from pipeline.tracking.recorder import Recorder
from tests.servers import tracking_server

STUDY = "digits-0123abcd"
CONFIG = {"study": {"trials": 24, "lag": 4}, "workers": {"count": 2}}


def written(recorder: Recorder, folder: Path) -> str:
    """A sweep's run with tags, metrics and files, extended once."""
    run_id = recorder.open_sweep(STUDY, CONFIG, {"study_id": "1"})
    picture = folder / "history.png"
    picture.write_bytes(b"a picture")
    recorder.annotate(run_id, {NOTE: "What was found."}, {"trials": 24.0, "gain": 0.5}, step=24)
    recorder.write_file(run_id, picture, "pictures")
    recorder.close(run_id)
    return run_id


def extended(recorder: Recorder, run_id: str) -> None:
    """By a command of another process, with another number of workers."""
    recorder.open_sweep(STUDY, {**CONFIG, "workers": {"count": 8}}, {"study_id": "1"}, tracked=24)
    recorder.annotate(run_id, {NOTE: "What was found later."}, {"trials": 48.0}, step=48)
    recorder.close(run_id)


@pytest.fixture
def run_id(recorder: Recorder, root: Path, tmp_path: Path) -> str:
    run_id = written(recorder, tmp_path)
    extended(Recorder(TrackingConfig(experiment="tests", store=str(root))), run_id)
    return run_id


def found(archive: Archive, run_id: str) -> list[str]:
    run = archive.find(run_id)
    return archive.changes(run, archive.note(run))


def in_database(statement: str) -> Callable[[Archive, str], None]:
    def edit(archive: Archive, run_id: str) -> None:
        with closing(sqlite3.connect(archive.store.database)) as connection, connection:
            assert connection.execute(f"{statement} AND run_uuid = '{run_id}'").rowcount > 0

    return edit


def by_client(change: Callable[[MlflowClient, str], object]) -> Callable[[Archive, str], None]:
    return lambda archive, run_id: (change(connect(archive.store), run_id), None)[1]


def in_files(name: str, content: bytes | None) -> Callable[[Archive, str], None]:
    def edit(archive: Archive, run_id: str) -> None:
        path = archive.store.root / "artifacts" / run_id / "artifacts" / name
        path.unlink() if content is None else path.write_bytes(content)

    return edit


def test_what_several_commands_wrote_agrees_with_the_note(archive: Archive, run_id: str) -> None:
    assert found(archive, run_id) == []
    note = archive.note(archive.find(run_id))
    assert note.points["trials"] == {24: 24.0, 48: 48.0}
    assert (note.status, note.params["workers.count"]) == ("FINISHED", "2")


def test_a_person_s_own_tags_and_what_follows_the_description_are_left_alone(archive: Archive, run_id: str) -> None:
    client = connect(archive.store)
    client.set_tag(run_id, "mine", "nice")
    client.set_tag(run_id, NOTE, "What was found later.\n\nTo be discussed on Friday.")
    assert found(archive, run_id) == []


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (in_database("UPDATE params SET value = '9' WHERE key = 'workers.count'"), "the param workers.count is 9 in"),
        (in_database("DELETE FROM params WHERE key = 'study.trials'"), "the param study.trials is missing in"),
        (by_client(lambda c, run: c.log_param(run, "more", 1)), "the param more is 1 in the tracking store, but miss"),
        (by_client(lambda c, run: c.set_tag(run, "study_id", "2")), "the tag study_id is 2 in the tracking store, but"),
        (by_client(lambda c, run: c.set_tag(run, NOTE, "Well.")), "the description in the tracking store does not"),
        (by_client(lambda c, run: c.delete_tag(run, NOTE)), "the description in the tracking store does not"),
        (by_client(lambda c, run: c.log_metric(run, "trials", 99, step=99)), "the metric trials at step 99 is 99.0"),
        (by_client(lambda c, run: c.log_metric(run, "other", 1)), "the metric other at step 0 is 1.0"),
        (in_database("UPDATE metrics SET value = 1 WHERE key = 'gain'"), "the metric gain at step 24 is 1.0 in"),
        (in_database("UPDATE latest_metrics SET value = 1 WHERE key = 'gain'"), "gain is 1.0 in the run list, but"),
        (in_database("DELETE FROM metrics WHERE step = 48"), "the metric trials at step 48 is missing in"),
        (in_database("UPDATE runs SET status = 'RUNNING' WHERE 1"), "the status is RUNNING in the tracking store, but"),
        (in_database("UPDATE runs SET name = 'best' WHERE 1"), "the name is best in the tracking store, but"),
        (in_database("UPDATE runs SET start_time = 1 WHERE 1"), "the time at which it started, in ms, is 1 in"),
        (in_database("UPDATE runs SET end_time = end_time + 1 WHERE 1"), "the time at which it ended, in ms, is"),
        (in_files("pictures/history.png", b"another"), "the file pictures/history.png is not the one that was written"),
        (in_files("pictures/history.png", None), "The record has no history.png"),
        (in_files("sweep.json", b"{}"), "the file sweep.json is not the one that was written"),
    ],
)
def test_what_was_changed_later_is_named(
    archive: Archive, run_id: str, edit: Callable[[Archive, str], None], told: str
) -> None:
    edit(archive, run_id)
    assert told in "; ".join(found(archive, run_id))


def test_a_crash_between_note_and_store_is_no_change(archive: Archive, recorder: Recorder, run_id: str) -> None:
    """The note was written and the points of an earlier step were not; the next command wrote its own."""
    in_database("DELETE FROM metrics WHERE step = 24 AND key = 'trials'")(archive, run_id)
    assert found(archive, run_id) == []


def test_of_a_run_that_goes_on_only_the_params_are_compared(archive: Archive, recorder: Recorder, run_id: str) -> None:
    recorder.open_sweep(STUDY, CONFIG, {"study_id": "1"}, tracked=48)
    connect(archive.store).set_tag(run_id, NOTE, "Under way.")
    assert found(archive, run_id) == []
    connect(archive.store).log_param(run_id, "more", 1)
    assert "the param more" in found(archive, run_id)[0]


def test_a_run_that_was_killed_is_compared_without_its_end(archive: Archive, recorder: Recorder, run_id: str) -> None:
    """An opening whose process died is ended by the next command, which does not write its note."""
    recorder.open_sweep(STUDY, CONFIG, {"study_id": "1"}, tracked=48)
    connect(archive.store).set_terminated(run_id, "KILLED")
    assert found(archive, run_id) == []
    connect(archive.store).set_tag(run_id, "study_id", "2")
    assert "the tag study_id" in found(archive, run_id)[0]


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.txt", "pictures/../../x.png", "pictures"])
def test_a_note_reads_no_file_outside_its_run(archive: Archive, run_id: str, name: str) -> None:
    path = archive.store.root / "artifacts" / run_id / "artifacts" / notes.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files_sha256": {name: "0" * 64}}))
    assert found(archive, run_id) == [f"No file of a run is called {name!r}"]


@pytest.mark.parametrize("text", ["{", "[]", '{"name": 3}', '{"name": "x", "started_ms": 1, "points": {"a": [1]}}'])
def test_what_is_no_note_is_one_sentence(archive: Archive, recorder: Recorder, run_id: str, text: str) -> None:
    path = archive.store.root / "artifacts" / run_id / "artifacts" / notes.FILE
    path.write_text(text)
    with pytest.raises(RecordError, match=notes.FILE):
        archive.note(archive.find(run_id))
    extended(Recorder(TrackingConfig(experiment="tests", store=str(archive.store.root))), run_id)
    assert path.read_text() == text, "a damaged note stays as it is, and ends no sweep"


def test_a_run_that_was_written_without_a_note_gets_none(archive: Archive, recorder: Recorder, run_id: str) -> None:
    path = archive.store.root / "artifacts" / run_id / "artifacts" / notes.FILE
    path.unlink()
    extended(Recorder(TrackingConfig(experiment="tests", store=str(archive.store.root))), run_id)
    assert not path.exists()


@pytest.mark.slow
def test_a_server_keeps_the_note_and_the_files_and_what_was_changed_there_is_named(tmp_path: Path) -> None:
    with tracking_server(tmp_path) as server:
        tracking = TrackingConfig(experiment="tests", store=str(tmp_path / "mlruns"), uri=server.address)
        run_id = written(Recorder(tracking), tmp_path)
        extended(Recorder(tracking), run_id)
        archive, client = Archive(tracking), MlflowClient(server.address)
        assert found(archive, run_id) == []
        (tmp_path / "history.png").write_bytes(b"another")
        client.log_artifact(run_id, str(tmp_path / "history.png"), "pictures")
        assert found(archive, run_id) == ["the file pictures/history.png is not the one that was written"]
