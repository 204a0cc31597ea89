"""A study's name, the refusal of another configuration under it, its queue, and journals that a crash has left."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipeline.config.commands import SweepConfig
from pipeline.config.errors import ConfigError, StudyError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.search.identity import identity, study_name
from pipeline.search.making import check_slots, make_search
from pipeline.search.search import Search
from pipeline.search.space import Space
from pipeline.search.storage import check_storage, open_storage
from pipeline.search.study import check_arithmetic, check_data, find_study, name_study, open_study, study_id
from pipeline.trials import kernels

TREE = {"regularization": {"lambd": {"low": 0.01, "high": 30.0, "log": True}}}


def sweep_config(store: Path, **sections: Any) -> SweepConfig:
    plain: dict[str, Any] = {"tracking": {"store": str(store)}, "search": {"space": TREE}}
    return parse(SweepConfig, plain | sections)


def opened(config: SweepConfig) -> optuna.Study:
    name = name_study(config)
    return open_study(config, name, open_storage(config, name))


def searched(config: SweepConfig) -> Search:
    return make_search(config, Space(config.search.space, asdict(TrialConfig())))


def journal(config: SweepConfig) -> Path:
    return Path(config.tracking.store) / "studies" / f"{study_name(config)}.journal"


class TestNames:
    def test_class_weights_are_part_of_it_only_where_they_are_on_so_older_studies_keep_their_names(
        self, tmp_path: Path
    ) -> None:
        plain, weighted = (sweep_config(tmp_path, training={"class_weight": on}) for on in ("none", "balanced"))
        assert "class_weight" not in identity(plain)["training"]
        assert study_name(plain) != study_name(weighted)

    def test_the_name_is_the_datas_with_a_digest_of_the_configuration(self, tmp_path: Path) -> None:
        name, digest = study_name(sweep_config(tmp_path)).rsplit("-", 1)
        assert name == "digits"
        assert len(digest) == 8
        assert int(digest, 16) >= 0

    @pytest.mark.parametrize(
        "sections",
        [
            {"study": {"trials": 200}},
            {"study": {"minutes": 3.0, "max_failures": 9, "stall": 20}},
            {"workers": {"count": 7, "queued": 3}},
            {"tracking": {"store": "elsewhere", "pictures": False}},
        ],
    )
    def test_amount_place_and_workers_do_not_change_the_study(self, tmp_path: Path, sections: dict[str, Any]) -> None:
        assert study_name(sweep_config(tmp_path, **sections)) == study_name(sweep_config(tmp_path))

    @pytest.mark.parametrize(
        "sections",
        [
            {"seed": 1},
            {"sampler": {"seed": 1}},
            {"study": {"objective": "dev_error"}},
            {"study": {"lag": 3}},
            {"study": {"lag": None}},
            {"study": {"enqueue": [{"regularization.lambd": 1.0}]}},
            {"search": {"space": {"regularization": {"lambd": {"low": 0.01, "high": 31.0}}}}},
        ],
    )
    def test_whatever_decides_a_result_is_another_study(self, tmp_path: Path, sections: dict[str, Any]) -> None:
        assert study_name(sweep_config(tmp_path, **sections)) != study_name(sweep_config(tmp_path))

    def test_a_file_of_ones_own_gives_a_name_that_is_a_files_name(self, tmp_path: Path) -> None:
        config = sweep_config(tmp_path, data={"source": "file", "path": "/data/My table (2).csv", "target": "y"})
        assert study_name(config).startswith("My-table-2-")

    @pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "-x", "ä", "x" * 101])
    def test_a_name_that_could_be_no_files_name_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ConfigError, match=r"study.name must be 1 to 100 letters, digits"):
            study_name(sweep_config(tmp_path, study={"name": name}))


class TestLookingAtAStudy:
    @pytest.mark.parametrize("storage", [None, "sqlite:///{}/studies.db"])
    def test_it_is_found_where_the_configuration_keeps_its_own(self, tmp_path: Path, storage: str | None) -> None:
        config = sweep_config(tmp_path, study={"name": "mine", "storage": storage and storage.format(tmp_path)})
        assert find_study(config, "mine") is None
        made = opened(config)
        found = find_study(config, "mine")
        assert found is not None
        assert found.user_attrs == made.user_attrs
        assert find_study(config, "other") is None

    def test_a_journal_that_another_is_writing_is_left_as_it_is(self, tmp_path: Path) -> None:
        config = sweep_config(tmp_path)
        opened(config)
        with journal(config).open("a") as file:
            file.write('{"op_code"')  # a line that is still being written
        before = journal(config).read_bytes()
        assert find_study(config, study_name(config)) is not None
        assert journal(config).read_bytes() == before

    def test_two_studies_of_one_name_have_each_an_id_that_stays(self, tmp_path: Path) -> None:
        first, second = opened(sweep_config(tmp_path / "a")), opened(sweep_config(tmp_path / "b"))
        assert first.study_name == second.study_name
        assert study_id(first) != study_id(second)
        assert study_id(first) == study_id(opened(sweep_config(tmp_path / "a")))


class TestAnotherConfiguration:
    def test_it_is_refused_under_the_same_name_with_the_difference_key_by_key(self, tmp_path: Path) -> None:
        opened(sweep_config(tmp_path, study={"name": "mine"}))
        changed = sweep_config(
            tmp_path, study={"name": "mine"}, seed=4, training={"learning_rate": 0.1}, pruner={"name": "median"}
        )
        with pytest.raises(StudyError) as refusal:
            opened(changed)
        assert str(refusal.value) == (
            "study mine exists with another configuration (seed: 0 then, 4 now; training.learning_rate: 0.05 then, "
            "0.1 now; pruner.name: none then, median now); give another study.name, or study.fresh=true to start anew "
            "beside it."
        )

    def test_a_study_of_an_earlier_version_is_not_continued(self, tmp_path: Path) -> None:
        study = opened(sweep_config(tmp_path, study={"name": "old"}))
        config = study.user_attrs["config"]
        study.set_user_attr("config", config | {"study": {k: v for k, v in config["study"].items() if k != "lag"}})
        with pytest.raises(StudyError, match=r"made by an earlier version.*study.fresh=true"):
            opened(sweep_config(tmp_path, study={"name": "old"}))

    def test_more_trials_other_workers_and_another_tracking_store_do_not_change_the_study(self, tmp_path: Path) -> None:
        first = opened(sweep_config(tmp_path, study={"name": "mine"}))
        again = sweep_config(tmp_path, study={"name": "mine", "trials": 500, "minutes": 1.0}, workers={"count": 9})
        assert opened(again).user_attrs == first.user_attrs

    def test_fresh_starts_the_next_free_name_and_deletes_nothing(self, tmp_path: Path) -> None:
        first = opened(sweep_config(tmp_path))
        names = [opened(sweep_config(tmp_path, study={"fresh": True})).study_name for _ in range(2)]
        assert names == [f"{first.study_name}-2", f"{first.study_name}-3"]
        assert opened(sweep_config(tmp_path)).study_name == first.study_name

    def test_fresh_without_a_study_is_the_first(self, tmp_path: Path) -> None:
        config = sweep_config(tmp_path, study={"fresh": True})
        assert name_study(config) == study_name(config)

    def test_fresh_in_a_journal_of_several_studies(self, tmp_path: Path) -> None:
        shared = {"storage": str(tmp_path / "all.journal"), "name": "one"}
        opened(sweep_config(tmp_path, study=shared))
        assert name_study(sweep_config(tmp_path, study=shared | {"name": "on", "fresh": True})) == "on"
        assert name_study(sweep_config(tmp_path, study=shared | {"fresh": True})) == "one-2"

    def test_other_data_under_the_same_configuration_are_refused(self, tmp_path: Path) -> None:
        study = opened(sweep_config(tmp_path))
        check_data(study, "a" * 64)
        check_data(study, "a" * 64)
        with pytest.raises(
            StudyError, match=r"have changed since it began .digest aaaaaaaa → bbbbbbbb.*study.fresh=true"
        ):
            check_data(study, "b" * 64)

    def test_a_study_is_held_to_the_arithmetic_it_began_with(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study = opened(sweep_config(tmp_path))
        check_arithmetic(study)
        check_arithmetic(study)
        assert study.user_attrs["arithmetic"] == kernels.current().as_dict()
        study.set_user_attr("arithmetic", {"kernel": "SapphireRapids", "level": "avx512_spr"})
        monkeypatch.setattr(kernels, "current", lambda: kernels.PORTABLE)
        monkeypatch.setattr(kernels, "_flags", lambda: frozenset({"avx2", "fma", "bmi1", "bmi2"}))
        with pytest.raises(
            StudyError, match=r"began with .*SapphireRapids.*needs a processor with .*study\.fresh=true"
        ):
            check_arithmetic(study)


class TestQueue:
    def test_known_good_configurations_come_first(self, tmp_path: Path) -> None:
        search = searched(
            sweep_config(tmp_path, study={"enqueue": [{"regularization.lambd": 3.0}, {"regularization.lambd": 1.0}]})
        )
        proposed = [search.propose().params["regularization.lambd"] for _ in range(3)]
        assert proposed[:2] == [3.0, 1.0]
        assert proposed[2] not in (3.0, 1.0)

    def test_a_value_outside_its_range_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"regularization.lambd must be from 0.01 to 30, but is 300"):
            searched(sweep_config(tmp_path, study={"enqueue": [{"regularization.lambd": 300.0}]}))

    def test_a_grid_does_not_complete_a_configuration(self, tmp_path: Path) -> None:
        two = {"regularization": {"lambd": {"choices": [1, 2]}, "keep_prob": {"choices": [0.5, 1.0]}}}
        with pytest.raises(ConfigError, match=r"study.enqueue must give every .* lacks regularization.keep_prob"):
            searched(
                sweep_config(
                    tmp_path,
                    sampler={"name": "grid"},
                    search={"space": two},
                    study={"enqueue": [{"regularization.lambd": 1}]},
                )
            )

    def test_a_trial_enqueued_from_outside_is_refused(self, tmp_path: Path) -> None:
        opened(sweep_config(tmp_path)).enqueue_trial({"regularization.lambd": 3.0})
        with pytest.raises(StudyError, match=r"trial 0 of study .* was enqueued from outside.*study.enqueue"):
            opened(sweep_config(tmp_path))


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        ("sections", "sentence"),
        [
            ({"pruner": {"name": "median", "first_rung": 100000}}, "pruner.first_rung must be below .*, but is 100000"),
            ({"study": {"objective": []}}, "study.objective must be dev_cost, dev_error or balanced_error"),
            ({"study": {"objective": ["dev_cost", "dev_error"], "stall": 3}}, "study.stall must be null"),
            ({"study": {"enqueue": [{"nope": 1}]}}, "study.enqueue names nope"),
            ({"sampler": {"name": "cmaes"}, "study": {"objective": ["dev_cost", "dev_error"]}}, "must have one obj"),
        ],
    )
    def test_it_is_refused_before_there_is_a_study(
        self, tmp_path: Path, sections: dict[str, Any], sentence: str
    ) -> None:
        if "sampler" in sections:
            pytest.importorskip("cmaes", reason="CMA-ES is an optional extra")
        with pytest.raises(ConfigError, match=sentence):
            searched(sweep_config(tmp_path, **sections))

    def test_one_objective_alone_may_be_pruned_and_stall(self, tmp_path: Path) -> None:
        searched(sweep_config(tmp_path, study={"objective": ["dev_cost"], "stall": 3}, pruner={"name": "median"}))

    @pytest.mark.parametrize("storage", ["foo://", "foo://somewhere/x", "postgresql+nope://here/x", "://"])
    def test_a_storage_that_no_driver_serves(self, tmp_path: Path, storage: str) -> None:
        with pytest.raises(StudyError, match=r"study.storage .* cannot be used"):
            check_storage(sweep_config(tmp_path, study={"storage": storage}))

    @pytest.mark.parametrize("storage", ["/", "", "."])
    def test_a_storage_that_is_a_folder(self, tmp_path: Path, storage: str) -> None:
        with pytest.raises(ConfigError, match=r"study.storage must be a database's address or a journal file"):
            check_storage(sweep_config(tmp_path, study={"storage": storage}))

    @pytest.mark.parametrize("storage", ["sqlite://", "sqlite:///:memory:"])
    def test_a_storage_in_memory_that_would_keep_nothing(self, tmp_path: Path, storage: str) -> None:
        with pytest.raises(ConfigError, match=r"study.storage must name a file, but sqlite://.* keeps nothing"):
            check_storage(sweep_config(tmp_path, study={"storage": storage}))

    def test_more_workers_than_the_lag_lets_run(self, tmp_path: Path) -> None:
        check_slots(sweep_config(tmp_path, workers={"count": 5}))
        check_slots(sweep_config(tmp_path, workers={"count": 500}, study={"lag": None}))
        with pytest.raises(ConfigError) as refusal:
            check_slots(sweep_config(tmp_path, workers={"count": 6}))
        assert str(refusal.value) == (
            "workers.count must be at most study.lag + 1 = 5, but is 6; study.lag=5 allows that, and is another study."
        )


class TestJournal:
    def test_a_torn_last_line_is_cut_off_and_the_study_goes_on(self, tmp_path: Path) -> None:
        config = sweep_config(tmp_path)
        opened(config).ask()
        with journal(config).open("ab") as file:
            file.write(b'{"op_code":4,"wor')
        assert len(opened(config).get_trials()) == 1
        opened(config).ask()
        assert len(opened(config).get_trials()) == 2

    @pytest.mark.parametrize(
        "damage", [b"not JSON\n", b"\x00\x00\x00\n", b'{"op_code":4}\n', b'{"op_code":99,"worker_id":"x"}\n', b"[]\n"]
    )
    def test_damage_in_the_middle_is_one_sentence(self, tmp_path: Path, damage: bytes) -> None:
        config = sweep_config(tmp_path)
        opened(config).ask()
        lines = journal(config).read_bytes().splitlines(keepends=True)
        journal(config).write_bytes(b"".join([*lines[:1], damage, *lines[1:]]))
        with pytest.raises(StudyError, match=r"the study's journal .*\.journal is damaged and cannot be read\."):
            opened(config)

    def test_a_journal_that_cannot_be_made_is_one_sentence(self) -> None:
        with pytest.raises(StudyError, match=r"the study's journal .* cannot be opened: Not a directory"):
            opened(sweep_config(Path("/dev/null/x")))

    def test_no_directory_of_a_database_is_one_sentence(self, tmp_path: Path) -> None:
        config = sweep_config(tmp_path, study={"storage": f"sqlite:///{tmp_path}/none/studies.db"})
        with pytest.raises(
            StudyError, match=r"study.storage .*studies.db cannot be used: .*unable to open database file"
        ):
            opened(config)


def test_several_objectives_cannot_be_pruned(tmp_path: Path) -> None:
    config = sweep_config(tmp_path, study={"objective": ["dev_error", "parameters"]}, pruner={"name": "median"})
    with pytest.raises(ConfigError, match="pruner=none"):
        searched(config)
    assert len(opened(replace(config, pruner=replace(config.pruner, name="none"))).directions) == 2
