"""The sender against a real store, with a recorder that fails where the test says so; events instead of sleeping."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import StoreAway, TrackingError
from pipeline.tracking import files
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.sender import Sender
from pipeline.trials.record import TrialRecord

MakeRecord = Callable[..., TrialRecord]
STUDY = "digits-0123abcd"
PATIENCE_S = 120.0


class Flaky:
    """A recorder whose store is away while `away` is set."""

    def __init__(self, inner: Recorder) -> None:
        self.inner, self.away, self.refused = inner, threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> object:
        if self.away.is_set() and name != "store":
            self.refused.set()
            raise StoreAway("No tracking server answers at http://tracking.example.")
        return getattr(self.inner, name)


@pytest.fixture
def flaky(recorder: Recorder) -> Flaky:
    return Flaky(recorder)


@pytest.fixture
def arrived() -> "Arrivals":
    return Arrivals()


class Arrivals:
    """Counts the records that have arrived and lets a test wait for them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.changed = threading.Condition()

    def __call__(self, name: str, run_id: str) -> None:
        with self.changed:
            self.names.append(name)
            self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.names) >= count, PATIENCE_S), self.names


@pytest.fixture
def sender(flaky: Flaky, tmp_path: Path, arrived: Arrivals) -> Iterator[Sender]:
    made = Sender(
        lambda: flaky,  # type: ignore[arg-type, return-value]
        tmp_path / "outbox",
        study=STUDY,
        config={"study": {"name": STUDY}},
        on_sent=arrived,
        first_wait_s=0.001,
        progress_every_s=0.001,
    )
    yield made.start()
    flaky.away.clear()
    made.close(PATIENCE_S)


def put(sender: Sender, record: TrialRecord, name: str) -> None:
    record.save(sender.outbox / f"{name}.npz")
    sender.submit(name)


def children(recorder: Recorder, sender: Sender) -> list[str]:
    client = MlflowClient(recorder.store.uri)
    runs = client.search_runs([recorder.experiment_id], f"tags.`mlflow.parentRunId` = '{sender.parent}'")
    return sorted(f"{run.info.run_name} {run.info.status}" for run in runs)


def test_submitted_records_arrive_and_leave_the_outbox(
    sender: Sender, recorder: Recorder, make_record: MakeRecord
) -> None:
    for number in range(3):
        put(sender, make_record(number), f"trial-{number:04d}")
    put(sender, make_record(9), "baseline")
    left = sender.close(PATIENCE_S)
    assert (left.names, left.reason) == ((), "")
    assert sender.pending() == []
    names = ["baseline", "trial-0000", "trial-0001", "trial-0002"]
    assert children(recorder, sender) == [f"{name} FINISHED" for name in names]
    assert sorted(sender.run_ids) == names


def test_a_store_that_goes_away_and_comes_back_loses_and_doubles_nothing(
    sender: Sender, flaky: Flaky, recorder: Recorder, make_record: MakeRecord, arrived: Arrivals
) -> None:
    put(sender, make_record(0), "trial-0000")
    arrived.wait_for(1)
    flaky.away.set()
    put(sender, make_record(1), "trial-0001")
    put(sender, make_record(2), "trial-0002")
    assert flaky.refused.wait(PATIENCE_S)
    assert sender.pending() == ["trial-0001", "trial-0002"]
    flaky.away.clear()
    arrived.wait_for(3)
    assert sender.close(PATIENCE_S).names == ()
    assert children(recorder, sender) == [f"trial-000{number} FINISHED" for number in range(3)]


def test_unsent_records_are_reported_at_the_end_and_stay_in_the_outbox(
    sender: Sender, flaky: Flaky, make_record: MakeRecord
) -> None:
    sender.opened(PATIENCE_S)
    flaky.away.set()
    put(sender, make_record(), "trial-0000")
    assert flaky.refused.wait(PATIENCE_S)
    left = sender.close(0.05)
    assert left.names == ("trial-0000",)
    assert "No tracking server answers" in left.reason
    assert sender.pending() == ["trial-0000"]


