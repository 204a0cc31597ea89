"""The coordinator on a study in memory: each trial once, whatever happens to it, and an end that says why."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from pipeline.config.commands import PrunerConfig, SamplerConfig
from pipeline.config.errors import ConfigError, StudyError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.search import coordinator as module
from pipeline.search.coordinator import Coordinator, Plan
from pipeline.search.outbox import Outbox
from pipeline.search.pruners import make_pruner, rungs
from pipeline.search.samplers import make_sampler
from pipeline.search.search import Search, as_proposed
from pipeline.search.serving import LostWorker, WorkersGone
from pipeline.search.space import Space
from pipeline.search.stop_rules import stalled
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import WrongGradient
from tests.search.fakes import EPOCHS, Arithmetic, Shuffled, Witness

TREE = {"regularization": {"lambd": {"low": 0.0, "high": 6.0}}}


class Sweep:
    """One study with all that a coordinator needs; `run` may be called again, as the same command would be."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, pruner: str = "none", seed: int = 0) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        self.pruner = PrunerConfig(name=pruner, first_rung=2, startup_trials=2)  # type: ignore[arg-type]
        self.space = Space(TREE, asdict(TrialConfig()))
        self.storage = optuna.storages.InMemoryStorage()
        self.seed = seed
        self.witness = Witness()

    @property
    def study(self) -> optuna.Study:
        return optuna.create_study(study_name="study", storage=self.storage, load_if_exists=True)

    def search(self, lag: int | None = 0, queue: Any = ()) -> Search:
        sampler = make_sampler(SamplerConfig(name="random"), self.space)
        return Search(sampler, make_pruner(self.pruner, EPOCHS), self.space, lag=lag, queue=queue)

    def left_running(self) -> dict[str, Any]:
        """The values of a first trial that a killed coordinator began."""
        proposed = self.search().propose()
        self.study.add_trial(as_proposed(proposed.params, proposed.distributions, proposed.system_attrs))
        return self.space.values(proposed.params)

    def run(
        self,
        trials: int,
        work: Any = None,
        *,
        baseline: TrialConfig | None = None,
        executor: Shuffled | None = None,
        lag: int | None = 0,
        queue: Any = (),
        still_held: Any = lambda: None,
        **plan: Any,
    ) -> Coordinator:
        executor = executor or Shuffled(self.seed)
        self._monkeypatch.setattr(module, "work", work or Arithmetic())
        self._monkeypatch.setattr(module, "wait", executor.wait)
        coordinator = Coordinator(
            self.study,
            self.search(lag, queue),
            Plan(trials=trials, rungs=rungs(self.pruner, EPOCHS), pruner=self.pruner, **plan),
            executor=executor,
            outbox=Outbox(self.folder / "outbox"),
            tracker=self.witness,
            arrays=self.folder,
            still_held=still_held,
        )
        coordinator.run(baseline)
        return coordinator

    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.study.trials]

    def record(self, name: str) -> TrialRecord:
        return TrialRecord.load(self.folder / "outbox" / f"{name}.npz")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return Sweep(tmp_path, monkeypatch)


class TestEachTrialOnce:
    @pytest.mark.parametrize("slots", [1, 3])
    @pytest.mark.parametrize("lag", [0, 2, None])
    def test_the_number_asked_for_each_once_and_each_handed_to_the_tracker(
        self, sweep: Sweep, slots: int, lag: int | None
    ) -> None:
        work = Arithmetic()
        sweep.run(7, work, slots=slots, lag=lag)
        assert sweep.states() == [TrialState.COMPLETE] * 7
        assert sorted(sweep.witness.names) == [f"trial-{n:04d}" for n in range(7)]
        assert len(work.calls) == 7

    def test_the_same_again_trains_nothing_and_more_trials_only_what_is_missing(self, sweep: Sweep) -> None:
        sweep.run(4)
        again = Arithmetic()
        sweep.run(4, again)
        assert again.calls == []
        sweep.run(6, again)
        assert len(again.calls) == 2

    def test_a_complete_study_does_not_recall_its_search(self, sweep: Sweep) -> None:
        sweep.run(3, baseline=TrialConfig())
        again = sweep.run(3, baseline=TrialConfig())
        assert again.search.trials == []
        assert again.stopped == ""
        assert len(sweep.run(4, baseline=TrialConfig()).search.trials) == 4

    def test_fewer_trials_than_there_are_is_no_trouble(self, sweep: Sweep) -> None:
        sweep.run(4)
        assert sweep.run(2).stopped == ""
        assert len(sweep.states()) == 4

    def test_the_baseline_is_trained_once_and_is_no_trial(self, sweep: Sweep) -> None:
        work, baseline = Arithmetic(), TrialConfig()
        sweep.run(2, work, baseline=baseline)
        sweep.run(3, work, baseline=baseline)
        assert work.begun.count(0.0) == 1
        assert (
            sweep.witness.names.count("baseline") == 2
        )  # sent again, since its record still waits; sending is idempotent
        assert len(sweep.states()) == 3
        assert sweep.study.user_attrs["baseline"]["best_dev_cost"] == pytest.approx(3 + 1 / (1 + EPOCHS))


