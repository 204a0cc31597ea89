"""`make confirm` on a real study: paired seeds, the trials' own worker code, tracked, interruptible."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands import confirm as command
from pipeline.config.commands import ConfirmConfig, TrackingConfig
from pipeline.config.errors import DataError, RecordError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.arrays import load_arrays
from pipeline.data.prepare import prepare
from pipeline.selection import candidates
from pipeline.selection.candidates import choose
from pipeline.tracking.archive import Archive
from pipeline.tracking.found import Found
from pipeline.trials.trial import failed_record, run_trial
from tests.conftest import sweep_config, sweep_inline
from tests.inline import inline


def settings(store: Path, **changes: Any) -> ConfirmConfig:
    plain = {"study": "first", "top": 2, "seeds": 2, "workers": {"count": 1}}
    return parse(ConfirmConfig, plain | {"tracking": {"store": str(store), "code_diff": False}} | changes)


def confirmation(store: Path) -> tuple[Found, list[Found]]:
    archive = Archive(TrackingConfig(store=str(store)))
    runs = [run for run in archive.below(archive.parent("first").run_id) if run.kind == "confirm"]
    assert len(runs) == 1
    return runs[0], archive.below(runs[0].run_id)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "open_executor", inline)


def no_worker(*_: object) -> None:
    raise AssertionError("nothing was to be trained")


def test_the_best_are_repeated_on_the_same_new_seeds_and_a_second_call_trains_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.confirm(settings(store)) == 0
    run, children = confirmation(store)
    archive = Archive(TrackingConfig(store=str(store)))
    best = sorted(archive.trials("first"), key=lambda trial: trial.metrics["best_dev_cost"])[:2]
    assert sorted(child.name for child in children) == sorted(f"{t.name}-seed-{s}" for t in best for s in (1, 2))
    assert {child.kind for child in children} == {"confirmation"}
    assert {child.params["data.split_seed"] for child in children} == {"0"}
    assert run.status == "FINISHED"
    assert run.tags["winner_run_id"] in {trial.run_id for trial in best}
    assert "make final STUDY=first" in capsys.readouterr().out

    monkeypatch.setattr(command, "open_executor", no_worker)
    assert command.confirm(settings(store)) == 0
    again, grandchildren = confirmation(store)
    assert again.metrics == run.metrics
    assert len(grandchildren) == 4
    assert again.tags["revision"] == "1"


def test_a_repetition_is_the_trial_itself_with_another_seed(store: Path) -> None:
    command.confirm(settings(store, top=1))
    _, children = confirmation(store)
    archive = Archive(TrackingConfig(store=str(store)))
    config = parse(TrialConfig, archive.load(children[0]).config)
    assert config.seed == 1
    expected = run_trial(config, load_arrays(prepare(config.data, store).path))
    assert children[0].metrics["best_dev_cost"] == expected.summary["best_dev_cost"]


def test_more_seeds_add_to_what_is_there(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command.confirm(settings(store))
    trained = list[int]()
    train_all = command.train_all

    def counted(todo: list[Any], *rest: Any, **named: Any) -> None:
        trained.append(len(todo))
        train_all(todo, *rest, **named)

    monkeypatch.setattr(command, "train_all", counted)
    command.confirm(settings(store, seeds=3))
    assert trained == [2]
    run, children = confirmation(store)
    assert len(children) == 6
    assert run.tags["revision"] == "2"
    assert "look 2" in run.tags["mlflow.note.content"]
    command.confirm(settings(store, seeds=3))
    assert confirmation(store)[0].tags["revision"] == "2"  # the same result is no further look


def test_interrupted_it_leaves_nothing_running_and_the_same_command_goes_on(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_all = command.train_all

    def interrupted(todo: list[Any], *rest: Any, finished: Callable[..., None], **named: Any) -> None:
        def once(*result: Any) -> None:
            finished(*result)
            raise KeyboardInterrupt

        train_all(todo, *rest, finished=once, **named)

    with monkeypatch.context() as patch:
        patch.setattr(command, "train_all", interrupted)
        assert command.confirm(settings(store)) == 130
    run, children = confirmation(store)
    assert run.status == "KILLED"
    assert [child.status for child in children] == ["FINISHED"]
    assert "winner" not in run.tags
    assert "3 trainings left" in capsys.readouterr().out

    assert command.confirm(settings(store)) == 0
    run, children = confirmation(store)
    assert (run.status, len(children)) == ("FINISHED", 4)


def test_a_study_that_is_not_there_is_told_with_those_that_are(store: Path) -> None:
    with pytest.raises(RecordError, match=r"STUDY must be one of those in the store .*second.* but is third"):
        command.confirm(settings(store, study="third"))


def test_a_study_without_a_completed_trial_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "trials", lambda self, study: [])
    with pytest.raises(RecordError, match=r"Study first: No trial has been trained to its end yet\."):
        command.confirm(settings(store))


def test_data_that_have_changed_are_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = prepare(parse(TrialConfig, {"data": {"name": "moons", "examples": 100}}).data, store)
    monkeypatch.setattr(candidates, "prepare", lambda config, store: other)
    with pytest.raises(DataError, match=r"The data are not those that first/trial-000. was trained on"):
        command.confirm(settings(store))


def test_a_study_from_elsewhere_may_not_name_a_file_to_read_unless_allowed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = candidates.load

    def from_a_file(archive: Archive, run: Found) -> candidates.Candidate:
        found = load(archive, run)
        found.config.data.source, found.config.data.path = "file", "/etc/passwd"
        return found

    monkeypatch.setattr(command, "load", from_a_file)
    monkeypatch.setattr(Archive, "is_foreign", lambda self, run: True)
    with pytest.raises(RecordError, match=r"comes from elsewhere and reads /etc/passwd .* allow_path=true"):
        command.confirm(settings(store))


def test_when_nothing_trains_to_its_end_no_winner_is_named_and_final_says_unconfirmed(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(todo: list[Any], *_: Any, finished: Callable[..., None], **named: Any) -> None:
        for repeat in todo:
            finished(repeat, failed_record(asdict(repeat.config), ValueError("out of luck")))

    monkeypatch.setattr(command, "train_all", broken)
    assert command.confirm(settings(store)) == 0
    assert "none is confirmed" in capsys.readouterr().out
    run, children = confirmation(store)
    assert {child.status for child in children} == {"FAILED"}
    assert not run.tags.get("winner_run_id")
    assert not choose(Archive(TrackingConfig(store=str(store))), "first").confirmed


def test_a_raced_study_is_confirmed_on_repeats_that_nothing_used_beside_its_baseline(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = sweep_config(store, "raced")
    assert sweep_inline(replace(config, repeats=2, study=replace(config.study, race=True, baseline=True))) == 0
    assert command.confirm(settings(store, study="raced", top=1, seeds=3)) == 0
    archive = Archive(TrackingConfig(store=str(store)))
    (parent,) = [run for run in archive.children("raced") if run.name == "confirm"]
    runs = archive.below(parent.run_id)
    assert {run.name.split("-repeat-")[1] for run in runs} == {"16", "17", "18"}  # the race used 0 to 15
    assert {run.name.split("-repeat-")[0] for run in runs} == {archive.best("raced").name, "baseline"}
    assert all(len(archive.load(run).values("dev_cost")) == 1 for run in runs)
    assert "Nadeau & Bengio 2003" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(command, "open_executor", no_worker)
    assert command.confirm(settings(store, study="raced", top=1, seeds=3)) == 0


def test_with_folds_each_fold_of_a_further_repeat_counts(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep_inline(replace(sweep_config(store, "folded", folds=3), repeats=2)) == 0
    assert command.confirm(settings(store, study="folded", top=2, seeds=2)) == 0
    assert "over 2 repeats of 3 folds" in " ".join(capsys.readouterr().out.split())
    archive = Archive(TrackingConfig(store=str(store)))
    (parent,) = [run for run in archive.children("folded") if run.name == "confirm"]
    (first, *_) = archive.read_json(parent, "confirm.json")["rows"]
    assert first["dev_cost"]["n"] == 6
    assert first["dev_cost"]["mean"] == pytest.approx(parent.metrics["mean_dev_cost"])
