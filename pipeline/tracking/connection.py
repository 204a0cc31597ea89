"""Opens a tracking store, reads runs page by page, and turns MLflow's errors into one sentence."""

import gc
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pipeline.config.addresses import mask
from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import StoreAway, TrackingError, exhaustion
from pipeline.config.text import shortened

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList
    from mlflow.tracking import MlflowClient
from pipeline.tracking.store import Store, check, exclusively, resolve

PARENT = "mlflow.parentRunId"
"""MLflow's tag that names a run's parent."""

P = ParamSpec("P")
T = TypeVar("T")

_MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # `explain` reports errors in one sentence
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the sender retries while training goes on
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


PAGE = 100
"""Runs that are read at once: SQLAlchemy takes 160 kB for each while it does; more at once are no faster."""

NEWEST_FIRST, OLDEST_FIRST, BY_NAME = (
    "attributes.start_time DESC",
    "attributes.start_time ASC",
    "attributes.run_name ASC",
)
"""Orders in which runs can be read."""


def connect(store: Store) -> "MlflowClient":
    """Open the store, first creating or upgrading its database if necessary, in one process at a time.

    Raises
    ------
    TrackingError
        The store cannot be used; the message says why.
    """
    check(store)
    for name, value in _MLFLOW_SETTINGS.items():  # MLflow reads some of these when imported, others at each request
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    try:
        with exclusively(store):
            if store.kind == "embedded" and not store.database.exists():
                _create(store)
            client = MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)
            client.search_experiments(max_results=1)
    except Exception as error:
        raise explain(error, store) from error
    return client


def connect_to_runs(store: Store) -> "MlflowClient":
    """Open a store to read from it; an embedded one is not created.

    Raises
    ------
    TrackingError
        It does not exist, or cannot be used.
    """
    if store.kind == "embedded" and not store.database.exists():
        raise TrackingError(f"There are no runs yet: {store.root} holds no tracking store.")
    return connect(store)


def _create(store: Store) -> None:
    """Make the SQLite file under another name and move it into place, so that a crash leaves no partial database.

    Its write-ahead log lets the UI read while a sweep writes, and makes a commit cheaper.
    """
    from mlflow.tracking import MlflowClient

    for leftover in store.root.glob(".draft-*.db*"):  # of a process that was killed in this function
        leftover.unlink()
    draft, ready = store.root / f".draft-{os.getpid()}.db", store.root / f".draft-{os.getpid()}.db.ready"
    try:
        MlflowClient(tracking_uri=f"sqlite:///{draft}").search_experiments(max_results=1)
        shutil.copyfile(draft, ready)
        with closing(sqlite3.connect(ready)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        os.replace(ready, store.database)
    finally:
        for leftover in (draft, ready):
            leftover.unlink(missing_ok=True)


def explain(error: Exception, store: Store) -> TrackingError:
    """Turn what MLflow, its database or the system raised into one sentence for a person."""
    if isinstance(error, TrackingError):
        return error
    if sentence := exhaustion(error):
        return TrackingError(sentence)
    text = mask(" ".join(str(error).split()))
    if "failed with exception" in text:  # MLflow's words for a request without an answer
        return StoreAway(f"The tracking store {store.shown} does not answer: {_ended(text, 300)}")
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return TrackingError(_schema_sentence(text, store))
    if isinstance(error, ModuleNotFoundError):
        return TrackingError(
            f"The tracking store {store.shown} needs the package {error.name}, which is not installed."
        )
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return TrackingError(f"The tracking store {store.shown} cannot be used: {error.strerror}{where}.")
    if "file is not a database" in text or "malformed" in text:
        said = _ended(text, 200)
        return TrackingError(f"The tracking store {store.shown} is damaged or is no SQLite database: {said}")
    if "readonly database" in text or "unable to open database" in text:
        return TrackingError(f"The tracking store {store.shown} must be writable, but is not.")
    return TrackingError(f"The tracking store {store.shown} cannot be used: {_ended(text, 300)}")


def _ended(text: str, limit: int) -> str:
    """Return another program's words, shortened with … or ended with a full stop, so that a sentence can follow."""
    return shortened(text.rstrip(".") + ".", limit)


def _schema_sentence(text: str, store: Store) -> str:
    from mlflow.version import VERSION

    return (
        f"The database {store.shown} was made by another version of MLflow than the installed {VERSION}: install that "
        f"version, or, if it is older, back the database up and run `mlflow db upgrade` ({text[:150]})."
    )


def every_run(client: "MlflowClient", experiment_id: str, condition: str) -> Iterator["Run"]:
    """Yield every run of an experiment that satisfies the condition, newest first; one page is in memory."""
    return (run for page in pages(client, experiment_id, condition) for run in page)


def pages(
    client: "MlflowClient", experiment_id: str, condition: str, size: int = PAGE, order: str = NEWEST_FIRST
) -> Iterator["PagedList[Run]"]:
    """Yield the runs of an experiment that satisfy the condition, page by page, each read when needed."""
    token = None
    while True:
        with _uncollected():
            page = client.search_runs([experiment_id], condition, 1, size, [order], token)
        yield page
        token = page.token
        if not token:
            return


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause Python's cyclic garbage collector, which scans SQLAlchemy's objects again and again.

    1,500 runs take 1.8 s instead of 7.0 s.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def quoted(value: str) -> str:
    """Quote a text for MLflow's filter language, which has no escapes.

    Raises
    ------
    TrackingError
        The text has a quotation mark.
    """
    if "'" in value:
        raise TrackingError(f"A name must not hold a quotation mark, but is {value}.")
    return f"'{value}'"


class Connected:
    """An open tracking store, and calls to it whose errors become one sentence."""

    def __init__(self, tracking: TrackingConfig, *, to_write: bool = False) -> None:
        self.store: Store = resolve(tracking)
        self._client: MlflowClient = (connect if to_write else connect_to_runs)(self.store)

    def _guarded(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call MLflow.

        Raises
        ------
        TrackingError
            The call failed.
        """
        try:
            return call(*arguments, **named)
        except Exception as error:
            raise explain(error, self.store) from error
