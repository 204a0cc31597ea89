"""The memory that a network works in: allocated once, handed out as views of the batch's size."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Views:
    """Every array of one batch size m.

    Hidden layers lie in memory transposed, an example after the other, as X does: a product that reads its second
    factor across, as dZ Aᵀ would with units as rows, is up to a half slower. The output's units lie one after the
    other, since softmax sums over them.

    For r networks side by side every array but `ones` and `units` has a leading axis of that length, and products are
    stacked ones; each network's bits are those that it has alone.

    Attributes
    ----------
    dot : the matrix product; for one network `np.dot`, which is quicker than `np.matmul` on small matrices
    Z, dZ, G : layer -> (n_l, m) logits and then activations in place, their gradients, the activation's slope
    D, dropped : for l = 0..L-1, the mask and the masked A[l] : (n_l, m), None where keep_prob = 1
    masks : layer -> (n_l · m,) the masks that there are, flat
    inputs : layer -> (n_{l-1}, m) what the layer last took: X, Z[l-1] as activated, or dropped[l-1]
    Y, P : (n_L, m) encoded labels and probabilities;  row : (1, m) scratch;  ones : (m, 1);  units : (n_L, 1)

    """

    def __init__(self, m: int, sizes: Sequence[int], memory: dict[str, Array], stack: tuple[int, ...] = ()) -> None:
        self.dot: Callable[..., Array] = np.matmul if stack else np.dot
        last, count = len(sizes) - 1, prod(stack)
        layers, hidden = range(1, last + 1), range(1, last)

        def view(kind: str, layer: int) -> Array:
            """The first m examples of an array: (n_l, m)."""
            flat = memory[f"{kind}{layer}"][: count * sizes[layer] * m]
            return flat.reshape(*stack, sizes[layer], m) if layer == last else flat.reshape(*stack, m, sizes[layer]).mT

        def views_or_none(kind: str) -> list[Array | None]:
            return [view(kind, layer) if f"{kind}{layer}" in memory else None for layer in range(last)]

        self.Z = {layer: view("Z", layer) for layer in layers}
        self.dZ = {layer: view("dZ", layer) for layer in layers}
        self.G = {layer: view("G", layer) for layer in hidden}
        self.D, self.dropped = views_or_none("D"), views_or_none("dropped")
        self.masks = {
            layer: memory[f"D{layer}"][: D.size].reshape(*stack, -1) for layer, D in enumerate(self.D) if D is not None
        }
        self.inputs: dict[int, Array] = {}
        self.Y, self.P = view("Y", last), view("P", last)
        self.units = np.arange(sizes[last])[:, None]
        self.row, self.ones = memory["row"][: count * m].reshape(*stack, 1, m), memory["ones"][:m, None]


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
        last, count = len(sizes) - 1, prod(stack)
        hidden = range(1, last)
        masked = [layer for layer, keep in enumerate(keep_prob) if keep < 1]
        kinds = {"Z": [*hidden, last], "dZ": [*hidden, last], "G": hidden, "D": masked, "dropped": masked}
        kinds |= {"Y": [last], "P": [last]}
        self._memory = {
            f"{kind}{layer}": np.empty(count * sizes[layer] * max_batch, dtype)
            for kind, layers in kinds.items()
            for layer in layers
        }
        self._memory |= {"row": np.empty(count * max_batch, dtype), "ones": np.ones(max_batch, dtype)}
        self.weights_scratch = np.empty((*stack, sum(a * b for a, b in pairwise(sizes))), dtype)
        self._views: dict[int, Views] = {}

    def views(self, m: int) -> Views:
        """Return the views for batches of m examples."""
        if m not in self._views:
            if not 1 <= m <= self.max_batch:
                raise ValueError(f"a batch must have 1..{self.max_batch} examples, got {m}")
            self._views[m] = Views(m, self.sizes, self._memory, self.stack)
        return self._views[m]
