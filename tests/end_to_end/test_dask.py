"""The same sweep on a Dask cluster, one of whose workers is killed midway."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipeline.config.commands import WorkersConfig
from pipeline.search.executors import open_executor
from pipeline.trials.kernels import current
from tests.end_to_end.sweeps import ROOT, SMALL, assert_whole, run, searched, started, stored, wait_for_lines
from tests.servers import free_port

distributed = pytest.importorskip("distributed", reason="Dask is an optional extra")


class Cluster:
    """A scheduler and workers as processes, which can be started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._folder = folder
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, threads: int = 1, *, scheduled_with: Mapping[str, str] | None = None, **variables: str) -> None:
        """Start a scheduler and three workers, which do not share the coordinator's working directory."""
        port = self.address.rsplit(":", 1)[1]
        self.scheduler = self._dask("scheduler", "--host", "127.0.0.1", "--port", port, **(scheduled_with or {}))
        options = ("--nthreads", str(threads), "--no-nanny", "--host", "127.0.0.1")
        self.workers = [self._dask("worker", self.address, *options, **variables) for _ in range(3)]
        with distributed.Client(self.address, timeout="300s") as client:
            client.wait_for_workers(3, timeout=300)

    def kill(self) -> None:
        for process in [*self.workers, *filter(None, [self.scheduler])]:
            process.kill()
            process.wait()

    def _dask(self, *arguments: str, **variables: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.kill()


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_sweep_on_a_cluster_survives_a_killed_worker(tmp_path: Path, cluster: Cluster, threads: int) -> None:
    cluster.start(threads)
    dask = ("workers=dask", f"workers.address={cluster.address}", "workers.count=5")
    with started(tmp_path, "sweep", *SMALL, "study.trials=10", *dask) as process:
        assert wait_for_lines(process, tmp_path, 25)
        cluster.workers[0].send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert_whole(tmp_path, 10)
    again = run(tmp_path, "rerun", "run=all", "track=false")
    assert "11 identical" in again.stdout, again.stdout + again.stderr
    assert run(tmp_path / "here", "sweep", *SMALL, "study.trials=10").returncode == 0
    assert searched(tmp_path / "here") == searched(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["workers", "scheduler"])
def test_a_cluster_that_cannot_import_the_project_fails_no_trial(tmp_path: Path, cluster: Cluster, whose: str) -> None:
    without = {"PYTHONPATH": ""}
    cluster.start(**without) if whose == "workers" else cluster.start(scheduled_with=without)
    dask = ("workers=dask", f"workers.address={cluster.address}", "workers.count=3", "study.trials=2")
    ended = run(tmp_path, "sweep", *SMALL, *dask)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: workers.address must be of a cluster whose scheduler and workers can import")
    assert ended.stderr.count("\n") == 1
    assert "failed." not in ended.stdout
    cluster.kill()
    cluster.start()
    again = run(tmp_path, "sweep", *SMALL, *dask)
    assert again.returncode == 0, again.stderr
    assert "0 failed." in again.stdout
    assert_whole(tmp_path, 2)


@pytest.mark.slow
def test_a_scheduler_that_is_lost_and_comes_back_fails_no_trial(tmp_path: Path, cluster: Cluster) -> None:
    cluster.start()
    dask = ("workers=dask", f"workers.address={cluster.address}", "workers.count=3")
    with started(tmp_path, "sweep", *SMALL, "study.trials=16", *dask) as process:
        assert wait_for_lines(process, tmp_path, 40)
        cluster.kill()
        cluster.start()
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "0 failed." in output
    assert_whole(tmp_path, 16)


@pytest.mark.slow
def test_a_scheduler_that_stays_away_ends_the_sweep_in_one_sentence(tmp_path: Path, cluster: Cluster) -> None:
    cluster.start()
    dask = ("workers=dask", f"workers.address={cluster.address}", "workers.count=3", "workers.patience=3")
    with started(tmp_path, "sweep", *SMALL, "study.trials=16", *dask) as process:
        assert wait_for_lines(process, tmp_path, 40)
        cluster.kill()
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 1, output
    assert "is gone, and none answered for 3 s (workers.patience)" in " ".join(output.split())
    assert "Traceback" not in output


@pytest.mark.slow
def test_workers_with_another_arithmetic_are_refused_with_the_variables_to_start_them_with(
    tmp_path: Path, cluster: Cluster
) -> None:
    cluster.start(OPENBLAS_CORETYPE="Nehalem")
    dask = ("workers=dask", f"workers.address={cluster.address}", "workers.count=3")
    refused = run(tmp_path, "sweep", *SMALL, *dask)
    assert refused.returncode == 1
    assert "error: the Dask worker tcp://" in refused.stderr
    assert "computes with OpenBLAS kernel Nehalem" in refused.stderr
    assert f"start it with OPENBLAS_CORETYPE='{current().kernel}' NPY_DISABLE_CPU_FEATURES='" in refused.stderr


def hide(arrays: Path, folder: Path) -> None:
    """Make a worker look for the arrays in an empty folder of its own."""
    from pipeline.trials import trial

    trial.MOVED[arrays] = Path(tempfile.mkdtemp(dir=folder))


@pytest.mark.slow
def test_workers_that_do_not_see_the_store_get_what_the_race_adds_too(tmp_path: Path, cluster: Cluster) -> None:
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run(store, "sweep", *SMALL, "study.trials=1").returncode == 0
    (arrays,) = (store / "arrays").iterdir()
    cluster.start()
    with distributed.Client(cluster.address, timeout="300s") as client:
        client.run(hide, arrays.resolve(), elsewhere)
    dask = ("workers=dask", f"workers.address={cluster.address}", "workers.count=3", "study.race=true")
    swept = run(store, "sweep", *SMALL, "study.trials=3", *dask)
    assert swept.returncode == 0, swept.stdout + swept.stderr
    repeats = stored(store).of_kind("confirm")
    assert repeats
    assert "failed" not in {repeat.data.tags["outcome"] for repeat in repeats}
    written = {path.name for path in (arrays / "repeats").iterdir()}
    assert [{path.name for path in folder.glob("repeats/*")} for folder in elsewhere.iterdir()] == [written] * 3


@pytest.mark.slow
def test_a_worker_without_the_arrays_gets_them_before_its_task(tmp_path: Path, cluster: Cluster) -> None:
    arrays, elsewhere = tmp_path / "arrays", tmp_path / "elsewhere"
    for folder in (arrays, elsewhere):
        folder.mkdir()
    (arrays / "X.npy").write_text("rows")
    cluster.start()
    with open_executor(WorkersConfig(backend="dask", address=cluster.address, count=3), [arrays]) as executor:
        with distributed.Client(cluster.address, timeout="300s") as client:
            client.run(hide, arrays, elsewhere)  # as on a worker that joins later than those that see the store
        assert executor.submit(int, "7").result() == 7
    assert [path.read_text() for path in elsewhere.rglob("X.npy")] == ["rows"] * 3


@pytest.mark.slow
def test_no_scheduler_at_the_address_is_one_sentence(tmp_path: Path) -> None:
    refused = run(tmp_path, "sweep", *SMALL, "workers=dask", f"workers.address=tcp://127.0.0.1:{free_port()}")
    assert refused.returncode == 1
    assert "error: workers.address must be a Dask scheduler's" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.rglob("mlflow.db")), "nothing was begun, so no run is left behind"
