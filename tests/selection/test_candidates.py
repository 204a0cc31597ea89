import math
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import DataError, RecordError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.prepare import prepare
from pipeline.selection.candidates import Candidate, choose, load, objective, prepare_data, ranked
from pipeline.selection.race import BASELINE, Entry, Outcome
from pipeline.selection.recommendation import Recommendation, recommend
from pipeline.tracking.archive import Archive
from pipeline.tracking.found import Found
from pipeline.trials.trial import failed_record


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
    with pytest.raises(RecordError, match=r"Study s: No trial has been trained to its end: 1 pruned\.$"):
        ranked(Trials(a_run(outcome="pruned")), "s", "dev_cost")  # type: ignore[arg-type]


def test_without_a_confirmation_the_best_trial_is_taken_and_said_to_be_unconfirmed(store: Path) -> None:
    archive = Archive(TrackingConfig(store=str(store)))
    choice = choose(archive, "first")
    assert choice.run == archive.best("first")
    assert not choice.confirmed
    assert "make confirm STUDY=first" in choice.why
    assert "trials, with one seed each" in choice.why


def test_how_often_each_trial_was_trained_is_said_of_an_unconfirmed_one(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(TrackingConfig(store=str(store)))
    parent = archive.parent("first")
    params = parent.params | {"repeats": "2"}
    monkeypatch.setattr(archive, "parent", lambda name: replace(parent, params=params))
    assert "trials, with 2 repeats each" in choose(archive, "first").why


class Swept(Trials):
    """A study with a conclusion of its own, and what its files say."""

    def __init__(self, tags: dict[str, str], conclusion: Recommendation, *runs: Found) -> None:
        super().__init__(*[run for run in runs if run.kind == "trial"])
        self._tags, self._conclusion, self._runs = tags, conclusion, list(runs)

    def parent(self, study: str) -> Found:
        return replace(a_run(), kind="sweep", run_id="sweep", tags=self._tags)

    def children(self, study: str) -> list[Found]:
        return self._runs

    def below(self, run_id: str) -> list[Found]:
        return [run for run in self._runs if run.kind in ("confirm", "final")]

    def read_json(self, run: Found, name: str) -> Any:
        return self._conclusion.as_dict()

    def best(self, study: str) -> Found:
        return self._trials[-1]


def concluded(fresh: int = 8, value: float = 0.05, *, baseline: bool = True) -> Recommendation:
    """A sweep's conclusion on trial-0001, from that many repeats that no choice used."""
    entry, base = Entry("trial-0001", {"regularization.lambd": 1.0}), Entry(BASELINE, {})
    repeats = tuple(range(2, 2 + fresh))
    known = {entry.key: dict.fromkeys(range(2 + fresh), value), base.key: dict.fromkeys(range(2 + fresh), 0.1)}
    outcome = Outcome(entry, entry, entry, base if baseline else None, (entry,), (), (), known, repeats)
    return recommend(outcome, [], "dev_cost", trial_repeats=2)


@pytest.mark.parametrize(
    ("conclusion", "confirmed", "words"),
    [
        (
            concluded(),
            True,
            "a mean dev cost of 0.05 against 0.1 without regularisation over 8 repeats that had no part",
        ),
        (concluded(fresh=7), False, "It is unconfirmed: `make confirm STUDY=s` repeats it."),
        (concluded(baseline=False), False, "a mean dev cost of 0.05 over 8 repeats that had no part"),
        (concluded(value=math.inf), False, "trial-0001 is recommended, but diverged on a further repeat."),
    ],
)
def test_what_the_sweep_recommends_is_confirmed_by_eight_repeats_beside_the_baseline_s(
    conclusion: Recommendation, confirmed: bool, words: str
) -> None:
    choice = choose(Swept({"recommended": "{}"}, conclusion, a_run("trial-0000"), a_run("trial-0001")), "s")  # type: ignore[arg-type]
    assert (choice.run.name, choice.confirmed) == ("trial-0001", confirmed)
    assert words in choice.why


def test_a_confirmation_goes_before_what_the_sweep_recommends_and_says_what_was_found_since() -> None:
    first = a_run("trial-0000", metrics={"best_dev_cost": 0.2})
    second = a_run("trial-0001", metrics={"best_dev_cost": 0.1})
    tags = {"winner_run_id": "trial-0000", "verdict": "trial-0000 is confirmed.", "repeated": "trial-0000"}
    confirmation = replace(a_run("confirm"), kind="confirm", outcome="", tags=tags)
    study = Swept({"recommended": "{}"}, concluded(), first, second, confirmation)
    choice = choose(study, "s")  # type: ignore[arg-type]
    assert (choice.run, choice.confirmed) == (first, True)
    assert choice.why.startswith(
        "trial-0000 is confirmed. Since then the study has found trial-0001 with a lower dev cost"
    )
    confirmation.tags["repeated"] = "trial-0000, trial-0001"  # type: ignore[index]
    assert choose(study, "s").why == "trial-0000 is confirmed."  # type: ignore[arg-type]


def test_a_better_baseline_is_reported_beside_an_unconfirmed_best() -> None:
    worse = replace(a_run("baseline", metrics={"best_dev_cost": 0.3}), kind="baseline")
    better = replace(worse, metrics={"best_dev_cost": 0.05})
    best = a_run("trial-0001", metrics={"best_dev_cost": 0.1})
    choice = choose(Swept({}, concluded(), best, better), "s")  # type: ignore[arg-type]
    assert choice.why.endswith("would tell skill from luck. Without regularisation it was lower: 0.05.")
    assert choose(Swept({}, concluded(), best, worse), "s").why.endswith("would tell skill from luck.")  # type: ignore[arg-type]


def test_a_record_of_another_version_is_reported_in_one_sentence(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(TrackingConfig(store=str(store)))
    best = archive.best("first")
    record = archive.load(best)
    record.config["model"]["wings"] = 2
    monkeypatch.setattr(Archive, "load", lambda self, run: record)
    with pytest.raises(RecordError, match=r"record of first/trial-000\d does not fit this version: model.wings is no"):
        load(archive, best)


class Foreign:
    """An archive that says of every run whether it is from elsewhere."""

    def __init__(self, foreign: bool) -> None:
        self.foreign = foreign

    def is_foreign(self, run: Found) -> bool:
        return self.foreign


def of_data(store: Path, **data: Any) -> Candidate:
    """A candidate that was trained on these data."""
    config = parse(TrialConfig, {"data": data})
    record = failed_record(asdict(config), RuntimeError())
    record.add_origin(prepare(config.data, store), {})
    return Candidate(a_run(), record, config)


@pytest.mark.parametrize(
    ("source", "foreign", "allow_path", "refused"),
    [
        ("builtin", True, False, False),
        ("file", False, False, False),
        ("file", True, True, False),
        ("file", True, False, True),
    ],
)
def test_the_file_of_a_study_from_elsewhere_is_read_only_if_that_is_allowed(
    tmp_path: Path, source: str, foreign: bool, allow_path: bool, refused: bool
) -> None:
    (tmp_path / "table.csv").write_text("a,label\n" + "\n".join(f"{k},{k % 2}" for k in range(40)))
    file = {"name": "own", "source": "file", "path": str(tmp_path / "table.csv"), "target": "label"}
    candidate = of_data(tmp_path / "store", **(file if source == "file" else {"name": "circles", "examples": 60}))
    expected = pytest.raises(RecordError, match=r"reads .*table.csv .* allow_path=true") if refused else nullcontext()
    with expected:
        prepare_data(Foreign(foreign), [candidate], tmp_path / "store", allow_path=allow_path)  # type: ignore[arg-type]


def test_a_candidate_whose_data_have_changed_is_refused_by_its_name(tmp_path: Path) -> None:
    first, second = of_data(tmp_path, name="circles", examples=60), of_data(tmp_path, name="circles", examples=80)
    second = replace(second, run=a_run("trial-0001"))
    with pytest.raises(DataError, match=r"not those that s/trial-0001 was trained on: rows 80 → 60"):
        prepare_data(Foreign(False), [first, second], tmp_path, allow_path=False)  # type: ignore[arg-type]
