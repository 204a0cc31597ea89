"""`make final` on a real study: one opening for each source of data, whatever split or study asks next."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.commands import final as command
from pipeline.commands.report import test_set as report_of_test_set
from pipeline.config.commands import FinalConfig, TrackingConfig
from pipeline.config.errors import ConfigError, DataError, RecordError, StudyError, UserError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.arrays import load_arrays
from pipeline.data.heldout import open_heldout
from pipeline.data.prepare import prepare
from pipeline.reporting.results import gather
from pipeline.selection import opening, unequal
from pipeline.selection import test_set as the_test_set
from pipeline.selection.evaluation import evaluate
from pipeline.tracking.archive import Archive
from pipeline.tracking.connection import connect
from pipeline.tracking.found import Found
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.registry import Registered, Registry
from tests.conftest import sweep_config, sweep_inline


def settings(store: Path, study: str | None = "first", **changes: Any) -> FinalConfig:
    plain = {
        "study": study,
        "register": False,
        "unconfirmed": True,
        "tracking": {"store": str(store), "code_diff": False},
    }
    return parse(FinalConfig, plain | changes)


def finals(store: Path) -> list[Found]:
    return sorted(Archive(TrackingConfig(store=str(store))).runs("final"), key=lambda run: run.started_at)


def reported(store: Path, study: str) -> str:
    """Return what the report says about the test set."""
    archive = Archive(TrackingConfig(store=str(store)))
    return report_of_test_set(archive, gather(archive, study))


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no picture and few resamples, which have tests of their own."""
    monkeypatch.setattr(opening, "draw_confusion", lambda result, path: path.touch())
    monkeypatch.setattr(unequal, "RESAMPLES", 20)


def forbid(*_: object) -> None:
    raise AssertionError("the test set was read")


def test_it_evaluates_the_recorded_parameters_and_says_that_the_winner_is_unconfirmed(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.final(settings(store)) == 0
    shown = capsys.readouterr().out
    assert "is unconfirmed" in shown
    assert "This was the first opening" in shown
    archive = Archive(TrackingConfig(store=str(store)))
    (run,) = finals(store)
    record = archive.load(archive.best("first"))
    assert run.tags["trial_run_id"] == archive.best("first").run_id
    assert (run.tags["confirmed"], run.tags["opening"], run.status) == ("false", "1", "FINISHED")

    config = parse(TrialConfig, record.config)
    prepared = prepare(config.data, store)
    test = open_heldout(prepared.heldout)
    W = record.parameters
    normal = load_arrays(prepared.path).folds[0].normalization
    A = ((test.X - normal.mean) * normal.inv_std).T
    Z = W["W2"] @ np.maximum(W["W1"] @ A + W["b1"], 0) + W["b2"]
    assert run.metrics["test_error"] == np.mean((Z[0] > 0) != test.y)
    assert run.metrics["test_cost"] == pytest.approx(np.mean(np.logaddexp(0, Z[0]) - test.y * Z[0]), rel=1e-5)
    assert run.metrics["test_error_low"] < run.metrics["test_error"] < run.metrics["test_error_high"]
    assert run.metrics["best_dev_error"] == record.summary["best_dev_error"]


def test_an_unconfirmed_winner_opens_no_test_set_unless_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "open_test", forbid)
    with pytest.raises(UserError, match=r"make confirm STUDY=first.*unconfirmed=true"):
        command.final(settings(store, unconfirmed=False))
    assert finals(store) == []
    assert command.final(settings(store, unconfirmed=False, evaluate=False)) == 0


