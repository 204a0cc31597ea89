"""All weights and biases of a network as one flat vector, with a view per layer."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Parameters:
    """Weights and biases that share one vector, so that an optimiser or a penalty is a few operations on all of them.

    The vector holds every W first and every b after them: `weights` is all that a penalty acts on. Each W lies in it
    transposed, column after column, so that Aᵀ Wᵀ on rows of examples, as data come, reads both as they lie.
    With a theta of shape (r, n), these are the parameters of r networks side by side, and every view has that axis too.

    Attributes
    ----------
    theta : (n,) all parameters, in the order of `names`
    weights : (n_weights,) view of theta's beginning, all W
    W : layer -> (n_l, n_{l-1}) view, layers counted from 1
    b : layer -> (n_l, 1) view
    names : ("W1", ..., "WL", "b1", ..., "bL")

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
        layers = range(1, len(self.layer_sizes))
        weight_shapes = {layer: (self.layer_sizes[layer], self.layer_sizes[layer - 1]) for layer in layers}
        n_weights = sum(rows * columns for rows, columns in weight_shapes.values())
        self.theta = np.zeros(n_weights + sum(self.layer_sizes[1:]), dtype) if theta is None else theta
        self.weights = self.theta[..., :n_weights]
        self.W = {
            layer: self._take_view(sum(r * c for r, c in list(weight_shapes.values())[: layer - 1]), shape)
            for layer, shape in weight_shapes.items()
        }
        self.b = {
            layer: self._take_view(n_weights + sum(self.layer_sizes[1:layer]), (self.layer_sizes[layer], 1))
            for layer in layers
        }
        self.names = tuple(f"W{layer}" for layer in layers) + tuple(f"b{layer}" for layer in layers)

    @classmethod
    def of(cls, layer_sizes: Sequence[int], values: Mapping[str, NDArray[np.inexact]]) -> "Parameters":
        """Return parameters with these values by name, as `as_dict` gives them."""
        parameters = cls(layer_sizes, next(iter(values.values())).dtype)
        for name, view in parameters.as_dict().items():
            view[...] = values[name]
        return parameters

    def _take_view(self, start: int, shape: tuple[int, int]) -> NDArray[np.inexact]:
        flat = self.theta[..., start : start + shape[0] * shape[1]]
        return flat.reshape(*flat.shape[:-1], shape[1], shape[0]).mT

    def like(self, dtype: DTypeLike | None = None) -> "Parameters":
        """Return zeros of the same shapes, for gradients."""
        return Parameters(self.layer_sizes, theta=np.zeros_like(self.theta, dtype))

    def copy(self, dtype: DTypeLike | None = None) -> "Parameters":
        """Return the same values in memory of their own."""
        other = self.like(dtype)
        other.theta[:] = self.theta
        return other

    def as_dict(self) -> dict[str, NDArray[np.inexact]]:
        """Return the views by name: {"W1": (n_1, n_0), ..., "b1": (n_1, 1), ...}."""
        views = list(self.W.values()) + list(self.b.values())
        return dict(zip(self.names, views, strict=True))

    def coordinate(self, index: int) -> str:
        """Name the coordinate theta[index]: "W2[3, 17]" or "b1[4]"."""
        if not 0 <= index < self.theta.size:
            raise ValueError(f"index must be in 0..{self.theta.size - 1}, got {index}")
        for name, view in self.as_dict().items():
            if index < view.size:
                column, row = divmod(index, view.shape[0])
                return f"{name}[{row}, {column}]" if name.startswith("W") else f"{name}[{row}]"
            index -= view.size
        raise AssertionError("the views cover theta")
