"""A conclusion is drawn again from records alone, and comes to what the sweep came to."""

from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config.commands import SweepConfig
from pipeline.config.errors import RecordError
from pipeline.config.validation import parse
from pipeline.search.identity import identity
from pipeline.search.replay import Ended, StudyHistory
from pipeline.search.space import Space
from pipeline.search.widening import Copy
from pipeline.selection.again import draw_again
from pipeline.selection.race import BASELINE, Entry
from pipeline.selection.recommendation import Recommendation, recommend
from pipeline.tracking.found import Found
from tests.selection.worlds import LAMBD, LAMBD_ALONE, TREE, World, bowl, drawn, settle

COPIED = Entry("old/trial-0000", {LAMBD: 1.5})
TRIALS = [COPIED, *drawn(6, alone=True)]


@dataclass(frozen=True)
class Study:
    """A study that has ended, what it came to, and its runs: each configuration has one, by its entry's key."""

    conclusion: Recommendation
    recorded: StudyHistory
    runs: list[Found]
    records: dict[str, Any]

    def load(self, run: Found) -> Any:
        return self.records[run.run_id]

    def draw_again(self) -> Recommendation | None:
        return draw_again(self, self.runs, self.recorded, "best")  # type: ignore[arg-type]


def a_record(config: dict[str, Any], by_repeat: dict[int, float], outcome: str = "completed") -> Any:
    return SimpleNamespace(
        outcome=outcome, config=config, values=lambda measure: by_repeat if measure == "dev_cost" else {}
    )


@pytest.fixture(scope="module")
def study() -> Study:
    plain = {"repeats": 2, "search": {"space": {"regularization": {"lambd": TREE["regularization"]["lambd"]}}}}
    config = parse(SweepConfig, plain)
    space = Space(config.search.space, asdict(config.trial))
    outcome = settle(World(bowl, noise=0.1), TRIALS, leaves=LAMBD_ALONE)
    copied = [outcome.known[COPIED.key][repeat] for repeat in (0, 1)]
    before = [
        Copy("old", 0, "", dict(COPIED.values), "", "completed", [0.1], repeats={"dev_cost": copied}),
        Copy("old", 1, "", {LAMBD: 0.03}, "", "pruned", repeats={"dev_cost": [0.2, None]}),
    ]
    trials = [Ended(n, dict(entry.values), "completed", [0.1]) for n, entry in enumerate(TRIALS[1:])]
    pruned = Ended(len(trials), {LAMBD: 0.02}, "pruned")
    records = {
        entry.key: a_record(
            space.apply({LAMBD: 0.0} if entry.key == BASELINE else entry.values),
            {repeat: value for repeat, value in outcome.known[entry.key].items() if entry != COPIED or repeat > 1},
        )
        for entry in [*outcome.entries, *outcome.probes, Entry(BASELINE, {})]
    }
    records["failed"] = a_record(space.apply(TRIALS[1].values), {0: 99.0, 1: 99.0}, "failed")
    runs = [
        Found(key, key, "baseline" if key == BASELINE else "trial", "s", "FINISHED", "completed", 0.0, {}, {}, {}, "")
        for key in records
    ]
    conclusion = recommend(outcome, LAMBD_ALONE, "dev_cost", trial_repeats=2)
    return Study(conclusion, StudyHistory(identity(config), [*trials, pruned], before), runs, records)


def test_it_comes_to_what_the_sweep_came_to_also_with_trials_taken_over_pruned_and_failed(study: Study) -> None:
    found = study.draw_again()
    assert found is not None
    assert replace(found, run="") == study.conclusion
    assert found.run == study.conclusion.name


@pytest.mark.parametrize("gone", [TRIALS[2], Entry(BASELINE, {})])
def test_a_run_that_is_gone_is_named_by_the_repeat_that_is_missing(study: Study, gone: Entry) -> None:
    runs = [run for run in study.runs if run.run_id != gone.key]
    with pytest.raises(RecordError, match=f"no run has repeat 0 of {gone.name}, which the race"):
        replace(study, runs=runs).draw_again()


def test_without_a_trial_there_is_no_conclusion_and_without_a_configuration_of_this_version_an_error(
    study: Study,
) -> None:
    nothing = replace(study.recorded, trials=[], before=[])
    assert replace(study, recorded=nothing).draw_again() is None
    other = replace(study.recorded, config=study.recorded.config | {"wings": 2})
    with pytest.raises(RecordError, match="the study's configuration does not fit this version: wings is no"):
        replace(study, recorded=other).draw_again()
