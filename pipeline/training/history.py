"""The curves of a fit: one row of numbers per epoch, row 0 for the initial parameters."""

from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MEASURES = ("train_cost", "dev_cost", "train_error", "dev_error", "train_cost_penalized", "balanced_error")
NORMS = ("weight_norm", "gradient_norm", "activation_norm")


@dataclass
class History:
    """Rows of `names`, kept one after another as doubles.

    Costs and errors are at the end of the epoch, dropout off and without penalty.

    `balanced_error` is the mean over the dev part's classes of the share of each that is wrong.
    `train_cost_penalized` is J as it was minimised: the mean over the epoch's examples, dropout on (none in row 0).
    The norms of layer l, on the same few training examples each time, dropout off: ‖W[l]‖_F, ‖∂J/∂W[l]‖_F and
    ‖A[l]‖_F / √m.
    """

    num_layers: int
    values: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return MEASURES + tuple(f"{norm}_{layer}" for norm in NORMS for layer in range(1, self.num_layers + 1))

    def append(self, *values: float) -> None:
        """Add the next epoch's row, in the order of `names`."""
        if len(values) != len(self.names):
            raise ValueError(f"a row of {len(self.names)} values is wanted, got {len(values)}")
        self.values.extend(values)

    def at(self, epoch: int) -> dict[str, float]:
        """Return one epoch's values by name."""
        width = len(self.names)
        return dict(zip(self.names, self.values[epoch * width : (epoch + 1) * width], strict=True))

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Return each column as an array indexed by epoch."""
        columns = np.array(self.values, dtype=np.float64).reshape(-1, len(self.names)).T
        return dict(zip(self.names, np.ascontiguousarray(columns), strict=True))

    def copy(self) -> "History":
        """Return a copy that can be extended independently."""
        return History(self.num_layers, self.values[:])
