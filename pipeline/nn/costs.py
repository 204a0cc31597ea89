"""The output layer: probabilities and cross-entropy from the logits, and the gradient, which both outputs share.

Natural logarithm, averaged over the m examples given. Nothing overflows at |z| = 1e4, and no logarithm of 0 is taken.
Each example's loss may have a weight w[i], row w : (1, m); without weights every w[i] is 1. The sum is still divided by
m, the number of examples, not by Σ w (PyTorch divides a batch by Σ w).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.nn.activations import sigmoid

Array = NDArray[Any]


class Output(NamedTuple):
    """One kind of output: its labels as an array, its cost with its probabilities, its predictions."""

    encode: Callable[[Array, Array, Array], None]  # y (m,) and units (n_L, 1) into Y (n_L, m)
    cost: Callable[[Array, Array, Array, Array, Array | None], Any]  # Z, Y, A, row, w -> cost; fills A
    predict: Callable[[Array], Array]  # Z -> (m,) labels
    gradient: Callable[[Array, Array, Array, Array | None], None]  # A, Y into dZ, weighted by w


def one_hot(y: Array, units: Array, Y: Array) -> None:
    """Y[k, i] = 1 where y[i] = k, else 0.  y : (m,);  units : (C, 1), 0..C-1;  Y : (C, m)."""
    np.equal(y[..., None, :], units, out=Y)


def balanced_weights(y: Array, num_classes: int) -> NDArray[np.float64]:
    """w_c = m / (C m_c) for the C classes that occur in y (m,); 0 for a class that does not. So Σ_i w_{y_i} = m.

    As scikit-learn's class_weight="balanced" (King & Zeng 2001).  Returns (num_classes,).
    """
    m_c = np.bincount(y, minlength=num_classes)
    return np.divide(len(y) / np.count_nonzero(m_c), m_c, out=np.zeros(num_classes), where=m_c > 0)


def softmax_cost(Z: Array, Y: Array, A: Array, row: Array, w: Array | None = None) -> Any:
    """Fill A = softmax(Z) and return the cross-entropy; Z is overwritten.

    A[k, i] = exp Z[k, i] / S[i],   S[i] = Σ_k exp Z[k, i]
    J = 1/m Σ_i w[i] (log S[i] - Z[y_i, i]);  subtracting max_k Z[k, i] from column i changes neither.

    Z, A : (C, m);  Y : (C, m) one-hot;  row : (1, m) scratch
    """
    np.subtract(Z, np.maximum.reduce(Z, axis=-2, out=row, keepdims=True), out=Z)
    np.exp(Z, out=A)
    S = np.add.reduce(A, axis=-2, out=row, keepdims=True)
    np.divide(A, S, out=A)
    log_S = np.log(S, out=S)
    if w is not None:
        np.multiply(log_S, w, out=log_S)
        np.multiply(Z, w, out=Z)
    return (_total(log_S) - _inner(Y, Z)) / Z.shape[-1]


def _total(row: Array) -> Any:
    """The sum of a row, (1, m) -> scalar; of each network's in a stack, (r, 1, m) -> (r,)."""
    return np.add.reduce(row, axis=(-2, -1))


def _inner(Y: Array, Z: Array) -> Any:
    """Σ Y * Z, (C, m) -> scalar; of each network's in a stack, (r, C, m) -> (r,)."""
    return np.vdot(Y, Z) if Z.ndim == 2 else np.vecdot(Y.reshape(len(Y), -1), Z.reshape(len(Z), -1))


def copy_labels(y: Array, units: Array, Y: Array) -> None:
    """Y[0, i] = y[i].  y : (m,);  Y : (1, m)."""
    np.copyto(Y, y[..., None, :], casting="unsafe")


def sigmoid_cost(Z: Array, Y: Array, A: Array, row: Array, w: Array | None = None) -> Any:
    """Fill A = σ(Z) and return the cross-entropy.

    J = 1/m Σ_i w[i] log(1 + exp t_i),   t_i = (1 - 2 y_i) z_i,   log(1 + exp t) = (t + |t|) / 2 + log(1 + exp(-|t|))

    Z, A, Y : (1, m);  row : (1, m) scratch
    """
    t, size = row, A
    np.multiply(Y, -2, out=t)
    np.add(t, 1, out=t)
    np.multiply(t, Z, out=t)
    np.copysign(1, t, out=size)
    np.multiply(t, size, out=size)
    np.add(t, size, out=t)
    if w is not None:
        np.multiply(t, w, out=t)
    J = 0.5 * _total(t)
    np.negative(size, out=size)
    np.exp(size, out=size)
    np.log1p(size, out=size)
    if w is not None:
        np.multiply(size, w, out=size)
    J += _total(size)
    np.copyto(A, Z)
    sigmoid(A)
    return J / Z.shape[-1]


def cross_entropy_gradient(A: Array, Y: Array, dZ: Array, w: Array | None = None) -> None:
    """Fill dZ = w * (A - Y) / m, for softmax and for sigmoid.  A, Y, dZ : (n_L, m)."""
    np.subtract(A, Y, out=dZ)
    np.multiply(dZ, 1 / dZ.shape[-1], out=dZ)
    if w is not None:
        np.multiply(dZ, w, out=dZ)


def predict_largest(Z: Array) -> Array:
    """Return the class of the largest logit, the first of equals.  Z : (C, m) -> (m,)."""
    labels: Array = np.argmax(Z, axis=0)
    return labels


def predict_positive(Z: Array) -> Array:
    """Return class 1 where the probability is above one half.  Z : (1, m) -> (m,)."""
    labels: Array = (Z[0] > 0).astype(np.intp)
    return labels


OUTPUTS: dict[str, Output] = {
    "softmax": Output(one_hot, softmax_cost, predict_largest, cross_entropy_gradient),
    "sigmoid": Output(copy_labels, sigmoid_cost, predict_positive, cross_entropy_gradient),
}
