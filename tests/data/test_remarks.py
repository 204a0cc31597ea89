from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.commands import preflight as command
from pipeline.config.commands import TrainConfig
from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.config.validation import parse
from pipeline.console.data import summary
from pipeline.data.arrays import load_arrays
from pipeline.data.prepare import prepare
from pipeline.data.remarks import of_pixels, of_the_dev_part, row_keys, rows_in_two_parts
from pipeline.data.split import Split
from pipeline.trials.checklist import PreflightReport, Row


def table(m: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    features = pd.DataFrame(rng.normal(size=(m, 3)), columns=["a", "b", "c"])
    return features.assign(y=rng.choice(["no", "yes"], m))


def config_of(folder: Path, frame: pd.DataFrame, **fields: object) -> DataConfig:
    frame.to_csv(folder / "t.csv", index=False)
    return DataConfig(name="t", source="file", path=str(folder / "t.csv"), target="y", **fields)  # type: ignore[arg-type]


def told(folder: Path, frame: pd.DataFrame, **fields: object) -> list[str]:
    return summary(prepare(config_of(folder, frame, **fields), folder / "store").description).splitlines()[1:]


def described(train: list[int], dev: list[int]) -> dict[str, Any]:
    """The part of a description that is about classes."""
    counts = {"train": train, "dev": dev}
    return {"class_counts": counts, "classes": ["no", "yes"], "examples": {part: sum(n) for part, n in counts.items()}}


def test_the_error_of_the_commonest_class_stands_beside_the_dev_rows() -> None:
    assert of_the_dev_part(described([9, 5], [700, 300])) == ["always answering no: dev error 30.00%"]


def test_where_it_is_small_the_ways_to_judge_and_train_classes_alike_are_reported() -> None:
    said = of_the_dev_part(described([9, 5], [990, 10]))
    assert said[0] == "always answering no: dev error 1.00%"
    assert "study.objective=balanced_error" in said[1]
    assert "training.class_weight=balanced" in said[1]


def test_with_few_dev_rows_the_size_of_one_error_is_reported() -> None:
    assert of_the_dev_part(described([1, 2], [57, 56]))[1:] == [
        "113 dev rows: one error is 0.9 points; data.folds or repeats judge on more"
    ]


def test_an_ordinary_table_gets_no_further_remarks(tmp_path: Path) -> None:
    assert [line.split(":")[0] for line in told(tmp_path, table())] == ["always answering yes", "60 dev rows"]


def test_rows_that_stand_in_two_parts_are_counted(tmp_path: Path) -> None:
    twice = pd.concat([table(150), table(150)])
    (line,) = (line for line in told(tmp_path, twice) if line.startswith("Exact duplicates"))
    prepared = prepare(config_of(tmp_path, twice), tmp_path / "store")
    arrays, test = load_arrays(prepared.path), np.load(prepared.heldout / "X.npy")
    rows = {
        name: {row.tobytes() for row in arrays.X[index]}
        for name, index in vars(arrays.folds[0]).items()
        if name != "normalization"
    }
    dev = sum(row.tobytes() in rows["train"] for row in arrays.X[arrays.folds[0].dev])
    tested = sum(row.tobytes() in rows["train"] for row in test)
    both = sum(row.tobytes() in rows["dev"] for row in test)
    assert min(dev, tested, both) > 0
    assert line.startswith(
        f"Exact duplicates: {dev} dev rows also stand in train; {tested} test rows also stand in train; "
        f"{both} test rows also stand in dev."
    )


def test_rows_that_repeat_among_the_folds_are_counted(tmp_path: Path) -> None:
    said = "\n".join(told(tmp_path, pd.concat([table(100), table(100)]), test="none", folds=4))
    assert "Exact duplicates: 100 of the folds' rows repeat others." in said


@pytest.mark.parametrize("name", range(20))
def test_rows_are_equal_only_if_they_are_in_every_column_and_the_class(name: int) -> None:
    features = pd.DataFrame(np.zeros((4, 20)))
    features.loc[1, name] = 1.0
    keys = row_keys(features, np.array([0, 0, 0, 1]))
    assert keys[0] == keys[2]
    assert len({*keys.tolist()}) == 3


def test_equal_features_of_different_classes_are_no_duplicates(tmp_path: Path) -> None:
    other = table().assign(y=np.where(table().y == "no", "yes", "no"))
    assert "Exact duplicates" not in "\n".join(told(tmp_path, pd.concat([table(), other])))


@pytest.mark.parametrize("kind", ["number", "category", "flag"])
def test_a_column_that_alone_gives_the_class_away_is_named(tmp_path: Path, kind: str) -> None:
    y, rng = table().y, np.random.default_rng(1)
    leak = {
        "number": np.where(y == "yes", 3.0, 0.0) + rng.random(300),
        "category": np.where(y == "yes", rng.choice(["p", "q"], 300), rng.choice(["r", "s"], 300)),
        "flag": (y == "yes").astype(int),
    }[kind]
    lines = [line for line in told(tmp_path, table().assign(leak=leak)) if "gives the class away" in line]
    assert lines == [
        "Column 'leak' alone gives the class away: it tells 100.0% of 180 training rows; "
        "if it is not known before the class is, data.drop=['leak']."
    ]


def test_a_text_that_differs_in_every_row_does_not_give_the_class_away(tmp_path: Path) -> None:
    named = table(100).assign(name=[f"person {i}" for i in range(100)])
    assert "gives the class away" not in "\n".join(told(tmp_path, named, max_categories=1000))


def test_percentages_read_as_categories_are_reported(tmp_path: Path) -> None:
    rates = table().assign(rate=[f"{i % 7}.5 %" for i in range(300)])
    assert "Column 'rate' holds percentages such as '0.5 %', read as 7 categories: write them as numbers." in told(
        tmp_path, rates
    )


@pytest.mark.parametrize("text", ["2024-03-{:02}", "{}/3/2024", "2024-03-{:02}T12:30:00Z"])
def test_dates_of_a_csv_are_refused_as_those_of_a_parquet_file_are(tmp_path: Path, text: str) -> None:
    dated = table().assign(when=[text.format(1 + i % 28) for i in range(300)])
    with pytest.raises(DataError, match="Column 'when' holds dates; turn it into numbers, or leave it out"):
        told(tmp_path, dated)


def test_versions_and_fractions_are_no_dates(tmp_path: Path) -> None:
    told(
        tmp_path,
        table().assign(version=[f"1.{i % 3}.0" for i in range(300)], score=[f"{i % 5}/10" for i in range(300)]),
    )


def test_columns_that_look_like_pixels_are_told_what_helps_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = pd.DataFrame(rng.integers(0, 256, (200, 16))).assign(y=rng.choice(["a", "b"], 200))
    arrays = load_arrays(prepare(config_of(tmp_path, pixels), tmp_path / "store").path)
    assert of_pixels(arrays, False, augmented=True) == [
        "The columns look like the pixels of 4×4 images; say data.image_shape=[4, 4].",
        "Pixels that are not scaled hardly train: data.standardize=pixels subtracts one mean for all.",
    ]
    counts = load_arrays(prepare(config_of(tmp_path, table()), tmp_path / "store").path)
    assert of_pixels(counts, True, augmented=False) == []


def test_preflight_says_so_for_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "run_checks", lambda *_, **__: PreflightReport([Row("gradients", "good", "")]))
    plain = {"tracking": {"store": str(tmp_path), "code_diff": False}}
    command.preflight(parse(TrainConfig, plain))
    shown = " ".join(capsys.readouterr().out.split())
    assert "data.standardize=pixels treats all pixels of these images alike" in shown
    assert "augmentation=digits helps images" in shown


def test_a_wide_table_is_prepared_without_a_warning_of_pandas(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)  # warnings are errors in tests
    wide = pd.DataFrame(rng.normal(size=(60, 150)), columns=[f"x{k}" for k in range(150)])
    assert told(tmp_path, wide.assign(y=rng.choice(["no", "yes"], 60)))


def test_one_row_that_stands_in_two_parts_is_written_in_the_singular() -> None:
    rows = [np.array([0, 1]), np.array([2]), np.array([3])]
    split = Split(pairs=((rows[0], rows[1]),), test=rows[2])
    keys = np.array([1, 2, 2, 9], dtype=np.uint64)
    (line,) = rows_in_two_parts(keys, split)
    assert line.startswith("Exact duplicates: 1 dev row also stands in train. ")
