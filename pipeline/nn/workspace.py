"""The memory that a network works in: allocated once, handed out as views of the batch's size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass
class Views:
    """Every array of one batch size m.

    Hidden layers lie in memory transposed, one example after the other, as X does: with units as rows, products such
    as dZ Aᵀ would read their second factor against its order and take up to 1.5 times as long. The output lies unit by
    unit, since softmax sums over units.

    For r networks side by side, every array but `ones` and `units` has a leading axis of that length, and products are
    stacked; each network gets the bits that it has alone.

    Attributes
    ----------
    dot : the matrix product; for one network `np.dot`, which is quicker than `np.matmul` on small matrices
    Z, dZ, G : layer -> (n_l, m) logits and then activations in place, their gradients, the activation's slope
    D, dropped : for l = 0..L-1, the mask and the masked A[l] : (n_l, m), None where keep_prob = 1
    masks : layer -> (n_l · m,) the masks that there are, flat
    Y, P : (n_L, m) encoded labels and probabilities;  row : (1, m) scratch;  ones : (m, 1);  units : (n_L, 1)
    inputs : layer -> (n_{l-1}, m) the last input of the layer: X, Z[l-1] as activated, or dropped[l-1]
    """

    dot: Callable[..., Array]
    Z: dict[int, Array]
    dZ: dict[int, Array]
    G: dict[int, Array]
    D: list[Array | None]
    dropped: list[Array | None]
    masks: dict[int, Array]
    Y: Array
    P: Array
    row: Array
    ones: Array
    units: Array
    inputs: dict[int, Array] = field(default_factory=dict)


class Workspace:
    """Memory for batches of up to `max_batch` examples, of one network or of `stack[0]` networks side by side."""

    def __init__(
        self,
        sizes: Sequence[int],
        keep_prob: Sequence[float],
        dtype: np.dtype[Any],
        max_batch: int,
        stack: tuple[int, ...] = (),
    ) -> None:
        self.max_batch, self.sizes, self.stack = max_batch, tuple(sizes), stack
        self._last = len(sizes) - 1
        self._layers, self._hidden = range(1, self._last + 1), range(1, self._last)
        self._masked = [layer for layer, keep in enumerate(keep_prob) if keep < 1]
        kinds = {"Z": self._layers, "dZ": self._layers, "G": self._hidden, "D": self._masked, "dropped": self._masked}
        kinds |= {"Y": [self._last], "P": [self._last]}
        self._memory = {
            (kind, layer): np.empty(prod(stack) * sizes[layer] * max_batch, dtype)
            for kind, layers in kinds.items()
            for layer in layers
        }
        self._row, self._ones = np.empty(prod(stack) * max_batch, dtype), np.ones(max_batch, dtype)
        self.weights_scratch = np.empty((*stack, sum(a * b for a, b in pairwise(sizes))), dtype)
        self._views: dict[int, Views] = {}

    def views(self, m: int) -> Views:
        """Return the views for batches of m examples."""
        if m not in self._views:
            if not 1 <= m <= self.max_batch:
                raise ValueError(f"a batch must have 1..{self.max_batch} examples, got {m}")
            self._views[m] = self._make_views(m)
        return self._views[m]

    def _make_views(self, m: int) -> Views:
        masks = {layer: self._flat("D", layer, m) for layer in self._masked}
        D = {layer: self._view("D", layer, m) for layer in self._masked}
        dropped = {layer: self._view("dropped", layer, m) for layer in self._masked}
        return Views(
            dot=np.matmul if self.stack else np.dot,
            Z={layer: self._view("Z", layer, m) for layer in self._layers},
            dZ={layer: self._view("dZ", layer, m) for layer in self._layers},
            G={layer: self._view("G", layer, m) for layer in self._hidden},
            D=[D.get(layer) for layer in range(self._last)],
            dropped=[dropped.get(layer) for layer in range(self._last)],
            masks={layer: flat.reshape(*self.stack, -1) for layer, flat in masks.items()},
            Y=self._view("Y", self._last, m),
            P=self._view("P", self._last, m),
            row=self._row[: prod(self.stack) * m].reshape(*self.stack, 1, m),
            ones=self._ones[:m, None],
            units=np.arange(self.sizes[self._last])[:, None],
        )

    def _flat(self, kind: str, layer: int, m: int) -> Array:
        """Return the memory of the first m examples of an array."""
        return self._memory[kind, layer][: prod(self.stack) * self.sizes[layer] * m]

    def _view(self, kind: str, layer: int, m: int) -> Array:
        """Return the first m examples of an array, (n_l, m), as its layer lies in memory."""
        flat, n_l = self._flat(kind, layer, m), self.sizes[layer]
        return flat.reshape(*self.stack, n_l, m) if layer == self._last else flat.reshape(*self.stack, m, n_l).mT
