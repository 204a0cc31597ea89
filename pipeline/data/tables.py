"""What a source of data delivers: feature columns, a target column, and what it knows beside them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
