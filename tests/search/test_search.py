"""The search is a function of its history: workers, order of arrival and interruptions change nothing."""

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from pipeline.search import coordinator as module
from pipeline.search.coordinator import Coordinator, Plan
from pipeline.search.outbox import Outbox
from pipeline.search.pruners import rungs
from pipeline.search.search import Search
from tests.search import histories
from tests.search.fakes import Arithmetic, Killed, Mortal, Shuffled, Witness
from tests.search.histories import CONDITIONAL, KEEP_PROB, LAMBD, carry_out, in_order, make, plain, pruner_config

SAMPLERS = ["tpe", "random", "grid", "qmc", "cmaes"]
PRUNERS = ["none", "median", "successive_halving", "hyperband", "threshold"]
TRIALS = 16


def needs(sampler: str) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes", reason="CMA-ES is an optional extra")


def coordinated(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    search: Any,
    pruner: str,
    *,
    order: int,
    slots: int,
    steps: list[int],
    kill_at: int | None = None,
) -> list[Any]:
    """What a study holds in the end that was extended in `steps`, with a kill at a write of each, by default any."""
    chance = random.Random(order)
    storage = Mortal()
    outbox = Outbox(folder / f"{chance.random()} {kill_at}")
    monkeypatch.setattr(module, "work", Arithmetic())
    for trials in steps:
        for writes_left in (chance.randint(0, 90) if kill_at is None else kill_at, None):
            storage.writes_left = writes_left
            study = optuna.create_study(study_name=str(order), storage=storage, load_if_exists=True)
            executor = Shuffled(order)
            monkeypatch.setattr(module, "wait", executor.wait)
            plan = Plan(
                trials=trials,
                rungs=rungs(pruner_config(pruner), histories.EPOCHS),
                pruner=pruner_config(pruner),
                slots=slots,
            )
            coordinator = Coordinator(
                study, search(), plan, executor=executor, outbox=outbox, tracker=Witness(), arrays=folder
            )
            try:
                coordinator.run()
            except Killed:
                continue
    return plain(study.get_trials(deepcopy=False))


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
@settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(order=st.integers(0, 10**6), slots=st.integers(2, 6), step=st.integers(1, TRIALS - 1))
def test_any_order_any_number_of_workers_kills_and_extensions_give_the_sequential_search(
    sampler: str,
    pruner: str,
    order: int,
    slots: int,
    step: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    needs(sampler)
    whole = plain(in_order(make(sampler, pruner), pruner, TRIALS))
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("any")
        found = coordinated(
            folder, monkeypatch, lambda: make(sampler, pruner), pruner, order=order, slots=slots, steps=[step, TRIALS]
        )
    assert found == whole


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband"])
def test_a_kill_at_any_write_changes_nothing(pruner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = plain(in_order(make("random", pruner), pruner, 7))
    for write in range(33):
        found = coordinated(
            tmp_path,
            monkeypatch,
            lambda: make("random", pruner),
            pruner,
            order=write,
            slots=3,
            steps=[7],
            kill_at=write,
        )
        assert found == whole, f"killed at write {write}"


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband", "threshold"])
def test_the_pruners_compared_here_do_prune(pruner: str) -> None:
    states = [trial.state for trial in in_order(make("random", pruner), pruner, TRIALS)]
    assert 2 < states.count(TrialState.PRUNED) < TRIALS - 2


def test_queued_configurations_and_conditions_are_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def search() -> Search:
        return make("tpe", "median", tree=CONDITIONAL, queue=[{LAMBD: 3.0}, {LAMBD: 1.0, KEEP_PROB: 0.9}])

    whole = plain(in_order(search(), "median", TRIALS))
    assert [whole[0][0][LAMBD], whole[1][0][KEEP_PROB]] == [3.0, 0.9]
    for order in range(3):
        found = coordinated(tmp_path, monkeypatch, search, "median", order=order, slots=4, steps=[5, TRIALS])
        assert found == whole


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", ["tpe", "random"])
@settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(order=st.integers(0, 10**6), slots=st.integers(1, 6), step=st.integers(1, TRIALS - 1))
def test_a_search_with_trials_of_an_earlier_study_repeats_too(
    sampler: str, pruner: str, order: int, slots: int, step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    earlier = in_order(make("random", pruner, seed=1), pruner, 9)

    def search() -> Search:
        return make(sampler, pruner, before=earlier)

    whole = plain(in_order(search(), pruner, TRIALS))
    assert len(whole) == TRIALS
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("before")
        found = coordinated(folder, monkeypatch, search, pruner, order=order, slots=slots, steps=[step, TRIALS])
    assert found == whole


def test_a_search_goes_on_from_an_earlier_one_as_that_one_would_have() -> None:
    whole = in_order(make("tpe", "median", lag=0), "median", TRIALS)
    rest = in_order(make("tpe", "median", lag=0, before=whole[:6]), "median", TRIALS - 6)
    assert plain(rest) == plain(whole[6:])
    assert [trial.number for trial in rest] == list(range(TRIALS - 6))


def test_the_first_proposals_know_every_trial_of_the_earlier_study() -> None:
    earlier = in_order(make("random"), "none", 8)
    search = make("tpe", lag=3, before=earlier)
    proposed = [search.propose().params for _ in range(4)]
    assert not search.may_propose()
    assert search.ended(4) == []
    at_random = make("random", lag=3, before=earlier)
    assert proposed[0] != at_random.propose().params


@pytest.mark.parametrize("lag", [0, 2, 5])
def test_no_more_trials_are_under_way_than_the_lag_and_one(lag: int) -> None:
    search = make(lag=lag)
    while search.may_propose():
        search.propose()
    assert len(search.trials) == lag + 1
    carry_out(search, search.trials[lag], "none")
    assert search.may_propose() == (lag == 0)  # the trial that the next proposal needs is the first


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_proposal_knows_nothing_of_what_happens_within_the_lag(sampler: str) -> None:
    needs(sampler)
    proposed = []
    for finish in (False, True):
        search = make(sampler, "successive_halving", lag=3)
        in_order(search, "successive_halving", 12)
        for _ in range(3):
            search.propose()
        if finish:
            for number in (14, 12, 13):
                carry_out(search, search.trials[number], "successive_halving")
        proposed.append(search.propose().params)
    assert proposed[0] == proposed[1]


def test_without_a_lag_a_proposal_knows_all_that_has_ended() -> None:
    proposed = []
    for cost in (0.0, 9.0):
        search = make("tpe", lag=None)
        in_order(search, "none", 8)
        search.propose()
        search.end(8, TrialState.COMPLETE, [cost])
        proposed.append(search.propose().params)
    assert proposed[0] != proposed[1]


def test_the_name_of_the_study_has_no_part_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def search() -> Search:
        return make("tpe", "hyperband")

    studies = [
        coordinated(tmp_path, monkeypatch, search, "hyperband", order=order, slots=3, steps=[TRIALS])
        for order in (1, 2)  # the study is called by the order
    ]
    assert studies[0] == studies[1]


@pytest.mark.oracle
def test_a_gaussian_process_searches_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="PyTorch is an optional extra")
    whole = plain(in_order(make("gp", "median"), "median", 9))
    found = coordinated(tmp_path, monkeypatch, lambda: make("gp", "median"), "median", order=3, slots=3, steps=[5, 9])
    assert found == whole
