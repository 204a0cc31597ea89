"""Reserves a study for one coordinator at a time, by a lock that ends with its holder where the storage has one."""

import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import optuna

from pipeline.config.addresses import mask, with_driver
from pipeline.config.errors import StudyError

_HOLDER = "holder"
_ADVISORY = 0x53574545
"""First key of the advisory locks that are a study's; the second is made from its name."""


Check = Callable[[], None]
"""Raises `StudyError` if a lock is no longer held."""


def hold_study(storage: str | None, journal: Path, name: str) -> AbstractContextManager[Check]:
    """Hold the study while the block runs: by a file lock, or in PostgreSQL by a connection's advisory lock.

    Other databases have no such lock: see `claim`. Yields a check that the lock is still held, because a connection can
    lose it.

    Parameters
    ----------
    storage : `study.storage`, an Optuna storage URL; None or a path: a journal.
    journal : the journal's path, if it is one.

    Raises
    ------
    StudyError
        Another living coordinator holds it; the message says which.
    """
    what = f"study {name}"
    if storage is None or "://" not in storage:
        return hold(journal.with_name(f"{journal.name.removesuffix('.journal')}.lock"), what)
    if storage.startswith("sqlite") and (file := storage.split(":///", 1)[-1].split("?")[0]):
        return hold(Path(f"{file}.{name}.lock"), what)
    return _advisory(storage, name) if storage.startswith("postgres") else nullcontext(_nothing_to_check)


def _nothing_to_check() -> None:
    """A file lock is held as long as this process lives."""


@contextmanager
def hold(path: Path, what: str) -> Iterator[Check]:
    """Hold the lock file at `path` while the block runs.

    Raises
    ------
    StudyError
        Another living process holds it; the message says which.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise StudyError(f"{path.parent} must be writable to hold {what}, but: {error.strerror}.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StudyError(f"{what} is held by another coordinator: {_read_holder(file.read())}.") from None
        file.truncate(0)
        json.dump(_myself(), file)
        file.flush()
        yield _nothing_to_check


@contextmanager
def _advisory(storage: str, name: str) -> Iterator[Check]:
    """Hold the study by a lock of a connection that stays open; PostgreSQL releases it when the connection ends."""
    import sqlalchemy

    me = _myself()
    try:
        engine = sqlalchemy.create_engine(
            with_driver(storage),
            isolation_level="AUTOCOMMIT",
            connect_args={"application_name": f"process {me['pid']} on {me['host']}"[:63]},
        )
        connection = engine.connect()
    except Exception as error:
        raise unusable(storage, error) from None
    key = {"kind": _ADVISORY, "key": int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) >> 1}
    with connection:
        lock = sqlalchemy.text("SELECT pg_try_advisory_lock(CAST(:kind AS int), CAST(:key AS int))")
        if not connection.execute(lock, key).scalar():
            row = connection.execute(sqlalchemy.text(_WHO), key).first()
            who = f"{row[0] or 'a process unknown'}, since {row[1]}" if row else "a process that is just ending"
            raise StudyError(f"study {name} is held by another coordinator: {who}.")

        def check() -> None:
            try:
                connection.execute(sqlalchemy.text("SELECT 1"))
            except sqlalchemy.exc.DBAPIError:
                raise StudyError(
                    f"the connection that held study {name} was lost, so another coordinator may hold it now. "
                    "Nothing is lost: the same command continues."
                ) from None

        try:
            yield check
        finally:
            connection.invalidate()  # ends the lock, also where the connection is gone already
    engine.dispose()


_WHO = """
SELECT application_name, to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS')
FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE locktype = 'advisory' AND granted AND classid = CAST(:kind AS oid) AND objid = CAST(:key AS oid)
"""


def unusable(storage: str, error: BaseException) -> StudyError:
    """Return one sentence on why a database cannot be used, without its password."""
    if isinstance(error, ImportError):
        return StudyError(f"study.storage {mask(storage)} needs the package {error.name}, which is not installed.")
    reason = mask(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
    return StudyError(f"study.storage {mask(storage)} cannot be used: {reason}")


@contextmanager
def claim(study: optuna.Study, storage: str | None, *, take_over: bool) -> Iterator[None]:
    """Write into the study who holds it, for databases whose locks `hold_study` does not know, while the block runs.

    A killed coordinator's entry stays. If it ran on this machine, it is recognised as dead; otherwise that is unknown.

    Raises
    ------
    StudyError
        Another coordinator is entered, and `take_over` is false.
    """
    if storage is None or "://" not in storage or storage.startswith(("sqlite", "postgres")):
        yield
        return
    holder: Mapping[str, Any] | None = study.user_attrs.get(_HOLDER)
    if holder and not take_over and not _is_dead(holder):
        raise StudyError(
            f"study {study.study_name} is held by another coordinator: {_described(holder)}; "
            "if that one is gone, study.take_over=true goes on without it."
        )
    study.set_user_attr(_HOLDER, _myself())
    try:
        yield
    finally:
        study.set_user_attr(_HOLDER, None)


def _myself() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%F %T")}


def _is_dead(holder: Mapping[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _described(holder: Mapping[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"


def _read_holder(text: str) -> str:
    try:
        return _described(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return "a process that is just starting"
