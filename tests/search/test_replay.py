"""A history is replayed to the same proposals and decisions, and the first trial that parts from it is named."""

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipeline.config.commands import SweepConfig
from pipeline.config.errors import RecordError
from pipeline.config.validation import parse
from pipeline.search import coordinator as module
from pipeline.search import replay
from pipeline.search.coordinator import Coordinator, Plan, run_name
from pipeline.search.identity import identity
from pipeline.search.making import make_search
from pipeline.search.outbox import Outbox
from pipeline.search.pruners import rungs
from pipeline.search.space import Space
from tests.search.fakes import EPOCHS, Arithmetic, Shuffled, Witness
from tests.search.histories import CONDITIONAL, LAMBD, RANGES

HISTORIES = Path(__file__).with_name("histories.json")
SEARCHES: dict[str, dict[str, Any]] = {
    "tpe": {"search": {"space": CONDITIONAL}, "pruner": {"name": "median", "startup_trials": 2}},
    "tpe_of_two": {"study": {"objective": ["dev_cost", "dev_error"]}},
    "random": {"pruner": {"name": "threshold", "upper": 3.0}},
    "grid": {"pruner": {"name": "successive_halving"}},
    "qmc": {"pruner": {"name": "hyperband"}},
    "cmaes": {"pruner": {"name": "median", "startup_trials": 2}},
    "gp": {},
}
NEEDS = {"cmaes": "cmaes", "gp": "torch"}


def config_of(name: str) -> SweepConfig:
    plain: dict[str, Any] = {
        "training": {"num_epochs": EPOCHS},
        "search": {"space": RANGES},
        "sampler": {"name": name.split("_")[0], "seed": 3, "startup_trials": 4},
    }
    return parse(SweepConfig, plain | SEARCHES[name])


def recorded(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, trials: int = 18) -> dict[str, Any]:
    """The history of a search that is carried out now, by arithmetic."""
    config = config_of(name)
    executor = Shuffled(1)
    monkeypatch.setattr(module, "work", Arithmetic())
    monkeypatch.setattr(module, "wait", executor.wait)
    objectives = config.study.objective
    names = tuple(objectives) if isinstance(objectives, list) else (objectives,)
    study = optuna.create_study(directions=["minimize"] * len(names))
    Coordinator(
        study,
        make_search(config, Space(config.search.space, asdict(config.trial))),
        Plan(trials=trials, rungs=rungs(config.pruner, EPOCHS), pruner=config.pruner, objectives=names, slots=3),
        executor=executor,
        outbox=Outbox(folder),
        tracker=Witness(),
        arrays=folder,
    ).run()
    return dict(json.loads(json.dumps(replay.history(study, config))))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.oracle] if name == "gp" else []) for name in SEARCHES]
)
def test_the_installed_optuna_proposes_and_prunes_what_it_did_when_this_was_written(name: str) -> None:
    """To write the file anew, when a version is to propose otherwise: `python -m tests.search.test_replay`."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="an optional extra")
    kept = json.loads(HISTORIES.read_text())[name]
    kept["config"] = identity(config_of(name))
    found = replay.replay(replay.read(kept), rtol=1e-6)
    assert found.parted == "", replay.changed_versions(kept["versions"])
    assert found.proposals == found.trials == 18
    assert found.decisions == found.reports
    if SEARCHES[name].get("pruner"):
        assert "pruned" in [trial["outcome"] for trial in kept["trials"]]


@pytest.fixture
def of_tpe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return recorded("tpe", tmp_path, monkeypatch)


def test_a_history_that_has_just_been_made_is_replayed_whole(of_tpe: dict[str, Any]) -> None:
    found = replay.replay(replay.read(of_tpe))
    assert found.parted == ""
    assert found.sentence == f"18 of 18 proposals and {found.reports} of {found.reports} decisions as recorded"
    assert found.reports > 18


@pytest.mark.parametrize("name", ["tpe", "random", "grid", "qmc"])
def test_why_a_trial_was_pruned_follows_from_the_history(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each pruner: median, threshold, successive halving, hyperband."""
    found = replay.replay(replay.read(recorded(name, tmp_path, monkeypatch)))
    records = {number: Outbox(tmp_path).load(run_name(number)) for number in range(18)}
    told = {number: each.pruned for number, each in records.items() if each is not None and each.pruned}
    assert {number: why.as_dict() for number, why in found.pruned.items()} == told != {}


