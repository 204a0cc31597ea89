"""An exported folder is complete, is read by other programs, and is a record again."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from pipeline.config.errors import RecordError
from pipeline.tracking.export import CSV, PARQUET, REPORT, export, metrics_table, rerun_command
from pipeline.tracking.files import digests
from pipeline.tracking.reading import read_folder
from pipeline.trials.record import TrialRecord

MakeRecord = Callable[..., TrialRecord]


def test_an_exported_folder_is_a_record_again(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record()
    folder = export(record, tmp_path / "out", kind="trial", name="trial-0007", run_id="ab" * 16)
    assert digests(read_folder(folder)) == digests(record)
    text = (folder / REPORT).read_text()
    assert "ab" * 16 in text
    assert "c0ffee" in text
    assert "sweep-pipeline rerun run=out\n" in text
    assert "Only recorded" in text


def test_the_csv_gives_every_bit_back_and_the_parquet_too(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(fit_curves=[{"dev_cost": np.array([0.1, 1 / 3])}])
    record.curves["dev_cost"][-1] = np.inf
    folder = export(record, tmp_path, kind="train", name="train")
    with (folder / CSV).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3", "4", "5", "6"]
    assert [float(row["dev_cost"]) for row in rows] == record.curves["dev_cost"].tolist()
    assert rows[0]["train_cost_penalized"] == ""
    assert [row["fold 1/dev_cost"] for row in rows[:3]] == ["0.1", repr(1 / 3), ""]
    table = pyarrow.parquet.read_table(folder / PARQUET)
    assert table["train_cost"].to_pylist() == record.curves["train_cost"].tolist()
    assert table.num_rows == 7


def test_the_only_fit_of_a_trial_has_no_curves_beside_the_trials_own(make_record: MakeRecord) -> None:
    fit = {"repeat": 0, "fold": None, "outcome": "completed", "reason": "", "epochs": 6, "summary": {}}
    record = make_record(fits=[fit])
    names, rows = metrics_table(record)
    assert names == ["epoch", *record.curves]
    assert rows.shape == (7, len(names))


def test_a_folder_with_other_files_is_not_written_into(make_record: MakeRecord, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RecordError, match="holds other files"):
        export(make_record(), tmp_path, kind="train", name="train")


def test_an_earlier_export_may_be_replaced(make_record: MakeRecord, tmp_path: Path) -> None:
    export(make_record(0), tmp_path, kind="train", name="train")
    export(make_record(1), tmp_path, kind="train", name="train")
    assert read_folder(tmp_path).config["seed"] == 1


def test_a_failed_run_can_be_exported(make_record: MakeRecord, tmp_path: Path) -> None:
    export(make_record(outcome="failed", curves={}, parameters={}), tmp_path, kind="trial", name="trial-0001")
    assert read_folder(tmp_path).outcome == "failed"


def test_the_next_command_of_an_export_allows_data_that_are_not_built_in(make_record: MakeRecord) -> None:
    record = make_record()
    assert rerun_command(record, Path("out")) == "make rerun RUN=out"
    record.config["data"]["source"] = "file"
    assert rerun_command(record, Path("my out")) == "make rerun RUN='my out' ARGS=allow_path=true"
