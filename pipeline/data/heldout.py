"""The only reader of test rows; the final evaluation of the chosen configuration calls it, and nothing else does."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.data.arrays import Index


@dataclass(frozen=True)
class HeldOut:
    """Test examples: raw rows X (m_test, n_x), class numbers y (m_test,), and their row numbers in the source."""

    X: npt.NDArray[np.generic]
    y: Index
    rows: Index
    classes: tuple[str, ...]


def open_heldout(path: Path) -> HeldOut:
    """Read the test rows that `pipeline.data.prepare` set aside (`PreparedData.heldout`); there may be none."""
    classes = json.loads((path / "meta.json").read_text(encoding="utf-8"))["classes"]
    X, y, rows = (np.load(path / f"{name}.npy", allow_pickle=False) for name in ("X", "y", "rows"))
    return HeldOut(X, y, rows, tuple(classes))
