"""Divides row numbers into training, dev and test parts or folds: stratified, with its own random stream.

Groups of rows that must stay together are divided by `pipeline.data.grouped`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data.arrays import Index
from pipeline.data.grouped import draw_groups, group_folds, require_apart

CAP = 10_000  # examples; a larger dev or test part adds little
_STREAMS = {"test": 0, "dev": 1, "folds": 2, "sample": 3, "given": 4}  # spawn keys; never renumbered


@dataclass(frozen=True)
class Split:
    """Row numbers in ascending order; `pairs` has one (train, dev) for a fixed dev part, or one per fold."""

    pairs: tuple[tuple[Index, Index], ...]
    test: Index

    @property
    def visible(self) -> Index:
        """The rows that a trial may see: (m,)."""
        return np.sort(np.concatenate(self.pairs[0]))


def part_sizes(
    m: int, train: float | None, dev: float | None, test: float | Literal["none", "auto"]
) -> tuple[int, int]:
    """Return the sizes of the dev and the test part of m examples.

    By the rule of the course, dev = test = min(20 % of m, 10,000), or dev = min(30 % of m, 10,000) without a test part,
    rounded down. A ratio given for a part replaces the rule for that part; if `train` is given, the other parts without
    a ratio share the rest.
    """
    wanted = None if test == "auto" else test
    if wanted == "none":
        wanted = 0.0
    if train is not None:
        dev, wanted = _share_rest(train, dev, wanted)
    by_rule = min(m * (3 if test == "none" else 2) // 10, CAP)
    m_dev, m_test = (by_rule if ratio is None else _floor(ratio * m) for ratio in (dev, wanted))
    if m_dev + m_test >= m:
        raise DataError(
            f"data.dev={dev} and data.test={test} leave nothing to train on: dev {m_dev:,} and test {m_test:,}"
            f" of {m:,} examples."
        )
    return m_dev, m_test


def _share_rest(train: float, dev: float | None, test: float | None) -> tuple[float, float]:
    open_parts = (dev is None) + (test is None)
    rest = 1.0 - train - (dev or 0.0) - (test or 0.0)
    if (open_parts == 0 and abs(rest) > 1e-9) or (open_parts and rest <= 1e-9):
        left = ", which leaves nothing for the parts not given (data.test=none: no test part)" * (open_parts > 0)
        raise DataError(
            f"data.train={train:g}, data.dev={dev or 0.0:g} and data.test={test or 0.0:g} must sum to 1,"
            f" but sum to {1.0 - rest:g}{left}."
        )
    return (rest / open_parts if dev is None else dev), (rest / open_parts if test is None else test)


def _floor(size: float) -> int:
    return int(size + 1e-9)


def split(
    y: Index,
    classes: Sequence[str],
    config: DataConfig,
    *,
    given: Index | None = None,
    groups: Index | None = None,
) -> Split:
    """Divide the rows as the configuration says.

    Parameters
    ----------
    y : (m,)
        Class numbers of every row, positions in `classes`.
    given : (m_given,)
        Rows from a separate file for dev and test; all others are for training.
    groups : (m,)
        Numbers of the groups that stay in one part.
    """
    divider = _Divider(y, classes, config, groups)
    everything = np.arange(len(y))
    if given is not None:
        return divider.split_given(np.setdiff1d(everything, given), given)
    if config.folds is not None and (config.dev is not None or config.train is not None):
        raise DataError(f"data.folds={config.folds} takes the place of a dev part: leave data.train and data.dev null.")
    m_dev, m_test = part_sizes(len(y), config.train, config.dev, config.test)
    if config.folds is None:
        divider.require_members(everything, 2 if config.test == "none" else 3, "parts")
    rest, test = divider.cut(everything, m_test, "test")
    if config.folds is not None:
        return Split(divider.folds(rest), test)
    train, dev = divider.cut(rest, m_dev, "dev")
    divider.require_training(train)
    return Split(((train, dev),), test)


def redivide(
    y: Index,
    classes: Sequence[str],
    config: DataConfig,
    pairs: Sequence[tuple[Index, Index]],
    number: int,
    groups: Index | None = None,
) -> tuple[tuple[Index, Index], ...]:
    """Divide the rows of the training and dev parts again, for repeat `number`: stratified, with the same sizes.

    Parameters
    ----------
    y : (m,)
        Class numbers of the rows that trials see.
    pairs
        The division of repeat 0, as positions in y.
    groups : (m,)
        Numbers of the groups that stay in one part.
    """
    divider, rows = _Divider(y, classes, config, groups), np.arange(len(y))
    if config.folds is not None:
        return divider.folds(rows, number)
    random_state = _random_state(config.split_seed, "dev", number)
    train, dev = _draw(y, rows, len(pairs[0][1]), "dev", random_state, groups)
    divider.require_training(train)
    return ((train, dev),)


def sample(y: Index, rows: Index, size: int, seed: int) -> Index:
    """Return a stratified sample of the rows, in ascending order: (size,)."""
    if size > len(rows):
        raise DataError(f"data.examples={size} is more than the {len(rows):,} rows that there are.")
    if size == len(rows):
        return rows
    _, chosen = _draw(y, rows, size, "examples", _random_state(seed, "sample"))
    return chosen


@dataclass(frozen=True)
class _Divider:
    """Divides rows with these class numbers, by a configuration and in whole groups if there are any."""

    y: Index
    classes: Sequence[str]
    config: DataConfig
    groups: Index | None

    def split_given(self, train: Index, given: Index) -> Split:
        """Keep the training rows; the given rows are dev, or dev and test in equal halves or by `dev` and `test`."""
        c = self.config
        if c.folds is not None:
            raise DataError(f"data.folds={c.folds} cannot be used when dev examples are given: they are the dev part.")
        if c.train is not None:
            raise DataError(f"data.train={c.train:g} cannot be used when dev examples are given: all others train.")
        self.require_training(train)
        if self.groups is not None:
            require_apart(self.groups, train, given)
        if c.test == "none":
            return Split(((train, given),), given[:0])
        _, test = _share_rest(0.0, c.dev, None if c.test == "auto" else c.test)
        self.require_members(given, 2, "parts")
        rest, tested = self.cut(given, _floor(test * len(given)), "given")
        return Split(((train, rest),), tested)

    def cut(self, rows: Index, size: int, name: str) -> tuple[Index, Index]:
        """Draw `size` of the rows as a part: (the others, the part)."""
        part = "test" if name == "given" else name
        if size == 0 and (part == "dev" or self.config.test != "none"):
            raise DataError(f"{len(self.y):,} examples are too few: the {part} part would be empty.")
        if size == 0:
            return rows, rows[:0]
        return _draw(self.y, rows, size, part, _random_state(self.config.split_seed, name), self.groups)

    def folds(self, rows: Index, number: int = 0) -> tuple[tuple[Index, Index], ...]:
        """Return train and dev rows of each fold, for repeat `number`."""
        from sklearn.model_selection import StratifiedKFold

        k = self.config.folds or 2
        self.require_members(rows, k, "folds")
        random_state = _random_state(self.config.split_seed, "folds", number)
        if self.groups is not None:
            return group_folds(self.y, self.classes, rows, self.groups, k, random_state=random_state)
        folds = StratifiedKFold(k, shuffle=True, random_state=random_state)
        return tuple((rows[train], rows[dev]) for train, dev in folds.split(rows, self.y[rows]))

    def require_members(self, rows: Index, least: int, what: str) -> None:
        """Refuse a class with fewer rows than there are parts or folds."""
        counts = np.bincount(self.y[rows], minlength=len(self.classes))
        rarest = int(np.argmin(counts))
        if counts[rarest] < least:
            raise DataError(
                f"Class {self.classes[rarest]!r} has {counts[rarest]} example(s), but each of the {least} {what} needs"
                " one; is the target a class, or a number to predict?"
            )

    def require_training(self, train: Index) -> None:
        """Refuse a training part that lacks a class."""
        absent = np.flatnonzero(np.bincount(self.y[train], minlength=len(self.classes)) == 0)
        if absent.size:
            raise DataError(f"Class {self.classes[absent[0]]!r} has no example in the training part.")


def _draw(
    y: Index, rows: Index, size: int, part: str, random_state: Any, groups: Index | None = None
) -> tuple[Index, Index]:
    if groups is not None:
        return draw_groups(y, rows, groups, size, part, random_state=random_state)
    from sklearn.model_selection import train_test_split

    classes = len(np.unique(y[rows]))
    if min(size, len(rows) - size) < classes:
        raise DataError(
            f"{len(rows):,} examples are too few: {classes} classes do not fit into {size:,} for {part}"
            f" and {len(rows) - size:,} for the rest."
        )
    others, chosen = train_test_split(rows, test_size=size, stratify=y[rows], random_state=random_state)
    return np.sort(others), np.sort(chosen)


def _random_state(seed: int, name: str, repeat: int = 0) -> np.random.RandomState:
    """Return a legacy generator for scikit-learn's splitters, one stream per use and repeat, from one seed."""
    spawn_key = (_STREAMS[name], repeat) if repeat else (_STREAMS[name],)
    sequence = np.random.SeedSequence(seed, spawn_key=spawn_key)
    return np.random.RandomState(np.random.MT19937(sequence))
