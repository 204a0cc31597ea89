"""Every file under conf/ makes a valid configuration, and values on the command line arrive as intended."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from pipeline.__main__ import COMMANDS
from pipeline.config.commands import (
    ConfirmConfig,
    ExportConfig,
    FinalConfig,
    PredictConfig,
    RemoveConfig,
    ReportConfig,
    RerunConfig,
    RunsConfig,
    SweepConfig,
    TrainConfig,
    UiConfig,
)
from pipeline.config.errors import ConfigError, UserError
from pipeline.config.trial import Strict
from pipeline.config.validation import parse
from pipeline.console.arguments import grid, quoted, set_aside
from pipeline.console.compose import CONF, overrides, plain, refuse_searched, run
from pipeline.search.pruners import make_pruner, rungs
from pipeline.search.space import Space


def received(name: str, schema: type, arguments: Sequence[str]) -> object:
    """The configuration that a command is called with."""
    calls: list[object] = []
    assert run(name, schema, calls.append, arguments) == 0
    return calls[0]


def test_a_value_that_has_the_name_of_a_group_is_a_value() -> None:
    config = received("runs", RunsConfig, ["study=digits-1a2b3c4d", "tracking.experiment=mine"])
    assert isinstance(config, RunsConfig)
    assert (config.study, config.tracking.experiment) == ("digits-1a2b3c4d", "mine")


@pytest.mark.parametrize("text", ["models:/a@champion", "2024", "a, b (1).csv", "x=y", "{a: 1}", "ä ö"])
def test_a_text_is_taken_as_it_is(text: str) -> None:
    config = received("predict", PredictConfig, [f"input={text}"])
    assert isinstance(config, PredictConfig)
    assert config.input == text


@pytest.mark.parametrize(
    "text", ["2", "true", "my data (1).csv", "/data/a b/c's [x].csv", "ä=ö", "plain.csv", "'in quotes'"]
)
def test_a_path_and_a_column_of_the_data_are_taken_as_they_are(text: str) -> None:
    config = received("train", TrainConfig, ["data=file", f"data.path={text}", f"data.target={text}"])
    assert isinstance(config, TrainConfig)
    assert (config.data.path, config.data.target) == (text.strip("'"), text.strip("'"))


def test_null_is_nothing_and_quotes_around_a_text_are_left_out() -> None:
    _, texts = set_aside(RerunConfig, ["study=null", "run='a b'"])
    assert texts == {"study": None, "run": "a b"}


def test_groups_of_a_command_that_has_them_stay_groups() -> None:
    arguments = ["study=default", "model=logistic", "data=moons", "study.trials=3"]
    assert set_aside(SweepConfig, arguments) == (arguments, {})


def test_an_unknown_name_is_still_refused() -> None:
    with pytest.raises(ConfigError, match=r"stdy is no configuration value .did you mean study"):
        received("runs", RunsConfig, ["stdy=x"])


# Every file under conf/ --------------------------------------------------------------------------------------------

NEEDED = {
    "data/file": ["data.path=x.csv", "data.target=y"],
    "data/openml": ["data.name=mnist_784"],
    "workers/dask": ["workers.address=tcp://127.0.0.1:8786"],
}
"""What some options leave to the user."""

SCHEMAS: dict[str, type[Strict]] = {
    "sweep": SweepConfig,
    "train": TrainConfig,
    "rerun": RerunConfig,
    "runs": RunsConfig,
    "ui": UiConfig,
    "preflight": TrainConfig,
    "confirm": ConfirmConfig,
    "final": FinalConfig,
    "predict": PredictConfig,
    "report": ReportConfig,
    "export": ExportConfig,
    "remove": RemoveConfig,
}
OPTIONS = sorted(str(path.relative_to(CONF).with_suffix("")) for path in CONF.glob("*/*.yaml"))
DEFAULTS = {
    "data": "digits",
    "model": "mlp",
    "training": "momentum",
    "regularization": "none",
    "augmentation": "none",
    "gradcheck": "default",
    "diagnosis": "default",
    "study": "default",
    "sampler": "tpe",
    "pruner": "none",
    "workers": "processes",
    "tracking": "local",
}
"""The file of each group that says what the schema's defaults are."""


