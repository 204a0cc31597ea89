"""Worker processes are expendable: each death is told on its own task alone, and none outlives the coordinator."""

import os
import signal
import subprocess
import sys
from concurrent.futures import wait
from pathlib import Path

import pytest

from pipeline.config.trial import DataConfig, TrainingConfig, TrialConfig
from pipeline.data.prepare import prepare
from pipeline.search.executors import LocalProcesses, LostWorker
from pipeline.trials.trial import work


@pytest.fixture
def two_workers():
    executor = LocalProcesses(2)
    yield executor
    executor.shutdown(wait=False)


def test_a_killed_worker_loses_its_own_task_and_no_other(two_workers: LocalProcesses) -> None:
    doomed = two_workers.submit(os.kill, two_workers.submit(os.getpid).result(), signal.SIGKILL)
    safe = two_workers.submit(pow, 2, 10)
    wait([doomed, safe])
    assert isinstance(doomed.exception(), LostWorker)
    assert safe.result() == 1024
    assert [two_workers.submit(pow, 3, n).result() for n in range(4)] == [1, 3, 9, 27]


def test_a_task_that_only_waited_for_a_worker_that_dies_is_given_to_another() -> None:
    executor = LocalProcesses(1)
    doomed = executor.submit(os.kill, executor.submit(os.getpid).result(), signal.SIGKILL)
    waiting = [executor.submit(pow, 3, n) for n in range(3)]
    assert isinstance(doomed.exception(), LostWorker)
    assert [future.result() for future in waiting] == [1, 3, 9]
    executor.shutdown()


def test_an_exception_in_a_task_is_the_tasks_own(two_workers: LocalProcesses) -> None:
    with pytest.raises(ZeroDivisionError):
        two_workers.submit(divmod, 1, 0).result()
    assert two_workers.submit(divmod, 7, 2).result() == (3, 1)


_COORDINATOR = """
import os, sys
from pipeline.search.executors import LocalProcesses
if __name__ == "__main__":
    executor = LocalProcesses(2)
    pids = [future.result() for future in [executor.submit(os.getpid) for _ in range(2)]]
    executor.submit(__import__("time").sleep, 600)
    print(*set(pids), flush=True)
    sys.stdin.read()
"""


def test_workers_end_when_their_coordinator_is_killed() -> None:
    coordinator = subprocess.Popen(
        [sys.executable, "-c", _COORDINATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert coordinator.stdout is not None
    assert len(coordinator.stdout.readline().split()) == 2
    coordinator.kill()
    # The workers hold the other end of this pipe: it reports the end of the file once the last of them is gone.
    assert coordinator.stdout.read() == ""
    coordinator.communicate()


HEAVY = {"mlflow", "optuna", "hydra", "omegaconf", "sklearn", "pandas", "pydantic", "matplotlib", "rich", "sqlalchemy"}


def test_a_worker_that_has_trained_has_imported_nothing_that_a_trial_does_not_need(tmp_path: Path) -> None:
    data = prepare(DataConfig(name="circles", examples=100), tmp_path)
    config = TrialConfig(data=DataConfig(name="circles"), training=TrainingConfig(num_epochs=2, batch_size=20))
    executor = LocalProcesses(1)
    try:
        assert executor.submit(work, data.path, config, None).result().record is not None
        modules = executor.submit(eval, "sorted(__import__('sys').modules)").result()
    finally:
        executor.shutdown(wait=False)
    assert "numpy" in modules
    assert {name.split(".")[0] for name in modules} & HEAVY == set()


def test_the_commands_main_module_which_workers_import_again_is_light() -> None:
    code = "import sys, pipeline.__main__; print(*{name.split('.')[0] for name in sys.modules})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ended.stdout.split()) & (HEAVY | {"numpy"}) == set()
