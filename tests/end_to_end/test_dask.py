"""The same sweep on a Dask cluster, one of whose workers is killed midway."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.end_to_end.sweeps import ROOT, SMALL, assert_whole, run, searched, started, wait_for_lines
from tests.servers import free_port

distributed = pytest.importorskip("distributed", reason="Dask is an optional extra")


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and three workers of one or two threads, which do not share the coordinator's working directory."""
    address = f"tcp://127.0.0.1:{free_port()}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path, "env": environment}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", address.rsplit(":", 1)[1], "--no-dashboard"], **quiet
    )
    threads = ("--nthreads", str(request.param))
    command = [*dask, "worker", address, *threads, "--no-dashboard", "--no-nanny", "--host", "127.0.0.1"]
    workers = [subprocess.Popen(command, **quiet) for _ in range(3)]
    try:
        with distributed.Client(address, timeout="60s") as client:
            client.wait_for_workers(3, timeout=60)
        yield address, workers
    finally:
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_sweep_on_a_cluster_survives_a_killed_worker(
    tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    address, workers = cluster
    dask = ("workers=dask", f"workers.address={address}", "workers.count=6")
    with started(tmp_path, "sweep", *SMALL, "study.trials=16", *dask) as process:
        assert wait_for_lines(process, tmp_path, 40)
        workers[0].send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert_whole(tmp_path, 16)
    again = run(tmp_path, "rerun", "run=all", "track=false")
    assert "17 identical" in again.stdout, again.stdout + again.stderr
    assert run(tmp_path / "here", "sweep", *SMALL, "study.trials=16").returncode == 0
    assert searched(tmp_path / "here") == searched(tmp_path)


@pytest.mark.slow
def test_no_scheduler_at_the_address_is_one_sentence(tmp_path: Path) -> None:
    refused = run(tmp_path, "sweep", *SMALL, "workers=dask", f"workers.address=tcp://127.0.0.1:{free_port()}")
    assert refused.returncode == 1
    assert "error: workers.address must be a Dask scheduler's" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.rglob("mlflow.db")), "nothing was begun, so no run is left behind"


def test_arrays_are_brought_to_a_worker_that_does_not_see_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.config.trial import DataConfig
    from pipeline.data.arrays import load_arrays
    from pipeline.data.divisions import ensure
    from pipeline.data.prepare import prepare
    from pipeline.search.cluster import CarryArrays
    from pipeline.trials import trial

    config = DataConfig(name="breast_cancer")
    prepared = prepare(config, tmp_path / "store")
    ensure(prepared, config, [1])
    path = prepared.path
    digest = load_arrays(path).digest
    plugin = CarryArrays(path)
    hidden = path.rename(tmp_path / "elsewhere")
    monkeypatch.setattr(trial, "MOVED", {})
    plugin.setup(SimpleNamespace(local_directory=str(tmp_path)))
    assert trial.MOVED[path] != hidden
    carried = trial._arrays(path)
    assert (carried.digest, len(carried.division(1))) == (digest, 1)
