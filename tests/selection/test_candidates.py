from pathlib import Path
from typing import Any

import pytest

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import RecordError
from pipeline.selection.candidates import choose, load, objective, ranked
from pipeline.tracking.archive import Archive
from pipeline.tracking.found import Found


def a_run(name: str = "trial-0000", outcome: str = "completed", **given: Any) -> Found:
    metrics = {"best_dev_cost": 0.1, "best_dev_error": 0.05} | given.pop("metrics", {})
    return Found(name, name, "trial", "s", "FINISHED", outcome, 0.0, given.pop("params", {}), metrics, {}, "")


class Trials:
    """An archive with these trials in every study."""

    def __init__(self, *trials: Found) -> None:
        self._trials = list(trials)

    def trials(self, study: str) -> list[Found]:
        return self._trials


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ("dev_cost", "dev_cost"),
        ("dev_error", "dev_error"),
        ('["parameters", "dev_error"]', "dev_error"),
        ("parameters", "dev_cost"),
    ],
)
def test_trials_are_ranked_by_what_the_study_minimised_on_dev(recorded: str, expected: str) -> None:
    assert objective(a_run(params={"study.objective": recorded})) == expected


def test_pruned_diverged_and_failed_trials_are_no_candidates() -> None:
    trials = [
        a_run("trial-0000", "pruned", metrics={"best_dev_cost": 0.01}),
        a_run("trial-0001", "diverged", metrics={"best_dev_cost": 0.02}),
        a_run("trial-0002", "failed", metrics={"best_dev_cost": 0.03}),
        a_run("trial-0003", "early_stopped", metrics={"best_dev_cost": 0.05}),
        a_run("trial-0004", "completed", metrics={"best_dev_cost": 0.04}),
        a_run("trial-0005", "completed", metrics={"best_dev_cost": float("nan")}),
    ]
    found = ranked(Trials(*trials), "s", "dev_cost")  # type: ignore[arg-type]
    assert [run.name for run in found] == ["trial-0004", "trial-0003"]


def test_a_study_without_completed_trials_has_no_best() -> None:
    with pytest.raises(RecordError, match="The study s has no completed trial yet"):
        ranked(Trials(a_run(outcome="pruned")), "s", "dev_cost")  # type: ignore[arg-type]


def test_without_a_confirmation_the_best_trial_is_taken_and_said_to_be_unconfirmed(store: Path) -> None:
    archive = Archive(TrackingConfig(store=str(store)))
    choice = choose(archive, "first")
    assert choice.run == archive.best("first")
    assert not choice.confirmed
    assert "make confirm STUDY=first" in choice.why


def test_a_record_of_another_version_is_told_in_a_sentence(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(TrackingConfig(store=str(store)))
    best = archive.best("first")
    record = archive.load(best)
    record.config["model"]["wings"] = 2
    monkeypatch.setattr(Archive, "load", lambda self, run: record)
    with pytest.raises(RecordError, match=r"record of first/trial-000\d does not fit this version: model.wings is no"):
        load(archive, best)