def composed(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose(name, list(overrides)))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_composes_to_a_valid_configuration(option: str) -> None:
    group, name = option.split("/")
    config = parse(SweepConfig, composed("sweep", f"{group}={name}", *NEEDED.get(option, [])))
    space = Space(config.search.space, asdict(config.trial))
    assert make_pruner(config.pruner, 150) is not None
    assert bool(rungs(config.pruner, 150)) == (config.pruner.name != "none")
    if config.sampler.name == "grid":
        assert space.grid_size() > 1
    if group not in ("study", "search", "sampler", "pruner", "workers"):
        parse(TrainConfig, composed("train", f"{group}={name}", *NEEDED.get(option, [])))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_composes_to_its_schema_and_its_defaults(name: str) -> None:
    schema = SCHEMAS[name]
    config = parse(schema, composed(name))
    expected = asdict(schema())
    found = asdict(config)
    if name == "sweep":  # a sweep searches and prunes, while neither can be a default of the schema
        for section in ("search", "pruner"):
            del found[section], expected[section]
    assert found == expected


def test_the_default_files_of_all_groups_are_the_schemas_defaults() -> None:
    overrides = [f"{group}={name}" for group, name in DEFAULTS.items()]
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == DEFAULTS.keys() | {"search", "experiment"}
    found = composed("sweep", *overrides)
    del found["search"]
    assert parse(SweepConfig, found) == SweepConfig()


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_begins_with_what_it_is_for(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line != "# @package _global_"]
    assert lines[0].startswith("# ")
    if path.parent != CONF:
        comment = " ".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
        assert "make " in comment


# What Hydra refuses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["training.lerning_rate=1"],
            r"training\.lerning_rate is no configuration value .did you mean training\.learn",
        ),
        (["lambd=1"], r"lambd is no configuration value .did you mean regularization\.lambd"),
        (["sampler=tpee"], r"sampler must be one of cmaes, gp, grid, qmc, random, tpe, but is tpee\."),
        (["data=digit"], r"data must be one of breast_cancer, circles, .* but is digit\."),
        (["=3"], r"=3 must be name=value, but names nothing\."),
        (["data=null"], r"data must be one of breast_cancer, circles, .* but is null\."),
        (["data="], r"data must be one of breast_cancer, circles, .* but is empty\."),
        (["model=3"], r"model must be one of logistic, mlp, but is 3\."),
        (["study=[1]"], r"study must be one of default, but is \[1\]\."),
        (["seed=${nope}"], r"^seed cannot be used as it is given: Interpolation key 'nope' not found\.$"),
        (["data.drop={a: 1}"], r"^data\.drop cannot be used as it is given: Cannot merge DictConfig with ListConfig"),
        (["training.num_epochs=[1"], r"the override training\.num_epochs=\[1 cannot be read"),
        (["search.space.regularization.lambd.points_=3"], r"to add it, write \+search\.space\.regularization"),
        (["search.space.training.momentum={low: 0, high: 0.9}"], r"write \+search\.space\.training\.momentum=\{low"),
        (["search.space.model.init.scale.step=1"], r"write \+search\.space\.model\.init\.scale\.step=…\."),
    ],
)
def test_hydras_refusals_are_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refusal:
        received("sweep", SweepConfig, arguments)
    assert "\n" not in str(refusal.value)


def test_a_grid_of_values_calls_the_command_once_for_each_and_gives_the_worst_code() -> None:
    seen: list[tuple[int, float]] = []

    def command(config: TrainConfig) -> int:
        seen.append((config.seed, config.regularization.lambd))
        return config.seed

    arguments = ["seed=0,3", "--multirun", "regularization.lambd=0.1,1"]
    assert run("train", TrainConfig, command, arguments) == 3
    assert seen == [(0, 0.1), (0, 1.0), (3, 0.1), (3, 1.0)]


