"""`--help` lists every key of a command with its meaning, default and type, in 80 columns."""

import dataclasses

import pytest

from pipeline.__main__ import COMMANDS, main
from pipeline.config import commands, trial
from pipeline.config.sentences import sentences
from pipeline.config.trial import Strict

SECTIONS = sorted(
    {
        value
        for module in (commands, trial)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Strict) and dataclasses.is_dataclass(value)
    },
    key=lambda section: section.__name__,
)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_of_the_schema_has_its_sentence(section: type[Strict]) -> None:
    said = sentences(section)
    leaves = [field.name for field in dataclasses.fields(section) if not dataclasses.is_dataclass(field.type)]
    assert [name for name in leaves if not said[name]] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_fits_80_columns_and_names_no_hydra(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: {COMMANDS[name]}")
    assert max(len(line) for line in said.splitlines()) <= 80
    assert "hydra" not in said.lower()


def test_help_of_a_key_has_its_default_its_choices_and_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "data.folds=5", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "data.folds=5 (integer ≥ 2 or null) k-fold cross-validation instead of a fixed dev part" in words
    assert "training.dtype=float32 (float32 | float64)" in words
    assert "regularization.keep_prob=1.0 (number > 0 and ≤ 1 or list of number > 0 and ≤ 1)" in words
    assert "data=breast_cancer | circles" in words


def test_a_sentence_above_its_field_is_found_and_inherited_ones_too() -> None:
    assert sentences(trial.InitConfig)["scheme"].startswith("auto: he for relu")
    assert sentences(commands.SweepConfig)["seed"] == sentences(trial.TrialConfig)["seed"]
