"""Checks and types a source: feature columns, class numbers, the rows for dev and test, and a digest."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data.arrays import Index
from pipeline.data.encoding import (
    PERCENTAGE,
    Recipe,
    as_text,
    column_kind,
    feature_names,
    infinite_values,
    learn_columns,
    missing_values,
    natural_order,
    not_numbers,
    number_blocks,
    number_columns,
    pick,
    some,
    text_columns,
    too_large,
    typed_columns,
    unseen,
)
from pipeline.data.grouped import group_numbers
from pipeline.data.remarks import row_keys, rows_in_two_parts, telling_columns
from pipeline.data.split import sample
from pipeline.data.tables import Source, Table, refuse_duplicates

if TYPE_CHECKING:
    from pipeline.data.split import Split


@dataclass(frozen=True)
class Labelled:
    """The examples of a source, with those given for dev and test last.

    Attributes
    ----------
    features
        Typed columns of every row.
    y : (m,)
        Class numbers, positions in `classes`.
    rows : (m,)
        Number of each row in the source, continued through the given examples.
    given
        Rows that dev and test are drawn from, or None.
    groups : (m,)
        Numbers of the groups that stay in one part, or None.
    """

    features: "pd.DataFrame"
    y: Index
    classes: list[str]
    rows: Index
    given: Index | None
    groups: Index | None
    image_shape: tuple[int, ...] | None
    source_digest: str
    notes: list[str]

    def recipe(self, parts: "Split", config: DataConfig) -> Recipe:
        """Return how raw columns become X, with the categories of the training part (or of all folds)."""
        train = parts.pairs[0][0] if config.folds is None else parts.visible
        columns = learn_columns(self.features, train, max_categories=config.max_categories)
        recipe: Recipe = {"format": 1, "columns": columns, "target": config.target, "classes": self.classes}
        recipe |= {
            "missing": config.missing,
            "image_shape": None if self.image_shape is None else list(self.image_shape),
        }
        return recipe

    def description(self, parts: "Split", recipe: Recipe, config: DataConfig) -> dict[str, Any]:
        """Return plain values about the data for tracking."""
        counted = {"train": parts.pairs[0][0], "dev": parts.pairs[0][1], "test": parts.test}
        if config.folds is not None:
            counted = {"folds": parts.visible, "test": parts.test}
        return {
            "name": config.name,
            "source": config.source,
            "rows": len(self.y),
            "columns": [str(name) for name in self.features],
            "features": len(feature_names(recipe)),
            "task": "binary" if len(self.classes) == 2 else "multi-class",
            "classes": self.classes,
            "examples": {part: len(rows) for part, rows in counted.items()},
            "class_counts": {part: self._counts(rows) for part, rows in counted.items()},
            "folds": config.folds,
            "split_seed": config.split_seed,
            "categories": {c["name"]: len(c["categories"]) for c in recipe["columns"] if "categories" in c},
            "missing": {str(name): int(n) for name, n in self.features.isna().sum().items() if n},
            "unseen_in_dev": self._unseen_in_dev(parts, config),
            "notes": self.notes + self._remarks(parts),
            "source_digest": self.source_digest,
        }

    def _remarks(self, parts: "Split") -> list[str]:
        """Return remarks: rows in two parts, and, except for images, columns that give the class away."""
        remarks = rows_in_two_parts(row_keys(self.features, self.y), parts)
        if self.image_shape is None:
            remarks += telling_columns(self.features, self.y, parts.pairs[0][0])
        return remarks

    def _unseen_in_dev(self, parts: "Split", config: DataConfig) -> dict[str, int]:
        """Count the dev examples, over all folds, with a category that their training part lacks, by column."""
        counts, text = Counter[str](), self.features[text_columns(self.features)]
        for train, dev in parts.pairs:
            columns = learn_columns(text, train, max_categories=config.max_categories)
            counts.update(unseen({"columns": columns}, text.iloc[dev]))
        return dict(counts)

    def _counts(self, rows: Index) -> list[int]:
        counts: list[int] = np.bincount(self.y[rows], minlength=len(self.classes)).tolist()
        return counts


def label(source: Source, config: DataConfig) -> Labelled:
    """Check and type a source, number its classes, and draw the configured sample."""
    tables = [_without(source.table, config.drop), *([source.given] if source.given else [])]
    named = _groups(tables, config.group)
    if config.group is not None:
        tables[0] = _without(tables[0], [config.group])
    features, labels = _features(tables, config), _labels(tables)
    classes = natural_order(labels)
    _require_classes(classes, labels, tables[0].target.name)
    y = pd.Categorical(labels, categories=classes).codes.astype(np.int64)
    own, given = np.split(np.arange(len(y)), [len(tables[0].target)])
    if config.examples is not None:
        own = sample(y, own, config.examples, config.split_seed)
    rows = np.concatenate([own, given])
    kept = [*named, *([_equal_rows(features, y)] if config.deduplicate else [])]
    groups = group_numbers(*(label[rows] for label in kept)) if kept else None
    return Labelled(
        features=features if len(rows) == len(y) else features.iloc[rows].reset_index(drop=True),
        y=y[rows],
        classes=classes,
        rows=rows,
        given=np.arange(len(own), len(rows)) if source.given is not None else None,
        groups=groups,
        image_shape=_image_shape(features, config, source.image_shape),
        source_digest=_digest(features, labels),
        notes=source.notes + _notes(features) + _of_groups(groups, config),
    )


def _without(table: Table, drop: list[str]) -> Table:
    """Return the table without the columns to drop, after checking that its names are unique."""
    refuse_duplicates([str(name) for name in table.features])
    unknown = [name for name in drop if name not in table.features]
    if unknown:
        raise DataError(f"data.drop names {some(unknown)}, which is not a feature column.")
    features = table.features.drop(columns=drop) if drop else table.features
    if not len(table.target) or not features.shape[1]:
        raise DataError(f"The data set has {len(table.target):,} rows and {features.shape[1]:,} feature columns.")
    for name in features:
        if str(name).startswith("Unnamed: "):
            raise DataError(f"A column has no name (number {str(name)[9:]} from 0): name it, or data.drop=['{name}'].")
    return Table(features, table.target)


def _groups(tables: list[Table], name: str | None) -> list[Index]:
    """Return the numbers of the groups in the group column, if there is one."""
    if name is None:
        return []
    absent = [table for table in tables if name not in table.features]
    if absent:
        raise DataError(f"data.group={name!r} must be a column besides the target, in data.given too, but is none.")
    values = np.concatenate([as_text(table.features[name]) for table in tables])
    missing = int(pd.isna(values).sum())
    if missing:
        raise DataError(f"data.group={name!r} must name a group for every row, but {missing:,} rows have none.")
    return [pd.factorize(values)[0].astype(np.int64)]


def _equal_rows(features: "pd.DataFrame", y: Index) -> Index:
    return pd.factorize(row_keys(features, y))[0].astype(np.int64)


def _of_groups(groups: Index | None, config: DataConfig) -> list[str]:
    if groups is None:
        return []
    what = [f"rows of one {config.group}"] if config.group else []
    what += ["equal rows"] if config.deduplicate else []
    return [f"{len(np.unique(groups)):,} groups of {len(groups):,} rows: {' and '.join(what)} stay in one part."]


def _features(tables: list[Table], config: DataConfig) -> "pd.DataFrame":
    """Return all rows with each column as numbers or text; refuse unusable values."""
    names = list(tables[0].features)
    refuse_duplicates([str(name) for name in tables[-1].features])
    absent = [str(name) for name in names if name not in tables[-1].features]
    if absent:
        raise DataError(f"The examples given for dev and test lack {some(absent)}.")
    kinds = {name: column_kind(tables[0].features[name]) for name in names}
    typed = [typed_columns(pick(table.features, names), kinds) for table in tables]
    _refuse_unusable(typed, config)
    stacked: pd.DataFrame = typed[0] if len(typed) == 1 else pd.concat(typed, ignore_index=True)
    return stacked


def _notes(features: "pd.DataFrame") -> list[str]:
    """Return remarks on probable mistakes: a column that counts the rows, and text that is almost all numbers."""
    notes = []
    for name in features:
        values = features[name].to_numpy()
        if values.dtype.kind in "iu" and len(values) > 2 and bool((np.diff(values) == 1).all()):
            notes.append(
                f"Column {name!r} numbers the rows: if that says nothing about the class, data.drop=[{name!r}]."
            )
        if values.dtype == object:
            distinct = [text for text in pd.unique(values) if text is not None]
            exceptions = not_numbers(distinct)
            if len(distinct) == len(values):
                notes.append(f"Text column {name!r} differs in every row: if it is no category, data.drop=[{name!r}].")
            elif percentages := [text for text in distinct if PERCENTAGE.fullmatch(text)]:
                notes.append(
                    f"Column {name!r} holds percentages such as {percentages[0]!r}, read as {len(distinct):,} "
                    "categories: write them as numbers."
                )
            elif exceptions:
                notes.append(f"Column {name!r} is read as text because of {', '.join(map(repr, exceptions[:3]))}.")
    return notes


def _refuse_unusable(tables: "list[pd.DataFrame]", config: DataConfig) -> None:
    infinite, missing = Counter[str](), Counter[str]()
    for table in tables:
        for values in number_blocks(table):
            names = [str(name) for name in number_columns(table)]
            missing.update(dict(zip(names, np.isnan(values).sum(axis=0).tolist(), strict=True)))
            infinite.update(dict(zip(names, too_large(values).tolist(), strict=True)))
        missing.update({str(name): int(table[name].isna().sum()) for name in text_columns(table)})
    if infinite.total():
        raise infinite_values(infinite)
    if config.missing == "refuse" and missing.total():
        raise missing_values(missing)


def _labels(tables: list[Table]) -> npt.NDArray[np.object_]:
    for table in tables:
        missing = int(table.target.isna().sum())
        if missing:
            raise DataError(
                f"The target {table.target.name!r} has {missing:,} missing value(s) in {len(table.target):,} rows."
            )
    return np.concatenate([as_text(table.target) for table in tables])


def _require_classes(classes: list[str], labels: npt.NDArray[np.object_], target: object) -> None:
    if len(classes) == 1:
        raise DataError(f"The target {target!r} has one class only, {classes[0]!r}: there is nothing to tell apart.")
    if len(classes) == len(labels):
        raise DataError(
            f"The target {target!r} has as many classes as rows ({len(labels):,}): is it an identifier, or a number to "
            "be predicted? Only classes can be."
        )


def _image_shape(features: "pd.DataFrame", config: DataConfig, known: tuple[int, ...] | None) -> tuple[int, ...] | None:
    shape = tuple(config.image_shape) if config.image_shape else known
    if shape is None or (config.image_shape is None and prod(shape) != features.shape[1]):
        if config.standardize == "pixels":
            raise DataError("data.standardize=pixels is for images, but this data set has no data.image_shape.")
        return None
    text = [str(name) for name in features if features[name].dtype == object]
    if text:
        raise DataError(f"data.image_shape={list(shape)} is for pixels, but {some(text)} holds text.")
    if prod(shape) != features.shape[1]:
        raise DataError(
            f"data.image_shape={list(shape)} is {prod(shape):,} pixels,"
            f" but there are {features.shape[1]:,} feature columns."
        )
    return shape


def _digest(features: "pd.DataFrame", labels: npt.NDArray[np.object_]) -> str:
    """Return 32 hexadecimal digits over every value, independent of file format and number type."""
    text = text_columns(features)
    total = hashlib.sha256(json.dumps([[str(name) for name in features], [str(name) for name in text]]).encode())
    for values in number_blocks(features):
        total.update(np.ascontiguousarray(values, dtype="<f8").data)
    for column in (*(features[name].to_numpy() for name in text), labels):
        total.update(json.dumps(column.tolist()).encode())
    return total.hexdigest()[:32]