def test_a_grid_with_a_refused_point_runs_none_of_them() -> None:
    def command(config: TrainConfig) -> int:
        pytest.fail("a run was begun")

    for bad in ("regularization.keep_prob=0.5,1.5,0.9", "seed=0,1,x"):
        with pytest.raises(ConfigError, match=r"but is (1\.5|\"x\")\."):
            run("train", TrainConfig, command, ["--multirun", bad])


def test_a_failed_point_of_the_grid_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    def command(config: TrainConfig) -> None:
        seen.append(config.seed)
        if config.seed == 1:
            raise UserError("run 1 failed.")

    assert run("train", TrainConfig, command, ["-m", "seed=0,1,2"]) == 1
    assert seen == [0, 1, 2]
    assert capsys.readouterr().err == "error: run 1 failed.\n"


def test_a_grid_takes_groups_ranges_and_names_with_commas_in_quotes() -> None:
    points = grid(["data=moons,circles", "seed=range(0,2)", "data.target='a,b'", "model.hidden_units=[4,2]"])
    rest = ["data.target='a,b'", "model.hidden_units=[4,2]"]
    assert points == [[f"data={name}", f"seed={n}", *rest] for name in ("moons", "circles") for n in (0, 1)]


def test_several_values_without_multirun_are_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"^seed=0,1 lists several values: add --multirun"):
        received("train", TrainConfig, ["seed=0,1"])


def test_a_path_with_a_comma_is_one_path_unless_there_may_be_several() -> None:
    config = received("train", TrainConfig, ["data=file", "data.path=a,b.csv", "data.target=y"])
    assert isinstance(config, TrainConfig)
    assert config.data.path == "a,b.csv"
    assert quoted("data.path=a.csv,b.csv", several=True) == "data.path=a.csv,b.csv"


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--multrun is no flag; known are --help, --multirun and --cfg"):
        received("train", TrainConfig, ["--multrun", "seed=0,1"])


def test_cfg_prints_the_configuration_without_credentials_and_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cfg", "job", "seed=7", "tracking.uri=http://me:s3cret@host:5000"]
    assert run("train", TrainConfig, lambda config: pytest.fail("a run was begun"), arguments) == 0
    said = capsys.readouterr().out
    assert "seed: 7" in said
    assert "uri: http://***@host:5000" in said


def test_the_given_overrides_are_repeated_without_credentials() -> None:
    seen: list[str] = []
    arguments = ["seed=1", "study.storage=postgresql://me:s3cret@db/x"]
    run("sweep", SweepConfig, lambda config: seen.extend(overrides()), arguments)
    assert seen == ["seed=1", "study.storage=postgresql://***@db/x"]
    assert overrides() == []


# Files of one's own ------------------------------------------------------------------------------------------------


def test_files_of_ones_own_add_names_and_replace_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "config.yaml": "seed: 5\ndefaults: [nothing]\n",
        "train.yaml": "seed: 6\n",
        "data/digits.yaml": "name: moons\n",
        "data/mine.yaml": "name: moons\nexamples: 77\n",
        "regularization/none.yaml": "lambd: 9\n",
    }.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    assert received("train", TrainConfig, []) == TrainConfig()
    config = received("train", TrainConfig, ["data=mine"])
    assert isinstance(config, TrainConfig)
    assert (config.data.name, config.data.examples) == ("moons", 77)


def test_a_group_may_be_chosen_of_which_a_part_is_searched_but_no_value_be_given_that_is() -> None:
    keep_prob = {"0": {"low": 0.5, "high": 1.0}}
    space = {"model": {"init": {"scale": {"low": 0.1, "high": 3.0}}}, "regularization": {"keep_prob": keep_prob}}
    refuse_searched(["model=logistic", "regularization=l2", "seed=1"], {"search": {"space": space}})
    for override in ("model.init.scale=1", "regularization.keep_prob=0.5", "regularization.keep_prob.0=0.5"):
        with pytest.raises(ConfigError, match="is searched by this sweep"):
            refuse_searched([override], {"search": {"space": space}})
