"""A run is repeated by another checkout with an empty folder of its own, from a tracking server alone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.end_to_end.sweeps import ROOT, SMALL, run
from tests.servers import tracking_server

pytestmark = pytest.mark.slow


def test_another_checkout_repeats_a_run_of_a_server_to_the_same_bits(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in ("pipeline", "conf"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    with tracking_server(tmp_path / "server") as server:
        uri = f"tracking.uri={server.address}"
        trained = run(tmp_path / "first", "train", uri, *SMALL, "regularization.keep_prob=0.8")
        assert trained.returncode == 0, trained.stderr
        [run_id] = set(re.findall(r"\b[0-9a-f]{32}\b", trained.stdout))
        command = [sys.executable, "-m", "pipeline", "rerun", uri, f"run={run_id}", "tracking.store=second"]
        repeated = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=600, check=False)
        assert repeated.returncode == 0, repeated.stdout + repeated.stderr
        assert f"{run_id}: identical" in repeated.stdout
        assert "The code differs" not in repeated.stdout, "the same code is known without git"
        client = MlflowClient(server.address)
        assert client.get_run(run_id).data.tags["rerun_verdict"] == "identical"
        assert client.get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:")
    assert not list(clone.rglob("mlflow.db"))


def test_a_server_whose_folder_was_moved_gives_its_runs_to_be_repeated(tmp_path: Path) -> None:
    """The server hands out its files by address, so neither its own place nor the client's matters."""
    with tracking_server(tmp_path / "old") as server:
        trained = run(tmp_path / "first", "train", f"tracking.uri={server.address}", *SMALL)
        assert trained.returncode == 0, trained.stderr
        [run_id] = set(re.findall(r"\b[0-9a-f]{32}\b", trained.stdout))
    shutil.move(tmp_path / "old", tmp_path / "new")
    with tracking_server(tmp_path / "new") as server:
        repeated = run(tmp_path / "second", "rerun", f"tracking.uri={server.address}", f"run={run_id}")
        assert repeated.returncode == 0, repeated.stdout + repeated.stderr
        assert f"{run_id}: identical" in repeated.stdout