def test_what_a_race_recommends_counts_as_confirmed_and_is_tested_by_its_first_network(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = sweep_config(store, "raced")
    study = replace(config.study, race=True, baseline=True)
    assert sweep_inline(replace(config, repeats=2, study=study)) == 0
    assert command.final(settings(store, "raced", unconfirmed=False)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "is recommended, with a mean dev cost of" in shown
    assert "over 8 repeats that had no part in the choice" in shown
    assert "which is the network of repeat 0 alone" in shown


def test_a_second_opening_is_refused_also_for_another_study_on_another_split(store: Path) -> None:
    command.final(settings(store))
    for study in ("first", "second"):
        with pytest.raises(UserError, match=r"has been opened once, last on .* for first/trial-000\d .*force=true"):
            command.final(settings(store, study))
    assert len(finals(store)) == 1


def test_a_forced_opening_is_counted_and_shows_those_before_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.final(settings(store))
    assert command.final(settings(store, "second", force=True)) == 0
    assert "This was opening 2 of the test set of this data" in capsys.readouterr().out
    assert [run.tags["opening"] for run in finals(store)] == ["1", "2"]
    with pytest.raises(UserError, match="has been opened 2 times"):
        command.final(settings(store))


def test_an_opening_is_remembered_though_its_run_is_deleted(store: Path) -> None:
    command.final(settings(store))
    connect(Archive(TrackingConfig(store=str(store))).store).delete_run(finals(store)[0].run_id)
    with pytest.raises(UserError, match="has been opened once"):
        command.final(settings(store))


def test_an_opening_in_another_experiment_of_the_store_counts(store: Path) -> None:
    archive = Archive(TrackingConfig(store=str(store)))
    tags = {"test_opened": "true", "source_digest": archive.parent("first").tags["source_digest"], "study": "else"}
    Recorder(TrackingConfig(experiment="another", store=str(store))).open_run("final", "final", tags)
    with pytest.raises(UserError, match=r"has been opened once, last on .* for else/"):
        command.final(settings(store))


def test_an_opening_is_recorded_before_anyone_looks(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        (run,) = finals(store)
        assert run.tags["test_opened"] == "true"
        raise KeyboardInterrupt

    monkeypatch.setattr(the_test_set, "open_heldout", crash)
    with pytest.raises(KeyboardInterrupt):
        command.final(settings(store))
    assert finals(store)[0].status == "KILLED"
    with pytest.raises(UserError, match="has been opened once"):
        command.final(settings(store))


def test_test_rows_that_could_not_be_read_have_not_been_opened(store: Path) -> None:
    archive = Archive(TrackingConfig(store=str(store)))
    record = archive.load(archive.best("first"))
    (store / "heldout" / record.data["digest"] / "y.npy").write_bytes(b"torn")
    with pytest.raises(DataError):
        command.final(settings(store))
    assert finals(store) == []
    shutil.rmtree(store / "heldout" / record.data["digest"])
    assert command.final(settings(store)) == 0
    assert finals(store)[-1].tags["opening"] == "1"


def test_test_rows_damaged_between_announcement_and_reading_have_not_been_opened(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> None:
        raise DataError("The test rows cannot be read.")

    with monkeypatch.context() as patched:
        patched.setattr(the_test_set, "open_heldout", unreadable)
        with pytest.raises(DataError):
            command.final(settings(store))
    assert finals(store)[0].status == "FAILED"
    command.final(settings(store))
    assert [run.tags["test_opened"] for run in finals(store)] == ["false", "true"]


def test_an_opening_counts_for_the_same_rows_without_a_column(
    store: Path, sweep_into: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": np.arange(100), "x1": rng.normal(size=100), "x2": rng.normal(size=100)})
    table.assign(label=(table.x1 > 0).astype(int)).to_csv(tmp_path / "table.csv", index=False)
    file = {"name": "file", "source": "file", "path": str(tmp_path / "table.csv"), "target": "label", "examples": None}
    sweep_into(store, "with", **file)
    command.final(settings(store, "with"))
    capsys.readouterr()
    sweep_into(store, "without", **file, drop=["id"])
    assert "The test set has been opened once" in capsys.readouterr().out
    assert "The test set has been opened once" in reported(store, "without")
    for note in (store / "prepared").iterdir():
        note.unlink()
    assert "The test set is unopened as far as can be told" in reported(store, "without")
    with pytest.raises(
        UserError, match=r"opened once, last .* with/trial-000\d .* with 20 of the 20 rows held out now"
    ):
        command.final(settings(store, "without"))
    assert command.final(settings(store, "first")) == 0


def test_rows_that_repeat_so_much_that_chance_would_match_are_reported(
    store: Path, sweep_into: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for seed in (0, 1):
        bits = np.random.default_rng(seed).integers(0, 2, (100, 3))
        table = pd.DataFrame(bits, columns=["a", "b", "label"])
        table.to_csv(tmp_path / f"{seed}.csv", index=False)
        file = {"name": "file", "source": "file", "path": str(tmp_path / f"{seed}.csv"), "target": "label"}
        sweep_into(store, f"bits-{seed}", **file, examples=None)
        capsys.readouterr()
        command.final(settings(store, f"bits-{seed}"))
    shown = " ".join(capsys.readouterr().out.split())
    assert "This was the first opening" in shown
    assert "of the 20 rows held out now equal rows of the test set opened on" in shown
    assert "That is not counted as an opening: rows repeat so much" in shown


@pytest.fixture
def two_stores(store: Path, tmp_path: Path) -> Callable[[str], FinalConfig]:
    """Settings of two people, each with a local folder, on one tracking store."""
    shutil.copytree(store, tmp_path / "other")
    shared = {"uri": f"sqlite:///{store / 'mlflow.db'}", "artifacts": str(store / "artifacts"), "code_diff": False}
    folders = {"one": store, "other": tmp_path / "other"}
    return lambda who: settings(store, tracking={**shared, "store": str(folders[who])})


@pytest.mark.parametrize("late", ["one", "other"])
@pytest.mark.parametrize(
    ("pause", "first"), [("_announce", "other"), ("take_number", "other"), ("evaluate_on_test", "one")]
)
def test_of_two_simultaneous_openings_the_servers_first_reads_the_rows_whatever_the_clocks_say(
    two_stores: Callable[[str], FinalConfig],
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    late: str,
    pause: str,
    first: str,
) -> None:
    """`one` pauses before a step while `other` runs to its end; the clock of `late` is an hour behind."""
    who, looked, refused = ["one"], [], []
    step, look = getattr(opening, pause), opening.evaluate_on_test

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=who[-1] == late)

    def looking(*given: Any) -> Any:
        looked.append(who[-1])
        return look(*given)

    def run(name: str) -> None:
        if name == first:
            assert command.final(two_stores(name)) == 0
            return
        with pytest.raises(UserError, match="has been opened once"):
            command.final(two_stores(name))
        refused.append(name)

    def paused(*given: Any) -> Any:
        if who == ["one"]:
            who.append("other")
            run("other")
            who.append("one")
        return (looking if step is look else step)(*given)

    monkeypatch.setattr(opening, "datetime", Clock)
    monkeypatch.setattr(opening, "evaluate_on_test", looking)
    monkeypatch.setattr(opening, pause, paused)
    run("one")
    assert looked == [first]
    assert refused == [{"one": "other", "other": "one"}[first]]
    assert [run.tags["study"] for run in finals(store) if run.tags["test_opened"] == "true"] == ["first"]
    assert {run.status for run in finals(store)} <= {"FINISHED", "FAILED"}


def test_an_opening_with_a_later_number_does_not_precede_this_one(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, number_of = Recorder(TrackingConfig(store=str(store))), opening.take_number

    def and_another_follows(place: Any, run_id: str) -> int:
        number, tags = number_of(place, run_id), Archive(TrackingConfig(store=str(store))).parent("first").tags
        later = {"test_opened": "true", "source_digest": tags["source_digest"], "study": "else"}
        number_of(place, recorder.open_run("final", "later", later))
        return number

    monkeypatch.setattr(opening, "take_number", and_another_follows)
    assert command.final(settings(store)) == 0
    assert next(run for run in finals(store) if run.name == "final").tags["opening"] == "1"


@pytest.mark.parametrize(("numbered", "opened"), [(False, "false"), (True, "true")])
def test_an_opening_whose_process_was_killed_is_ended_and_counts_once_it_had_its_number(
    store: Path, numbered: bool, opened: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill leaves: a run that is announced, numbered or not, and RUNNING for ever."""
    with monkeypatch.context() as patched:
        patched.setattr(opening, "evaluate_on_test", forbid)
        patched.setattr(Recorder, "close", lambda *_: None)
        patched.setattr(Recorder, "annotate", lambda *_: None)
        if not numbered:
            patched.setattr(opening, "take_number", forbid)
        with pytest.raises(AssertionError):
            command.final(settings(store))
    assert finals(store)[0].status == "RUNNING"
    if numbered:
        with pytest.raises(UserError, match="has been opened once"):
            command.final(settings(store))
    else:
        assert command.final(settings(store)) == 0
    assert (finals(store)[0].status, finals(store)[0].tags["test_opened"]) == ("KILLED", opened)


def test_an_opening_under_way_is_not_ended(store: Path) -> None:
    digest = Archive(TrackingConfig(store=str(store))).parent("first").tags["source_digest"]
    tags = {"test_opened": "true", "source_digest": digest, "study": "else"}
    run_id = Recorder(TrackingConfig(store=str(store))).open_run("final", "final", tags)
    with opening.lock_of(store, digest):
        opening.end_dead(Recorder(TrackingConfig(store=str(store))), store)
        assert Archive(TrackingConfig(store=str(store))).find(run_id).status == "RUNNING"
    opening.end_dead(Recorder(TrackingConfig(store=str(store))), store)
    assert Archive(TrackingConfig(store=str(store))).find(run_id).status == "KILLED"


def test_two_data_sets_are_opened_side_by_side_and_one_is_not(store: Path) -> None:
    digest = Archive(TrackingConfig(store=str(store))).parent("first").tags["source_digest"]
    with opening.lock_of(store, "0" * 32):
        assert command.final(settings(store, evaluate=False)) == 0
    with opening.lock_of(store, digest), pytest.raises(StudyError, match="the test set of these data is held by"):
        command.final(settings(store, evaluate=False))


def test_with_several_studies_one_must_be_named(store: Path) -> None:
    with pytest.raises(ConfigError, match=r"study must be given, because the store has several \(first, second\)"):
        command.final(settings(store, None))
    assert finals(store) == []


def test_without_a_test_part_it_says_so_and_registers_the_model_when_asked(
    store: Path, sweep_into: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_into(store, "third", test="none")
    monkeypatch.setattr(the_test_set, "open_heldout", forbid)
    with pytest.raises(UserError, match=r"no test set to open, because the study was made with data.test=none"):
        command.final(settings(store, "third"))
    assert command.final(settings(store, "third", evaluate=False, register=True)) == 0
    assert "models:/circles-classifier@champion" in capsys.readouterr().out
    assert finals(store) == []


def test_the_champion_is_the_trials_run_and_the_test_result_never_moves_it(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.final(settings(store, register=True))
    archive = Archive(TrackingConfig(store=str(store)))
    best = archive.best("first")
    assert archive.find("models:/circles-classifier@champion").run_id == best.run_id
    assert finals(store)[0].tags["model"] == "models:/circles-classifier@champion"
    version = Registry(TrackingConfig(store=str(store))).champion("circles-classifier")
    assert version is not None
    assert version.tags["dev_cost"] == repr(best.metrics["best_dev_cost"])

    worse = archive.trials("first")[-1] if best.name != "trial-0002" else archive.trials("first")[0]
    monkeypatch.setattr("pipeline.selection.candidates.ranked", lambda *_: [worse])
    command.final(settings(store, register=True, evaluate=False))
    assert archive.find("models:/circles-classifier@champion").run_id == best.run_id


def test_the_confirmed_winner_goes_before_the_sweeps_best(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, recorder = Archive(TrackingConfig(store=str(store))), Recorder(TrackingConfig(store=str(store)))
    second = sorted(archive.trials("first"), key=lambda trial: trial.metrics["best_dev_cost"])[1]
    run_id = recorder.open_run("confirm", "confirm", {"study": "first"}, parent=archive.parent("first").run_id)
    tags = {"winner_run_id": second.run_id, "verdict": "It is confirmed.", "repeated": second.name}
    recorder.annotate(run_id, tags)
    command.final(settings(store))
    (run,) = finals(store)
    assert (run.tags["trial_run_id"], run.tags["confirmed"]) == (second.run_id, "true")
    assert "Since then the study has found" in capsys.readouterr().out


def test_after_cross_validation_one_network_is_trained_on_all_folds(
    store: Path, sweep_into: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_into(store, "folded", folds=3)
    assert command.final(settings(store, "folded", register=True)) == 0
    assert "trained on all 3 folds together" in capsys.readouterr().out
    classifier = Registry(TrackingConfig(store=str(store))).load("models:/circles-classifier@champion")
    record = Archive(TrackingConfig(store=str(store))).load(Archive(TrackingConfig(store=str(store))).best("folded"))
    assert not np.array_equal(classifier.parameters["W1"], record.parameters["fold1_W1"])
    prepared = prepare(parse(TrialConfig, record.config).data, store)
    test = open_heldout(prepared.heldout)
    assert finals(store)[0].metrics["test_error"] == evaluate(classifier, test.X, test.y).error.value


def test_recorded_parameters_that_do_not_give_the_recorded_dev_cost_are_refused_before_the_test_is_opened(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Archive.load

    def altered(self: Archive, run: Found) -> Any:
        record = load(self, run)
        record.parameters["b2"] = record.parameters["b2"] + np.float32(0.5)
        return record

    monkeypatch.setattr(Archive, "load", altered)
    with pytest.raises(RecordError, match=r"give a dev cost of .* but .* was recorded"):
        command.final(settings(store))
    assert finals(store) == []


def test_a_model_name_that_no_address_could_hold_is_refused(store: Path) -> None:
    with pytest.raises(ConfigError, match="model must be 1 to 100 letters"):
        command.final(settings(store, model="a/b"))


def test_the_next_commands_show_no_credentials(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "https://me:s3cret@tracking.example/path?token=s3cret"
    monkeypatch.setattr("pipeline.tracking.connection.connect_to_runs", lambda store: None)
    model = Registered("digits-classifier", "3", True, True, "it is the first")
    command._print_model(model, Registry(TrackingConfig(uri=uri)))
    shown = capsys.readouterr().out
    assert "MLFLOW_TRACKING_URI='https://***@tracking.example/path?token=***'" in shown
    assert "s3cret" not in shown
