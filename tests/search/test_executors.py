"""Worker processes are expendable: each death is told on its own task alone, and none outlives the coordinator."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import xmlrpc.client
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.commands import WorkersConfig
from pipeline.config.errors import ConfigError
from pipeline.config.trial import DataConfig, TrainingConfig, TrialConfig
from pipeline.data.prepare import prepare
from pipeline.search import executors, processes
from pipeline.search.processes import LocalProcesses
from pipeline.search.serving import LostWorker, WorkersGone
from pipeline.trials.kernels import current
from pipeline.trials.trial import work


@pytest.fixture
def two_workers() -> Iterator[LocalProcesses]:
    executor = LocalProcesses(2)
    yield executor
    executor.shutdown(wait=False)


@pytest.fixture
def impatient() -> Iterator[LocalProcesses]:
    executor = LocalProcesses(2, patience=1.5)
    yield executor
    executor.shutdown(wait=False)


def test_a_killed_worker_loses_its_own_task_and_no_other(two_workers: LocalProcesses) -> None:
    doomed = two_workers.submit(signal.raise_signal, signal.SIGKILL)
    safe = [two_workers.submit(pow, 3, n) for n in range(6)]
    assert isinstance(doomed.exception(), LostWorker)
    assert [future.result() for future in safe] == [1, 3, 9, 27, 81, 243]


@pytest.mark.parametrize(
    ("task", "own", "said"),
    [
        ((signal.raise_signal, signal.SIGSEGV), True, "died of SIGSEGV"),
        ((os._exit, 3), True, "ended with exit code 3"),
        ((signal.raise_signal, signal.SIGKILL), False, "died of SIGKILL"),
        ((signal.raise_signal, signal.SIGTERM), False, "died of SIGTERM"),
    ],
)
def test_a_crash_is_the_workers_own_and_a_kill_is_not(
    two_workers: LocalProcesses, task: tuple[Any, ...], own: bool, said: str
) -> None:
    loss = two_workers.submit(*task).exception()
    assert isinstance(loss, LostWorker)
    assert (loss.own, str(loss)) == (own, f"the worker process {said}")


def test_a_kill_counts_as_the_workers_own_if_the_kernel_ran_out_of_memory(
    two_workers: LocalProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter(range(100))
    monkeypatch.setattr(processes, "_out_of_memory_kills", lambda: next(kills))
    loss = two_workers.submit(signal.raise_signal, signal.SIGKILL).exception()
    assert isinstance(loss, LostWorker)
    assert loss.own


def test_a_stopped_worker_is_reported_and_replaced_by_no_fault_of_its_task(
    impatient: LocalProcesses, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = [impatient.submit(signal.raise_signal, signal.SIGSTOP) for _ in range(2)]
    after = impatient.submit(pow, 2, 10)
    losses = [future.exception() for future in stopped]
    assert [str(loss) for loss in losses] == ["the worker process fell silent"] * 2
    assert not any(loss.own for loss in losses if isinstance(loss, LostWorker))
    assert after.result() == 1024
    assert "has been silent for 1.5 s (workers.patience) and is replaced" in capsys.readouterr().err


def test_a_worker_that_stops_while_its_task_is_sent_is_replaced_too() -> None:
    with LocalProcesses(1, patience=1.5) as executor:
        os.kill(executor.submit(os.getpid).result(), signal.SIGSTOP)
        large = executor.submit(len, bytes(2**22))
        assert isinstance(large.exception(), LostWorker)
        assert executor.submit(pow, 2, 10).result() == 1024


def test_a_long_calculation_does_not_count_as_silence(impatient: LocalProcesses) -> None:
    key = impatient.submit(hashlib.pbkdf2_hmac, "sha256", b"", b"", 4_000_000)
    assert len(key.result()) == 32


def test_closing_ends_at_once_whatever_the_workers_do() -> None:
    executor = LocalProcesses(2, patience=3600)
    future = executor.submit(signal.raise_signal, signal.SIGSTOP)
    waiting = [executor.submit(pow, 2, 3) for _ in range(3)]
    waiting[-1].result()
    executor.shutdown(wait=False)
    assert isinstance(future.exception(), LostWorker)


def test_a_stopped_worker_without_a_task_is_ended_too() -> None:
    executor = LocalProcesses(1, patience=0.3)
    os.kill(executor.submit(os.getpid).result(), signal.SIGSTOP)
    executor.shutdown()


def test_workers_that_cannot_start_are_one_sentence() -> None:
    executor = LocalProcesses(1, prepare=partial(import_module, "no_such_module"))
    error = executor.submit(pow, 2, 3).exception()
    executor.shutdown()
    assert isinstance(error, WorkersGone)
    assert "3 worker processes in a row failed (ModuleNotFoundError: No module named 'no_such_module')" in str(error)


def test_a_process_that_may_start_no_thread_is_told_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ConfigError, match=r"workers\.count .*, but with 2 came: can't start new thread"):
        LocalProcesses(2)


def test_workers_on_this_machine_compute_as_this_process_does_on_one_thread() -> None:
    with executors.open_executor(WorkersConfig(count=1)) as executor:
        assert executor.submit(os.getenv, "OPENBLAS_NUM_THREADS").result() == "1"
        assert executor.submit(current).result() == current()
        assert executor.submit(os.getpid).result() != os.getpid()


@pytest.mark.parametrize(
    ("count", "files", "rule"),
    [
        (1_000_000, 1024, r"at most \d+ here \(32 for each of \d+ processors\)"),
        (4, 140, "at most 3 here, where .*140 files"),
    ],
)
def test_more_processes_than_the_machine_can_have_are_refused(
    count: int, files: int, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (files, 2**20))  # what may be open now, and after a change
    with pytest.raises(ConfigError, match=rf"workers\.count must be {rule}.*, but is {count}\."):
        executors.check_workers(WorkersConfig(count=count))


def test_an_exception_in_a_task_is_the_tasks_own(two_workers: LocalProcesses) -> None:
    with pytest.raises(ZeroDivisionError):
        two_workers.submit(divmod, 1, 0).result()
    assert two_workers.submit(divmod, 7, 2).result() == (3, 1)


def test_a_result_that_cannot_be_pickled_and_an_error_reach_the_caller(two_workers: LocalProcesses) -> None:
    with pytest.raises(TypeError, match="pickle"):
        two_workers.submit(memoryview, b"").result()
    with pytest.raises(subprocess.CalledProcessError):
        two_workers.submit(subprocess.run, ["false"], check=True).result()


def test_an_exception_that_cannot_be_unpickled_is_reported_as_text(two_workers: LocalProcesses) -> None:
    fault = xmlrpc.client.dumps(xmlrpc.client.Fault(7, "no such method"))  # pickled without what its class asks for
    with pytest.raises(RuntimeError, match=r"Fault: <Fault 7: 'no such method'>"):
        two_workers.submit(xmlrpc.client.loads, fault).result()
    assert two_workers.submit(pow, 2, 3).result() == 8


def test_threads_that_wait_for_workers_do_not_keep_a_command_alive(two_workers: LocalProcesses) -> None:
    two_workers.submit(pow, 2, 3).result()
    serving = [thread for thread in threading.enumerate() if thread.name.startswith(("worker-", "heartbeats"))]
    assert len(serving) >= 3
    assert all(thread.daemon for thread in serving)


def test_no_thread_is_left_after_the_shutdown() -> None:
    before = set(threading.enumerate())
    executor = LocalProcesses(1)
    executor.submit(pow, 2, 3).result()
    executor.shutdown()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


_COORDINATOR = """
import os, sys
from pipeline.search.processes import LocalProcesses
if __name__ == "__main__":
    executor = LocalProcesses(2)
    [future.result() for future in [executor.submit(os.getpid) for _ in range(2)]]
    executor.submit(exec, "print('busy', flush=True); __import__('time').sleep(600)")
    sys.stdin.read()
"""


def test_workers_end_when_their_coordinator_is_killed() -> None:
    coordinator = subprocess.Popen(
        [sys.executable, "-c", _COORDINATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert coordinator.stdout is not None
    assert coordinator.stdout.readline() == "busy\n"  # one worker has a task, the other has none
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
