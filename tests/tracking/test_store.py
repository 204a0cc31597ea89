"""The kind of store that an address means; faults are reported in one sentence, without secrets."""

import fcntl
import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import TrackingError
from pipeline.tracking import connection, store
from pipeline.tracking.recorder import Recorder


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        (None, "embedded"),
        ("http://127.0.0.1:5000/", "server"),
        ("https://ann:pw@tracking.example", "server"),
        ("postgresql://ann@db/mlflow", "database"),
        ("postgresql+psycopg2://ann@db/mlflow", "database"),
        ("sqlite:///somewhere.db", "database"),
    ],
)
def test_an_address_tells_the_kind_of_store(tmp_path: Path, uri: str | None, kind: str) -> None:
    assert store.resolve(TrackingConfig(uri=uri, store=str(tmp_path))).kind == kind


def test_local_addresses_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    embedded = store.resolve(TrackingConfig())
    assert embedded.uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert embedded.artifacts == f"{tmp_path}/mlruns/artifacts"
    assert store.resolve(TrackingConfig(uri="sqlite:///a.db")).uri == f"sqlite:///{tmp_path}/a.db"
    assert store.resolve(TrackingConfig(uri="http://x:5000")).artifacts is None


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("/data/runs", "/data/runs"),
        ("runs", "runs"),
        ("file:///data/my%20runs", "/data/my runs"),
        ("s3://bucket/runs", None),
        ("mlflow-artifacts:/1", None),
    ],
)
def test_a_local_address_means_a_folder_and_any_other_none(address: str, folder: str | None) -> None:
    assert store.as_folder(address) == (None if folder is None else Path(folder))


def test_a_store_that_can_be_used_is_made_with_nothing_in_it(tmp_path: Path) -> None:
    given = TrackingConfig(store=str(tmp_path / "a" / "mlruns"), artifacts=str(tmp_path / "b" / "files"))
    store.check(store.resolve(given))
    store.check(store.resolve(given))
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []
    assert (tmp_path / "a" / "mlruns").is_dir()
    assert (tmp_path / "b" / "files").is_dir()


def test_one_process_at_a_time_changes_the_layout_of_a_store(tmp_path: Path) -> None:
    held = store.exclusively(store.resolve(TrackingConfig(store=str(tmp_path))))
    with (tmp_path / ".store.lock").open("a") as another:
        with held, pytest.raises(BlockingIOError):
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("uri", ["mlruns", "file:///data/x", "ftp://ann:hunter2@x", "databricks"])
def test_an_address_of_another_kind_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(TrackingError, match="must be null or start with") as refusal:
        store.resolve(TrackingConfig(uri=uri, store=str(tmp_path)))
    assert "hunter2" not in str(refusal.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(TrackingError, match="must be writable"):
        Recorder(TrackingConfig(experiment="tests", store=str(tmp_path / "mlruns")))


def test_a_file_in_place_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("")
    with pytest.raises(TrackingError, match="must be writable, but is not: File exists"):
        Recorder(TrackingConfig(experiment="tests", store=str(tmp_path / "mlruns")))


def test_an_address_where_nothing_answers_is_reported(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://ann:hunter2@127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TrackingError, match="No tracking server answers") as refusal:
            Recorder(TrackingConfig(uri=address, experiment="tests", store=str(tmp_path)))
    assert "hunter2" not in str(refusal.value)


def test_a_database_of_another_version_is_reported(root: Path) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        connection.commit()
    with pytest.raises(TrackingError, match="another version of MLflow"):
        Recorder(TrackingConfig(experiment="tests", store=str(root)))


def test_a_file_that_is_not_a_database_is_reported(root: Path) -> None:
    (root / "mlflow.db").write_bytes(b"something else " * 1000)
    with pytest.raises(TrackingError, match="no SQLite database"):
        Recorder(TrackingConfig(experiment="tests", store=str(root)))


def test_a_library_that_finds_no_memory_is_told_as_such(root: Path) -> None:
    error = ImportError("_rust.abi3.so: failed to map segment from shared object")
    assert "no more memory" in str(connection.explain(error, store.resolve(TrackingConfig(store=str(root)))))


def test_the_store_appears_complete_and_can_be_read_during_writes(root: Path, made_once: Path) -> None:
    assert root.is_dir()
    assert not list(made_once.glob(".draft*"))
    with closing(sqlite3.connect(made_once / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_no_other_process_may_open_the_store_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    create = connection._create

    def watched(wanted: store.Store) -> None:
        with (wanted.root / ".store.lock").open("a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(wanted)
        create(wanted)

    monkeypatch.setattr(connection, "_create", watched)
    Recorder(TrackingConfig(experiment="tests", store=str(tmp_path)))
    assert len(held) == 1


@pytest.mark.slow
def test_two_processes_may_start_on_an_empty_folder_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.config.commands import TrackingConfig; "
        "from pipeline.tracking.recorder import Recorder\n"
        "Recorder(TrackingConfig(experiment='tests', store=sys.argv[1])).open_sweep('study-' + sys.argv[2], {})"
    )
    commands = [[sys.executable, "-c", code, str(tmp_path), str(number)] for number in range(2)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in running:
        _, errors = process.communicate(timeout=600)
        assert (process.returncode, errors) == (0, "")


def test_importing_the_package_does_not_import_mlflow() -> None:
    code = (
        "import sys, pipeline.tracking.recorder, pipeline.tracking.sender, pipeline.tracking.archive, "
        "pipeline.tracking.export; sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