def test_an_edited_parameter_is_found_at_its_trial(of_tpe: dict[str, Any]) -> None:
    of_tpe["trials"][5]["params"][LAMBD] *= 1.0001
    found = replay.replay(replay.read(of_tpe))
    assert found.proposals == 5
    assert found.parted.startswith(f"trial 5 has {LAMBD} = ")


def test_an_edited_value_is_found_where_a_proposal_follows_from_it(of_tpe: dict[str, Any]) -> None:
    worst = max((t for t in of_tpe["trials"][:8] if t["values"]), key=lambda t: t["values"][0])
    worst["values"] = [0.0]
    found = replay.replay(replay.read(of_tpe))
    assert found.parted
    assert found.proposals > worst["number"] + 4


def test_an_edited_report_is_found(of_tpe: dict[str, Any]) -> None:
    pruned = next(t for t in of_tpe["trials"] if t["outcome"] == "pruned")
    pruned["reports"] = dict.fromkeys(pruned["reports"], 0.0)
    found = replay.replay(replay.read(of_tpe))
    assert found.parted.startswith(f"trial {pruned['number']} was pruned at epoch ")
    assert found.parted.endswith("but by the history it went on")


def test_an_edited_outcome_is_found(of_tpe: dict[str, Any]) -> None:
    pruned = next(t for t in of_tpe["trials"] if t["outcome"] == "pruned")
    pruned["outcome"] = "diverged"
    assert "went on at epoch" in replay.replay(replay.read(of_tpe)).parted


def test_another_seed_is_found_at_once(of_tpe: dict[str, Any]) -> None:
    of_tpe["config"]["sampler"]["seed"] = 4
    assert replay.replay(replay.read(of_tpe)).proposals == 0


def test_trials_under_way_are_compared_as_far_as_they_are(of_tpe: dict[str, Any]) -> None:
    for trial in of_tpe["trials"][-2:]:
        trial |= {"outcome": None, "values": None, "reports": {}}
    assert replay.replay(replay.read(of_tpe)).proposals == 18


def test_a_missing_trial_is_named(of_tpe: dict[str, Any]) -> None:
    del of_tpe["trials"][7]
    with pytest.raises(RecordError, match=r"trial 7 is missing"):
        replay.read(of_tpe)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (None, "Input"),
        ([], "Input"),
        ({"trials": 5}, "config: Field required"),
        ({"config": {}, "trials": [{"number": "x"}]}, "trials.0.number: Input"),
    ],
)
def test_a_file_that_is_not_a_history_is_refused_in_one_sentence(value: Any, where: str) -> None:
    with pytest.raises(RecordError, match=f"^trials.json is not a study's history: {where}[^:]*[.]$"):
        replay.read(value)


def test_a_free_search_cannot_be_replayed(of_tpe: dict[str, Any]) -> None:
    free = copy.deepcopy(of_tpe)
    free["config"]["study"]["lag"] = None
    with pytest.raises(RecordError, match=r"ran free .study.lag=null."):
        replay.replay(replay.read(free))


def test_other_versions_are_named() -> None:
    assert replay.changed_versions(replay.versions()) == ""
    assert replay.changed_versions({"Optuna": "4.9.0"}) == f"Optuna 4.9.0 → {optuna.__version__}"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        found = {name: recorded(name, Path(place) / name, patch) | {"config": {}} for name in SEARCHES}
    HISTORIES.write_text(json.dumps(found, indent=0))
