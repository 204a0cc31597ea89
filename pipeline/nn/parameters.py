"""All weights and biases of a network as one flat vector, with a view per layer."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import DTypeLike, NDArray


def shapes_of(layer_sizes: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Return the shape of each tensor by name, in their order in theta: W1, ..., WL, b1, ..., bL."""
    layers = range(1, len(layer_sizes))
    W = {f"W{layer}": (layer_sizes[layer], layer_sizes[layer - 1]) for layer in layers}
    b = {f"b{layer}": (layer_sizes[layer], 1) for layer in layers}
    return W | b


class Parameters:
    """Weights and biases that share one vector, so that an optimiser or a penalty is a few operations on all of them.

    The vector holds every W first and every b after them: `weights` is all that a penalty acts on. Each W lies in it
    transposed, column after column, so that Aᵀ Wᵀ, with examples as rows as in the data, reads both in memory order.
    With a theta of shape (r, n), these are the parameters of r networks side by side, and every view has that axis too.

    Attributes
    ----------
    theta : (n,) all parameters, in the order of `names`
    weights : (n_weights,) view of theta's beginning, all W
    W : layer -> (n_l, n_{l-1}) view, layers counted from 1
    b : layer -> (n_l, 1) view
    names : ("W1", ..., "WL", "b1", ..., "bL")
    slices : name -> the tensor's place in theta
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        dtype: DTypeLike = np.float32,
        *,
        theta: NDArray[np.inexact] | None = None,
    ) -> None:
        self.layer_sizes = tuple(int(n) for n in layer_sizes)
        if len(self.layer_sizes) < 2 or min(self.layer_sizes) < 1:
            raise ValueError(f"layer_sizes must be two or more positive sizes, got {self.layer_sizes}")
        shapes = shapes_of(self.layer_sizes)
        sizes = [rows * columns for rows, columns in shapes.values()]
        ends = list(accumulate(sizes))
        self.theta = np.zeros(ends[-1], dtype) if theta is None else theta
        self.names = tuple(shapes)
        self.slices = {name: slice(end - size, end) for name, size, end in zip(shapes, sizes, ends, strict=True)}
        layers = range(1, len(self.layer_sizes))
        self.W = {layer: self._view(f"W{layer}", shapes) for layer in layers}
        self.b = {layer: self._view(f"b{layer}", shapes) for layer in layers}
        self.weights = self.theta[..., : self.slices["b1"].start]

    @classmethod
    def of(cls, layer_sizes: Sequence[int], values: Mapping[str, NDArray[np.inexact]]) -> "Parameters":
        """Return parameters with these values by name, as `as_dict` gives them."""
        parameters = cls(layer_sizes, next(iter(values.values())).dtype)
        for name, view in parameters.as_dict().items():
            view[...] = values[name]
        return parameters

    def _view(self, name: str, shapes: Mapping[str, tuple[int, int]]) -> NDArray[np.inexact]:
        rows, columns = shapes[name]
        flat = self.theta[..., self.slices[name]]
        return flat.reshape(*flat.shape[:-1], columns, rows).mT

    def like(self) -> "Parameters":
        """Return zeros of the same shapes, for gradients."""
        return Parameters(self.layer_sizes, theta=np.zeros_like(self.theta))

    def copy(self, dtype: DTypeLike | None = None) -> "Parameters":
        """Return the same values in memory of their own."""
        return Parameters(self.layer_sizes, theta=np.array(self.theta, dtype))

    def as_dict(self) -> dict[str, NDArray[np.inexact]]:
        """Return the views by name: {"W1": (n_1, n_0), ..., "b1": (n_1, 1), ...}."""
        views = list(self.W.values()) + list(self.b.values())
        return dict(zip(self.names, views, strict=True))

    def coordinate(self, index: int) -> str:
        """Name the coordinate theta[index]: "W2[3, 17]" or "b1[4]"."""
        if not 0 <= index < self.theta.size:
            raise ValueError(f"index must be in 0..{self.theta.size - 1}, got {index}")
        name = next(name for name, place in self.slices.items() if index < place.stop)
        column, row = divmod(index - self.slices[name].start, self.layer_sizes[int(name[1:])])
        return f"{name}[{row}, {column}]" if name.startswith("W") else f"{name}[{row}]"
