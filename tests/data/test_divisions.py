"""Divisions of repeats: drawn anew from the visible rows, by data.split_seed and the repeat's number alone."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data import divisions
from pipeline.data.arrays import TrialArrays, division_file, load_arrays, read_division
from pipeline.data.normalization import statistics
from pipeline.data.prepare import PreparedData, prepare
from pipeline.data.split import redivide


@pytest.fixture(scope="module")
def config() -> DataConfig:
    return DataConfig(name="breast_cancer", missing="median")


@pytest.fixture
def prepared(config: DataConfig, tmp_path: Path) -> PreparedData:
    return prepare(config, tmp_path)


@pytest.fixture
def arrays(prepared: PreparedData, config: DataConfig) -> TrialArrays:
    divisions.ensure(prepared, config, range(3))
    return load_arrays(prepared.path)


def test_repeat_0_has_the_prepared_division(arrays: TrialArrays, config: DataConfig) -> None:
    assert arrays.division(0) is arrays.folds
    pairs = [(fold.train, fold.dev) for fold in arrays.folds]
    ((train, dev),) = redivide(arrays.y, arrays.classes, config, pairs, 0)
    np.testing.assert_array_equal(train, arrays.folds[0].train)
    np.testing.assert_array_equal(dev, arrays.folds[0].dev)


def test_every_division_has_all_visible_rows_once_in_parts_of_the_same_sizes_and_classes(arrays: TrialArrays) -> None:
    first = arrays.folds[0]
    for number in (1, 2):
        (fold,) = arrays.division(number)
        assert len(fold.dev) == len(first.dev)
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.train, fold.dev])), np.arange(len(arrays.y)))
        assert abs(arrays.y[fold.dev].mean() - arrays.y[first.dev].mean()) < 0.01
    assert len({tuple(arrays.division(number)[0].dev) for number in range(3)}) == 3


def test_statistics_are_of_the_divisions_own_training_rows(arrays: TrialArrays) -> None:
    (fold,) = arrays.division(2)
    own = statistics(np.asarray(arrays.X), fold.train, standardize=True, fill_missing=True)
    for name in ("fill", "mean", "inv_std"):
        np.testing.assert_array_equal(getattr(fold.normalization, name), getattr(own, name))
    assert not np.array_equal(own.mean, arrays.folds[0].normalization.mean)


def test_folds_are_drawn_anew(tmp_path: Path) -> None:
    config = DataConfig(name="breast_cancer", folds=3)
    prepared = prepare(config, tmp_path)
    divisions.ensure(prepared, config, [1])
    arrays = load_arrays(prepared.path)
    again = arrays.division(1)
    assert len(again) == 3
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.dev for fold in again])), np.arange(len(arrays.y)))
    assert {tuple(fold.dev) for fold in again}.isdisjoint({tuple(fold.dev) for fold in arrays.folds})


def test_another_split_seed_gives_other_divisions_and_the_same_one_the_same(config: DataConfig, tmp_path: Path) -> None:
    def first_repeat(split_seed: int, store: str) -> tuple[int, ...]:
        chosen = DataConfig(name="breast_cancer", split_seed=split_seed)
        prepared = prepare(chosen, tmp_path / store)
        divisions.ensure(prepared, chosen, [1])
        return tuple(load_arrays(prepared.path).division(1)[0].dev)

    assert first_repeat(0, "a") == first_repeat(0, "b") != first_repeat(1, "a")


def test_given_dev_rows_leave_one_division_for_all_repeats(tmp_path: Path) -> None:
    config = DataConfig(name="course_circles", test="none")
    assert divisions.is_fixed(config)
    prepared = prepare(config, tmp_path)
    divisions.ensure(prepared, config, [1])
    arrays = load_arrays(prepared.path)
    np.testing.assert_array_equal(arrays.division(1)[0].train, arrays.folds[0].train)
    np.testing.assert_array_equal(arrays.division(1)[0].dev, arrays.folds[0].dev)


def test_a_category_without_training_rows_in_a_division_adds_nothing_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    city = np.where(np.arange(60) < 2, "Bari", rng.choice(["Rome", "Pisa"], 60))
    lines = [f"{x:.3f},{c},{y}" for x, c, y in zip(rng.random(60), city, np.arange(60) % 2, strict=True)]
    (tmp_path / "rare.csv").write_text("\n".join(["x,city,y", *lines]) + "\n")
    config = DataConfig(name="rare", source="file", path=str(tmp_path / "rare.csv"), target="y")
    prepared = prepare(config, tmp_path / "store")
    divisions.ensure(prepared, config, range(12))
    arrays = load_arrays(prepared.path)
    for fold in (arrays.division(number)[0] for number in range(12)):
        in_training = np.asarray(arrays.X)[fold.train, 1:].any(axis=0)
        np.testing.assert_array_equal(fold.normalization.inv_std[1:] > 0, in_training)


def test_a_damaged_division_is_refused_and_made_again(prepared: PreparedData, config: DataConfig) -> None:
    divisions.ensure(prepared, config, [1])
    path = division_file(prepared.path, 1)
    whole = path.read_bytes()
    with np.load(path) as parts:
        changed = {name: parts[name] for name in parts.files}
    changed["mean_0"] = changed["mean_0"] * (1 + 1e-6)
    np.savez(path, **changed)
    read_division.cache_clear()
    with pytest.raises(DataError, match=r"1\.npz is not what was written"):
        load_arrays(prepared.path).division(1)
    divisions.ensure(prepared, config, [1])
    with np.load(path) as parts, np.load(prepared.path / "folds.npz") as before:
        assert not np.array_equal(parts["train_0"], before["train_0"])
        assert not np.array_equal(parts["mean_0"], changed["mean_0"])
    assert len(path.read_bytes()) == len(whole)


def test_a_missing_division_is_named(prepared: PreparedData) -> None:
    with pytest.raises(DataError, match=r"7\.npz cannot be read"):
        load_arrays(prepared.path).division(7)


def test_a_division_that_cannot_be_written_is_reported(prepared: PreparedData, config: DataConfig) -> None:
    (prepared.path / "repeats").touch()
    with pytest.raises(DataError, match=r"1\.npz cannot be written"):
        divisions.ensure(prepared, config, [1])


def test_repeats_without_a_dev_part_are_refused(arrays: TrialArrays, config: DataConfig) -> None:
    from dataclasses import replace

    with pytest.raises(DataError, match="repeats must be 1 without a dev part"):
        divisions.divide(replace(arrays, folds=(arrays.everything,)), config, 1)
