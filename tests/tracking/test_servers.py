"""The same recorder and archive against a real tracking server over HTTP and a real PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import StoreAway
from pipeline.tracking import files
from pipeline.tracking.archive import Archive
from pipeline.tracking.connection import explain
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.sender import Sender
from pipeline.tracking.store import resolve
from pipeline.trials.record import TrialRecord
from tests.servers import TrackingServer, postgresql, postgresql_programs, tracking_server

MakeRecord = Callable[..., TrialRecord]
STUDY = "digits-0123abcd"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    with tracking_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def assert_every_step_once(address: str, run_id: str, record: TrialRecord) -> None:
    client = MlflowClient(address)
    for name in ("train_cost", "dev_cost", "train_error", "dev_error"):
        history = client.get_metric_history(run_id, name)
        assert sorted((point.step, point.value) for point in history) == list(enumerate(record.curves[name].tolist()))


def test_a_record_goes_to_a_server_and_comes_back_from_it_alone(
    server: TrackingServer, make_record: MakeRecord, tmp_path: Path
) -> None:
    record = make_record(epochs=300)
    recorder = Recorder(TrackingConfig(uri=server.address, experiment="round trip", store=str(tmp_path / "here")))
    parent = recorder.open_sweep(STUDY, {"seed": 1})
    run_id = recorder.write(record, kind="trial", name="trial-0000", parent=parent, tags={"study": STUDY})
    recorder.write(record, kind="trial", name="trial-0000", parent=parent, tags={"study": STUDY})
    assert_every_step_once(server.address, run_id, record)
    archive = Archive(
        TrackingConfig(uri=server.address, experiment="round trip", store=str(tmp_path / "another machine"))
    )
    back = archive.load(archive.find("best"))
    assert files.digests(back) == files.digests(record)
    assert (back.config, back.environment) == (record.config, record.environment)
    assert not list((tmp_path / "here").rglob("*.npz"))


def test_a_server_killed_in_the_middle_and_started_again_loses_and_doubles_nothing(
    make_record: MakeRecord, tmp_path: Path
) -> None:
    records = {f"trial-{n:04d}": make_record(n, epochs=40) for n in range(12)}
    arrived, half = [], threading.Event()

    def on_sent(name: str, run_id: str) -> None:
        arrived.append(name)
        if len(arrived) == 4:
            half.set()

    with tracking_server(tmp_path / "server") as server:
        sender = Sender(
            lambda: Recorder(TrackingConfig(uri=server.address, experiment="killed", store=str(tmp_path / "here"))),
            tmp_path / "outbox",
            study=STUDY,
            config={},
            on_sent=on_sent,
            first_wait_s=0.05,
        ).start()
        sender.opened()
        for name, record in records.items():
            record.save(sender.outbox / f"{name}.npz")
            sender.submit(name)
        assert half.wait(60)
        server.kill()
        assert sender.waiting > 0
        server.start()
        assert sender.close(60).names == ()
        archive = Archive(TrackingConfig(uri=server.address, experiment="killed", store=str(tmp_path / "here")))
        assert [(run.name, run.status) for run in archive.children(STUDY)] == [(name, "FINISHED") for name in records]
        for name, record in records.items():
            assert_every_step_once(server.address, sender.run_ids[name], record)


def test_a_server_that_is_gone_is_reported_in_one_sentence(make_record: MakeRecord, tmp_path: Path) -> None:
    with tracking_server(tmp_path / "server") as server:
        recorder = Recorder(TrackingConfig(uri=server.address, experiment="gone", store=str(tmp_path)))
    with pytest.raises(StoreAway, match="does not answer") as refusal:
        recorder.write(make_record(), kind="train", name="train")
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith("…")  # MLflow's words are long


def test_another_programs_words_end_as_a_sentence_that_another_can_follow(tmp_path: Path) -> None:
    store = resolve(TrackingConfig(store=str(tmp_path)))
    assert str(explain(ValueError("disk on fire"), store)).endswith("cannot be used: disk on fire.")
    assert str(explain(ValueError("no way."), store)).endswith("cannot be used: no way.")
    assert str(explain(ValueError("x" * 400), store)).endswith("xx…")


@pytest.mark.postgresql
@pytest.mark.skipif(postgresql_programs() is None, reason="PostgreSQL's programs are not installed")
def test_a_postgresql_database_keeps_runs_with_the_files_beside_it(make_record: MakeRecord, tmp_path: Path) -> None:
    pytest.importorskip("psycopg2", reason="psycopg2 is an optional extra")
    record = make_record(epochs=300)
    with postgresql() as address:
        recorder = Recorder(TrackingConfig(uri=address, experiment="database", store=str(tmp_path / "mlruns")))
        parent = recorder.open_sweep(STUDY, {})
        run_id = recorder.write(record, kind="trial", name="trial-0000", parent=parent, tags={"study": STUDY})
        assert_every_step_once(recorder.store.uri, run_id, record)
        archive = Archive(TrackingConfig(uri=address, experiment="database", store=str(tmp_path / "mlruns")))
        assert files.digests(archive.load(archive.find(f"{STUDY}/trial-0000"))) == files.digests(record)
