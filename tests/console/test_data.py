"""What is printed about the data before training."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.config.commands import TrainConfig
from pipeline.config.trial import DataConfig, TrainingConfig
from pipeline.console.data import say_data, summary
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


def test_the_summary_says_sizes_task_and_classes(tmp_path: Path) -> None:
    told = summary(prepare(DataConfig(), tmp_path).description)
    classes = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert told.splitlines() == [
        f"digits: 1,797 rows, 64 columns; multi-class: {classes}; train 1,079, dev 359, test 359",
        "always answering 1: dev error 89.97%",
    ]


def test_folds_missing_values_and_notes_are_reported(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"id": range(60), "age": [None, 1.0, 2.0] * 20, "sex": ["f", "m"] * 30, "y": ["a", "b", "b", "a"] * 15}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    fields = {"path": str(tmp_path / "t.csv"), "target": "y", "missing": "median", "folds": 4}
    told = summary(prepare(DataConfig(name="t", source="file", **fields), tmp_path / "store").description)
    assert told.splitlines() == [
        "t: 60 rows, 3 columns as 4 features; binary: a, b; folds 48, test 12 (4 folds)",
        "always answering a: dev error 50.00%",
        "missing values, filled from the training part: age 20",
        "Column 'id' numbers the rows: if that says nothing about the class, data.drop=['id'].",
    ]


def test_one_column_is_written_in_the_singular(tmp_path: Path) -> None:
    told = prepare(DataConfig(), tmp_path).description | {"columns": ["a"], "features": 1}
    assert "rows, 1 column; " in summary(told)
