"""One coordinator at a time; a holder that is gone is no obstacle, and where that cannot be known, the user says so."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from pipeline.config.errors import StudyError
from pipeline.search.lock import claim, hold, hold_study, unusable
from tests.servers import postgresql, postgresql_programs

MYSQL = "mysql://me:s3cret@db/studies"


def test_a_held_study_is_refused_with_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "s.lock"
    held = pytest.raises(StudyError, match=f"study s is held .*: process {os.getpid()} on")
    with hold(path, "study s"), held, hold(path, "study s"):
        pass
    with hold(path, "study s"):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lock_file_whose_holder_was_killed_is_no_obstacle(tmp_path: Path) -> None:
    holds = f"with hold(Path({str(tmp_path / 's.lock')!r}), 's'): print('held', flush=True); sys.stdin.read()"
    code = f"import sys\nfrom pathlib import Path\nfrom pipeline.search.lock import hold\n{holds}"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(StudyError, match=f"process {holder.pid} on"), hold(tmp_path / "s.lock", "study s"):
        pass
    holder.kill()
    holder.communicate()
    with hold(tmp_path / "s.lock", "study s"):
        pass


def test_a_lock_file_still_empty_names_a_process_that_is_just_starting(tmp_path: Path) -> None:
    with (tmp_path / "s.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="a process that is just starting"), hold(tmp_path / "s.lock", "study s"):
            pass


def test_a_folder_that_cannot_be_made_is_one_sentence() -> None:
    with (
        pytest.raises(StudyError, match="must be writable to hold study s"),
        hold(Path("/dev/null/x/s.lock"), "study s"),
    ):
        pass


def test_studies_in_one_journal_or_database_are_held_where_they_are_kept(tmp_path: Path) -> None:
    journal = tmp_path / "shared.journal"
    first, second = (hold_study(str(journal), journal, name) for name in ("one", "two"))
    with first, pytest.raises(StudyError), second:  # a journal has one writer, whichever its study
        pass
    sqlite = f"sqlite:///{tmp_path}/studies.db"
    one, other, again = (hold_study(sqlite, journal, name) for name in ("one", "two", "one"))
    with one, other, pytest.raises(StudyError), again:
        pass
    assert {path.name for path in tmp_path.glob("*.lock")} == {
        "shared.lock",
        "studies.db.one.lock",
        "studies.db.two.lock",
    }


@pytest.mark.postgresql
def test_a_lock_whose_connection_was_lost_is_noticed(tmp_path: Path) -> None:
    psycopg2 = pytest.importorskip("psycopg2", reason="PostgreSQL is an optional extra")
    if postgresql_programs() is None:
        pytest.skip("needs a PostgreSQL server's programs")
    with postgresql() as address:
        with hold_study(address, tmp_path / "none", "s") as check:
            check()
            with psycopg2.connect(address) as another, another.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            with pytest.raises(StudyError, match="the connection that held study s was lost"):
                check()
            with hold_study(address, tmp_path / "none", "s"):  # as another coordinator could now
                pass
        another.close()


class TestClaim:
    """In a database without a lock that ends with its holder, the holder is written down."""

    def study(self, holder: dict[str, object] | None = None) -> optuna.Study:
        study = optuna.create_study(study_name="s")
        if holder:
            study.set_user_attr("holder", holder)
        return study

    def test_it_is_written_and_taken_back(self) -> None:
        study = self.study()
        with claim(study, MYSQL, take_over=False):
            assert study.user_attrs["holder"]["pid"] == os.getpid()
        assert study.user_attrs["holder"] is None

    def test_a_holder_on_another_machine_is_refused_until_told_to_take_over(self) -> None:
        study = self.study({"pid": 1, "host": "another", "since": "2026-01-01 00:00:00"})
        refused = pytest.raises(StudyError, match=r"process 1 on another, since 2026.*study\.take_over=true")
        with refused, claim(study, MYSQL, take_over=False):
            pass
        with claim(study, MYSQL, take_over=True):
            assert study.user_attrs["holder"]["pid"] == os.getpid()

    def test_a_dead_holder_on_this_machine_is_no_obstacle(self) -> None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        with claim(self.study(), MYSQL, take_over=False):
            me = self.study()
        with claim(me, MYSQL, take_over=False):
            mine = dict(me.user_attrs["holder"])
        study = self.study(mine | {"pid": ended.pid})
        with claim(study, MYSQL, take_over=False):
            pass

    def test_a_living_holder_on_this_machine_is_refused(self) -> None:
        study = self.study()
        refused = pytest.raises(StudyError, match=f"process {os.getpid()} on")
        with claim(study, MYSQL, take_over=False), refused, claim(study, MYSQL, take_over=False):
            pass

    def test_where_there_is_a_real_lock_nothing_is_written(self) -> None:
        study = self.study()
        for storage in (None, "x.journal", "sqlite:///x.db", "postgresql://x/y"):
            with claim(study, storage, take_over=False):
                assert study.user_attrs == {}


def test_a_missing_driver_is_named_and_a_password_is_not() -> None:
    error = ModuleNotFoundError("No module named 'MySQLdb'", name="MySQLdb")
    assert str(unusable(MYSQL, error)) == (
        "study.storage mysql://***@db/studies needs the package MySQLdb, which is not installed."
    )
    assert "s3cret" not in str(unusable(MYSQL, RuntimeError(f"no route to {MYSQL}\nmore")))
