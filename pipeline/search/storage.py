"""Opens a study's storage, a journal file or a database, and repairs a journal torn by a crash."""

from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.pool import NullPool

from pipeline.config.addresses import with_driver
from pipeline.config.commands import SweepConfig
from pipeline.config.errors import ConfigError, StudyError
from pipeline.search.lock import unusable


def journal_path(config: SweepConfig, name: str) -> Path:
    """Return the path of the study's journal, if it has one: `study.storage`, or the default."""
    return Path(config.study.storage or Path(config.tracking.store) / "studies" / f"{name}.journal")


def open_storage(config: SweepConfig, name: str) -> BaseStorage:
    """Open the study's storage: its own journal file, or what `study.storage` names.

    Raises
    ------
    StudyError
        The storage cannot be opened, in one sentence without its password.
    """
    where = config.study.storage
    if where and "://" in where:
        try:
            return RDBStorage(with_driver(where), engine_kwargs=_pooling(where))
        except Exception as error:  # SQLAlchemy's drivers each raise classes of their own
            raise unusable(where, error) from None
    path = journal_path(config, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
    except OSError as error:
        raise _not_opened(path, error) from None
    return open_journal(path)


def _pooling(where: str) -> dict[str, Any]:
    """Return how SQLAlchemy keeps connections: none to an SQLite file, a server's with a test before each use."""
    return {"poolclass": NullPool} if where.startswith("sqlite") else {"pool_pre_ping": True}


def open_journal(path: Path) -> JournalStorage:
    """Open a journal file as Optuna's storage, without repairing it: another coordinator may be writing to it."""
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_AlreadyHeld(str(path))))
    except OSError as error:
        raise _not_opened(path, error) from None
    except Exception:  # Optuna replays the journal unchecked, so damage can raise any exception
        raise StudyError(f"the study's journal {path} is damaged and cannot be read.") from None


def _not_opened(path: Path, error: OSError) -> StudyError:
    return StudyError(f"the study's journal {path} cannot be opened: {error.strerror}.")


def check_storage(config: SweepConfig) -> None:
    """Refuse a `study.storage` that is neither a database's address nor a file's path.

    Raises
    ------
    StudyError
        Its driver is unknown or not installed.
    ConfigError
        It is a folder, or a database in memory.
    """
    where = config.study.storage
    if where is not None and "://" in where:
        try:
            url = sqlalchemy.make_url(with_driver(where))
            url.get_dialect().import_dbapi()
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise unusable(where, error) from None
        if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
            raise ConfigError(f"study.storage must name a file, but {where} is a database in memory and keeps nothing.")
    elif where is not None and (not where or Path(where).is_dir()):
        raise ConfigError(f"study.storage must be a database's address or a journal file, but is {where!r}.")


def _cut_torn_line(path: Path) -> None:
    """Cut a journal back to its last whole line; a crash may have torn the line after it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


class _AlreadyHeld(JournalFileSymlinkLock):
    """No lock of its own: the coordinator holds the study's lock for as long as the journal is open.

    Optuna's lock files survive kill -9 and would make the next start wait for them.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
