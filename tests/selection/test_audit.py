"""An audit of a study in memory whose runs agree with it, and what each change of a run, a record or a copy shows."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import optuna
import pytest

from pipeline.config.commands import SweepConfig
from pipeline.config.digests import plain_digest
from pipeline.config.errors import ConfigError, RecordError
from pipeline.config.validation import parse
from pipeline.search import replay
from pipeline.search.making import make_search
from pipeline.search.space import Space
from pipeline.search.widening import Copy
from pipeline.selection.audit import Audit, audit_search
from pipeline.tracking.found import Found
from pipeline.trials import kernels
from pipeline.trials.record import TrialRecord

LAMBD = "regularization.lambd"
TREE = {"regularization": {"lambd": {"low": 0.01, "high": 30.0, "log": True}}}


def a_run(study: str, number: int, lambd: float, cost: float, outcome: str = "completed") -> Found:
    name, params, metrics = f"trial-{number:04d}", {LAMBD: repr(lambd)}, {"best_dev_cost": cost, "best_dev_error": 0.1}
    return Found(f"{study}/{name}", name, "trial", study, "FINISHED", outcome, 0.0, params, metrics, {}, "")


@dataclass
class Store:
    """Stands in for an archive: a study of eight trials, the last under way, and those of an earlier one."""

    objective: Any = "dev_cost"
    history: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, dict[int, Found]] = field(default_factory=lambda: {"new": {}, "old": {}})
    records: dict[str, TrialRecord] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=lambda: {"study.lag": "4"})
    files: bool = True

    def __post_init__(self) -> None:
        plain = {
            "repeats": 1,
            "search": {"space": TREE},
            "sampler": {"name": "random"},
            "study": {"objective": self.objective},
        }
        config = parse(SweepConfig, plain)
        space = Space(TREE, asdict(config.trial))
        copies = [self._copy(space, number, lambd) for number, lambd in enumerate((0.5, 0.7, 0.9))]
        search = make_search(config, space, [each.frozen(space) for each in copies])
        study = optuna.create_study(directions=["minimize"] * (2 if isinstance(self.objective, list) else 1))
        for number in range(8):
            trial = search.propose()
            cost = (1 + number) / 8
            values = [300.0, cost] if isinstance(self.objective, list) else [cost]
            ended = optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING if number == 7 else optuna.trial.TrialState.COMPLETE,
                values=None if number == 7 else values,
                params=trial.params,
                distributions={leaf.path: leaf.distribution for leaf in space.leaves},
                user_attrs={"summary": {"outcome": "completed"}},
            )
            study.add_trial(ended)
            if number < 7:
                search.end(number, ended.state, values)
                self.runs["new"][number] = a_run("new", number, trial.params[LAMBD], cost)
        self.history = replay.history(study, config) | {"before": [asdict(each) for each in copies]}

    def _copy(self, space: Space, number: int, lambd: float) -> Copy:
        """A trial of the earlier study, with its run and record."""
        cost = (1 + number) / 4
        plain = space.apply({LAMBD: lambd})
        self.runs["old"][number] = a_run("old", number, lambd, cost)
        self.records[f"old/trial-{number:04d}"] = TrialRecord(plain, summary={"best_dev_cost": cost})
        values = [300.0, cost] if isinstance(self.objective, list) else [cost]
        repeats: dict[str, list[float | None]] = {"dev_cost": [cost]}
        return Copy("old", number, "", {LAMBD: lambd}, plain_digest(plain), "completed", values, {}, repeats)

    def parent(self, study: str) -> Found:
        return replace(a_run(study, 0, 1.0, 1.0), kind="sweep", params=self.params)

    def read_json(self, run: Found, name: str) -> Any:
        if not self.files:
            raise RecordError(f"{name} is not there.")
        return json.loads(json.dumps(self.history))

    def trials(self, study: str) -> list[Found]:
        if study not in self.runs:
            raise RecordError(f"There is no study {study}.")
        return list(self.runs[study].values())

    def load(self, run: Found) -> TrialRecord:
        if run.run_id not in self.records:
            raise RecordError("its file is gone.")
        return self.records[run.run_id]

    def audit(self) -> Audit:
        return audit_search(self, "new")  # type: ignore[arg-type]


@pytest.fixture
def store() -> Store:
    return Store()


def test_a_study_that_nobody_touched_is_whole(store: Store) -> None:
    assert store.audit() == Audit(
        (
            "8 of 8 proposals and 0 of 0 decisions as recorded; no trial is missing.",
            "3 of 3 trials taken over from old were compared with their records.",
        ),
        True,
    )


def test_missing_runs_are_counted_and_the_first_five_named_but_not_one_under_way(store: Store) -> None:
    del store.runs["new"][3]
    assert "7 of 8 runs are there: trial 3 is gone." in store.audit().sentences[0]
    for number in (0, 1, 2, 4):
        del store.runs["new"][number]
    audit = store.audit()
    assert audit.sentences[0].endswith("3 of 8 runs are there: trials 0, 1, 2, 3, 4 are gone.")
    assert not audit.whole
    del store.runs["new"][5]
    assert store.audit().sentences[0].endswith("trials 0, 1, 2, 3, 4, … are gone.")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outcome": "early_stopped"}, "outcome 'early_stopped' in the tracking store, but 'completed' in the history"),
        ({"params": {LAMBD: "1.5"}}, f"{LAMBD} '1.5' in the tracking store, but"),
        ({"metrics": {"best_dev_cost": 0.0}}, "best_dev_cost 0.0 in the tracking store, but 0.375 in the history"),
    ],
)
def test_a_run_that_says_otherwise_than_the_history_is_named(store: Store, change: Any, words: str) -> None:
    store.runs["new"][2] = replace(store.runs["new"][2], **change)
    audit = store.audit()
    assert audit.sentences[-1].startswith(f"trial-0002 has {words}")
    assert not audit.whole


def test_at_most_five_edits_are_reported(store: Store) -> None:
    for number in range(7):
        store.runs["new"][number] = replace(store.runs["new"][number], metrics={"best_dev_cost": 0.0})
    assert sum("in the tracking store" in sentence for sentence in store.audit().sentences) == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outcome": "early_stopped"}, "outcome 'early_stopped' in its record, but was taken over with 'completed'"),
        ({"config": {}}, "configuration "),
        ({"summary": {"best_dev_cost": 0.0}}, "dev_cost [0.0] in its record, but was taken over with [0.5]"),
    ],
)
def test_a_record_that_says_otherwise_than_what_was_taken_over_is_named(store: Store, change: Any, words: str) -> None:
    store.records["old/trial-0001"] = replace(store.records["old/trial-0001"], **change)
    audit = store.audit()
    assert any(sentence.startswith(f"old/trial-0001 has {words}") for sentence in audit.sentences)
    assert not audit.whole


def test_the_value_that_was_taken_over_is_compared_with_the_record_s() -> None:
    store = Store(objective=["parameters", "dev_cost"])
    assert store.audit().whole
    store.history["before"][1]["repeats"] = {}
    store.records["old/trial-0001"].summary["best_dev_cost"] = 0.0
    sentence = "old/trial-0001 has best_dev_cost 0.0 in its record, but was taken over with 0.5."
    assert sentence in store.audit().sentences


def test_copied_trials_whose_runs_are_gone_are_reported(store: Store) -> None:
    del store.runs["old"][0]
    gone = "2 of 3 trials taken over from old were compared with their records; the others are no longer in the store."
    assert store.audit() == Audit((store.audit().sentences[0], gone), True)
    del store.runs["old"]
    assert store.audit().sentences[1].startswith("0 of 3 trials taken over from old")


def test_a_record_that_cannot_be_read_is_an_edit(store: Store) -> None:
    del store.records["old/trial-0002"]
    audit = store.audit()
    assert (
        audit.sentences[-1] == "The record of old/trial-0002, which was taken over, cannot be read: its file is gone."
    )
    assert not audit.whole


def test_where_the_search_parts_other_versions_and_another_processor_are_named_as_reasons(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.history["trials"][4]["params"][LAMBD] *= 2
    store.runs["new"][4].params[LAMBD] = repr(store.history["trials"][4]["params"][LAMBD])
    audit = store.audit()
    assert audit.sentences[-1].startswith(f"The first that parts: trial 4 has {LAMBD} = ")
    assert not audit.whole
    store.history["versions"]["Optuna"] = "4.9.0"
    assert store.audit().sentences[-1] == f"That may be why: Optuna 4.9.0 → {optuna.__version__}."
    store.history |= {"versions": {}, "arithmetic": kernels.PORTABLE.as_dict()}
    monkeypatch.setattr(
        kernels, "run_under", lambda wanted, whose: (_ for _ in ()).throw(ConfigError("No Haswell here."))
    )
    assert store.audit().sentences[-1] == "That may be why: No Haswell here."


@pytest.mark.parametrize(
    ("params", "words"),
    [({}, "was made without a lag"), ({"study.lag": "null"}, r"ran free \(study.lag=null\)")],
)
def test_a_study_without_a_lag_cannot_be_replayed(store: Store, params: dict[str, str], words: str) -> None:
    store.params = params
    with pytest.raises(RecordError, match=f"^The study new {words}: its search cannot be replayed"):
        store.audit()


def test_without_its_history_a_search_cannot_be_replayed(store: Store) -> None:
    store.files = False
    with pytest.raises(RecordError, match=r"^The search of new cannot be replayed: trials.json is not there"):
        store.audit()
