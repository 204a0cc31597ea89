"""Where runs are kept: an SQLite file of our own under `mlruns/`, another database, or a tracking server.

Says early, in one sentence, what is wrong with a store, and never shows the credentials in its address.
"""

import fcntl
import gc
import os
import shutil
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from pipeline.config.addresses import mask, with_driver
from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import TrackingError, exhaustion

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList
    from mlflow.tracking import MlflowClient

_MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # `explain` reports errors in one sentence
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the sender retries while training goes on
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
NEWEST_FIRST, OLDEST_FIRST, BY_NAME = (
    "attributes.start_time DESC",
    "attributes.start_time ASC",
    "attributes.run_name ASC",
)
"""Orders in which runs can be asked for."""

DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
SERVER_SCHEMES = ("http", "https")


@dataclass(frozen=True)
class Store:
    """One tracking store.

    Attributes
    ----------
    uri : what MLflow is given; may hold credentials, so it is never shown or recorded.
    kind : "embedded" (our SQLite file under `root`), "database" or "server".
    root : the local folder (`mlruns/`), absolute.
    artifacts : where a new experiment keeps its files; None when the server decides.
    """

    uri: str
    kind: Literal["embedded", "database", "server"]
    root: Path
    artifacts: str | None

    @property
    def shown(self) -> str:
        """The address for people, with its credentials masked."""
        return mask(self.uri)

    @property
    def database(self) -> Path:
        """The embedded store's SQLite file."""
        return self.root / "mlflow.db"


def resolve(tracking: TrackingConfig) -> Store:
    """Tell what kind of store `tracking.uri` means; null is the embedded one under `tracking.store`.

    Raises
    ------
    TrackingError
        The address has a scheme that is neither a database's nor a server's.
    """
    uri, root, artifacts = tracking.uri, Path(tracking.store).resolve(), tracking.artifacts
    local = str(root / "artifacts")
    if uri is None:
        return Store(f"sqlite:///{root / 'mlflow.db'}", "embedded", root, artifacts or local)
    scheme = uri.split("://", 1)[0].split("+", 1)[0] if "://" in uri else ""
    if scheme in SERVER_SCHEMES:
        return Store(uri.rstrip("/"), "server", root, artifacts)
    if scheme in DATABASE_SCHEMES:
        return Store(with_driver(_absolute_sqlite(uri)), "database", root, artifacts or local)
    known = ", ".join(f"{name}://" for name in SERVER_SCHEMES + DATABASE_SCHEMES)
    raise TrackingError(f"tracking.uri must be null or start with one of {known}, but is {mask(uri)}.")


def _absolute_sqlite(uri: str) -> str:
    """Relative SQLite paths would depend on the working directory, so they are fixed to the present one."""
    prefix, path = "sqlite:///", uri.removeprefix("sqlite:///")
    return f"{prefix}{Path(path).resolve()}" if uri.startswith(prefix) and not path.startswith("/") else uri


def as_folder(address: str) -> Path | None:
    """The local folder that an artifact address means; None when it is not a local one."""
    if address.startswith("file://"):
        return Path(unquote(urlsplit(address).path))
    return None if "://" in address or ":/" in address else Path(address)


def check(store: Store) -> None:
    """Find out, without importing MLflow, whether the store can be used.

    Raises
    ------
    TrackingError
        The folder cannot be written, or nothing answers at the address.
    """
    files = as_folder(store.artifacts) if store.artifacts else None
    if files is not None and not files.resolve().is_relative_to(store.root):
        _check_writable(files)  # first: nothing is written to the store if its files have no place
    _check_writable(store.root)
    if store.kind == "server":
        _check_answers(store)


def _check_writable(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TrackingError(f"The folder {root} must be writable, but is not: {error.strerror}.") from None


def _check_answers(store: Store, timeout_s: float = 5.0) -> None:
    parts = urlsplit(store.uri)
    address = f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}/health"
    try:
        with urllib.request.urlopen(address, timeout=timeout_s):
            return
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):  # alive; the client sends the credentials
            return
        trouble = f"the answer is {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        trouble = str(getattr(error, "reason", error))
    raise TrackingError(f"No tracking server answers at {store.shown}: {mask(trouble)}.")


@contextmanager
def exclusively(store: Store) -> Iterator[None]:
    """Keep other processes from changing the layout of the local store; a process that ends releases the lock."""
    with (store.root / ".store.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def connect(store: Store) -> "MlflowClient":
    """Open the store, creating or upgrading its database if need be, never two processes at once.

    Raises
    ------
    TrackingError
        The store cannot be used; the message says why.
    """
    check(store)
    for name, value in _MLFLOW_SETTINGS.items():  # MLflow reads some when it is imported, others at each request
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
    """Open a store to read from it; an embedded one is not made for that.

    Raises
    ------
    TrackingError
        There is none, or it cannot be used.
    """
    if store.kind == "embedded" and not store.database.exists():
        raise TrackingError(f"There are no runs yet: {store.root} holds no tracking store.")
    return connect(store)


def _create(store: Store) -> None:
    """Make the SQLite file under another name and move it into place, so that a crash leaves no half of it.

    Its write-ahead log lets the UI read while a sweep writes, and makes a commit cheaper.
    """
    from mlflow.tracking import MlflowClient

    for leftover in store.root.glob(".draft-*.db*"):  # of a process that was killed here
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
        return TrackingError(f"The tracking store {store.shown} is damaged or is no SQLite database: {text[:200]}")
    if "readonly database" in text or "unable to open database" in text:
        return TrackingError(f"The tracking store {store.shown} must be writable, but is not.")
    return TrackingError(f"The tracking store {store.shown} cannot be used: {text[:300]}")


def _schema_sentence(text: str, store: Store) -> str:
    from mlflow.version import VERSION

    return (
        f"The database {store.shown} was made by another version of MLflow than the installed {VERSION}: install that "
        f"version, or, if it is older, back the database up and run `mlflow db upgrade` ({text[:150]})."
    )


def every_run(client: "MlflowClient", experiment_id: str, condition: str) -> list["Run"]:
    """Every run of an experiment that fits the condition, the newest first."""
    return [run for page in pages(client, experiment_id, condition) for run in page]


def pages(
    client: "MlflowClient", experiment_id: str, condition: str, size: int = 1000, order: str = NEWEST_FIRST
) -> Iterator["PagedList[Run]"]:
    """The runs of an experiment that fit the condition, page by page; each page is asked for when it is wanted."""
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
    """Pause Python's search for cycles: it walks all objects that SQLAlchemy makes of a page, again and again.

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
    """A text in MLflow's filter language, which has no escapes: so no quotation mark may be in it.

    Raises
    ------
    TrackingError
        There is one.
    """
    if "'" in value:
        raise TrackingError(f"A name must not hold a quotation mark, but is {value}.")
    return f"'{value}'"
