"""Where runs are stored: our own SQLite file under `mlruns/`, another database, or a tracking server.

Reports an unusable store early, in one sentence, and never shows the credentials in its address.
"""

import fcntl
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from pipeline.config.addresses import mask, with_driver
from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import StoreAway, TrackingError

DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
SERVER_SCHEMES = ("http", "https")


@dataclass(frozen=True)
class Store:
    """One tracking store.

    Attributes
    ----------
    uri : MLflow's address; may hold credentials, so it is never shown or recorded.
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
    """Return the store that `tracking.uri` means; null is the embedded one under `tracking.store`.

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
    """Make a relative SQLite path absolute, so that it does not depend on the working directory."""
    prefix, path = "sqlite:///", uri.removeprefix("sqlite:///")
    return f"{prefix}{Path(path).resolve()}" if uri.startswith(prefix) and not path.startswith("/") else uri


def as_folder(address: str) -> Path | None:
    """Return the local folder of an artifact address; None if it is not local."""
    if address.startswith("file://"):
        return Path(unquote(urlsplit(address).path))
    return None if "://" in address or ":/" in address else Path(address)


def check(store: Store) -> None:
    """Check, without importing MLflow, whether the store can be used.

    Raises
    ------
    TrackingError
        The folder cannot be written, or nothing answers at the address.
    """
    files = as_folder(store.artifacts) if store.artifacts else None
    if files is not None and not files.resolve().is_relative_to(store.root):
        _check_writable(files)  # first, so that nothing is written to the store if its files have no place
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
    raise StoreAway(f"No tracking server answers at {store.shown}: {mask(trouble)}.")


@contextmanager
def exclusively(store: Store) -> Iterator[None]:
    """Lock the layout of the local store against other processes; the lock ends with the process."""
    with (store.root / ".store.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
