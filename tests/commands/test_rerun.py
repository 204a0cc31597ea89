"""`make rerun`: equal trials are identical, and every change is noticed and named.

Trials are trained in this process; the tests under `end_to_end` have workers and commands of their own.
"""

import dataclasses
import json
import shutil
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.commands.rerun import rerun
from pipeline.config.commands import RerunConfig, TrackingConfig, WorkersConfig
from pipeline.config.errors import DataError, RecordError
from pipeline.config.trial import DataConfig, ModelConfig, RegularizationConfig, TrainingConfig, TrialConfig
from pipeline.data.arrays import load_arrays
from pipeline.data.prepare import PreparedData, prepare
from pipeline.search.serving import LostWorker
from pipeline.selection import repetition
from pipeline.tracking import files
from pipeline.tracking.archive import Archive
from pipeline.tracking.connection import connect
from pipeline.tracking.export import export
from pipeline.tracking.found import Found
from pipeline.tracking.reading import read_folder
from pipeline.tracking.recorder import Recorder
from pipeline.trials import kernels
from pipeline.trials.environment import code_version
from pipeline.trials.kernels import Arithmetic
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import run_trial
from tests.inline import Inline, inline

STUDY = "moons-0123abcd"
EXPERIMENT = "pipeline"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repetition, "open_executor", inline)


def a_config(**training: Any) -> TrialConfig:
    return TrialConfig(
        data=DataConfig(name="moons", examples=200),
        model=ModelConfig(hidden_units=[5]),
        regularization=RegularizationConfig(lambd=0.1, keep_prob=0.8),
        training=TrainingConfig(**{"num_epochs": 12, "patience": None, "batch_size": 16, **training}),
    )


def put(recorder: Recorder, config: TrialConfig, name: str, parent: str, store: Path, stop: int | None = None) -> str:
    prepared = prepare(config.data, store)
    record = run_trial(config, load_arrays(prepared.path), stop)
    record.add_origin(prepared, code_version())
    return recorder.write(record, kind="trial", name=name, parent=parent, tags={"study": STUDY})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with one trial of each outcome, and a trial on a file of the user's own."""
    store = tmp_path_factory.mktemp("recorded") / "mlruns"
    recorder = Recorder(TrackingConfig(experiment=EXPERIMENT, store=str(store)))
    parent = recorder.open_sweep(STUDY, {})
    put(recorder, a_config(), "trial-0000", parent, store)
    put(recorder, a_config(num_epochs=60, patience=2, learning_rate=0.5), "trial-0001", parent, store)
    put(recorder, a_config(), "trial-0002", parent, store, stop=4)
    put(recorder, a_config(learning_rate=1e30), "trial-0003", parent, store)
    rows = np.random.default_rng(0).normal(size=(80, 3)).round(3)
    lines = ["a,b,c,label", *(f"{a},{b},{c},{'yes' if a > 0 else 'no'}" for a, b, c in rows)]
    table = store.parent / "table.csv"
    table.write_text("\n".join(lines))
    on_file = dataclasses.replace(a_config(), data=DataConfig("file", "file", str(table), "label"))
    put(recorder, on_file, "trial-0004", parent, store)
    return store


@pytest.fixture
def store(template: Path) -> Iterator[Path]:
    """The study where it was recorded; whatever a test does to it is undone."""
    aside = template.parent / "aside"
    shutil.copytree(template, aside, dirs_exist_ok=True)
    shutil.copy(template.parent / "table.csv", aside / "table.csv")
    yield template
    shutil.rmtree(template / "artifacts")
    shutil.copytree(aside / "artifacts", template / "artifacts")
    shutil.copy(aside / "table.csv", template.parent / "table.csv")


def settings(store: Path, run: str, **changes: Any) -> RerunConfig:
    return RerunConfig(**{"run": run, "track": False, "tracking": TrackingConfig(store=str(store)), **changes})