def test_the_end_waits_as_long_as_records_arrive(
    sender: Sender, recorder: Recorder, make_record: MakeRecord, arrived: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of three records takes 20 s of the test's clock, with a patience of 30 s."""
    sender.opened(PATIENCE_S)
    now, go_on, inner = [0.0], threading.Semaphore(0), recorder.write

    def write(*arguments: object, **named: object) -> str:
        assert go_on.acquire(timeout=PATIENCE_S)
        return inner(*arguments, **named)  # type: ignore[arg-type]

    def join(timeout: float) -> None:
        now[0] += 20.0
        go_on.release()
        if len(arrived.names) < 2:
            arrived.wait_for(len(arrived.names) + 1)
        else:
            Thread.join(sender._thread, PATIENCE_S)

    monkeypatch.setattr(recorder, "write", write)
    for number in range(3):
        put(sender, make_record(number), f"trial-{number:04d}")
    monkeypatch.setattr("pipeline.tracking.sender.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(sender._thread, "join", join)
    assert sender.close(30.0).names == ()
    assert now[0] == 60.0


def test_no_other_thread_gets_a_recorder_that_is_still_writing(
    sender: Sender, recorder: Recorder, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, answers = threading.Event(), threading.Event()

    def write(*arguments: object, **named: object) -> str:
        hangs.set()
        assert answers.wait(PATIENCE_S)
        return "0" * 32

    monkeypatch.setattr(recorder, "write", write)
    monkeypatch.setattr("pipeline.tracking.sender.ENDING_S", 0.01)
    put(sender, make_record(), "trial-0000")
    assert hangs.wait(PATIENCE_S)
    left = sender.close(0.01)
    assert left.names == ("trial-0000",)
    assert left.reason == "nothing arrived within 0.01 s."
    assert sender.recorder is None
    answers.set()
    sender._thread.join(PATIENCE_S)
    assert sender.recorder is not None


def test_a_record_that_was_damaged_and_is_made_anew_is_sent(
    sender: Sender, recorder: Recorder, make_record: MakeRecord, arrived: Arrivals
) -> None:
    (sender.outbox / "trial-0000.npz").write_bytes(b"half a file")
    sender.submit("trial-0000")
    with sender._wake:
        assert sender._wake.wait_for(lambda: sender._aside, PATIENCE_S)
    put(sender, make_record(), "trial-0000")
    arrived.wait_for(1)
    assert sender.close(PATIENCE_S).names == ()


def test_a_store_that_stays_away_is_asked_ever_less_often(
    flaky: Flaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, enough = [], threading.Event()

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) >= 8:
            enough.set()
            flaky.away.clear()

    made = Sender(lambda: flaky, tmp_path / "outbox", study=STUDY, config={}, first_wait_s=0.5)  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(made, "_pause", pause)
    flaky.away.set()
    made.start()
    assert enough.wait(PATIENCE_S)
    made.close(PATIENCE_S)
    assert waits[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_record_that_the_store_refuses_is_tried_five_times_and_once_more_at_the_end(
    sender: Sender, recorder: Recorder, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def write(*arguments: object, **named: object) -> str:
        tries.append(named["name"])
        raise TrackingError("It is refused.")

    monkeypatch.setattr(recorder, "write", write)
    put(sender, make_record(), "trial-0000")
    with sender._wake:
        assert sender._wake.wait_for(lambda: sender._aside, PATIENCE_S)
    assert len(tries) == 5
    assert sender.close(PATIENCE_S).reason == "trial-0000 was refused: It is refused."
    assert len(tries) == 6


def test_a_damaged_record_does_not_hold_up_the_others(
    sender: Sender, recorder: Recorder, make_record: MakeRecord
) -> None:
    (sender.outbox / "trial-0000.npz").write_bytes(b"half a file")
    sender.submit("trial-0000")
    put(sender, make_record(1), "trial-0001")
    left = sender.close(PATIENCE_S)
    assert left.names == ("trial-0000",)
    assert "trial-0000" in left.reason
    assert children(recorder, sender) == ["trial-0001 FINISHED"]


def test_a_full_disk_is_reported_and_everything_arrives_once_there_is_room(
    sender: Sender, recorder: Recorder, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.Event()

    def write_folder(*arguments: object, **named: object) -> None:
        full.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "curves.npz")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_folder", write_folder)
        put(sender, make_record(0), "trial-0000")
        put(sender, make_record(1), "trial-0001")
        assert full.wait(PATIENCE_S)
        with sender._wake:
            assert sender._wake.wait_for(lambda: sender.trouble, PATIENCE_S)
        assert "No space left on device" in sender.trouble
    assert sender.close(PATIENCE_S).names == ()
    assert children(recorder, sender) == ["trial-0000 FINISHED", "trial-0001 FINISHED"]


def test_training_never_waits_for_a_store_that_hangs(
    sender: Sender, recorder: Recorder, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, submitted = threading.Event(), threading.Event()
    in_time = []

    def ping() -> None:
        asked.set()
        in_time.append(submitted.wait(PATIENCE_S))

    monkeypatch.setattr(recorder, "ping", ping)
    (sender.outbox / "trial-0000.npz").write_bytes(b"half a file")
    sender.submit("trial-0000")
    assert asked.wait(PATIENCE_S)
    sender.progress("trial-0001", make_record(1).curves, 1.7e9, 1.0)
    put(sender, make_record(1), "trial-0001")
    submitted.set()
    assert sender.close(PATIENCE_S).names == ("trial-0000",)
    assert all(in_time)


def test_curves_grow_while_a_trial_runs_and_are_completed_when_it_ends(
    sender: Sender, recorder: Recorder, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = threading.Event()
    inner = recorder.progress

    def progress(*arguments: object) -> None:
        inner(*arguments)  # type: ignore[arg-type]
        shown.set()

    monkeypatch.setattr(recorder, "progress", progress)
    record = make_record(epochs=20)
    sender.progress("trial-0000", {name: values[:8] for name, values in record.curves.items()}, 1.7e9, 1.0)
    assert shown.wait(PATIENCE_S)
    assert children(recorder, sender) == ["trial-0000 RUNNING"]
    put(sender, record, "trial-0000")
    sender.close(PATIENCE_S)
    assert children(recorder, sender) == ["trial-0000 FINISHED"]
    client = MlflowClient(recorder.store.uri)
    history = client.get_metric_history(sender.run_ids["trial-0000"], "dev_cost")
    assert sorted(point.step for point in history) == list(range(21))


def test_a_trial_that_is_cut_off_is_marked_killed(
    sender: Sender, recorder: Recorder, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = threading.Event()
    inner = recorder.progress
    monkeypatch.setattr(recorder, "progress", lambda *arguments: (inner(*arguments), shown.set()))
    sender.progress("trial-0000", make_record().curves, 1.7e9, 1.0)
    assert shown.wait(PATIENCE_S)
    sender.close(PATIENCE_S)
    assert children(recorder, sender) == ["trial-0000 KILLED"]


def test_a_run_that_an_earlier_crash_left_running_is_marked_killed_too(
    recorder: Recorder, root: Path, tmp_path: Path
) -> None:
    crashed = Recorder(TrackingConfig(experiment="tests", store=str(root)))
    crashed.open_run("trial", "trial-0005", {"study": STUDY}, parent=crashed.open_sweep(STUDY, {}))
    sender = Sender(lambda: recorder, tmp_path / "outbox", study=STUDY, config={}).start()
    sender.close(PATIENCE_S)
    assert children(recorder, sender) == ["trial-0005 KILLED"]


def test_submitting_twice_or_what_is_gone_is_harmless(
    sender: Sender, recorder: Recorder, make_record: MakeRecord, arrived: Arrivals
) -> None:
    put(sender, make_record(), "trial-0000")
    sender.submit("trial-0000")
    arrived.wait_for(1)
    sender.submit("trial-0000")
    assert sender.close(PATIENCE_S).names == ()
    assert children(recorder, sender) == ["trial-0000 FINISHED"]


def test_a_sender_that_was_never_started_has_nothing_to_send(flaky: Flaky, tmp_path: Path) -> None:
    idle = Sender(lambda: flaky, tmp_path / "outbox", study=STUDY, config={})  # type: ignore[arg-type, return-value]
    assert idle.close(PATIENCE_S).names == ()


def test_a_store_that_cannot_be_used_is_told_before_training(tmp_path: Path) -> None:
    def refuses() -> Recorder:
        raise TrackingError("The folder mlruns must be writable, but is not.")

    sender = Sender(refuses, tmp_path / "outbox", study=STUDY, config={}, first_wait_s=0.001).start()
    with pytest.raises(TrackingError, match="must be writable"):
        sender.opened(PATIENCE_S)
    assert sender.close(0.05).names == ()


def test_a_store_that_goes_away_while_it_is_opened_stops_nothing_and_is_opened_when_it_answers(
    flaky: Flaky, recorder: Recorder, make_record: MakeRecord, tmp_path: Path
) -> None:
    flaky.away.set()
    sender = Sender(lambda: flaky, tmp_path / "outbox", study=STUDY, config={}, first_wait_s=0.001).start()  # type: ignore[arg-type, return-value]
    assert sender.opened(PATIENCE_S) == ""
    sender.check()
    put(sender, make_record(), "trial-0000")
    flaky.away.clear()
    assert sender.close(PATIENCE_S).names == ()
    assert children(recorder, sender) == ["trial-0000 FINISHED"]


def test_memory_that_the_store_lacks_is_reported_in_one_sentence(tmp_path: Path) -> None:
    def exhausted() -> Recorder:
        raise MemoryError

    sender = Sender(exhausted, tmp_path / "outbox", study=STUDY, config={}, first_wait_s=0.001).start()
    with pytest.raises(TrackingError, match=r"no more memory.*ulimit -v"):
        sender.opened(PATIENCE_S)
    assert sender.close(0.05).names == ()


def test_the_thread_that_sends_does_not_keep_a_command_alive(sender: Sender) -> None:
    sender.opened(PATIENCE_S)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "sender")
    assert thread.daemon


def test_a_store_that_is_away_is_not_asked_again_at_once_but_when_the_sender_is_closed(
    flaky: Flaky, make_record: MakeRecord, tmp_path: Path
) -> None:
    flaky.away.set()
    patient = Sender(lambda: flaky, tmp_path / "patient", study=STUDY, config={}, first_wait_s=600.0)  # type: ignore[arg-type, return-value]
    patient.start()
    put(patient, make_record(), "trial-0000")
    assert flaky.refused.wait(PATIENCE_S)
    flaky.refused.clear()
    assert not flaky.refused.wait(0.2)
    flaky.away.clear()
    left = patient.close(PATIENCE_S)
    assert (left.names, left.reason) == ((), "")
