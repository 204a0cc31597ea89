"""Values that Hydra would misread reach the command as they were typed."""

from collections.abc import Sequence

import pytest

from pipeline.compose import run, set_aside
from pipeline.config import PredictConfig, RerunConfig, RunsConfig, SweepConfig
from pipeline.errors import ConfigError


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


def test_null_is_nothing_and_quotes_around_a_text_are_left_out() -> None:
    _, texts = set_aside(RerunConfig, ["study=null", "run='a b'"])
    assert texts == {"study": None, "run": "a b"}


def test_groups_of_a_command_that_has_them_stay_groups() -> None:
    arguments = ["study=default", "model=logistic", "data=moons", "study.trials=3"]
    assert set_aside(SweepConfig, arguments) == (arguments, {})


def test_an_unknown_name_is_still_refused() -> None:
    with pytest.raises(ConfigError, match=r"stdy is no configuration value .did you mean study"):
        received("runs", RunsConfig, ["stdy=x"])
