"""What is printed about the data before training."""

from pathlib import Path

import pytest

from pipeline.config.commands import TrainConfig
from pipeline.config.trial import DataConfig, TrainingConfig
from pipeline.console.data import say_data
from pipeline.data.prepare import prepare


@pytest.mark.parametrize(
    ("data", "repeats", "is_said"),
    [
        (DataConfig(name="course_circles"), 3, True),
        (DataConfig(name="course_circles"), 1, False),
        (DataConfig(name="moons"), 3, False),
    ],
)
def test_repeats_on_one_division_are_said_before_training(
    data: DataConfig, repeats: int, is_said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say_data(TrainConfig(data=data, repeats=repeats), prepare(data, tmp_path))
    assert ("the 3 repeats differ in their seeds only: one division" in capsys.readouterr().out) == is_said


@pytest.mark.parametrize(("monitor", "is_said"), [("auto", True), ("dev_cost", True), ("balanced_error", False)])
def test_class_weights_that_are_judged_by_a_measure_of_rows_are_reported(
    monitor: str, is_said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataConfig(name="moons")
    training = TrainingConfig(class_weight="balanced", monitor=monitor)  # type: ignore[arg-type]
    say_data(TrainConfig(data=data, training=training), prepare(data, tmp_path))
    assert ("the kept epoch is judged by dev_cost, which counts rows" in capsys.readouterr().out) == is_said
