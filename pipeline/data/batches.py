"""Serves examples to a network: normalised, in shuffled mini-batches, in bounded memory.

Augmentation acts on raw rows, before normalisation, and only in `batches`, never in evaluation.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.data.arrays import CACHE_VALUES, Normalization, row_blocks
from pipeline.nn.checks import check_examples

Array = NDArray[Any]
Augment = Callable[[Array, np.random.Generator], Array]
Batch = tuple[Array, Array]
RESIDENT_BYTES = 64 * 2**20  # largest set of which a normalised copy is kept
BLOCK_BYTES = 2**19  # gathered at a time: a few batches, still in the processor's cache when they are multiplied


class RandomStreams(Protocol):
    """The two streams that batches draw from."""

    shuffle: np.random.Generator
    augmentation: np.random.Generator


def normalize(rows: Array, normalization: Normalization, out: Array) -> None:
    """Write (x' - mean) * inv_std into out, where x' is x with missing values filled in, computed in float64.

    rows, out : (b, n_x);  out may be float32
    """
    values = rows.astype(np.float64)
    np.copyto(values, normalization.fill, where=np.isnan(values))
    np.subtract(values, normalization.mean, out=values)
    np.multiply(values, normalization.inv_std, out=out, casting="same_kind")


class Examples:
    """Some rows of a data set, as mini-batches X : (n_x, b) with labels y : (b,).

    A set of up to `resident_bytes` is one block, of which a normalised copy is kept if `keep`, and else made when it is
    needed; of a larger set, smaller blocks are gathered from the raw rows. `keep` changes no bit.
    A batch is a view of a block that the next block overwrites.

    Parameters
    ----------
    X : (rows, n_x)
        All raw rows, perhaps memory-mapped; never written to.
    y : (rows,)
        Labels, integers from 0 on.
    index : (m,)
        The rows that belong to this set.
    """

    def __init__(
        self,
        X: Array,
        y: Array,
        index: Array,
        normalization: Normalization,
        dtype: DTypeLike = np.float32,
        *,
        resident_bytes: int = RESIDENT_BYTES,
        keep: bool = True,
    ) -> None:
        _check_rows(X, y, index)
        self.m, self.n_x = len(index), X.shape[1]
        self.labels = np.asarray(y)[index].astype(np.intp)
        self._X, self._index, self._normalization = X, np.asarray(index), normalization
        self.dtype = np.dtype(dtype)
        row_bytes = self.n_x * self.dtype.itemsize
        self.block_rows = max(1, min(resident_bytes, BLOCK_BYTES) // row_bytes)
        self._block = np.empty((0, self.n_x), self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused here, by name
            self._is_one_block = self.m * row_bytes <= resident_bytes
            self._resident = self._gather(slice(0, self.m)) if keep and self._is_one_block else None
            for block, labels in self.blocks():
                check_examples(block, labels, self.n_x, int(self.labels.max()) + 1)

    def batches(self, batch_size: int, streams: RandomStreams, augment: Augment | None = None) -> Iterator[Batch]:
        """Give every example once, in a new random order; one batch of all needs no order and draws none."""
        if batch_size >= self.m and augment is None and self._is_one_block:
            yield from self.blocks()
            return
        order = streams.shuffle.permutation(self.m)
        block_rows = max(batch_size, self.block_rows // batch_size * batch_size)
        for start in range(0, self.m, block_rows):
            chosen = order[start : start + block_rows]
            block = self.reserve(len(chosen))
            rows, labels = self.choose(chosen, block, streams, augment), self.labels[chosen]
            for i in range(0, len(chosen), batch_size):
                yield rows[i : i + batch_size].T, labels[i : i + batch_size]

    def blocks(self) -> Iterator[Batch]:
        """Give every example once, in the order of the index, never augmented."""
        if self._is_one_block:
            rows = self._gather(slice(0, self.m)) if self._resident is None else self._resident
            yield rows.T, self.labels
            return
        for start in range(0, self.m, self.block_rows):
            part = slice(start, min(start + self.block_rows, self.m))
            yield self._gather(part, self.reserve(part.stop - start)).T, self.labels[part]

    @property
    def kept_bytes(self) -> int:
        """Size of the normalised copy that is kept."""
        return 0 if self._resident is None else self._resident.nbytes

    def head(self, count: int) -> Batch:
        """Give the first `count` examples, in memory of their own."""
        return self._gather(slice(0, count)).T, self.labels[:count]

    def choose(self, chosen: Array, block: Array, streams: RandomStreams, augment: Augment | None = None) -> Array:
        """Gather the chosen examples into a block and return it: (len(chosen), n_x)."""
        if augment is None and self._resident is not None:
            return np.take(self._resident, chosen, axis=0, out=block, mode="clip")
        for piece in row_blocks(len(chosen), self.n_x, CACHE_VALUES):
            rows = self._X[self._index[chosen[piece]]]
            normalize(
                rows if augment is None else augment(rows, streams.augmentation), self._normalization, block[piece]
            )
        return block

    def _gather(self, part: slice, out: Array | None = None) -> Array:
        chosen = self._index[part]
        out = np.empty((len(chosen), self.n_x), self.dtype) if out is None else out
        for piece in row_blocks(len(chosen), self.n_x, CACHE_VALUES):
            normalize(self._X[chosen[piece]], self._normalization, out[piece])
        return out

    def reserve(self, count: int) -> Array:
        """Return the memory that batches are gathered in: (count, n_x), until the next batch."""
        if len(self._block) < count:
            self._block = np.empty((count, self.n_x), self.dtype)
        return self._block[:count]


def side_by_side(sets: Sequence[Examples], batch_size: int, streams: Sequence[RandomStreams]) -> Iterator[Batch]:
    """Give mini-batches of r sets of equal size as stacks, X : (r, n_x, b) and y : (r, b), none of them augmented.

    Each set is shuffled by its own stream, and its batches are those that it gives alone.
    """
    m, first = sets[0].m, sets[0]
    orders = [each.shuffle.permutation(m) for each in streams]
    block_rows = max(batch_size, first.block_rows // len(sets) // batch_size * batch_size)
    block = first.reserve(len(sets) * min(m, block_rows)).reshape(len(sets), -1, first.n_x)
    for start in range(0, m, block_rows):
        chosen = [order[start : start + block_rows] for order in orders]
        count = len(chosen[0])
        for each, rows, which, own in zip(sets, block, chosen, streams, strict=True):
            each.choose(which, rows[:count], own)
        labels = np.array([each.labels[which] for each, which in zip(sets, chosen, strict=True)])
        for i in range(0, count, batch_size):
            yield block[:, i : min(i + batch_size, count)].mT, labels[:, i : i + batch_size]


def _check_rows(X: Array, y: Array, index: Array) -> None:
    if X.ndim != 2 or X.shape[1] == 0:
        raise ValueError(f"X must be (rows, n_x) with at least one feature, got {X.shape}")
    if y.shape != (len(X),):
        raise ValueError(f"y must be ({len(X)},), one label per row, got {y.shape}")
    if len(index) == 0:
        raise ValueError("a set of examples must not be empty")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise ValueError(f"labels must be integers from 0 on, got {y.dtype} from {y.min()} on")
    if np.min(index) < 0 or np.max(index) >= len(X):
        raise ValueError(f"the index must be in 0..{len(X) - 1}, got {np.min(index)}..{np.max(index)}")