class TestTrouble:
    def test_wrong_gradients_of_a_trained_trial_are_noted_in_the_study(self, sweep: Sweep) -> None:
        def work(*arguments: Any, **keywords: Any) -> Any:
            segment = Arithmetic()(*arguments, **keywords)
            if segment.record is not None:
                segment.record.gradient_checks = {"trained": {"verdict": "wrong"}}
            return segment

        sweep.run(1, work)
        assert sweep.study.trials[0].user_attrs["summary"]["distrusted"] is True

    def test_a_trial_that_raises_fails_with_its_reason_and_the_sweep_continues(self, sweep: Sweep) -> None:
        def surprise(call: int, config: TrialConfig) -> None:
            if call == 2:
                raise ValueError("batch_size must be at most 10 but got 64.")

        assert sweep.run(4, Arithmetic(surprise)).stopped == ""
        assert sweep.states() == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
        record = sweep.record("trial-0001")
        assert record.outcome == "failed"
        assert record.reason == "ValueError: batch_size must be at most 10 but got 64."
        assert record.config["regularization"]["lambd"] == sweep.study.trials[1].params["regularization.lambd"]

    def test_failures_in_a_row_stop_the_sweep_and_the_next_call_tries_again(self, sweep: Sweep) -> None:
        def always(call: int, config: TrialConfig) -> None:
            raise ValueError("no")

        ended = sweep.run(20, Arithmetic(always), max_failures=3)
        assert ended.gave_up
        assert ended.stopped.startswith("3 trials in a row failed (study.max_failures sets how many may), the last of")
        assert ended.stopped.endswith("ValueError: no")
        assert sweep.states() == [TrialState.FAIL] * 3
        assert sweep.run(5, max_failures=3).stopped == ""
        assert sweep.states() == [TrialState.FAIL] * 3 + [TrialState.COMPLETE] * 2

    @pytest.mark.parametrize("slots", [1, 3])
    def test_failures_in_a_row_are_counted_by_number_not_by_arrival(self, sweep: Sweep, slots: int) -> None:
        def always(call: int, config: TrialConfig) -> None:
            raise ValueError("no")

        sweep.run(20, Arithmetic(always), max_failures=3, lag=2, slots=slots)
        assert len(sweep.states()) == 3 + 2  # the third failure is known to the trial behind the lag

    def test_failures_between_successes_do_not_stop_it(self, sweep: Sweep) -> None:
        def two_of_three(call: int, config: TrialConfig) -> None:
            if call % 3:
                raise ValueError("no")

        assert sweep.run(9, Arithmetic(two_of_three), max_failures=3).stopped == ""
        assert sweep.states().count(TrialState.FAIL) == 6

    def test_a_diverged_trial_is_a_result_that_the_study_knows_as_pruned(self, sweep: Sweep) -> None:
        sweep.run(3, Arithmetic(lambda call, config: "diverged" if call == 1 else None), max_failures=1)
        assert sweep.states() == [TrialState.PRUNED, TrialState.COMPLETE, TrialState.COMPLETE]
        assert sweep.record("trial-0000").outcome == "diverged"

    def test_a_trial_that_ends_its_workers_fails(self, sweep: Sweep) -> None:
        def once(call: int, config: TrialConfig) -> None:
            if call == 1:
                raise LostWorker("the worker process died of SIGSEGV", own=True)

        sweep.run(3, Arithmetic(once))
        assert sweep.states().count(TrialState.FAIL) == 1

    def test_without_workers_the_sweep_ends_and_no_trial_has_failed(self, sweep: Sweep) -> None:
        def gone(call: int, config: TrialConfig) -> None:
            if call == 2:
                raise WorkersGone("no workers")

        with pytest.raises(WorkersGone):
            sweep.run(3, Arithmetic(gone))
        assert TrialState.FAIL not in sweep.states()
        sweep.run(3, Arithmetic())
        assert sweep.states() == [TrialState.COMPLETE] * 3

    def test_an_invalid_configuration_fails_and_the_sweep_continues(
        self, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(schema: Any, plain: Any) -> TrialConfig:
            if plain["regularization"]["lambd"] > 2:
                raise ConfigError("keep_prob must be one value.")
            return parse(schema, plain)

        monkeypatch.setattr(module, "parse", refused)
        work = Arithmetic()
        ended = sweep.run(12, work, max_failures=12)
        assert ended.stopped == ""
        states = sweep.states()
        assert len(states) == 12
        assert states.count(TrialState.FAIL) > 4
        assert len(work.begun) == states.count(TrialState.COMPLETE)

    def test_a_lost_lock_begins_no_further_trial(self, sweep: Sweep) -> None:
        def lost() -> None:
            if len(sweep.states()) == 3:
                raise StudyError("the connection was lost")

        with pytest.raises(StudyError):
            sweep.run(9, still_held=lost)
        assert len(sweep.states()) == 3

    def test_wrong_gradients_stop_the_sweep_with_the_reports_first_lines(self, sweep: Sweep) -> None:
        def wrong(call: int, config: TrialConfig) -> None:
            raise WrongGradient("wrong: relative error 0.3\nW2[3, 17]  analytic 1.0  numeric 2.0")

        ended = sweep.run(9, Arithmetic(wrong), slots=2, max_failures=9)
        assert ended.gave_up
        assert ended.stopped.startswith("trial-000")
        assert "has wrong gradients.\nwrong: relative error 0.3\nW2[3, 17]" in ended.stopped
        assert set(sweep.states()) == {TrialState.FAIL}
        assert len(sweep.states()) <= 3


class TestEnds:
    def test_a_budget_of_minutes_starts_no_trial_after_it(self, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]

        def half_a_minute(call: int, config: TrialConfig) -> None:
            now[0] += 30.0

        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
        ended = sweep.run(50, Arithmetic(half_a_minute), minutes=2.0)
        assert ended.stopped.startswith("the budget of 2 minutes is used up (the clock ended it")
        assert not ended.gave_up
        assert sweep.states() == [TrialState.COMPLETE] * 5

    def test_no_improvement_for_so_many_trials_ends_it(self, sweep: Sweep) -> None:
        stopped = sweep.run(200, stall=6).stopped
        assert stopped == "the last 6 finished trials brought no improvement"
        values = [trial.value for trial in sweep.study.trials]
        assert min(values[:-6]) <= min(values[-6:])
        assert min(values[-7:]) < min(values[:-7], default=float("inf"))

    def test_no_improvement_is_told_by_number_not_by_arrival(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ends = set()
        for slots in (1, 2, 5):
            for seed in range(3):  # of the order in which trials end
                sweep = Sweep(tmp_path / f"{slots}-{seed}", monkeypatch, seed=seed)
                stopped = sweep.run(200, stall=6, lag=4, slots=slots).stopped
                ends.add((stopped, len(sweep.states())))
        assert len(ends) == 1
        assert ends.pop()[0] == "the last 6 finished trials brought no improvement"

    def test_an_equal_value_is_no_improvement(self) -> None:
        def ended(*values: float | None) -> list[optuna.trial.FrozenTrial]:
            states = {None: TrialState.FAIL}
            return [optuna.trial.create_trial(value=v, state=states.get(v, TrialState.COMPLETE)) for v in values]

        assert stalled(ended(1.0, 2.0, 1.0), 2)
        assert not stalled(ended(1.0, 2.0, 0.9), 2)
        assert not stalled(ended(1.0, 2.0), 2)
        assert stalled(ended(1.0, None, None), 2)


class TestResume:
    def test_a_record_in_the_outbox_is_reported_and_not_trained_again(self, sweep: Sweep) -> None:
        values = sweep.left_running()
        waiting = TrialRecord(
            config=sweep.space.apply(values),
            stop_epoch=EPOCHS,
            summary={"best_dev_cost": 0.25, "best_dev_error": 0.1, "best_balanced_error": 0.1},
        )
        waiting.save(Outbox(sweep.folder / "outbox").path("trial-0000"))
        work = Arithmetic()
        sweep.run(2, work)
        assert sweep.study.trials[0].value == 0.25
        assert len(work.calls) == 1
        assert sweep.witness.names == ["trial-0000", "trial-0001"]

    @pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", b"not a record"])
    def test_a_damaged_record_in_the_outbox_is_trained_again(self, sweep: Sweep, damage: bytes) -> None:
        sweep.left_running()
        Outbox(sweep.folder / "outbox").path("trial-0000").write_bytes(damage)
        sweep.run(1)
        assert sweep.states() == [TrialState.COMPLETE]
        assert sweep.record("trial-0000").outcome == "completed"

    def test_a_trial_left_running_keeps_its_number_and_its_values(self, sweep: Sweep) -> None:
        values = sweep.left_running()
        work = Arithmetic()
        sweep.run(2, work)
        assert work.begun[0] == values["regularization.lambd"]
        assert sweep.states() == [TrialState.COMPLETE] * 2

    def test_a_told_record_that_was_not_sent_is_handed_over_again(self, sweep: Sweep) -> None:
        sweep.run(2)
        sweep.witness.names.clear()
        sweep.run(2)
        assert sweep.witness.names == ["trial-0000", "trial-0001"]

    def test_an_enqueued_configuration_comes_first_and_counts(self, sweep: Sweep) -> None:
        work = Arithmetic()
        sweep.run(3, work, queue=[{"regularization.lambd": 3.0}])
        assert work.begun[0] == 3.0
        assert len(work.begun) == 3

    def test_a_damaged_record_of_a_trial_that_is_yet_to_come_is_no_obstacle(
        self, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(schema: Any, plain: Any) -> TrialConfig:
            raise ConfigError("never")

        for name in ("trial-0001", "trial-0002"):
            Outbox(sweep.folder / "outbox").path(name).write_bytes(b"not a record")
        sweep.run(2)
        assert sweep.record("trial-0001").outcome == "completed"
        monkeypatch.setattr(module, "parse", refused)
        sweep.run(3)
        assert sweep.record("trial-0002").reason == "never"


class TestPruning:
    def test_the_curves_of_a_trial_are_shown_at_each_rung_that_it_passes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sweep, work = Sweep(tmp_path, monkeypatch, "median"), Arithmetic()
        sweep.run(1, work)
        assert [epoch for _, epoch in work.calls] == [*rungs(sweep.pruner, EPOCHS), EPOCHS]
        assert sweep.witness.shown == ["trial-0000"] * len(rungs(sweep.pruner, EPOCHS))

    def test_a_hopeless_trial_stops_at_its_first_rung(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sweep = Sweep(tmp_path, monkeypatch, "median")
        sweep.run(12)
        pruned = [trial for trial in sweep.study.trials if trial.state == TrialState.PRUNED]
        assert pruned
        for trial in pruned:
            epochs = sweep.record(f"trial-{trial.number:04d}").stop_epoch
            assert epochs in rungs(sweep.pruner, EPOCHS)
            assert epochs == max(trial.intermediate_values)
            assert trial.user_attrs["summary"]["outcome"] == "pruned"
            why = sweep.record(f"trial-{trial.number:04d}").pruned
            assert why["epoch"] == epochs
            assert why["value"] == trial.intermediate_values[epochs] > why["limit"]
            assert why["sentence"] == trial.user_attrs["pruned"]
