"""Shared by all tests: quiet libraries, property tests without a clock and with fixed examples, temporary
folders in memory, tables of MLflow made once, and a small finished study that a test may copy and change."""

import gc
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from pipeline.commands import sweep
from pipeline.config.commands import SweepConfig
from pipeline.config.validation import parse
from pipeline.tracking import connection
from pipeline.tracking.store import Store
from tests.inline import inline

MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30

settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.load_profile("project")


def pytest_configure() -> None:
    """Put temporary folders into memory if there is room, since every commit of a database waits for a disk."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over what the imports made, which it would look through again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copy a database of empty tables wherever a test begins a store, since MLflow takes seconds to make them.

    Gives the folder of that database, which the first store of the run makes with the project's own code.
    """
    common = tmp_path_factory.getbasetemp()
    folder = (common.parent if "PYTEST_XDIST_WORKER" in os.environ else common) / "made-once"
    folder.mkdir(exist_ok=True)
    make = connection._create

    def copy(store: Store) -> None:
        with FileLock(folder / "lock"):
            if not (folder / "mlflow.db").exists():
                make(replace(store, root=folder))
        shutil.copyfile(folder / "mlflow.db", store.database)
        read_migrations_once()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "_create", copy)
        yield folder


@cache
def read_migrations_once() -> None:
    """Have MLflow remember its newest schema: it reads 67 scripts to find it, each time that a store is opened."""
    from mlflow.store.db import utils

    utils._get_latest_schema_revision = cache(utils._get_latest_schema_revision)


@pytest.fixture(autouse=True)
def quiet_optuna() -> None:
    logging.getLogger("optuna").setLevel(logging.WARNING)


def sweep_config(store: Path, name: str, /, **data: object) -> SweepConfig:
    return parse(
        SweepConfig,
        {
            "data": {"name": "circles", "examples": 200, **data},
            "model": {"hidden_units": [4]},
            "training": {"num_epochs": 6, "batch_size": 32},
            "gradcheck": {"examples": 4},
            "tracking": {"store": str(store), "code_diff": False, "pictures": False},
            "study": {"name": name, "trials": 3, "baseline": False, "race": False},
            "repeats": 1,
            "search": {"space": {"regularization": {"lambd": {"low": 0.01, "high": 1.0, "log": True}}}},
            "sampler": {"name": "random"},
            "workers": {"count": 1},
        },
    )


def sweep_inline(config: SweepConfig) -> int:
    """Sweep in this process, since a worker takes longer to start than these trials to train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "open_executor", inline)
        return sweep.sweep(config)


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the study `first`, and `second` on another split of the same data."""
    store = tmp_path_factory.mktemp("swept") / "mlruns"
    assert sweep_inline(sweep_config(store, "first")) == 0
    assert sweep_inline(sweep_config(store, "second", split_seed=1)) == 0
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return store


@pytest.fixture
def store(swept: Path, tmp_path: Path) -> Path:
    """A copy of that store, whose database says where it is now."""
    copy = tmp_path / "mlruns"
    shutil.copytree(swept, copy)
    with closing(sqlite3.connect(copy / "mlflow.db")) as connection, connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(swept), str(copy)))
    return copy


@pytest.fixture
def sweep_into() -> Callable[..., int]:
    """Sweeps a further study: (store, name, **data values)."""
    return lambda store, name, /, **data: sweep_inline(sweep_config(store, name, **data))
