"""The curves of a fit: one row of numbers per epoch, row 0 for the initial parameters."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MEASURES = ("train_cost", "dev_cost", "train_error", "dev_error", "train_cost_penalized")
NORMS = ("weight_norm", "gradient_norm", "activation_norm")


@dataclass
class History:
    """Rows of `names`; costs and errors are at the end of the epoch, dropout off and without penalty.

    `train_cost_penalized` is J as it was minimised: the mean over the epoch's examples, dropout on (none in row 0).
    The norms of layer l, on the same few training examples each time, dropout off: ‖W[l]‖_F, ‖∂J/∂W[l]‖_F and
    ‖A[l]‖_F / √m.
    """

    num_layers: int
    rows: list[tuple[float, ...]] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return MEASURES + tuple(f"{norm}_{layer}" for norm in NORMS for layer in range(1, self.num_layers + 1))

    def append(self, *values: float) -> None:
        """Add the next epoch's row, in the order of `names`."""
        self.rows.append(values)

    def at(self, epoch: int) -> dict[str, float]:
        """Return one epoch's values by name."""
        return dict(zip(self.names, self.rows[epoch], strict=True))

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Return each column as an array indexed by epoch."""
        columns = np.array(self.rows, dtype=np.float64).reshape(len(self.rows), len(self.names)).T
        return dict(zip(self.names, np.ascontiguousarray(columns), strict=True))

    def copy(self) -> "History":
        """Return the same rows, to be extended apart."""
        return History(self.num_layers, list(self.rows))
