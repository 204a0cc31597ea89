"""Held-out rows are recognised by their values, whatever else in the table has changed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data.prepare import prepare
from pipeline.data.recognition import Overlap, PresentRows, present_rows

Compare = Callable[..., Overlap]
WORDS = ["red", "green", "blue"]


def measurements(seed: int = 0, m: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(m, 3)), columns=["height", "width", "weight"])
    table["colour"] = rng.choice(WORDS, m)
    table["label"] = np.where(table.height + 0.3 * rng.normal(size=m) > 0, "yes", "no")
    return table.assign(id=np.arange(m))


def ones_and_zeros(seed: int, columns: int = 5, m: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.integers(0, 2, (m, columns)), columns=[f"x{j}" for j in range(columns)])
    return table.assign(label=rng.integers(0, 2, m))


def rows_of(folder: Path, table: pd.DataFrame, given: pd.DataFrame | None = None, **config: object) -> PresentRows:
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "table.csv", index=False)
    if given is not None:
        given.to_csv(folder / "given.csv", index=False)
        config["given"] = str(folder / "given.csv")
    plain = DataConfig(name="file", source="file", path=str(folder / "table.csv"), target="label", **config)  # type: ignore[arg-type]
    return present_rows(prepare(plain, folder / "store"))


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """How many of the second table's held-out rows were in the first one's."""

    def run(opened: dict[str, object], now: dict[str, object]) -> Overlap:
        first, second = rows_of(tmp_path / "1", **opened), rows_of(tmp_path / "2", **now)  # type: ignore[arg-type]
        return second.overlap(first.held_out)

    return run


def test_all_rows_are_recognised_after_a_column_is_dropped(compare: Compare) -> None:
    found = compare({"table": measurements()}, {"table": measurements(), "drop": ["id"]})
    assert (found.shared, found.held_out) == (40, 40)
    assert found.by_chance < 0.2
    assert found.is_certain


def test_and_after_a_column_is_deleted_in_the_file(compare: Compare) -> None:
    assert compare({"table": measurements()}, {"table": measurements().drop(columns="weight")}).shared == 40


def test_and_after_columns_change_places(compare: Compare) -> None:
    assert compare({"table": measurements()}, {"table": measurements()[measurements().columns[::-1]]}).shared == 40


def test_and_beside_a_changed_training_row(compare: Compare) -> None:
    given, changed = measurements(seed=1, m=80), measurements()
    changed.loc[0, "height"] = 9.0
    found = compare({"table": measurements(), "given": given}, {"table": changed, "given": given})
    assert (found.shared, found.held_out) == (40, 40)


def test_and_in_a_column_that_a_changed_row_turned_into_text(compare: Compare) -> None:
    table = measurements()
    table["weight"] = table.weight.round(1)
    changed = table.astype({"weight": object})
    changed.loc[0, "weight"] = "heavy"
    found = compare({"table": table, "given": table[:80]}, {"table": changed, "given": table[:80]})
    assert found.shared >= 30  # texts that no training row has are all alike


def test_another_split_shows_the_rows_that_both_hold_out(compare: Compare) -> None:
    found = compare({"table": measurements()}, {"table": measurements(), "split_seed": 1})
    assert 2 <= found.shared <= 16  # a fifth of 40, give or take
    assert found.is_certain == (found.shared >= 4)


def test_other_measurements_of_the_same_columns_are_other_rows(compare: Compare) -> None:
    found = compare({"table": measurements().drop(columns="id")}, {"table": measurements(seed=1).drop(columns="id")})
    assert found.shared == 0
    assert not found.is_large


def test_the_same_features_with_another_target_are_other_rows(compare: Compare) -> None:
    other = measurements()
    other["label"] = np.where(other.label == "yes", "no", "yes")
    assert compare({"table": measurements()}, {"table": other}).shared == 0


@pytest.mark.parametrize("columns", [3, 5, 8, 12])
@pytest.mark.parametrize("seed", range(4))
def test_two_unrelated_tables_of_zeros_and_ones_do_not_match(compare: Compare, columns: int, seed: int) -> None:
    found = compare({"table": ones_and_zeros(seed, columns)}, {"table": ones_and_zeros(100 + seed, columns)})
    assert not found.is_certain
    if columns == 3:  # most rows are shared, as chance would have it
        assert found.is_large
        assert found.by_chance > 0.5 * found.shared


def test_arrays_without_column_names_are_compared_by_position(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 4)), rng.integers(0, 2, 100)
    found = []
    for name in ("X", "pixels"):
        np.savez(tmp_path / f"{name}.npz", **{name: X, "label": y})
        config = DataConfig(name="file", source="file", path=str(tmp_path / f"{name}.npz"), target="label")
        found.append(present_rows(prepare(config, tmp_path / "store")))
    assert found[1].overlap(found[0].held_out).shared == 20


def test_hashes_take_two_bytes_a_value_and_hold_none(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "1", measurements())
    assert rows.held_out.cells.dtype == np.uint16
    assert rows.held_out.cells.shape == (40, 6)
    assert set(rows.held_out.columns.dtype.str[1:]) <= set("u8")


def test_damaged_test_rows_are_refused(tmp_path: Path) -> None:
    config = DataConfig(name="circles", examples=100)
    prepared = prepare(config, tmp_path)
    (prepared.heldout / "y.npy").write_bytes(b"torn")
    with pytest.raises(DataError, match="cannot be read"):
        present_rows(prepared)
