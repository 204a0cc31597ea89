"""Files go under the store that was given, whatever its database says; any other place is refused."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import TrackingError
from pipeline.tracking.archive import Archive
from pipeline.tracking.places import files_folder
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.store import resolve
from pipeline.trials.record import TrialRecord

MakeRecord = Callable[..., TrialRecord]


def moved(root: Path, to: Path, *, copied: bool = False) -> TrackingConfig:
    """The configuration of a store in its new place."""
    if copied:
        shutil.copytree(root, to)
    else:
        root.rename(to)
    return TrackingConfig(experiment="tests", store=str(to))


@pytest.mark.parametrize("copied", [False, True])
def test_a_moved_store_is_read_and_written_in_its_new_place(
    recorder: Recorder, make_record: MakeRecord, root: Path, tmp_path: Path, copied: bool
) -> None:
    parent = recorder.open_sweep("first", {})
    before = recorder.write(make_record(0), kind="train", name="before")
    tracking = moved(root, tmp_path / "elsewhere", copied=copied)
    listed = sorted(path for path in root.rglob("*") if path.parent.name != "mlruns") if copied else []
    again = Recorder(tracking)
    assert again.open_sweep("first", {}) == parent
    again.annotate(parent, {"word": "value"})
    again.write_file(parent, Path(__file__), "pictures")
    after = again.write(make_record(1, started_at=time.time() + 1), kind="train", name="after")
    assert sorted(path for path in root.rglob("*") if path.parent.name != "mlruns") == listed
    assert (tmp_path / "elsewhere" / "artifacts" / parent / "artifacts" / "pictures" / Path(__file__).name).exists()
    archive = Archive(tracking)
    assert [archive.load(archive.find(run)).config["seed"] for run in (before, after)] == [0, 1]
    assert [archive.is_foreign(archive.find(run)) for run in (before, after)] == [True, False]
    client = MlflowClient(again.store.uri)
    for run in (before, after):  # as the UI finds them
        assert client.get_run(run).info.artifact_uri.startswith(str(tmp_path / "elsewhere"))
        assert client.list_artifacts(run)


def test_files_kept_elsewhere_on_purpose_stay_there(make_record: MakeRecord, root: Path, tmp_path: Path) -> None:
    elsewhere = TrackingConfig(experiment="apart", store=str(root), artifacts=str(tmp_path / "apart"))
    run_id = Recorder(elsewhere).write(make_record(), kind="train", name="train")
    assert (tmp_path / "apart" / run_id / "artifacts" / "record.json").exists()
    with pytest.raises(TrackingError, match=f"keeps its files in {tmp_path}/apart; set tracking.artifacts"):
        Recorder(TrackingConfig(experiment="apart", store=str(root)))
    assert Recorder(elsewhere).experiment_id


def test_a_database_cannot_send_files_to_a_place_of_its_own(recorder: Recorder, root: Path, tmp_path: Path) -> None:
    recorder.open_sweep("first", {})
    shutil.rmtree(root / "artifacts")
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (str(tmp_path / "home"),))
    with pytest.raises(TrackingError, match="keeps its files in"):
        Recorder(TrackingConfig(experiment="tests", store=str(root)))
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("location", ["/home/ann/artifacts", "s3://bucket/1", "file:///home/ann"])
def test_a_server_keeps_files_itself_or_where_the_user_said(tmp_path: Path, location: str) -> None:
    experiment = SimpleNamespace(artifact_location=location, name="tests", experiment_id="1")
    for artifacts, refused in ((None, True), (f"{location}2", True), (location, False), (f"{location}/", False)):
        store = resolve(TrackingConfig(uri="http://tracking", store=str(tmp_path), artifacts=artifacts))
        if refused:
            with pytest.raises(TrackingError, match=r"set tracking\.artifacts to that place"):
                files_folder(None, store, experiment)  # type: ignore[arg-type]
        else:
            assert files_folder(None, store, experiment) is None  # type: ignore[arg-type]
    experiment.artifact_location = "mlflow-artifacts:/1"
    assert files_folder(None, resolve(TrackingConfig(uri="http://tracking")), experiment) is None  # type: ignore[arg-type]


def test_a_folder_is_the_same_place_however_it_is_written(tmp_path: Path) -> None:
    experiment = SimpleNamespace(artifact_location=f"file://{tmp_path}/files", name="tests", experiment_id="1")
    store = resolve(TrackingConfig(store=str(tmp_path), artifacts=f"{tmp_path}/other/../files"))
    assert files_folder(None, store, experiment) == tmp_path / "other" / ".." / "files"  # type: ignore[arg-type]


@pytest.mark.parametrize(("location", "artifacts"), [("s3://bucket/1", None), ("/home/ann/artifacts", "/data/files")])
def test_only_a_local_folder_of_a_store_that_keeps_its_own_files_can_have_moved(
    tmp_path: Path, location: str, artifacts: str | None
) -> None:
    experiment = SimpleNamespace(artifact_location=location, name="tests", experiment_id="1")
    store = resolve(TrackingConfig(store=str(tmp_path), artifacts=artifacts))
    with pytest.raises(TrackingError, match=r"keeps its files in .*; set tracking\.artifacts to that place"):
        files_folder(None, store, experiment)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
