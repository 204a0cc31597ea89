from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.arrays import Normalization
from pipeline.data.batches import Examples
from pipeline.training.streams import streams

N_X = 3


def normalization(**changes: object) -> Normalization:
    values = {"fill": np.zeros(N_X), "mean": np.zeros(N_X), "inv_std": np.ones(N_X)}
    return Normalization(**{**values, **changes})  # type: ignore[arg-type]


def numbered(m: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose values tell which row it is, with the row's number modulo 7 as label."""
    return np.arange(m)[:, None] * np.array([1.0, 10.0, 100.0]), np.arange(m) % 7


def small_blocks(rows: int) -> int:
    return rows * N_X * 4


@pytest.mark.parametrize("block_rows", [1000, 10, 4])
@given(m=st.integers(1, 40), batch_size=st.integers(1, 40), seed=st.integers(0, 100))
def test_an_epoch_gives_every_example_once_with_its_label(block_rows: int, m: int, batch_size: int, seed: int) -> None:
    X, y = numbered(50)
    index = np.random.default_rng(seed).permutation(50)[:m]
    examples = Examples(X, y, index, normalization(), resident_bytes=small_blocks(block_rows))
    seen, sizes = [], []
    for batch, labels in examples.batches(batch_size, streams(seed)):
        np.testing.assert_array_equal(batch[0] % 7, labels)
        np.testing.assert_array_equal(batch[2], 100 * batch[0])
        seen += batch[0].astype(int).tolist()
        sizes.append(len(labels))
    assert sorted(seen) == sorted(index.tolist())
    assert sizes == [batch_size] * (m // batch_size) + [m % batch_size] * (m % batch_size > 0)


def test_each_epoch_has_another_order_and_the_seed_decides_it() -> None:
    X, y = numbered(50)
    examples, random, again = Examples(X, y, np.arange(50), normalization()), streams(1), streams(1)
    first, second = ([batch[0].copy() for batch, _ in examples.batches(8, random)] for _ in range(2))
    repeated = [batch[0].copy() for batch, _ in examples.batches(8, again)]
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(repeated))


def test_blocks_of_any_size_give_the_same_batches() -> None:
    X, y = numbered(50)
    whole = Examples(X, y, np.arange(50), normalization())
    pieces = Examples(X, y, np.arange(50), normalization(), resident_bytes=small_blocks(16))
    for (a, a_labels), (b, b_labels) in zip(whole.batches(8, streams(1)), pieces.batches(8, streams(1)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a_labels, b_labels)


def test_batches_lie_in_memory_example_by_example() -> None:
    X, y = numbered(20)
    batch, _ = next(Examples(X, y, np.arange(20), normalization()).batches(8, streams(0)))
    assert batch.shape == (N_X, 8)
    assert batch.flags.f_contiguous
    assert batch.dtype == np.float32


def test_values_are_filled_in_centred_and_scaled_in_float64() -> None:
    X = np.array([[np.nan, 2.0, 1e8 + 1], [3.0, 2.0, 1e8]])
    examples = Examples(
        X,
        np.array([0, 1]),
        np.arange(2),
        normalization(fill=np.array([7.0, 0, 0]), mean=np.array([5.0, 2, 1e8]), inv_std=np.array([0.5, 0.0, 2.0])),
    )
    np.testing.assert_array_equal(examples.head(2)[0], [[1, -1], [0, 0], [2, 0]])


@pytest.mark.parametrize("block_rows", [1000, 4])
def test_evaluation_blocks_are_in_order_and_never_augmented(block_rows: int) -> None:
    X, y = numbered(10)
    examples = Examples(X, y, np.array([9, 1, 4, 3, 7]), normalization(), resident_bytes=small_blocks(block_rows))
    list(examples.batches(2, streams(0), lambda rows, rng: rows + 1000))
    blocks = [(block[0].copy(), labels) for block, labels in examples.blocks()]
    np.testing.assert_array_equal(np.concatenate([values for values, _ in blocks]), [9, 1, 4, 3, 7])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in blocks]), [2, 1, 4, 3, 0])


@pytest.mark.parametrize("batch_size", [4, 10])
def test_augmentation_sees_raw_rows_and_its_own_stream(batch_size: int) -> None:
    X, y = numbered(10)
    seen = []

    def augment(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seen.append(rows.copy())
        return rows + rng.integers(0, 2)

    examples = Examples(X.astype(np.uint16), y, np.arange(10), normalization(mean=np.full(N_X, 5.0)))
    random, untouched = streams(0), streams(0)
    for batch, _ in examples.batches(batch_size, random, augment):
        assert batch.min() >= -5
    rows = np.concatenate(seen)
    assert rows.dtype == np.uint16
    np.testing.assert_array_equal(np.sort(rows[:, 0]), np.arange(10))
    assert random.augmentation.random() != untouched.augmentation.random()
    assert random.dropout.random() == untouched.dropout.random()


def test_one_batch_of_everything_draws_no_order() -> None:
    X, y = numbered(10)
    random, untouched = streams(0), streams(0)
    ((batch, _),) = Examples(X, y, np.arange(10), normalization()).batches(10, random)
    np.testing.assert_array_equal(batch[0], np.arange(10))
    assert random.shuffle.random() == untouched.shuffle.random()


def test_memory_mapped_read_only_integer_rows_are_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.arange(60, dtype=np.uint8).reshape(20, N_X))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    examples = Examples(X, np.zeros(20, np.uint8), np.arange(5, 15), normalization(), resident_bytes=small_blocks(4))
    total = sum(batch.sum() for batch, _ in examples.batches(3, streams(0)))
    assert total == X[5:15].sum()
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy").ravel(), np.arange(60))


@pytest.mark.parametrize(
    ("X", "y", "index", "message"),
    [
        (np.zeros(5), np.zeros(5, int), np.arange(5), r"X must be \(rows, n_x\)"),
        (np.zeros((5, 0)), np.zeros(5, int), np.arange(5), "at least one feature"),
        (np.zeros((5, 3)), np.zeros(4, int), np.arange(5), r"y must be \(5,\)"),
        (np.zeros((5, 3)), np.zeros(5), np.arange(5), "labels must be integers from 0 on, got float64"),
        (np.zeros((5, 3)), np.full(5, -1), np.arange(5), "from -1 on"),
        (np.zeros((5, 3)), np.zeros(5, int), np.arange(0), "must not be empty"),
        (np.zeros((5, 3)), np.zeros(5, int), np.array([0, 5]), r"index must be in 0\.\.4, got 0\.\.5"),
        (np.zeros((5, 3)), np.zeros(5, int), np.array([-1, 0]), r"got -1\.\.0"),
        (np.full((5, 3), np.inf), np.zeros(5, int), np.arange(5), "X must be finite, got inf in feature 0"),
        (np.full((5, 3), 1e39), np.zeros(5, int), np.arange(5), "X must be finite, got inf in feature 0"),
    ],
)
def test_bad_examples_are_refused_with_what_is_wrong(
    X: np.ndarray, y: np.ndarray, index: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Examples(X, y, index, normalization())
