"""The only reader of test rows; only the final evaluation of the chosen configuration calls it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.config.errors import DataError
from pipeline.data.arrays import Index
from pipeline.data.store import heldout_meta


@dataclass(frozen=True)
class HeldOut:
    """Test examples.

    Attributes
    ----------
    X : (m_test, n_x)
        Raw rows; m_test may be 0.
    y : (m_test,)
        Class numbers, positions in `classes`.
    rows : (m_test,)
        Row numbers in the source.
    unseen
        How many rows have a category that no training row had, by column.
    """

    X: npt.NDArray[np.generic]
    y: Index
    rows: Index
    classes: tuple[str, ...]
    unseen: dict[str, int]


def open_heldout(path: Path) -> HeldOut:
    """Read the test rows that `pipeline.data.prepare` set aside in `PreparedData.heldout`.

    Raises
    ------
    DataError
        The rows are missing or were changed.
    """
    try:
        meta = heldout_meta(path)
        X, y, rows = (np.load(path / f"{name}.npy", allow_pickle=False) for name in ("X", "y", "rows"))
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise DataError(f"The test rows in {str(path)!r} cannot be read: {error}.") from None
    return HeldOut(X, y, rows, tuple(meta["classes"]), meta["unseen"])
