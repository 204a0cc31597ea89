"""The same sweep with its study in SQLite or PostgreSQL and its runs on a tracking server, some of which die midway."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.config.addresses import with_driver
from tests.end_to_end.conftest import Ended
from tests.end_to_end.sweeps import SMALL, assert_whole, run, started
from tests.servers import postgresql, postgresql_programs, tracking_server

psycopg2 = pytest.importorskip("psycopg2", reason="PostgreSQL is an optional extra")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Address of a PostgreSQL with a database `studies` beside the one that MLflow gets: each has its own tables."""
    if postgresql_programs() is None:
        pytest.skip("needs a PostgreSQL server's programs")
    with postgresql() as address:
        connection = psycopg2.connect(address)
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE studies")
        connection.close()
        yield address


def studies(database: str, name: str) -> tuple[str, ...]:
    return (f"study.storage={database.rsplit('/', 1)[0]}/studies", f"study.name={name}")


def wait_for_trials(process: subprocess.Popen[str], database: str, name: str, count: int) -> None:
    """Wait until so many trials of the study have begun."""
    deadline = time.monotonic() + 300
    while _begun(database, name) < count:
        assert time.monotonic() < deadline
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(process.communicate()[0])


def _begun(database: str, name: str) -> int:
    query = "SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE study_name = %s"
    connection = psycopg2.connect(f"{database.rsplit('/', 1)[0]}/studies")
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, (name,))
            return int(cursor.fetchone()[0])
    except psycopg2.errors.UndefinedTable:
        return 0
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_tracking_server_killed_and_started_again_in_the_middle_loses_and_doubles_nothing(
    tmp_path: Path, database: str
) -> None:
    with tracking_server(tmp_path / "server", with_driver(database)) as server:
        overrides = (*SMALL, f"tracking.uri={server.address}", "study.trials=24", *studies(database, "served"))
        with started(tmp_path / "store", "sweep", *overrides) as process:
            wait_for_trials(process, database, "served", 4)
            server.kill()
            wait_for_trials(process, database, "served", 12)  # training does not wait for the server
            server.start()
            output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        assert_whole(tmp_path / "store", 24, server.address)


@pytest.mark.slow
@pytest.mark.postgresql
def test_records_for_a_dead_server_are_kept_and_sent_by_the_same_command(tmp_path: Path, database: str) -> None:
    with tracking_server(tmp_path / "server", f"sqlite:///{tmp_path / 'server.db'}") as server:
        overrides = (*SMALL, f"tracking.uri={server.address}", "study.trials=8", *studies(database, "away"))
        with started(tmp_path / "store", "sweep", *overrides) as process:
            wait_for_trials(process, database, "away", 2)
            server.kill()
            output, _ = process.communicate(timeout=600)
        assert process.returncode == 1, output
        assert "They are sent when the same command runs again" in output
        assert "Traceback" not in output
        server.start()
        again = run(tmp_path / "store", "sweep", *overrides)
        assert again.returncode == 0, again.stdout + again.stderr
        assert_whole(tmp_path / "store", 8, server.address)


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_study_in_postgresql_has_one_coordinator_and_is_free_when_that_is_killed(
    tmp_path: Path, database: str
) -> None:
    overrides = (*SMALL, "study.trials=12", *studies(database, "held"))
    long = ("training.num_epochs=1000000", "training.patience=null", "pruner=none", "study.baseline=false")
    with started(tmp_path, "sweep", *overrides, *long) as first:  # which is killed -9 at the end of the block
        wait_for_trials(first, database, "held", 1)
        second = run(tmp_path / "elsewhere", "sweep", *overrides, *long)
        assert second.returncode == 1
        assert f"study held is held by another coordinator: process {first.pid} on" in second.stderr
    other = run(tmp_path, "sweep", *overrides)
    assert other.returncode == 1
    assert "exists with another configuration" in other.stderr
    assert "training.num_epochs: 1000000 then, 30 now" in other.stderr


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_password_is_not_shown(tmp_path: Path) -> None:
    refused = run(tmp_path, "sweep", *SMALL, "study.storage=postgresql://me:s3cret@127.0.0.1:9/none")
    assert refused.returncode == 1
    assert "error: study.storage postgresql://***@127.0.0.1:9/none cannot be used" in refused.stderr
    assert "s3cret" not in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_study_in_sqlite_continues_and_starts_afresh(sweep_of: Callable[..., Ended], tmp_path: Path) -> None:
    where = f"study.storage=sqlite:///{tmp_path}/studies.db"
    assert "2 of 2 trials done" in sweep_of(where, "study.trials=2").out
    more = sweep_of(where, "study.trials=3")
    assert "2 of 3 trials done" in more.out
    assert "3 of 3 trials done" in more.out
    fresh = sweep_of(where, "study.trials=1", "study.fresh=true")
    assert fresh.study == f"{more.study}-2"
