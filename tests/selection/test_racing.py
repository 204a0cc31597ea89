"""A race over an Optuna study in memory; a `World` gives the values of fits without training."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from pipeline.config.commands import SweepConfig
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.search.outbox import Outbox
from pipeline.search.space import Space
from pipeline.search.widening import Copy, TakenOver, keep
from pipeline.selection.race import Entry
from pipeline.selection.racing import Racing
from pipeline.selection.recommendation import Recommendation
from pipeline.trials.record import TrialRecord
from tests.search.fakes import Killed, Mortal
from tests.selection.worlds import KEEP, LAMBD, World, bowl, drawn

TREE = {"regularization": {"lambd": {"low": 0.01, "high": 30.0, "log": True}}}
CONFIG = parse(SweepConfig, {"search": {"space": TREE}, "repeats": 2, "study": {"trials": 8}})


@dataclass
class Trainer(Executor):
    """Trains at once, by arithmetic: the dev cost is the world's, the errors twice and three times that."""

    world: World
    trained: list[tuple[float, int]] = field(default_factory=list)
    keep_prob: bool = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        config: TrialConfig = args[1]
        future: Future[Any] = Future()
        future.set_result(
            TrialRecord(config=asdict(config), fits=[self._fit(config, r) for r in config.repeat_numbers])
        )
        return future

    def _fit(self, config: TrialConfig, repeat: int) -> dict[str, Any]:
        self.trained.append((config.regularization.lambd, repeat))
        values = {LAMBD: config.regularization.lambd} | (
            {KEEP: config.regularization.keep_prob} if self.keep_prob else {}
        )
        value = self.world.fit(Entry("", values), repeat)
        outcome = "completed" if math.isfinite(value) else "diverged"
        summary = {"best_dev_cost": value, "best_dev_error": 2 * value, "best_balanced_error": 3 * value}
        return {"repeat": repeat, "fold": None, "outcome": outcome, "summary": summary}


@dataclass
class Sweep:
    """A study of eight trials whose first two repeats are known, and what its race told."""

    folder: Path
    world: World = field(default_factory=lambda: World(bowl, noise=0.1))
    config: SweepConfig = field(default_factory=lambda: CONFIG)
    tree: dict[str, Any] = field(default_factory=lambda: TREE)
    study: optuna.Study = field(default_factory=optuna.create_study)
    divided: list[int] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.space = Space(self.tree, asdict(TrialConfig(repeats=2)))
        for entry in drawn(8, alone=len(self.space.leaves) == 1):
            values = [self.world.fit(entry, repeat) for repeat in range(2)]
            self._add({leaf.path: entry.values[leaf.path] for leaf in self.space.leaves}, values)
        self._add({leaf.path: 1.0 for leaf in self.space.leaves}, [0.001], state=TrialState.PRUNED)
        self.baseline = TrialConfig(repeats=2)
        self.study.set_user_attr("baseline", {"values": {"dev_cost": [0.15, 0.15], "dev_error": [0.3, 0.3]}})

    def _add(self, params: dict[str, Any], values: Sequence[float], **options: Any) -> None:
        known = {"dev_cost": [v if math.isfinite(v) else None for v in values], "dev_error": [2 * v for v in values]}
        distributions = {leaf.path: leaf.distribution for leaf in self.space.leaves}
        self.study.add_trial(
            create_trial(
                params=params,
                distributions=distributions,
                value=min(math.fsum(values) / len(values), 1e9),
                user_attrs={"values": known},
                **options,
            )
        )

    def race(self, executor: Trainer) -> Recommendation | None:
        """The race from where the study stands."""
        return Racing(
            self.study,
            self.space,
            self.config,
            self.baseline,
            executor,
            slots=2,
            outbox=Outbox(self.folder / "outbox"),
            arrays=Path("arrays"),
            divide=self.divided.extend,
            describe=lambda record: record.data.update(digest="d"),
            sent=self.sent.append,
            on_progress=lambda done, wanted: self.progress.append((done, wanted)),
        ).run()


def finished(sweep: Sweep) -> set[tuple[float, int]]:
    """The fits, as `Trainer.trained` has them, whose records are in the outbox."""
    outbox = Outbox(sweep.folder / "outbox")
    records = [record for name in outbox.waiting() if (record := outbox.load(name)) is not None]
    return {(record.config["regularization"]["lambd"], fit["repeat"]) for record in records for fit in record.fits}