def folder_of(store: Path, name: str) -> Path:
    archive = Archive(TrackingConfig(experiment=EXPERIMENT, store=str(store)))
    return store / "artifacts" / archive.find(f"{STUDY}/{name}").run_id / "artifacts"


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("trial-0000", "completed"),
        ("trial-0001", "early_stopped"),
        ("trial-0002", "pruned"),
        ("trial-0003", "diverged"),
        ("trial-0004", "completed"),
    ],
)
def test_a_trial_of_every_outcome_is_repeated_to_the_same_bits(
    store: Path, capsys: pytest.CaptureFixture[str], name: str, outcome: str
) -> None:
    assert read_folder(folder_of(store, name)).outcome == outcome
    assert rerun(settings(store, f"{STUDY}/{name}")) == 0
    assert "identical" in said(capsys)


def test_a_whole_study_is_audited_with_a_line_for_each_run(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rerun(settings(store, "all", study=STUDY)) == 0
    assert said(capsys).count(": identical") == 5


def test_an_audit_prepares_data_once_and_keeps_no_record_that_it_is_done_with(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[DataConfig] = []
    loaded: list[weakref.ref[TrialRecord]] = []
    alive: list[int] = []
    load = Archive.load

    def counted(data: DataConfig, folder: Path) -> PreparedData:
        prepared.append(data)
        return prepare(data, folder)

    def watched(archive: Archive, run: Found) -> TrialRecord:
        record = load(archive, run)
        loaded.append(weakref.ref(record))
        alive.append(sum(reference() is not None for reference in loaded))
        return record

    monkeypatch.setattr(repetition, "prepare", counted)
    monkeypatch.setattr(Archive, "load", watched)
    assert rerun(settings(store, "all", study=STUDY, workers=WorkersConfig(count=1, queued=0))) == 0
    assert len(prepared) == 2, "the moons of four trials, and the file of one"
    assert max(alive) <= 3 < len(loaded)


def test_a_worker_that_dies_in_a_rerun_gives_no_verdict(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise LostWorker("the worker process died of SIGSEGV", own=True)

    archive = Archive(TrackingConfig(experiment=EXPERIMENT, store=str(store)))
    before = archive.find(f"{STUDY}/trial-0001").tags.get("rerun_verdict")
    monkeypatch.setattr(repetition, "work_whole", dies)
    assert rerun(settings(store, f"{STUDY}/trial-0001", track=True)) == 1
    assert "trial-0001 could not be repeated, try again: the worker process died of SIGSEGV" in said(capsys)
    assert archive.find(f"{STUDY}/trial-0001").tags.get("rerun_verdict") == before


def recorded_under(store: Path, arithmetic: Arithmetic) -> None:
    folder = folder_of(store, "trial-0000")
    environment = json.loads((folder / files.ENVIRONMENT).read_text())
    environment["arithmetic"] = arithmetic.as_dict()
    rewrite(folder, files.ENVIRONMENT, json.dumps(environment).encode())


def test_workers_get_the_arithmetic_of_the_record(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Arithmetic] = []

    @contextmanager
    def watched(config: Any, arrays: Any, arithmetic: Arithmetic) -> Iterator[Executor]:
        asked.append(arithmetic)
        yield Inline()

    other = Arithmetic("Nehalem", "sse")
    recorded_under(store, other)
    monkeypatch.setattr(repetition, "open_executor", watched)
    monkeypatch.setattr(repetition, "obstacle", lambda wanted: "")
    assert rerun(settings(store, "all", study=STUDY)) == 0
    assert asked.count(other) == 1
    assert set(asked) == {other, kernels.current()}
    assert "Trained with OpenBLAS kernel Nehalem and NumPy's sse code, as the record was" in said(capsys)


def test_where_the_processor_lacks_the_recorded_arithmetic_the_verdict_says_which_has_it(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded_under(store, Arithmetic("SapphireRapids", "avx512_spr"))
    monkeypatch.setattr(kernels, "_flags", lambda: frozenset({"avx2", "fma", "bmi1", "bmi2"}))
    folder = folder_of(store, "trial-0000")
    with np.load(folder / files.CURVES) as archive:
        curves = dict(archive)
    curves["dev_cost"].view(np.uint64)[-1] ^= 1
    files.write_arrays(folder / files.CURVES, curves)
    rewrite(folder, files.CURVES, (folder / files.CURVES).read_bytes())
    assert rerun(settings(store, f"{STUDY}/trial-0000")) == 1
    assert (
        "trial-0000: the record was made with OpenBLAS kernel SapphireRapids and NumPy's avx512_spr code, which needs "
        "a processor with AVX-512 as in Sapphire Rapids" in said(capsys)
    )


def test_a_damaged_record_among_many_is_reported_and_the_others_are_repeated(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder_of(store, "trial-0002") / files.PARAMETERS).write_bytes(b"no archive")
    assert rerun(settings(store, "all", study=STUDY)) == 1
    text = said(capsys)
    assert "trial-0002 cannot be repeated: " in text
    assert "4 identical, 1 not repeated" in text.replace("1 not repeated, 4 identical", "4 identical, 1 not repeated")


def test_a_run_in_which_nothing_was_trained_is_named_as_such(store: Path) -> None:
    recorder = Recorder(TrackingConfig(experiment=EXPERIMENT, store=str(store)))
    run_id = recorder.open_run("confirm", "confirm of moons", {}, {})
    recorder.close(run_id)
    with pytest.raises(RecordError, match=r"RUN must be a run in which .* trained, but .* of the kind confirm"):
        rerun(settings(store, run_id))


def test_further_fits_of_a_configuration_are_repeated_as_trials_are(store: Path) -> None:
    tracking = TrackingConfig(experiment=EXPERIMENT, store=str(store))
    recorder = Recorder(tracking)
    record = read_folder(folder_of(store, "trial-0000"))
    run_id = recorder.write(record, kind="confirm", name="confirm-01234567-1-1", tags={"study": STUDY})
    assert rerun(settings(store, run_id)) == 0


def test_a_rerun_is_tracked_and_linked_and_marks_the_original(store: Path) -> None:
    assert rerun(settings(store, f"{STUDY}/trial-0002", track=True)) == 0
    archive = Archive(TrackingConfig(experiment=EXPERIMENT, store=str(store)))
    original = archive.find(f"{STUDY}/trial-0002")
    [repeated] = [run for run in archive.runs("rerun") if run.tags["rerun_of"] == original.run_id]
    assert repeated.tags["verdict"] == original.tags["rerun_verdict"] == "identical"
    assert repeated.tags["curves_sha256"] == original.tags["curves_sha256"]


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Change a file of a record and its recorded digests to match, as a forger would."""
    (folder / name).write_bytes(content)
    meta = json.loads((folder / files.RECORD).read_text())
    if name in meta["files_sha256"]:
        meta["files_sha256"][name] = files.sha256(content)
    for kind, array_file in (("curves", files.CURVES), ("parameters", files.PARAMETERS)):
        with np.load(folder / array_file) as arrays:
            meta[f"{kind}_sha256"] = files.digest(dict(arrays))
    (folder / files.RECORD).write_text(json.dumps(meta))


def test_one_flipped_bit_of_a_parameter_is_found(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(store, "trial-0000")
    with np.load(folder / files.PARAMETERS) as archive:
        arrays = dict(archive)
    arrays["W1"].view(np.uint32)[3, 1] ^= 1
    files.write_arrays(folder / files.PARAMETERS, arrays)
    rewrite(folder, files.PARAMETERS, (folder / files.PARAMETERS).read_bytes())
    assert rerun(settings(store, f"{STUDY}/trial-0000", accept="tolerance")) == 1
    text = said(capsys)
    assert "W1[3, 1]" in text
    assert "the tag parameters_sha256 is" in text
    archive = Archive(TrackingConfig(experiment=EXPERIMENT, store=str(store)))
    run = archive.find(f"{STUDY}/trial-0000")
    connect(archive.store).set_tag(run.run_id, "parameters_sha256", files.digest(arrays))
    try:
        assert rerun(settings(store, run.handle, accept="tolerance")) == 0
        assert rerun(settings(store, run.handle)) == 1
    finally:
        connect(archive.store).set_tag(run.run_id, "parameters_sha256", run.tags["parameters_sha256"])


def test_a_source_that_is_away_is_not_needed_while_the_store_has_its_arrays(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.parent / "table.csv").unlink()
    assert rerun(settings(store, f"{STUDY}/trial-0004")) == 0
    assert "identical" in said(capsys)
    arrays = (
        store
        / "arrays"
        / str(Archive(TrackingConfig(experiment=EXPERIMENT, store=str(store))).load(found(store)).data["digest"])
    )
    hidden = arrays.rename(arrays.with_name("hidden"))
    try:
        with pytest.raises(DataError, match=r"There is no file .*table\.csv"):
            rerun(settings(store, f"{STUDY}/trial-0004"))
    finally:
        hidden.rename(arrays)


def found(store: Path) -> Found:
    return Archive(TrackingConfig(experiment=EXPERIMENT, store=str(store))).find(f"{STUDY}/trial-0004")


def test_an_edited_configuration_differs_and_says_where(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(store, "trial-0000")
    config = yaml.safe_load((folder / files.CONFIG).read_text())
    config["regularization"]["lambd"] = 5.0
    rewrite(folder, files.CONFIG, yaml.safe_dump(config).encode())
    assert rerun(settings(store, f"{STUDY}/trial-0000", accept="tolerance")) == 1
    text = said(capsys)
    assert "differs: first at gradient_norm_1 at epoch 0" in text  # λ is in the gradient from the start


@pytest.mark.parametrize("name", [files.CONFIG, files.PARAMETERS, files.CURVES, files.ENVIRONMENT])
def test_a_record_whose_digests_do_not_fit_is_refused(store: Path, name: str) -> None:
    path = folder_of(store, "trial-0000") / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordError):
        rerun(settings(store, f"{STUDY}/trial-0000"))


def test_changed_data_are_refused_unless_allowed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = store.parent / "table.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-5]))
    with pytest.raises(RecordError, match="have changed since"):
        rerun(settings(store, f"{STUDY}/trial-0004"))
    assert rerun(settings(store, f"{STUDY}/trial-0004", changed_data=True)) == 1
    assert "source_digest" in said(capsys)


def test_an_exported_folder_is_rerun_but_its_data_file_must_be_allowed(store: Path, tmp_path: Path) -> None:
    for name, allowed in (("trial-0000", True), ("trial-0004", False)):
        out = export(read_folder(folder_of(store, name)), tmp_path / name, kind="trial", name=name)
        if not allowed:
            with pytest.raises(RecordError, match="allow_path=true"):
                rerun(settings(store, str(out)))
        assert rerun(settings(store, str(out), allow_path=not allowed)) == 0


def test_a_store_brought_from_elsewhere_may_not_name_files_either(store: Path, tmp_path: Path) -> None:
    moved = tmp_path / "mlruns"
    shutil.copytree(store, moved)
    shutil.copyfile(store / "mlflow.db", moved / "mlflow.db")
    assert rerun(settings(moved, f"{STUDY}/trial-0000")) == 0
    with pytest.raises(RecordError, match="allow_path=true"):
        rerun(settings(moved, f"{STUDY}/trial-0004"))


def test_a_configuration_that_would_fill_the_memory_is_refused(store: Path) -> None:
    folder = folder_of(store, "trial-0000")
    config = yaml.safe_load((folder / files.CONFIG).read_text())
    config["model"]["hidden_units"] = [10**9]
    rewrite(folder, files.CONFIG, yaml.safe_dump(config).encode())
    with pytest.raises(RecordError, match="hidden_units"):
        rerun(settings(store, f"{STUDY}/trial-0000"))


def test_no_such_run_is_one_sentence(store: Path) -> None:
    with pytest.raises(RecordError, match="make runs"):
        rerun(settings(store, f"{STUDY}/trial-0099"))
