"""The memory that a network works in: allocated once, handed out as views of the batch's size."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Views:
    """Every array of one batch size m.

    Hidden layers lie in memory transposed, an example after the other, as X does: a product that reads its second
    factor across, as dZ Aᵀ would with units as rows, is up to a half slower. The output's units lie one after the
    other, since softmax sums over them.

    Attributes
    ----------
    Z, dZ, G : layer -> (n_l, m) logits and then activations in place, their gradients, the activation's slope
    D, dropped : for l = 0..L-1, the mask and the masked A[l] : (n_l, m), None where keep_prob = 1
    masks : (keep_prob, flat view) of all masks in turn, neighbours of equal keep_prob as one
    inputs : layer -> (n_{l-1}, m) what the layer last took: X, Z[l-1] as activated, or dropped[l-1]
    Y, P : (n_L, m) encoded labels and probabilities;  row : (m,) scratch;  ones : (m, 1);  units : (n_L, 1)

    """

    def __init__(self, m: int, sizes: Sequence[int], memory: dict[str, Array], keep_prob: Sequence[float]) -> None:
        layers = range(1, len(sizes))
        masked = [layer for layer, keep in enumerate(keep_prob) if keep < 1]

        def shape(flat: Array, layer: int) -> Array:
            return flat.reshape((sizes[layer], m), order="C" if layer == len(sizes) - 1 else "F")

        def view(kind: str, layer: int) -> Array:
            return shape(memory[f"{kind}{layer}"][: sizes[layer] * m], layer)

        self.Z = {layer: view("Z", layer) for layer in layers}
        self.dZ = {layer: view("dZ", layer) for layer in layers}
        self.G = {layer: view("G", layer) for layer in layers[:-1]}
        self.dropped = {layer: view("dropped", layer) for layer in masked}
        self.D: list[Array | None] = [None] * len(keep_prob)
        self.masks: list[tuple[float, Array]] = []
        start = 0
        for keep, group in groupby(masked, key=lambda layer: keep_prob[layer]):
            first = start
            for layer in group:
                self.D[layer] = shape(memory["D"][start : start + sizes[layer] * m], layer)
                start += sizes[layer] * m
            self.masks.append((keep, memory["D"][first:start]))
        self.num_masked = start
        self.inputs: dict[int, Array] = {}
        self.Y, self.P = view("Y", len(sizes) - 1), view("P", len(sizes) - 1)
        self.units = np.arange(sizes[-1])[:, None]
        self.row, self.ones = memory["row"][:m], memory["ones"][:m]


class Workspace:
    """Memory for batches of up to `max_batch` examples."""

    def __init__(self, sizes: Sequence[int], keep_prob: Sequence[float], dtype: np.dtype[Any], max_batch: int) -> None:
        self.max_batch, self.sizes, self.keep_prob = max_batch, tuple(sizes), tuple(keep_prob)
        last, real = len(sizes) - 1, np.empty(0, dtype).real.dtype
        memory = {f"{kind}{layer}": (sizes[layer], dtype) for layer in range(1, last + 1) for kind in ("Z", "dZ")}
        memory |= {f"G{layer}": (sizes[layer], real) for layer in range(1, last)}
        memory["D"] = (sum(size for size, keep in zip(sizes, keep_prob, strict=False) if keep < 1), real)
        memory |= {f"dropped{layer}": (sizes[layer], dtype) for layer, keep in enumerate(keep_prob) if keep < 1}
        memory |= {f"Y{last}": (sizes[last], real), f"P{last}": (sizes[last], dtype), "row": (1, dtype)}
        self._memory = {name: np.empty(rows * max_batch, kind) for name, (rows, kind) in memory.items()}
        self._memory["ones"] = np.ones((max_batch, 1), dtype)
        self.weights_scratch = np.empty(sum(a * b for a, b in pairwise(sizes)), dtype)
        self._views: dict[int, Views] = {}

    def views(self, m: int) -> Views:
        """Return the views for batches of m examples."""
        views = self._views.get(m)
        if views is None:
            if not 1 <= m <= self.max_batch:
                raise ValueError(f"a batch must have 1..{self.max_batch} examples, got {m}")
            views = self._views[m] = Views(m, self.sizes, self._memory, self.keep_prob)
        return views
