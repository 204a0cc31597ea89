"""Recognises rows by hashes of their values, so that an opened test part is known again in another table or split.

A cell keeps 16 bits of its value's hash: together enough to tell rows apart, but too few to recover a measured number.
A column with few possible values (a category, an age) can still be looked up.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.config.errors import DataError
from pipeline.data.arrays import row_blocks
from pipeline.data.encoding import MISSING, Recipe
from pipeline.data.prepare import PreparedData
from pipeline.data.store import heldout_meta

Words = npt.NDArray[np.uint64]
Cells = npt.NDArray[np.uint16]
Rows = tuple[npt.NDArray[np.generic], npt.NDArray[np.int64]]
"""Raw rows (m, n_x) and their class numbers (m,)."""

SHARE = 0.1  # share of the rows held out now from which an earlier opening counts
LEVEL = 1e-3  # a match more probable than this by chance proves nothing
_TARGET = "target of the rows"


@dataclass(frozen=True)
class HashedRows:
    """Hashes of some rows.

    Attributes
    ----------
    columns : (n,)
        Hashes of the columns' names; the target comes last, under a name of its own.
    cells : (m, n)
    """

    columns: Words
    cells: Cells


@dataclass(frozen=True)
class Overlap:
    """How many of the rows held out now were in an opened test part, and how many would be by chance."""

    shared: int
    held_out: int
    by_chance: float

    @property
    def is_large(self) -> bool:
        """Whether enough rows are shared for the opening to count."""
        return self.shared >= SHARE * self.held_out > 0

    @property
    def is_certain(self) -> bool:
        """Whether enough rows are shared, and more than repeated rows would give by chance.

        If chance alone shares most rows, nothing can be concluded.
        """
        from scipy.stats import binom

        if not self.is_large or self.by_chance > self.held_out / 2:
            return False
        return bool(binom.sf(self.shared - 1, self.held_out, self.by_chance / self.held_out) < LEVEL)


def hash_rows(rows: Rows, recipe: Recipe) -> HashedRows:
    """Return the hashes of raw rows as `pipeline.data.prepare` writes them."""
    X, y = rows
    columns = [_word(name) for name in [*_names(recipe), _TARGET]]
    cells = np.empty((len(y), len(columns)), np.uint16)
    for block in row_blocks(len(y), X.shape[1]):
        cells[block] = _cells(np.asarray(X[block]), y[block], recipe)
    return HashedRows(np.array(columns, np.uint64), cells)


@dataclass(frozen=True)
class PresentRows:
    """The rows of a data set: hashes of those held out, and the others, which are read only to estimate chance."""

    held_out: HashedRows
    parts: Sequence[Rows]
    recipe: Recipe

    def overlap(self, opened: HashedRows) -> Overlap:
        """Compare the rows held out now with an opened test part, by the columns that both have.

        Chance is estimated from the present data: n opened rows from the same population would hold a copy of a row
        that occurs k times among all M with probability 1 - (1 - (k - 1) / (M - 1))^n; one extra pair of
        equal rows is assumed, since a small sample may show no repetition.
        """
        common = np.intersect1d(self.held_out.columns, opened.columns)
        m = len(self.held_out.cells)
        if len(common) < 2:  # the target alone does not identify rows
            return Overlap(0, m, 0.0)
        keys = _keys(self.held_out, common)
        found = Overlap(int(np.isin(keys, _keys(opened, common)).sum()), m, 0.0)
        if not found.is_large:
            return found
        everything = np.concatenate([_keys(hashed, common) for hashed in self._in_blocks()])
        M, (_, k) = len(everything), np.unique(everything, return_counts=True)
        equal = np.minimum((k - 1 + 2 / M) / (M - 1), 1.0)  # of each distinct row, to another one
        by_chance = float(k @ (1 - (1 - equal) ** len(opened.cells))) / M
        return Overlap(found.shared, m, m * by_chance)

    def _in_blocks(self) -> Iterator[HashedRows]:
        for X, y in self.parts:
            for block in row_blocks(len(y), X.shape[1]):
                yield hash_rows((X[block], y[block]), self.recipe)


def present_rows(prepared: PreparedData) -> PresentRows:
    """Return the rows of prepared data, to compare with those of openings.

    Raises
    ------
    DataError
        The test rows are not those that were written.
    """
    try:
        heldout_meta(prepared.heldout)
        held_out = _mapped(prepared.heldout)
        parts = (_mapped(prepared.path), held_out)
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise DataError(f"The rows of {prepared.description['name']} cannot be read: {error}.") from None
    return PresentRows(hash_rows(held_out, prepared.recipe), parts, prepared.recipe)


def _mapped(directory: Path) -> Rows:
    X = np.load(directory / "X.npy", mmap_mode="r", allow_pickle=False)
    return X, np.load(directory / "y.npy", allow_pickle=False)


def _names(recipe: Recipe) -> list[str]:
    """Return the names of the feature columns; those of one array are named by position, `X[0]`, `X[1]` and so on."""
    names = [str(column["name"]) for column in recipe["columns"]]
    found = [re.fullmatch(r"(.*)(\[\d+\])", name) for name in names]
    arrays = {match[1] if match else None for match in found}
    return [match[2] for match in found if match] if len(arrays) == 1 and None not in arrays else names


def _cells(X: npt.NDArray[np.generic], y: npt.NDArray[np.int64], recipe: Recipe) -> Cells:
    """Return the cells of each column and the target; categories are hashed as text, numeric texts as numbers."""
    hashed, at = [], 0
    for column in recipe["columns"]:
        categories = column.get("categories")
        if categories is None:
            hashed.append(_of_numbers(X[:, at].astype(np.float64)))
            at += 1
        else:
            codes = np.column_stack([X[:, at : at + len(categories)] != 0, np.ones(len(X), bool)]).argmax(axis=1)
            hashed.append(_of_texts([*categories, "(unseen)"])[codes])
            at += len(categories)
    return np.column_stack([*hashed, _of_texts(recipe["classes"])[y]])


def _of_numbers(values: npt.NDArray[np.float64]) -> Cells:
    """(m,) -> (m,); there is one hash of a missing value, and 0 and -0 have the same."""
    plain = np.where(np.isnan(values), np.nan, values + 0.0)
    cells: Cells = (_mixed(plain.view(np.uint64)) >> np.uint64(48)).astype(np.uint16)
    return cells


def _of_texts(texts: Sequence[str]) -> Cells:
    return np.array([_of_text(text) for text in texts], np.uint16)


def _of_text(text: str) -> int:
    try:
        number = np.nan if text == MISSING else float(text)
    except ValueError:
        return _word(text) >> 48
    return int(_of_numbers(np.array([number]))[0])


def _keys(rows: HashedRows, columns: Words) -> Words:
    """Return a 64-bit hash of each row over some columns, independent of their order: (m,)."""
    position = {name: j for j, name in enumerate(rows.columns.tolist())}
    keys = np.zeros(len(rows.cells), np.uint64)
    for name in columns.tolist():
        keys += _mixed(rows.cells[:, position[name]].astype(np.uint64) ^ np.uint64(name))
    return keys


def _mixed(words: Words) -> Words:
    """Mix each word by SplitMix64's finaliser (Steele, Lea and Flood, 2014), modulo 2^64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _word(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
