"""Trials of an earlier study are taken over into a wider one: which, with what, and what is refused."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from pipeline.config.commands import SweepConfig
from pipeline.config.errors import ConfigError, StudyError
from pipeline.config.validation import as_plain, parse
from pipeline.search import coordinator as module
from pipeline.search import replay, widening
from pipeline.search.coordinator import Coordinator, Plan
from pipeline.search.making import make_search
from pipeline.search.outbox import Outbox
from pipeline.search.pruners import rungs
from pipeline.search.space import Space
from pipeline.search.storage import open_storage
from pipeline.search.study import check_arithmetic, check_data, name_study, open_study
from tests.search.fakes import EPOCHS, Arithmetic, Shuffled, Witness
from tests.search.histories import KEEP_PROB, LAMBD, RANGES

TRIALS = 10
WIDER = {
    "regularization": {
        "lambd": {"low": 0.01, "high": 300.0, "log": True},
        "keep_prob": {"low": 0.5, "high": 1.0},
    },
    "model": {"init": {"scale": {"low": 0.5, "high": 2.0}}},
}


@pytest.fixture(autouse=True)
def arithmetic(monkeypatch: pytest.MonkeyPatch) -> Arithmetic:
    work = Arithmetic()
    monkeypatch.setattr(module, "work", work)
    return work


def config_of(folder: Path, **sections: Any) -> SweepConfig:
    plain: dict[str, Any] = {
        "training": {"num_epochs": EPOCHS},
        "repeats": 1,
        "search": {"space": RANGES},
        "sampler": {"startup_trials": 3},
        "tracking": {"store": str(folder)},
        "study": {"name": "narrow"},
    }
    return parse(SweepConfig, plain | sections)


def wide(folder: Path, **sections: Any) -> SweepConfig:
    study = {"name": "wide", "from": "narrow"} | sections.pop("study", {})
    return config_of(folder, **{"search": {"space": WIDER}, "study": study} | sections)


def space_of(config: SweepConfig) -> Space:
    return Space(config.search.space, asdict(config.trial))


def run(config: SweepConfig, trials: int = TRIALS, digest: str = "of the data") -> optuna.Study:
    """Carry a study out by arithmetic, as the sweep command does."""
    name, space = name_study(config), space_of(config)
    taken = widening.find_copies(config, space, name, digest, lambda study: {"trial-0001": f"run of {study}"})
    study = open_study(config, name, open_storage(config, name))
    check_data(study, digest)
    check_arithmetic(study)
    if taken is not None:
        widening.keep(study, taken)
    executor = Shuffled(1)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module, "wait", executor.wait)
        Coordinator(
            study,
            make_search(config, space, widening.before(study, space)),
            Plan(trials=trials, rungs=rungs(config.pruner, EPOCHS), pruner=config.pruner, slots=3),
            executor=executor,
            outbox=Outbox(Path(config.tracking.store) / "outbox" / name),
            tracker=Witness(),
            arrays=Path(config.tracking.store),
        ).run()
    return study


def copies(study: optuna.Study) -> list[widening.Copy]:
    taken = widening.kept(study)
    assert taken is not None
    return taken.copies


class TestWhatIsTakenOver:
    def test_every_trial_with_its_values_its_run_and_the_former_constants(
        self, tmp_path: Path, arithmetic: Arithmetic
    ) -> None:
        narrow = run(config_of(tmp_path))
        trained = len(arithmetic.calls)
        study = run(wide(tmp_path), trials=4)
        assert len(arithmetic.calls) == trained + 4
        assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
        for copy, trial in zip(copies(study), narrow.trials, strict=True):
            assert copy.values == trial.values
            assert copy.repeats == trial.user_attrs["values"]
            assert copy.params == {**trial.params, "model.init.scale": 1.0}
        assert [copy.run_id for copy in copies(study)[:2]] == ["", "run of narrow"]
        assert copies(study)[1].name == "narrow/trial-0001"

    def test_trials_outside_the_space_are_left_out_and_counted(self, tmp_path: Path) -> None:
        narrow = run(config_of(tmp_path))
        inside = [trial for trial in narrow.trials if trial.params[KEEP_PROB] >= 0.75]
        assert 0 < len(inside) < TRIALS
        tree = {"regularization": {**RANGES["regularization"], "keep_prob": {"low": 0.75, "high": 1.0}}}
        study = run(wide(tmp_path, search={"space": tree}), trials=1)
        taken = widening.kept(study)
        assert taken is not None
        assert [copy.number for copy in taken.copies] == [trial.number for trial in inside]
        assert taken.sentence.endswith(f"left out: {TRIALS - len(inside)} outside the search space.")

    def test_of_a_value_that_is_no_longer_searched_those_at_its_constant_alone(self, tmp_path: Path) -> None:
        queue = [{LAMBD: 2.0, KEEP_PROB: 1.0}]
        run(config_of(tmp_path, study={"name": "narrow", "enqueue": queue}))
        tree = {"regularization": {"lambd": WIDER["regularization"]["lambd"]}}
        (copy,) = copies(run(wide(tmp_path, search={"space": tree}), trials=1))
        assert (copy.number, copy.params) == (0, {LAMBD: 2.0})

    def test_copied_trials_are_copied_to_the_next_study(self, tmp_path: Path) -> None:
        run(config_of(tmp_path))
        run(wide(tmp_path), trials=3)
        third = run(wide(tmp_path, study={"name": "third", "from": "wide"}, sampler={"name": "random"}), trials=1)
        assert [copy.study for copy in copies(third)] == ["narrow"] * TRIALS + ["wide"] * 3

    @pytest.mark.parametrize("first_rung", [2, 3])
    def test_pruned_trials_come_with_their_reports_where_the_rungs_agree(self, tmp_path: Path, first_rung: int) -> None:
        median = {"name": "median", "first_rung": 2, "startup_trials": 2}
        narrow = run(config_of(tmp_path, pruner=median))
        pruned = [trial.number for trial in narrow.trials if trial.state == TrialState.PRUNED]
        assert pruned
        taken = widening.kept(run(wide(tmp_path, pruner=median | {"first_rung": first_rung}), trials=1))
        assert taken is not None
        if first_rung == 2:
            assert [c.reports for c in taken.copies] == [t.intermediate_values for t in narrow.trials]
        else:
            assert not {copy.number for copy in taken.copies} & set(pruned)
            assert not any(copy.reports for copy in taken.copies)
            assert f"{len(pruned)} pruned at other epochs than this study's" in taken.sentence


class TestRepeats:
    def test_a_source_that_grows_or_goes_later_changes_nothing(self, tmp_path: Path) -> None:
        run(config_of(tmp_path))
        whole = run(wide(tmp_path), trials=8)
        other = wide(tmp_path, study={"name": "again"})
        run(other, trials=3)
        run(config_of(tmp_path), trials=TRIALS + 5)
        resumed = run(other, trials=6)
        (tmp_path / "studies" / "narrow.journal").unlink()
        resumed = run(other, trials=8)
        assert [trial.params for trial in resumed.trials] == [trial.params for trial in whole.trials]
        assert len(copies(resumed)) == TRIALS

    def test_copies_that_were_not_all_written_are_taken_over_again(self, tmp_path: Path) -> None:
        run(config_of(tmp_path))
        config = wide(tmp_path)
        study = open_study(config, "wide", open_storage(config, "wide"))  # as a kill at this moment leaves it
        study.set_user_attr("before/0000", "torn")
        assert len(copies(run(config, trials=1))) == TRIALS

    def test_edited_copies_are_refused(self, tmp_path: Path) -> None:
        run(config_of(tmp_path))
        study = run(wide(tmp_path), trials=1)
        edited = json.loads(study.user_attrs["before/0003"])
        study.set_user_attr("before/0003", json.dumps(edited | {"values": [0.0]}))
        with pytest.raises(StudyError, match=r"took over from narrow have been changed since"):
            widening.kept(study)

    def test_the_search_is_replayed_with_the_copies(self, tmp_path: Path) -> None:
        run(config_of(tmp_path))
        config = wide(tmp_path)
        history = json.loads(json.dumps(replay.history(run(config, trials=8), config)))
        assert replay.replay(replay.read(history)).proposals == 8
        best = min(history["before"], key=lambda copy: copy["values"][0])
        best["values"] = [99.0]
        assert replay.replay(replay.read(history)).parted


class TestRefusals:
    @pytest.mark.parametrize("sampler", ["grid", "qmc", "cmaes"])
    def test_a_sampler_that_cannot_use_them(self, tmp_path: Path, sampler: str) -> None:
        if sampler == "cmaes":
            pytest.importorskip("cmaes", reason="CMA-ES is an optional extra")
        config = wide(tmp_path, sampler={"name": sampler}, search={"space": RANGES})
        with pytest.raises(ConfigError, match=rf"study.from needs a sampler .*, but sampler is {sampler}\."):
            make_search(config, space_of(config))

    @pytest.mark.parametrize(
        ("sections", "named"),
        [
            ({"repeats": 2}, "repeats: 1 then, 2 now"),
            ({"training": {"num_epochs": 30}}, "training.num_epochs: 20 then, 30 now"),
            ({"kernels": "portable"}, "kernels: native then, portable now"),
            ({"study": {"objective": "dev_error"}}, "study.objective: dev_cost then, dev_error now"),
            ({"data": {"name": "moons"}}, "data.name: digits then, moons now"),
        ],
    )
    def test_studies_that_do_not_compare_are_refused_key_by_key(
        self, tmp_path: Path, sections: dict[str, Any], named: str
    ) -> None:
        run(config_of(tmp_path), trials=2)
        with pytest.raises(StudyError, match=r"study.from=narrow cannot be compared") as refused:
            run(wide(tmp_path, **sections))
        assert named in str(refused.value)
        assert not (tmp_path / "studies" / "wide.journal").exists()

    def test_other_data(self, tmp_path: Path) -> None:
        run(config_of(tmp_path), trials=2)
        with pytest.raises(StudyError, match=r"data digest: of the data then, another now"):
            run(wide(tmp_path), digest="another")

    def test_a_study_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(StudyError, match=r"study.from must name a study .*, but narrow is not there"):
            run(wide(tmp_path))

    def test_a_space_that_holds_none_of_its_trials(self, tmp_path: Path) -> None:
        run(config_of(tmp_path), trials=3)
        tree = {"regularization": {"lambd": {"low": 50.0, "high": 60.0}}}
        with pytest.raises(StudyError, match=r"no trial of study.from=narrow .*3 outside the search space"):
            run(wide(tmp_path, search={"space": tree}))


def test_it_is_spelled_from_wherever_a_person_meets_it(tmp_path: Path) -> None:
    config = wide(tmp_path)
    assert as_plain(config)["study"]["from"] == "narrow"
    assert parse(SweepConfig, as_plain(config)) == config
    with pytest.raises(ConfigError, match=r"study.from_ is no configuration value .did you mean study.from"):
        wide(tmp_path, study={"from_": "narrow"})
