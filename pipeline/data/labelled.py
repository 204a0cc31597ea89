"""A source checked and typed: feature columns, class numbers, the rows that dev and test come from, and its digest."""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.config import DataConfig
from pipeline.data.arrays import Index
from pipeline.data.encoding import (
    Recipe,
    as_numbers,
    as_text,
    column_kind,
    feature_names,
    learn_columns,
    natural_order,
    unseen,
)
from pipeline.data.split import sample
from pipeline.data.tables import Source, Table
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.data.split import Split


@dataclass(frozen=True)
class Labelled:
    """The examples of a source, those that are given for dev and test last.

    Attributes
    ----------
    features
        Typed columns of every row.
    y : (m,)
        Class numbers, positions in `classes`.
    rows : (m,)
        Where each row was in the source, counted through the given examples too.
    given
        Rows that dev and test are drawn from, or None.
    """

    features: "pd.DataFrame"
    y: Index
    classes: list[str]
    rows: Index
    given: Index | None
    image_shape: tuple[int, ...] | None
    source_digest: str
    notes: list[str]

    def recipe(self, parts: "Split", config: DataConfig) -> Recipe:
        """How raw columns become X: categories are those of the training part (of all folds, for cross-validation)."""
        train = parts.pairs[0][0] if len(parts.pairs) == 1 else parts.visible
        columns = learn_columns(self.features.iloc[train], max_categories=config.max_categories)
        recipe = {"format": 1, "columns": columns, "target": config.target, "classes": self.classes}
        recipe |= {
            "missing": config.missing,
            "image_shape": None if self.image_shape is None else list(self.image_shape),
        }
        return recipe

    def description(self, parts: "Split", recipe: Recipe, config: DataConfig) -> dict[str, Any]:
        """Plain values about the data for tracking."""
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
            "missing": {str(name): int(n) for name, n in self.features.isna().sum().items() if n},
            "unseen_in_dev": unseen(recipe, self.features.iloc[parts.pairs[0][1]]),
            "notes": self.notes,
            "source_digest": self.source_digest,
        }

    def _counts(self, rows: Index) -> list[int]:
        counts: list[int] = np.bincount(self.y[rows], minlength=len(self.classes)).tolist()
        return counts


def label(source: Source, config: DataConfig) -> Labelled:
    """Check and type a source, number its classes, and take the sample that was asked for."""
    tables = [source.table] if source.given is None else [source.table, source.given]
    labels = np.concatenate([as_text(table.target) for table in tables])
    features = tables[0].features if len(tables) == 1 else _stack(tables)
    classes = natural_order(labels)
    y = pd.Categorical(labels, categories=classes).codes.astype(np.int64)
    own, given = np.arange(len(source.table.target)), np.arange(len(source.table.target), len(y))
    if config.examples is not None:
        own = sample(y, own, config.examples, config.split_seed)
    rows = np.concatenate([own, given])
    return Labelled(
        features=features if len(rows) == len(y) else features.iloc[rows].reset_index(drop=True),
        y=y[rows],
        classes=classes,
        rows=rows,
        given=np.arange(len(own), len(rows)) if source.given is not None else None,
        image_shape=tuple(config.image_shape) if config.image_shape else source.image_shape,
        source_digest=_digest(features, labels),
        notes=source.notes,
    )


def _stack(tables: list[Table]) -> "pd.DataFrame":
    absent = [str(name) for name in tables[0].features if name not in tables[1].features]
    if absent:
        raise DataError(f"The examples given for dev and test lack column(s) {', '.join(map(repr, absent))}.")
    return pd.concat([tables[0].features, tables[1].features[list(tables[0].features)]], ignore_index=True)


def _digest(features: "pd.DataFrame", labels: npt.NDArray[np.object_]) -> str:
    """32 hexadecimal digits over every value, the same whatever file format and number type they came in."""
    total = hashlib.sha256(json.dumps([str(name) for name in features]).encode())
    for name in features:
        column = features[name]
        if column_kind(column) == "number":
            total.update(np.ascontiguousarray(as_numbers(column.to_frame())).astype("<f8").data)
        else:
            total.update(json.dumps(as_text(column).tolist()).encode())
    total.update(json.dumps(labels.tolist()).encode())
    return total.hexdigest()[:32]
