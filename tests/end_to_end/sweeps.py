"""Runs real commands in processes of their own, and reads the store back through MLflow's own API."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from mlflow.tracking import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

ROOT = Path(__file__).resolve().parent.parent.parent
PER_EPOCH = ("train_cost", "dev_cost", "train_error", "dev_error")
SMALL = ("data=breast_cancer", "model.hidden_units=[8]", "training.num_epochs=30", "gradcheck.examples=4")
"""A sweep whose trials take some hundredths of a second."""


def command(store: Path, name: str, *overrides: str) -> list[str]:
    plain = ("repeats=1", "study.race=false") if name == "sweep" else ()  # a test that wants more says so after it
    return [sys.executable, "-m", "pipeline", name, f"tracking.store={store}", *plain, *overrides]


def run(
    store: Path, name: str, *overrides: str, timeout: float = 600, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command of the pipeline to its end, after the words of `prefix`, such as `env` with variables."""
    words = [*prefix, *command(store, name, *overrides)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


@contextmanager
def started(store: Path, name: str, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """A command under way, in a session of its own, so that its Ctrl-C is not ours; it never outlives the block."""
    process = subprocess.Popen(
        command(store, name, *overrides),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_lines(process: subprocess.Popen[str], store: Path, lines: int, timeout: float = 300) -> bool:
    """Wait until the study's journal has so many lines; False if the process ends before."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if sum(path.read_bytes().count(b"\n") for path in (store / "studies").glob("*.journal")) >= lines:
            return True
        try:
            process.wait(0.01)
            return False
        except subprocess.TimeoutExpired:
            continue
    raise TimeoutError(f"no {lines} lines after {timeout} s")


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rsplit(")", 1)[1].split()[1]
            words = path.with_name("cmdline").read_text()
        except (OSError, IndexError):
            continue
        if int(parent) == process.pid and "spawn_main" in words:
            found.append(int(path.parent.name))
    return found


@dataclass(frozen=True)
class Stored:
    """What the tracking store holds after a sweep."""

    client: MlflowClient
    runs: list[Any]

    def of_kind(self, kind: str) -> list[Any]:
        return [run for run in self.runs if run.data.tags.get("kind") == kind]

    def steps(self, run: Any, metric: str) -> list[int]:
        return sorted(point.step for point in self.client.get_metric_history(run.info.run_id, metric))


def stored(store: Path, uri: str | None = None) -> Stored:
    client = MlflowClient(uri or f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("pipeline")
    if experiment is None:  # a store that has just been made
        return Stored(client, [])
    return Stored(client, client.search_runs([experiment.experiment_id], max_results=5000))


def assert_whole(store: Path, trials: int, uri: str | None = None) -> Stored:
    """Every trial once, each with complete curves, nothing left running, nothing left in the outbox."""
    there = stored(store, uri)
    assert sorted(run.info.run_name for run in there.of_kind("trial")) == [f"trial-{n:04d}" for n in range(trials)]
    assert {run.info.status for run in there.runs} <= {"FINISHED", "FAILED"}
    assert [run.info.status for run in there.of_kind("sweep")] == ["FINISHED"]
    assert len(there.of_kind("baseline")) == 1
    for run in there.of_kind("trial") + there.of_kind("baseline"):
        if run.data.tags["outcome"] != "failed":
            epochs = int(run.data.metrics["stop_epoch"])
            for metric in PER_EPOCH:
                assert there.steps(run, metric) == list(range(epochs + 1)), (run.info.run_name, metric)
            assert there.steps(run, "best_dev_cost") == [0]
    assert list((store / "outbox").rglob("*.npz")) == []
    return there


def searched(store: Path) -> list[Any]:
    """All that the search decided and learnt, trial by trial, from the study's journal."""
    (journal,) = (store / "studies").glob("*.journal")
    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(journal))))
    return [(t.params, t.state.name, t.values, t.intermediate_values, t.user_attrs) for t in study.trials]
