"""What a source of data delivers: feature columns, a target column, and what it knows beside them."""

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
        Examples that dev and test are drawn from, when they do not come out of `table`.
    image_shape
        (rows, columns[, channels]) where the source knows its examples to be images.
    notes
        What a person should know about how the data was read, one sentence each.
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
