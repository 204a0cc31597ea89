"""Groups of rows stay in one part, in one fold, and in one part of every repeat."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data import divisions
from pipeline.data.arrays import Fold, load_arrays
from pipeline.data.grouped import draw_groups, group_numbers
from pipeline.data.prepare import PreparedData, prepare
from pipeline.data.store import read_groups


def patients(count: int = 60, seed: int = 0) -> pd.DataFrame:
    """One to nine rows of each patient, whose label is the patient's."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(count), rng.integers(1, 10, count))
    table = pd.DataFrame(rng.normal(size=(len(patient), 2)), columns=["a", "b"])
    sick = rng.permutation(np.arange(count) % 3 == 0)
    return table.assign(patient=[f"p{n}" for n in patient], y=np.where(sick[patient], "sick", "well"))


def prepared(folder: Path, table: pd.DataFrame, given: pd.DataFrame | None = None, **fields: Any) -> PreparedData:
    table.to_csv(folder / "t.csv", index=False)
    if given is not None:
        given.to_csv(folder / "g.csv", index=False)
        fields["given"] = str(folder / "g.csv")
    return prepare(config_of(folder, **fields), folder / "store")


def config_of(folder: Path, **fields: Any) -> DataConfig:
    return DataConfig(**{"name": "t", "source": "file", "path": str(folder / "t.csv"), "target": "y"} | fields)


def parts(data: PreparedData, table: pd.DataFrame, fold: Fold) -> list[pd.DataFrame]:
    """The source's rows in train, dev and test."""
    visible, test = np.load(data.path / "rows.npy"), np.load(data.heldout / "rows.npy")
    return [table.iloc[visible[fold.train]], table.iloc[visible[fold.dev]], table.iloc[test]]


def assert_whole(columns: list["pd.Series[Any]"]) -> None:
    seen = [set(column) for column in columns]
    for k, first in enumerate(seen):
        assert all(not first & second for second in seen[k + 1 :])


@pytest.mark.parametrize("split_seed", range(3))
@pytest.mark.parametrize("folds", [None, 4])
def test_a_patient_is_in_one_part_in_every_fold_and_repeat(tmp_path: Path, split_seed: int, folds: int | None) -> None:
    table = patients()
    data = prepared(tmp_path, table, group="patient", split_seed=split_seed, folds=folds)
    config = config_of(tmp_path, group="patient", split_seed=split_seed, folds=folds)
    divisions.ensure(data, config, range(3))
    arrays = load_arrays(data.path)
    drawn = set()
    for number in range(3):
        for fold in arrays.division(number):
            three = parts(data, table, fold)
            assert_whole([part.patient for part in three])
            assert sum(map(len, three)) == len(table)
            drawn.add(tuple(fold.dev))
            if folds is None:
                for part in three[1:]:
                    assert abs(len(part) - 0.2 * len(table)) <= 5
                    assert abs((part.y == "sick").mean() - (table.y == "sick").mean()) < 0.1
    assert len(drawn) == 3 * (folds or 1)


def test_the_group_is_no_feature(tmp_path: Path) -> None:
    data = prepared(tmp_path, patients(), group="patient")
    assert data.description["columns"] == ["a", "b"]
    assert [column["name"] for column in data.recipe["columns"]] == ["a", "b"]
    assert any(
        "60 groups of" in note and "rows of one patient stay in one part" in note for note in data.description["notes"]
    )


def test_equal_rows_stay_in_one_part(tmp_path: Path) -> None:
    table = patients().drop(columns="patient")
    twice = pd.concat([table, table[::2], table[::2]]).sample(frac=1, random_state=0, ignore_index=True)
    data = prepared(tmp_path, twice, deduplicate=True)
    divisions.ensure(data, config_of(tmp_path, deduplicate=True), range(3))
    for number in range(3):
        (fold,) = load_arrays(data.path).division(number)
        assert_whole([part.a for part in parts(data, twice, fold)])
    assert not any("Exact duplicates" in note for note in data.description["notes"])


def test_equal_rows_of_two_patients_keep_both_patients_together(tmp_path: Path) -> None:
    table = patients()
    table.loc[table.index[-1], ["a", "b", "y"]] = table.loc[0, ["a", "b", "y"]]
    data = prepared(tmp_path, table, group="patient", deduplicate=True)
    groups = read_groups(data.path)
    assert groups is not None
    joined = table.patient.replace(table.patient.iloc[-1], "p0")
    assert_whole(
        [
            part.patient.map(dict(zip(table.patient, joined, strict=True)))
            for part in parts(data, table, load_arrays(data.path).folds[0])
        ]
    )


def test_groups_are_the_connected_ones() -> None:
    first, second = np.array([0, 0, 1, 2, 3, 4]), np.array([9, 8, 8, 7, 7, 6])
    numbers = group_numbers(first, second)
    assert [np.flatnonzero(numbers == n).tolist() for n in sorted(set(numbers))] == [[0, 1, 2], [3, 4], [5]]


def test_without_groups_nothing_is_kept_and_the_digest_stays(tmp_path: Path) -> None:
    data = prepare(DataConfig(), tmp_path)
    assert read_groups(data.path) is None
    assert data.digest == "c66c1ddd94f0d2b5246388f989ad6b33"  # of 0.2.0


def test_given_rows_keep_their_groups_between_dev_and_test(tmp_path: Path) -> None:
    table, given = patients(), patients(seed=1)
    given["patient"] = "g" + given.patient
    data = prepared(tmp_path, table, given, group="patient")
    both = pd.concat([table, given], ignore_index=True)
    assert_whole([part.patient for part in parts(data, both, load_arrays(data.path).folds[0])])


def test_a_group_in_both_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\d+ rows of data.given belong to groups .* that data.path has too"):
        prepared(tmp_path, patients(), patients(seed=1), group="patient")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group": "nobody"}, r"data.group='nobody' must be a column besides the target"),
        ({"group": "half"}, r"data.group='half' must name a group for every row, but \d+ rows have none"),
        ({"group": "two"}, r"2 groups that are not divided are too few or too large: the test part should have \d+"),
        (
            {"group": "two", "folds": 3, "test": "none"},
            r"needs every class in 3 groups or more, but class 'sick' is in",
        ),
    ],
)
def test_groups_that_cannot_be_used_are_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    table = patients()
    two = np.where(np.arange(len(table)) < 10, "u", "v")
    half = [None if n % 2 else "h" for n in range(len(table))]
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, table.drop(columns="patient").assign(half=half, two=two), missing="median", **fields)


def test_the_division_closest_to_the_wanted_size_and_classes_is_taken() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 4)
    y = (rng.random(50) < 0.2).astype(np.int64)[groups]
    others, part = draw_groups(y, np.arange(200), groups, 40, "dev", random_state=np.random.RandomState(0))
    assert len(part) == 40
    assert abs(y[part].mean() - y.mean()) < 0.03
    np.testing.assert_array_equal(np.sort(np.concatenate([others, part])), np.arange(200))