def test_every_fit_is_trained_once_on_a_division_made_before_and_its_record_sent(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    executor = Trainer(sweep.world)
    found = sweep.race(executor)
    assert found is not None
    assert len(executor.trained) == len(set(executor.trained))
    assert {repeat for _, repeat in executor.trained} == set(sweep.divided) == set(range(2, 16))
    assert sorted(sweep.sent) == Outbox(tmp_path / "outbox").waiting()
    assert all(Outbox(tmp_path / "outbox").load(name).data["digest"] == "d" for name in sweep.sent)  # type: ignore[union-attr]
    ends = [number for number, (done, wanted) in enumerate(sweep.progress) if done == wanted]
    assert sum(sweep.progress[number][1] for number in ends) == len(executor.trained)


def test_a_race_that_was_killed_goes_on_and_trains_nothing_twice(tmp_path: Path) -> None:
    whole = Sweep(tmp_path)
    everything = Trainer(whole.world)
    expected = whole.race(everything)
    for write in (0, 1, 2, 11):
        storage = Mortal()
        killed = Sweep(tmp_path / str(write), study=optuna.create_study(storage=storage))
        storage.writes_left = write
        with pytest.raises(Killed):
            killed.race(Trainer(killed.world))
        kept = [fit for fit in everything.trained if fit in finished(killed)]
        killed.sent.clear()
        storage.writes_left = None
        rest = Trainer(killed.world)
        assert killed.race(rest) == expected
        assert sorted([*kept, *rest.trained]) == sorted(everything.trained)
        assert sorted(killed.sent) == sorted(whole.sent)  # what waited from before is sent too


def test_a_record_that_the_study_does_not_know_yet_is_taken_from_the_outbox(tmp_path: Path) -> None:
    whole, killed = Sweep(tmp_path), Sweep(tmp_path)
    expected = whole.race(Trainer(whole.world))
    again = Trainer(killed.world)
    assert killed.race(again) == expected
    assert again.trained == []


def test_pruned_trials_count_for_nothing_and_diverged_fits_as_infinite(tmp_path: Path) -> None:
    worst = min(drawn(8, alone=True), key=lambda entry: bowl(entry.values)).values[LAMBD]
    world = World(lambda values: math.inf if values[LAMBD] == worst else bowl(values))
    sweep = Sweep(tmp_path, world)
    found = sweep.race(Trainer(world))
    assert found is not None
    assert found.trials == 8
    assert found.values[LAMBD] not in (worst, 1.0)
    assert found.expected.mean == pytest.approx(bowl(found.values))


def test_a_fit_of_the_race_that_diverges_takes_its_configuration_out(tmp_path: Path) -> None:
    best = min(drawn(8, alone=True), key=lambda entry: bowl(entry.values))

    class DivergesLater(World):
        def fit(self, entry: Entry, repeat: int) -> float:
            return math.inf if repeat >= 2 and entry.values == best.values else super().fit(entry, repeat)

    sweep = Sweep(tmp_path, DivergesLater(bowl))
    found = sweep.race(Trainer(sweep.world))
    assert found is not None
    assert found.values != best.values
    kept = next(
        each for name, each in sweep.study.user_attrs.items() if name.endswith("/2") and each["dev_cost"] is None
    )
    assert kept == {"dev_cost": None, "dev_error": None, "balanced_error": None}


def test_the_objective_is_what_the_race_compares(tmp_path: Path) -> None:
    errors = replace(CONFIG, study=replace(CONFIG.study, objective="dev_error"))
    costs, found = Sweep(tmp_path / "a"), Sweep(tmp_path / "b", config=errors)
    by_cost, by_error = costs.race(Trainer(costs.world)), found.race(Trainer(found.world))
    assert by_cost is not None
    assert by_error is not None
    assert (by_cost.measure, by_error.measure) == ("dev_cost", "dev_error")
    assert by_error.expected.mean == pytest.approx(2 * by_cost.expected.mean)  # type: ignore[operator]


def test_a_recommended_proposal_gets_a_run_with_its_first_repeats(tmp_path: Path) -> None:
    # Every trial has some dropout, which costs much here; the proposal of λ alone has none.
    world = World(lambda values: bowl(values) + 0.1 * (values.get(KEEP, 1.0) < 1))
    sweep = Sweep(
        tmp_path, world, tree={"regularization": TREE["regularization"] | {"keep_prob": {"low": 0.5, "high": 1.0}}}
    )
    found = sweep.race(Trainer(world, keep_prob=True))
    assert found is not None
    assert (found.name, found.values[KEEP]) == ("λ", 1.0)
    assert found.run in sweep.sent
    record = Outbox(tmp_path / "outbox").load(found.run)
    assert record is not None
    assert [fit["repeat"] for fit in record.fits] == [0, 1]
    assert record.config["regularization"]["lambd"] == found.values[LAMBD]


def test_copied_trials_race_too_and_a_recommended_one_is_trained_here(tmp_path: Path) -> None:
    world = World(bowl)
    sweep = Sweep(tmp_path, world)
    copy = Copy("earlier", 4, "", {LAMBD: 3.0}, "", "completed", [0.06], {}, {"dev_cost": [0.06, 0.06]})
    pruned = Copy("earlier", 5, "", {LAMBD: 2.9}, "", "pruned", None, {2: 0.01}, {"dev_cost": [0.01]})
    keep(sweep.study, TakenOver("earlier", [copy, pruned]))
    executor = Trainer(world)
    found = sweep.race(executor)
    assert found is not None
    assert (found.name, found.trials) == ("earlier/trial-0004", 9)
    assert found.run.startswith("confirm-")
    assert found.run.endswith("-0-2")
    assert executor.trained[-2:] == [(3.0, 0), (3.0, 1)]


def test_without_a_trial_that_was_trained_to_its_end_there_is_no_conclusion(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, World(lambda values: math.inf))
    assert sweep.race(Trainer(sweep.world)) is None
