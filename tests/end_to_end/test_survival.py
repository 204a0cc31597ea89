"""A sweep that is killed, again and again and anywhere, ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.commands import TrackingConfig
from pipeline.tracking import connection
from pipeline.tracking.store import resolve
from tests.end_to_end.sweeps import (
    SMALL,
    assert_whole,
    run,
    searched,
    started,
    stored,
    wait_for_lines,
    workers_of,
)

LONG = ("training.num_epochs=1000000", "training.patience=null", "pruner=none")
UNDER_WAY = 6
"""Lines of a journal whose first trial has been asked for, beside the baseline."""


def kill_somewhere(store: Path, overrides: tuple[str, ...], *, chance: random.Random) -> bool:
    """Start the sweep and kill its coordinator, a worker or both; False if it ended before."""
    lines = sum(path.read_bytes().count(b"\n") for path in (store / "studies").glob("*.journal"))
    with started(store, "sweep", *overrides) as process:
        under_way = wait_for_lines(process, store, lines + chance.randint(1, 50))
        who = chance.choice(["coordinator", "worker", "both"])
        workers = workers_of(process)
        if under_way and who != "coordinator" and workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
        if under_way and who == "worker":
            under_way = wait_for_lines(process, store, lines + chance.randint(51, 90))
    return under_way


def survive(store: Path, seed: int, kills: int, *overrides: str, counts: tuple[int, ...] = (2,)) -> None:
    chance = random.Random(seed)
    killed = 0
    for _ in range(kills):
        count = f"workers.count={chance.choice(counts)}"
        killed += kill_somewhere(store, (*SMALL, *overrides, count), chance=chance)
    assert killed > 0
    ended = run(store, "sweep", *SMALL, *overrides)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_sweep_whose_coordinator_is_killed_has_each_trial_exactly_once(tmp_path: Path) -> None:
    connection._create(resolve(TrackingConfig(store=str(tmp_path))))  # a copy, which another process makes in seconds
    overrides = (*SMALL, "study.trials=4", "tracking.pictures=false", "tracking.code_diff=false")
    with started(tmp_path, "sweep", *overrides) as process:
        assert wait_for_lines(process, tmp_path, UNDER_WAY)
        process.kill()
    ended = run(tmp_path, "sweep", *overrides)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert_whole(tmp_path, 4)


@pytest.mark.slow
def test_a_sweep_killed_several_times_has_each_trial_exactly_once(tmp_path: Path) -> None:
    survive(tmp_path, 0, 4, "study.trials=24")
    assert_whole(tmp_path, 24)


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband", "none"])
def test_a_sweep_killed_at_random_with_changing_workers_equals_that_of_one_worker(tmp_path: Path, pruner: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"killed with seed {seed}")  # shown if the test fails
    overrides = (f"pruner={pruner}", "pruner.startup_trials=2", "study.trials=20")
    survive(tmp_path / "killed", seed, 4, *overrides, counts=(1, 2, 5))
    assert run(tmp_path / "whole", "sweep", *SMALL, *overrides, "workers.count=1").returncode == 0
    assert searched(tmp_path / "killed") == searched(tmp_path / "whole")
    digests = [
        {run.info.run_name: run.data.tags["curves_sha256"] for run in assert_whole(store, 20).of_kind("trial")}
        for store in (tmp_path / "killed", tmp_path / "whole")
    ]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_one_two_and_five_workers_and_an_extension_give_the_same_search(tmp_path: Path) -> None:
    for count in (1, 2, 5):
        steps = ("study.trials=7", "study.trials=20") if count == 2 else ("study.trials=20",)
        for trials in steps:
            ended = run(tmp_path / str(count), "sweep", *SMALL, trials, f"workers.count={count}", "pruner=hyperband")
            assert ended.returncode == 0, ended.stdout + ended.stderr
    assert searched(tmp_path / "1") == searched(tmp_path / "2") == searched(tmp_path / "5")


@pytest.mark.slow
def test_another_hash_seed_gives_the_same_study_and_conclusion(tmp_path: Path) -> None:
    wanted = ("study.trials=6", "study.race=true", "repeats=2", "training.num_epochs=5")
    told = []
    for seed in ("1", "2"):
        ended = run(tmp_path / seed, "sweep", *SMALL, *wanted, timeout=600, prefix=("env", f"PYTHONHASHSEED={seed}"))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        told.append(ended.stdout[ended.stdout.rindex("Study ") : ended.stdout.index("Next:")])
    assert told[0] == told[1]
    assert searched(tmp_path / "1") == searched(tmp_path / "2")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not enforce the limit")
def test_a_trial_that_exhausts_its_workers_address_space_fails_and_harms_no_other(tmp_path: Path) -> None:
    sizes = "{choices: {small: [8], huge: [20000, 20000], middle: [16]}}"  # huge: 1.6 GB of parameters
    space = ("~search.space.regularization", "~search.space.model.init", f"+search.space.model.hidden_units={sizes}")
    wanted = ("data=breast_cancer", "training.num_epochs=5", "sampler=grid", "study.trials=3")
    limited = ("env", "OPENBLAS_NUM_THREADS=1", "bash", "-c", 'ulimit -v 1200000; exec "$@"', "bash")
    ended = run(tmp_path, "sweep", *wanted, *space, timeout=600, prefix=limited)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 of 3 trials done, 0 stopped early by the pruner or diverged, 1 failed." in ended.stdout
    outcomes = {
        run.data.params["model.hidden_units"]: run.data.tags["outcome"]
        for run in assert_whole(tmp_path, 3).of_kind("trial")
    }
    assert outcomes == {"[8]": "completed", "[16]": "completed", "[20000, 20000]": "failed"}


@pytest.mark.slow
@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_an_interrupted_sweep_leaves_no_process_and_no_running_run(tmp_path: Path, signals: list[int]) -> None:
    with started(tmp_path, "sweep", *SMALL, *LONG, "study.trials=4") as process:
        assert wait_for_lines(process, tmp_path, UNDER_WAY)
        for number in signals:
            process.send_signal(number)
        output, _ = process.communicate(timeout=300)  # workers hold the same pipe: its end is theirs
    assert process.returncode == 130, output
    assert "the same command continues" in output
    assert "Traceback" not in output
    runs = stored(tmp_path).runs
    assert {run.info.status for run in runs} <= {"KILLED", "FINISHED"}
    assert [run.info.status for run in runs if run.data.tags["kind"] == "sweep"] == ["KILLED"]


@pytest.mark.slow
def test_an_interrupted_sweep_ends_although_its_workers_are_stopped(tmp_path: Path) -> None:
    with started(tmp_path, "sweep", *SMALL, *LONG, "study.trials=4") as process:
        assert wait_for_lines(process, tmp_path, UNDER_WAY)
        for worker in workers_of(process):
            os.kill(worker, signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert "the same command continues" in output


@pytest.mark.slow
def test_stopped_workers_are_replaced_and_no_trial_is_failed_for_them(tmp_path: Path) -> None:
    overrides = ("study.trials=3", "training.num_epochs=2000", "training.patience=null", "workers.patience=2")
    with started(tmp_path, "sweep", *SMALL, *overrides) as process:
        assert wait_for_lines(process, tmp_path, UNDER_WAY)
        for worker in workers_of(process):
            os.kill(worker, signal.SIGSTOP)
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "has been silent for 2 s (workers.patience) and is replaced" in output
    assert_whole(tmp_path, 3)


@pytest.mark.slow
def test_a_second_coordinator_is_refused_and_told_who_holds_the_study(tmp_path: Path) -> None:
    with started(tmp_path, "sweep", *SMALL, *LONG, "study.trials=4") as first:
        assert wait_for_lines(first, tmp_path, UNDER_WAY)
        second = run(tmp_path, "sweep", *SMALL, *LONG, "study.trials=4")
    assert second.returncode == 1
    assert f"is held by another coordinator: process {first.pid} on" in second.stderr


@pytest.mark.slow
def test_a_torn_last_line_of_the_study_is_cut_off(tmp_path: Path) -> None:
    assert run(tmp_path, "sweep", *SMALL, "study.trials=4").returncode == 0
    (journal,) = (tmp_path / "studies").glob("*.journal")
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    assert run(tmp_path, "sweep", *SMALL, "study.trials=6").returncode == 0
    assert_whole(tmp_path, 6)


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_nothing(tmp_path: Path) -> None:
    overrides = ("study.trials=12", "training.num_epochs=300", "training.patience=null")
    with started(tmp_path, "sweep", *SMALL, *overrides) as process:
        assert wait_for_lines(process, tmp_path, UNDER_WAY)
        for worker in workers_of(process):
            os.kill(worker, signal.SIGKILL)
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert_whole(tmp_path, 12)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1m", "3m"])  # too small for the outbox, and for the tracking store alone
def test_a_full_disk_ends_in_one_sentence_and_loses_nothing(tmp_path: Path, size: str) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)], check=False)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        full = run(small, "sweep", *SMALL, "study.trials=40")
        assert full.returncode == 1
        told = full.stdout + full.stderr
        assert "No space left on device" in told or "database or disk is full" in told
        assert "Traceback" not in told
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        assert run(small, "sweep", *SMALL, "study.trials=40").returncode == 0
        assert_whole(small, 40)
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)  # this process still has the store open


@pytest.mark.slow
def test_a_store_that_turns_out_damaged_ends_the_sweep_in_one_sentence_and_what_was_trained_is_tracked_later(
    tmp_path: Path,
) -> None:
    database = tmp_path / "mlflow.db"
    database.write_bytes(b"no database" * 1000)
    refused = run(tmp_path, "sweep", *SMALL, "study.trials=2")
    assert refused.returncode == 1
    assert "is damaged or is no SQLite database" in refused.stderr
    assert "Traceback" not in refused.stderr
    database.unlink()
    ended = run(tmp_path, "sweep", *SMALL, "study.trials=2")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert_whole(tmp_path, 2)
