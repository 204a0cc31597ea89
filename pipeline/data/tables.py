"""The output of a data source: feature columns, a target column, and notes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.config.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """Feature columns (m rows) and the target: (m,)."""

    features: "pd.DataFrame"
    target: "pd.Series[Any]"


@dataclass(frozen=True)
class Source:
    """The data before splitting.

    Attributes
    ----------
    table
        Training examples, or all of them when `given` is None.
    given
        Examples for dev and test, if they do not come from `table`.
    image_shape
        (rows, columns[, channels]) if the source knows that its examples are images.
    notes
        Remarks on how the data was read, one sentence each.
    """

    table: Table
    given: Table | None = None
    image_shape: tuple[int, ...] | None = None
    notes: list[str] = field(default_factory=list)


def refuse_duplicates(names: Sequence[str]) -> None:
    """Two columns of one name cannot be told apart."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"Column name(s) that occur more than once: {', '.join(map(repr, twice[:8]))}.")
