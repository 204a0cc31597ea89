"""Finds the files of an experiment's runs below the configured store, wherever the store was made.

MLflow keeps absolute addresses in its database. If the store was moved, or made by somebody else, new files would be
written to another place; this module corrects such addresses or refuses them.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.addresses import mask
from pipeline.config.errors import TrackingError
from pipeline.tracking.store import Store, as_folder, exclusively

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

UPLOADED = "mlflow-artifacts:"
"""Scheme of files that a tracking server keeps itself."""

MOVED_AT = "moved_at"
"""Tag of an experiment whose store was moved here: the time in ms; earlier runs were made elsewhere."""

_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def files_folder(client: "MlflowClient", store: Store, experiment: "Experiment") -> Path | None:
    """Return the local folder for the files of an experiment's runs; None if they are uploaded.

    The database of a moved embedded store is updated, so that the UI finds the files too.

    Raises
    ------
    TrackingError
        The experiment keeps its files in a place outside the configuration.
    """
    location = str(experiment.artifact_location)
    if store.kind == "server" and location.startswith(UPLOADED):
        return None
    if not _same_place(location, store.artifacts):
        if store.kind != "embedded" or not _has_moved(store, location, str(experiment.experiment_id)):
            raise TrackingError(
                f"The experiment {experiment.name} of {store.shown} keeps its files in {mask(location)}; set "
                "tracking.artifacts to that place to write there, or tracking.experiment to another name."
            )
        _move(store, location)
        client.set_experiment_tag(experiment.experiment_id, MOVED_AT, str(round(1000 * time.time())))
    return None if store.kind == "server" else as_folder(str(store.artifacts))


def _same_place(location: str, wanted: str | None) -> bool:
    folders = [as_folder(address) for address in (location, wanted or "") if address]
    if len(folders) == 2 and None not in folders:
        return folders[0].resolve() == folders[1].resolve()  # type: ignore[union-attr]
    return wanted is not None and location.rstrip("/") == wanted.rstrip("/")


def _has_moved(store: Store, location: str, experiment_id: str) -> bool:
    """Return whether the experiment's files are below the store although its database names another place."""
    if as_folder(location) is None or store.artifacts != str(store.root / "artifacts"):
        return False
    with closing(sqlite3.connect(store.database)) as connection:
        runs = connection.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (experiment_id,)).fetchall()
    return not runs or any((Path(store.artifacts) / str(run_id)).is_dir() for (run_id,) in runs)


def _move(store: Store, before: str) -> None:
    """Replace the old place by the present one in every address of the embedded store's database."""
    with exclusively(store), closing(sqlite3.connect(store.database, timeout=30.0)) as connection, connection:
        for table, column in _ADDRESSES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
                (store.artifacts, len(before) + 1, len(before) + 1, f"{before}/"),
            )
