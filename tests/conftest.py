"""What every test has: quiet libraries, property tests that neither depend on the clock nor differ between runs, and a
small finished study, swept once and copied for each test that changes its store."""

import logging
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.commands.sweep import sweep
from pipeline.config.commands import SweepConfig
from pipeline.config.validation import parse

settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.load_profile("project")


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


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the study `first`, and `second` on another split of the same data."""
    store = tmp_path_factory.mktemp("swept") / "mlruns"
    assert sweep(sweep_config(store, "first")) == 0
    assert sweep(sweep_config(store, "second", split_seed=1)) == 0
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
    return lambda store, name, /, **data: sweep(sweep_config(store, name, **data))
