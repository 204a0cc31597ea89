"""Every sampler, pruner and kind of search space, from the command line to the study."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.end_to_end.conftest import Ended
from tests.end_to_end.sweeps import SMALL, stored

Run = Callable[..., Ended]
SIZES_OPEN = [override for override in SMALL if "hidden_units" not in override]
LAMBD_ALONE = ("~search.space.model.init.scale", "~search.space.regularization.keep_prob")


def study_of(store: Path, name: str) -> optuna.Study:
    journal = JournalStorage(JournalFileBackend(str(store / "studies" / f"{name}.journal")))
    return optuna.load_study(study_name=name, storage=journal)


class TestSamplers:
    @pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "cmaes"])
    def test_it_proposes_as_many_different_configurations_as_asked_for(
        self, sweep_of: Run, shared_store: Path, sampler: str
    ) -> None:
        if sampler == "cmaes":
            pytest.importorskip("cmaes", reason="CMA-ES is an optional extra")
        startup = ["sampler.startup_trials=2"] if sampler in ("tpe", "cmaes") else []
        ended = sweep_of(f"sampler={sampler}", "study.trials=6", *startup)
        assert ended.code == 0, ended.err
        trials = study_of(shared_store, ended.study).trials
        assert len({tuple(trial.params.values()) for trial in trials}) == 6

    @pytest.mark.oracle
    def test_a_gaussian_process_proposes_after_its_first_random_trials(self, sweep_of: Run) -> None:
        pytest.importorskip("torch", reason="PyTorch is an optional extra")
        ended = sweep_of("sampler=gp", "sampler.startup_trials=2", "study.trials=5")
        assert ended.code == 0, ended.err

    def test_a_grid_tries_every_point_once_and_says_that_it_is_complete(
        self, sweep_of: Run, shared_store: Path
    ) -> None:
        space = (*LAMBD_ALONE, "search.space.regularization.lambd.points=4")
        queued = "study.enqueue=[{regularization.lambd: 3.0}]"
        ended = sweep_of("sampler=grid", "study.trials=50", *space, queued)
        assert ended.code == 0, ended.err
        assert "5 of 5 trials done" in ended.out
        assert "The grid is complete" in ended.out
        values = [t.params["regularization.lambd"] for t in study_of(shared_store, ended.study).trials]
        assert values[0] == 3.0
        assert sorted(values[1:]) == pytest.approx([0.01 * 3000 ** (i / 3) for i in range(4)])
        again = sweep_of("sampler=grid", "study.trials=50", *space, queued)
        assert again.code == 0
        assert again.study == ended.study

    def test_a_grid_without_points_is_refused_at_once(self, sweep_of: Run) -> None:
        ended = sweep_of("sampler=grid", *LAMBD_ALONE, "search.space.regularization.lambd.points=null")
        assert ended.code == 1
        assert "lambd must have points, a step or choices for sampler=grid" in ended.err


class TestSpaces:
    def test_network_sizes_and_conditional_values(self, sweep_of: Run, shared_store: Path) -> None:
        ended = sweep_of("search=network", "sampler=random", "study.trials=8", small=SIZES_OPEN)
        assert ended.code == 0, ended.err
        trials = study_of(shared_store, ended.study).trials
        for trial in trials:
            momentum = trial.params["training.optimizer"] == "momentum"
            assert ("training.momentum" in trial.params) == momentum
        assert {t.params["training.optimizer"] for t in trials} == {"momentum", "adam"}

    def test_one_keep_prob_for_each_layer(self, sweep_of: Run, shared_store: Path) -> None:
        ended = sweep_of("search=per_layer", "model.hidden_units=[8,6]", "study.trials=3")
        assert ended.code == 0, ended.err
        assert {"regularization.keep_prob.0", "regularization.keep_prob.1"} < set(
            study_of(shared_store, ended.study).trials[0].params
        )

    def test_a_value_taken_out_of_the_space_can_be_set(self, sweep_of: Run) -> None:
        ended = sweep_of("~search.space.model.init.scale", "model.init.scale=0.3", "study.trials=2")
        assert ended.code == 0, ended.err

    def test_a_value_added_to_the_space_is_searched(self, sweep_of: Run, shared_store: Path) -> None:
        ended = sweep_of("+search.space.training.learning_rate={low: 0.01, high: 0.2, log: true}", "study.trials=2")
        assert ended.code == 0, ended.err
        assert "training.learning_rate" in study_of(shared_store, ended.study).trials[0].params

    def test_an_invalid_configuration_is_a_failed_trial(self, sweep_of: Run, shared_store: Path) -> None:
        layers = "+search.space.model.hidden_units={choices: {one: [8], two: [8, 4]}}"
        ended = sweep_of("search=per_layer", layers, "sampler=random", "study.trials=6", small=SIZES_OPEN)
        trials = study_of(shared_store, ended.study).trials
        states = {trial.params["model.hidden_units"]: trial.state for trial in trials}
        assert states["two"] in (TrialState.COMPLETE, TrialState.PRUNED)
        assert states["one"] == TrialState.FAIL


class TestObjectives:
    OBJECTIVES = "study.objective=[dev_error,parameters]"

    def test_a_sweep_with_many_invalid_configurations_continues(self, sweep_of: Run) -> None:
        sizes = "+search.space.model.hidden_units={choices: {one: [8], two: [8, 6]}}"
        given = (sizes, "study.trials=12", "workers.count=1", "study.max_failures=12")
        ended = sweep_of("search=per_layer", *given, small=SIZES_OPEN)
        assert "12 of 12 trials done" in ended.out, ended.err

    def test_several_objectives_print_the_trials_that_no_other_beats(self, sweep_of: Run, shared_store: Path) -> None:
        sizes = "+search.space.model.hidden_units={choices: {tiny: [2], small: [8]}}"
        ended = sweep_of(self.OBJECTIVES, "pruner=none", sizes, "study.trials=6", small=SIZES_OPEN)
        assert ended.code == 0, ended.err
        front = study_of(shared_store, ended.study).best_trials
        assert "the Pareto front" in ended.out
        for trial in front:
            assert f"trial-{trial.number:04d}" in ended.out
        assert {trial.values[1] for trial in front} <= {30 * 2 + 2 + 2 + 1, 30 * 8 + 8 + 8 + 1}

    def test_they_cannot_be_pruned(self, sweep_of: Run) -> None:
        ended = sweep_of(self.OBJECTIVES, "pruner=median")
        assert ended.code == 1
        assert "pruner must be none (pruner=none) with several objectives, but is median" in ended.err

    def test_they_have_no_improvement_to_wait_for(self, sweep_of: Run) -> None:
        ended = sweep_of(self.OBJECTIVES, "pruner=none", "study.stall=5")
        assert ended.code == 1
        assert "study.stall must be null with several objectives, but is 5" in ended.err

    def test_the_number_of_parameters_is_of_one_network_with_folds_too(self, sweep_of: Run, shared_store: Path) -> None:
        ended = sweep_of(self.OBJECTIVES, "pruner=none", "data.folds=3", "study.trials=1")
        assert ended.code == 0, ended.err
        assert study_of(shared_store, ended.study).trials[0].values[1] == 30 * 8 + 8 + 8 + 1


class TestPruners:
    @pytest.mark.parametrize(
        ("pruner", "overrides"),
        [
            ("median", ["pruner.startup_trials=2"]),
            ("successive_halving", []),
            ("hyperband", ["pruner.reduction_factor=2"]),
            ("threshold", ["pruner.upper=0.2"]),
        ],
    )
    def test_it_stops_hopeless_trials_at_its_rungs(
        self, sweep_of: Run, shared_store: Path, pruner: str, overrides: list[str]
    ) -> None:
        ended = sweep_of(
            f"pruner={pruner}",
            "pruner.first_rung=2",
            "sampler=random",
            "study.trials=10",
            "training.patience=null",
            *overrides,
        )
        assert ended.code == 0, ended.err
        pruned = [t for t in study_of(shared_store, ended.study).trials if t.state == TrialState.PRUNED]
        assert pruned
        assert {trial.user_attrs["summary"]["epochs"] for trial in pruned} <= {2, 4, 6, 8}

    def test_without_a_pruner_every_trial_goes_to_its_own_end(self, sweep_of: Run, shared_store: Path) -> None:
        ended = sweep_of("pruner=none", "sampler=random", "study.trials=4")
        trials = study_of(shared_store, ended.study).trials
        assert {trial.user_attrs["summary"]["outcome"] for trial in trials} <= {"completed", "early_stopped"}

    def test_with_folds_rungs_are_epochs_too(self, sweep_of: Run, shared_store: Path) -> None:
        ended = sweep_of("data.folds=3", "study.trials=4", "sampler=random", "pruner.startup_trials=2")
        assert ended.code == 0, ended.err
        for trial in study_of(shared_store, ended.study).trials:
            assert set(trial.intermediate_values) <= {2, 4, 6, 8}


class TestRefusals:
    @pytest.mark.parametrize(
        ("override", "sentence"),
        [
            ("study.storage=foo://", "study.storage foo:// cannot be used"),
            ("study.storage=/", "study.storage must be a database's address or a journal file, but is '/'"),
            ("study.enqueue=[{nope: 1}]", "study.enqueue names nope, which must be in search.space"),
            (
                "pruner=median pruner.first_rung=100000",
                "pruner.first_rung must be below training.num_epochs = 12, but is 100000",
            ),
            ("study.objective='[[[['", "study.objective"),
            ("workers.count=6", "study.lag=5 allows that, and is another study"),
            ("workers.synchronous=true", "workers.synchronous has been removed: with study.lag the search repeats"),
        ],
    )
    def test_an_invalid_configuration_is_refused_in_one_sentence_and_writes_nothing(
        self, sweep_of: Run, tmp_path: Path, override: str, sentence: str
    ) -> None:
        ended = sweep_of(*re.split(r" (?=pruner)", override), store=tmp_path / "store")
        assert ended.code == 1
        assert sentence in ended.err
        assert "Traceback" not in ended.err
        assert not (tmp_path / "store").exists()


class TestWords:
    def test_a_free_search_is_said_not_to_repeat(self, sweep_of: Run, shared_store: Path) -> None:
        ended = sweep_of("study.trials=3", "study.lag=null", "workers.count=9", "sampler.seed=11")
        assert ended.code == 0, ended.err
        assert "study.lag=null: the search runs free" in ended.out
        assert study_of(shared_store, ended.study).user_attrs["config"]["study"]["lag"] is None

    def test_how_to_go_on_repeats_what_was_given(self, sweep_of: Run) -> None:
        ended = sweep_of("study.trials=2", "sampler.seed=5")
        (extend,) = [line for line in ended.out.splitlines() if "extend the study" in line]
        assert "sampler.seed=5" in extend
        assert "data=breast_cancer" in extend
        assert "study.trials=4" in extend
        assert "study.trials=2 " not in extend

    def test_a_time_budget_ends_a_sweep_as_requested(self, sweep_of: Run) -> None:
        ended = sweep_of("study.trials=3", "study.minutes=0.00001", "sampler.seed=9")
        assert ended.code == 0
        assert "The sweep stopped before 3 trials: the budget of 1e-05 minutes is used up" in ended.out
        (resume,) = [line for line in ended.out.splitlines() if "resume the study" in line]
        assert "study.trials=3" in resume

    def test_more_trials_than_asked_for_are_said_to_be_so(self, sweep_of: Run) -> None:
        sweep_of("study.trials=3", "sampler.seed=6")
        ended = sweep_of("study.trials=2", "sampler.seed=6")
        assert ended.code == 0
        assert "3 trials done (2 asked for)" in ended.out
        assert "3 of 2" not in ended.out

    def test_a_clock_that_goes_back_changes_nothing(
        self, sweep_of: Run, shared_store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began = time.time()
        ticks = iter(range(10**9))
        monkeypatch.setattr(time, "time", lambda: began - next(ticks))
        ended = sweep_of("study.trials=3", "sampler.seed=7")
        assert ended.code == 0, ended.err
        assert len(study_of(shared_store, ended.study).trials) == 3


def test_wrong_gradients_end_the_sweep_with_the_worst_coordinate(
    sweep_of: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.nn import activations

    true = activations.ACTIVATIONS["relu"]

    def too_large(dA: Any, A: Any, G: Any) -> None:
        true.backward(dA, A, G)
        dA *= 1.1

    monkeypatch.setitem(activations.ACTIVATIONS, "relu", true._replace(backward=too_large))
    ended = sweep_of("study.trials=5", "sampler.seed=8")
    assert ended.code == 1
    assert "has wrong gradients" in ended.out
    assert "W1" in ended.out
    assert "Traceback" not in ended.out + ended.err


def test_a_complete_sweep_run_again_is_not_drawn_again_until_it_is_extended(
    sweep_of: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("pipeline.reporting.conclusion.present", lambda tracking, recorder, study: drawn.append(study))
    for trials, times in ((2, 1), (2, 1), (3, 2)):
        assert sweep_of(f"study.trials={trials}", "seed=17").code == 0
        assert len(drawn) == times


def test_nothing_is_written_to_a_sweep_after_its_end(sweep_of: Run, shared_store: Path) -> None:
    assert sweep_of("study.name=timed", "study.trials=2").code == 0
    there = stored(shared_store)
    (sweep,) = (run for run in there.of_kind("sweep") if run.info.run_name == "timed")
    history = [there.client.get_metric_history(sweep.info.run_id, name) for name in sweep.data.metrics]
    assert max(point.timestamp for points in history for point in points) <= sweep.info.end_time
