"""Runs are found as people name them and read back from the store alone."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import RecordError, TrackingError
from pipeline.tracking import files
from pipeline.tracking.archive import CONCLUSION, Archive
from pipeline.tracking.found import Found
from pipeline.tracking.recorder import Recorder
from pipeline.trials.record import TrialRecord
from tests.tracking.conftest import a_record

MakeRecord = Callable[..., TrialRecord]
STUDY = "digits-0123abcd"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, dict[str, str]]:
    """A store that no test changes, with the runs of `written`."""
    tracking = TrackingConfig(experiment="tests", store=str(tmp_path_factory.mktemp("shared")))
    run_ids = written(Recorder(tracking))
    return Archive(tracking), run_ids


@pytest.fixture
def run_ids(recorder: Recorder) -> dict[str, str]:
    return written(recorder)


def written(recorder: Recorder) -> dict[str, str]:
    """Two studies; of the second, trial-0001 is the best, trial-0002 diverged and trial-0003 is still running."""
    recorder.open_sweep("moons-4567abcd", {})
    parent = recorder.open_sweep(STUDY, {})
    costs = {"trial-0000": 0.5, "trial-0001": 0.25, "baseline": 0.1, "trial-0002": 0.01}
    ids = {}
    for name, cost in costs.items():
        record = a_record(summary={"best_dev_cost": cost}, outcome="diverged" if name[-1] == "2" else "completed")
        kind = "trial" if name.startswith("trial") else name
        ids[name] = recorder.write(record, kind=kind, name=name, parent=parent, tags={"study": STUDY})
    ids["trial-0003"] = recorder.open_run("trial", "trial-0003", {"study": STUDY}, parent=parent)
    return ids


def test_a_run_is_found_by_id_by_handle_by_name_and_as_the_best(shared: tuple[Archive, dict[str, str]]) -> None:
    archive, run_ids = shared
    assert archive.find(run_ids["trial-0000"]).name == "trial-0000"
    assert archive.find(f"{STUDY}/trial-0000").run_id == run_ids["trial-0000"]
    assert archive.find("trial-0000").run_id == run_ids["trial-0000"]
    assert archive.find("baseline", STUDY).run_id == run_ids["baseline"]
    assert archive.find("best").handle == f"{STUDY}/trial-0001"


def test_the_older_of_two_sweeps_of_one_name_is_the_parent(recorder: Recorder, archive: Archive) -> None:
    client = MlflowClient(recorder.store.uri)
    tags = {"kind": "sweep", "study": STUDY}
    made = [client.create_run(recorder.experiment_id, start, tags, STUDY).info.run_id for start in (3000, 1000, 2000)]
    assert archive.parent(STUDY).run_id == made[1]


def test_a_damaged_objective_is_named(recorder: Recorder, archive: Archive) -> None:
    recorder.open_sweep("odd", {"study": {"objective": "[[[["}})
    with pytest.raises(RecordError, match=r"study\.objective of odd must be a name or a list"):
        archive.best("odd")


def test_the_best_is_by_the_objective_of_its_study_and_no_pruned_trial(
    recorder: Recorder, archive: Archive, make_record: MakeRecord
) -> None:
    parent = recorder.open_sweep("errors", {"study": {"objective": "dev_error"}})
    measures = {"trial-0000": (0.1, 0.3), "trial-0001": (0.2, 0.2), "trial-0002": (0.1, 0.1)}
    for name, (cost, error) in measures.items():
        record = make_record(
            summary={"best_dev_cost": cost, "best_dev_error": error},
            outcome="pruned" if name.endswith("2") else "completed",
        )
        recorder.write(record, kind="trial", name=name, parent=parent, tags={"study": "errors"})
    assert archive.best("errors").name == "trial-0001"


def test_a_whole_sweep_is_no_record(shared: tuple[Archive, dict[str, str]]) -> None:
    archive, _ = shared
    parent = archive.parent(STUDY)
    with pytest.raises(RecordError, match=f"is a whole sweep: name one of its trials, or RUN=all STUDY={STUDY}"):
        archive.load(parent)


def test_the_best_skips_what_has_no_cost(
    recorder: Recorder, archive: Archive, run_ids: dict[str, str], make_record
) -> None:
    parent = archive.parent(STUDY).run_id
    record = make_record(summary={"best_dev_cost": float("nan")})
    recorder.write(record, kind="trial", name="trial-0004", parent=parent, tags={"study": STUDY})
    assert archive.best(STUDY).name == "trial-0001"


def test_the_best_is_the_finished_run_that_the_study_recommends_and_refused_if_it_was_changed(
    recorder: Recorder, archive: Archive, make_record: MakeRecord
) -> None:
    parent = recorder.open_sweep("concluded", {})
    for number, cost in enumerate((0.1, 0.2, 0.3)):
        record, name = make_record(summary={"best_dev_cost": cost}), f"trial-000{number}"
        run_id = recorder.write(record, kind="trial", name=name, parent=parent, tags={"study": "concluded"})
    recorder.annotate(parent, {"recommended": "{}"})
    recorder.write_json(parent, CONCLUSION, {"run": "trial-0002"})
    assert archive.best("concluded").run_id == run_id
    archive._client.log_metric(run_id, "best_dev_cost", 0.01, step=1)
    with pytest.raises(RecordError, match=r"^concluded/trial-0002 has been changed in the tracking store: the metric"):
        archive.best("concluded")
    recorder.write_json(parent, CONCLUSION, {"run": "confirm-1-0-2"})
    recorder.open_run("confirm", "confirm-1-0-2", {"study": "concluded"}, {}, parent)  # under way
    with pytest.raises(RecordError, match="recommends confirm-1-0-2, which is not in the tracking store"):
        archive.best("concluded")


def test_studies_and_their_trials_are_listed(shared: tuple[Archive, dict[str, str]]) -> None:
    archive, _ = shared
    assert {run.study for run in archive.studies()} == {STUDY, "moons-4567abcd"}
    assert [run.name for run in archive.trials(STUDY)] == [f"trial-000{n}" for n in range(4)]
    assert [run.name for run in archive.children(STUDY)] == ["baseline", *(f"trial-000{n}" for n in range(4))]
    assert archive.trials("moons-4567abcd") == []


def test_a_model_alias_leads_to_the_run_it_came_from(archive: Archive, run_ids: dict[str, str]) -> None:
    client = MlflowClient(archive.store.uri, archive.store.uri)
    client.create_registered_model("digits")
    client.create_model_version("digits", "runs:/x/model", run_ids["trial-0001"])
    client.set_registered_model_alias("digits", "champion", "1")
    assert archive.find("models:/digits@champion").name == "trial-0001"


@pytest.mark.parametrize(
    "run",
    [
        "0" * 32,
        "trial-0099",
        "../../etc/passwd",
        "it's/trial-0001",
        f"{STUDY}/trial-0001' or '1'='1",
        "models:/digits@nobody",
        "",
        "best of all",
    ],
)
def test_an_unknown_run_is_refused_in_one_sentence(shared: tuple[Archive, dict[str, str]], run: str) -> None:
    archive, _ = shared
    with pytest.raises(RecordError):
        archive.find(run)


def test_a_record_comes_back_from_the_store_as_it_went_in(
    recorder: Recorder, archive: Archive, make_record: MakeRecord
) -> None:
    record = make_record()
    back = archive.load(archive.find(recorder.write(record, kind="train", name="train")))
    assert files.digests(back) == files.digests(record)
    assert (back.config, back.summary, back.environment) == (record.config, record.summary, record.environment)


def test_a_store_that_has_been_moved_is_still_read(
    recorder: Recorder, make_record: MakeRecord, root: Path, tmp_path: Path
) -> None:
    run_id = recorder.write(make_record(), kind="train", name="train")
    here = Archive(TrackingConfig(experiment="tests", store=str(root)))
    assert not here.is_foreign(here.find(run_id))
    shutil.copytree(root, tmp_path / "elsewhere")
    shutil.rmtree(root)
    archive = Archive(TrackingConfig(experiment="tests", store=str(tmp_path / "elsewhere")))
    assert archive.load(archive.find(run_id)).outcome == "completed"
    assert archive.is_foreign(archive.find(run_id))


def test_a_run_is_of_this_store_if_its_files_are_below_the_stores_and_no_server_keeps_them(
    shared: tuple[Archive, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, run_ids = shared
    run = archive.find(run_ids["trial-0000"])
    assert not archive.is_foreign(run)
    assert archive.is_foreign(replace(run, artifact_uri="s3://bucket/artifacts"))
    assert archive.is_foreign(replace(run, artifact_uri=str(archive.store.root / "elsewhere")))
    monkeypatch.setattr(archive, "store", replace(archive.store, kind="server"))
    assert archive.is_foreign(run)


def test_a_run_without_files_is_refused(shared: tuple[Archive, dict[str, str]]) -> None:
    archive, _ = shared
    with pytest.raises(RecordError, match="has no files"):
        archive.load(archive.find("trial-0003"))


def test_a_run_cannot_steer_the_terminal(recorder: Recorder, archive: Archive, make_record: MakeRecord) -> None:
    record = make_record(reason="\x1b]0;owned\x07")
    run = archive.find(recorder.write(record, kind="train", name="train\x1b[2J", tags={"study": "a\x9b31mb"}))
    for text in (run.name, run.study, run.tags["reason"], run.handle):
        assert text.isprintable()
    with pytest.raises(RecordError) as refusal:
        archive.find("trial\x1b[2J")
    assert "\x1b" not in str(refusal.value)


def set_artifact_uri(root: Path, run_id: str, uri: str) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (uri, run_id))
        connection.commit()


@pytest.mark.parametrize(
    "uri",
    ["s3://bucket/run", "http://127.0.0.1:9/run", "ftp://ann:hunter2@host/run", "mlflow-artifacts:/run", "dbfs:/run"],
)
def test_a_run_that_keeps_its_files_elsewhere_is_refused_without_going_there(
    recorder: Recorder, archive: Archive, make_record: MakeRecord, root: Path, uri: str
) -> None:
    run_id = recorder.write(make_record(), kind="train", name="train")
    set_artifact_uri(root, run_id, uri)
    with pytest.raises(RecordError, match="outside the store") as refusal:
        archive.load(archive.find(run_id))
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("uri", ["/etc", "file:///etc", "../../../etc", "{artifacts}/../../secret"])
def test_a_local_address_outside_the_store_is_not_read(
    recorder: Recorder, archive: Archive, make_record: MakeRecord, root: Path, uri: str
) -> None:
    run_id = recorder.write(make_record(), kind="train", name="train")
    shutil.copytree(root / "artifacts" / run_id / "artifacts", root.parent / "secret")
    shutil.rmtree(root / "artifacts" / run_id)
    set_artifact_uri(root, run_id, uri.format(artifacts=root / "artifacts"))
    with pytest.raises(RecordError, match="has no files"):
        archive.load(archive.find(run_id))


def test_files_are_read_at_the_run_s_own_address_below_the_store(
    recorder: Recorder, archive: Archive, make_record: MakeRecord, root: Path
) -> None:
    run_id = recorder.write(make_record(), kind="train", name="train")
    deeper = root / "artifacts" / "1" / run_id
    deeper.parent.mkdir()
    (root / "artifacts" / run_id).rename(deeper)
    set_artifact_uri(root, run_id, str(deeper / "artifacts"))
    assert archive.load(archive.find(run_id)).outcome == "completed"


class Server:
    """A client of a hostile tracking server: what it says of a file, and where it puts it."""

    def __init__(self, answer: dict[str, object], place: str = "") -> None:
        self.answer, self.place = answer, place

    def list_artifacts(self, run_id: str, folder: str | None) -> list[SimpleNamespace]:
        names = files.REQUIRED + files.OPTIONAL
        return [SimpleNamespace(**{"path": name, "is_dir": False, "file_size": 9, **self.answer}) for name in names]

    def download_artifacts(self, run_id: str, name: str, folder: str) -> str:
        return self.place or str(Path(folder) / name)


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (Server({"file_size": 10**15}), "at most"),
        (Server({"file_size": -1}), "at most"),
        (Server({"file_size": None}), "at most"),
        (Server({"is_dir": True}), "at most"),
        (Server({}, place="/etc/passwd"), "another place"),
        (Server({}), "has no record.json"),
        (Server({"path": "../../record.json"}), "has no record.json"),
    ],
)
def test_a_hostile_server_is_refused(
    recorder: Recorder, archive: Archive, monkeypatch: pytest.MonkeyPatch, server: Server, words: str
) -> None:
    found = Found("0" * 32, "x", "trial", "", "FINISHED", "", 0.0, {}, {}, {}, "mlflow-artifacts:/0/x/artifacts")
    monkeypatch.setattr(archive, "store", SimpleNamespace(kind="server", artifacts=None))
    monkeypatch.setattr(archive, "_client", server)
    with pytest.raises(RecordError, match=words):
        archive.load(found)


def test_an_empty_folder_has_no_runs_and_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no runs yet"):
        Archive(TrackingConfig(experiment="tests", store=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_experiment_is_named(root: Path) -> None:
    with pytest.raises(TrackingError, match="no experiment named other"):
        Archive(TrackingConfig(experiment="other", store=str(root)))


def test_an_unknown_study_is_refused_with_those_that_exist(shared: tuple[Archive, dict[str, str]]) -> None:
    archive, _ = shared
    with pytest.raises(RecordError, match="moons-4567abcd"):
        archive.trials("digits-00000000")
