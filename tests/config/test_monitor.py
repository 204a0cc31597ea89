"""What a command's configuration decides for its trials."""

import pytest

from pipeline.config.commands import SweepConfig, TrainConfig
from pipeline.config.validation import parse


@pytest.mark.parametrize(
    ("objective", "monitor"),
    [("dev_cost", "dev_cost"), ("dev_error", "dev_error"), (["parameters", "dev_error", "dev_cost"], "dev_error")],
)
def test_early_stopping_follows_the_studys_first_dev_measure(objective: object, monitor: str) -> None:
    assert parse(SweepConfig, {"study": {"objective": objective}}).trial.training.monitor == monitor


def test_the_configured_measure_is_monitored() -> None:
    config = parse(SweepConfig, {"study": {"objective": "dev_error"}, "training": {"monitor": "dev_cost"}})
    assert config.trial.training.monitor == "dev_cost"


def test_a_run_without_a_study_watches_dev_cost() -> None:
    assert TrainConfig().trial.training.monitor == "dev_cost"


def test_balanced_error_is_an_objective_that_is_monitored_too() -> None:
    assert parse(SweepConfig, {"study": {"objective": "balanced_error"}}).trial.training.monitor == "balanced_error"
