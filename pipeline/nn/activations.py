"""Activations of the hidden layers, forward and backward, in place and without temporaries.

`forward(Z, G)` turns Z into A = g(Z), and leaves the slope g'(Z) in G where that costs nothing extra.
`backward(dA, A, G)` turns dA into dZ = dA * g'(Z), where G is that slope, or scratch to compute it from A. All arrays
are (n_l, m). Complex Z is allowed forward, for the complex step of the gradient check; its real part decides ReLU.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LEAKY_SLOPE = 0.01


class Activation(NamedTuple):
    """The two directions of one activation."""

    forward: Callable[[Array, Array], None]
    backward: Callable[[Array, Array, Array], None]


def relu(Z: Array, G: Array) -> None:
    """g(z) = max(z, 0) = z g'(z), with g'(z) = 1 for z > 0, else 0; at 0 the slope is 0 (the course says 1)."""
    np.greater(Z.real, 0, out=G)
    np.multiply(Z, G, out=Z)


def leaky_relu(Z: Array, G: Array) -> None:
    """g(z) = z g'(z), with g'(z) = 1 for z > 0, else 0.01; at 0 the slope is 0.01."""
    np.greater(Z.real, 0, out=G)
    np.maximum(G, LEAKY_SLOPE, out=G)
    np.multiply(Z, G, out=Z)


def piecewise_linear_backward(dA: Array, A: Array, G: Array) -> None:
    """Turn dA into dZ = dA * g'(Z), with the slope kept from the forward pass."""
    np.multiply(dA, G, out=dA)


def tanh(Z: Array, G: Array) -> None:
    """g(z) = tanh(z)."""
    np.tanh(Z, out=Z)


def tanh_backward(dA: Array, A: Array, G: Array) -> None:
    """Turn dA into dZ = dA * (1 - A²)."""
    np.multiply(A, A, out=G)
    np.subtract(1, G, out=G)
    np.multiply(dA, G, out=dA)


def sigmoid(Z: Array, G: Array | None = None) -> None:
    """g(z) = 1 / (1 + exp(-z)) = (1 + tanh(z / 2)) / 2, the form that cannot overflow."""
    np.multiply(Z, 0.5, out=Z)
    np.tanh(Z, out=Z)
    np.add(Z, 1, out=Z)
    np.multiply(Z, 0.5, out=Z)


def sigmoid_backward(dA: Array, A: Array, G: Array) -> None:
    """Turn dA into dZ = dA * A (1 - A)."""
    np.subtract(1, A, out=G)
    np.multiply(A, G, out=G)
    np.multiply(dA, G, out=dA)


def identity(Z: Array, G: Array) -> None:
    """g(z) = z."""


def identity_backward(dA: Array, A: Array, G: Array) -> None:
    """Turn dA into dZ = dA."""


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(relu, piecewise_linear_backward),
    "leaky_relu": Activation(leaky_relu, piecewise_linear_backward),
    "tanh": Activation(tanh, tanh_backward),
    "sigmoid": Activation(sigmoid, sigmoid_backward),
    "identity": Activation(identity, identity_backward),
}
