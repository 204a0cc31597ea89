"""L2 and L1 on the weights, never on the biases; m is the size of the whole training set, whatever the batch size.

scikit-learn divides by the mini-batch's size and Keras does not divide, so their strengths do not compare with these.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def l2_cost(weights: Array, lambd: float, m: int) -> Any:
    """λ/(2m) Σ_l ‖W[l]‖²_F.  weights : (n_weights,)."""
    return lambd / (2 * m) * _dot(weights, weights) if lambd else 0.0


def _dot(a: Array, b: Array) -> Any:
    """Σ a * b, (n,) -> scalar; of each network's in a stack, (r, n) -> (r,)."""
    return np.dot(a, b) if a.ndim == 1 else np.vecdot(a, b)


def add_l2_gradient(weights: Array, lambd: float, m: int, gradient: Array, scratch: Array) -> None:
    """Add to dW[l]: (λ/m) W[l].  weights, gradient, scratch : (n_weights,)."""
    if lambd:
        np.multiply(weights, lambd / m, out=scratch)
        np.add(gradient, scratch, out=gradient)


def l1_cost(weights: Array, lambd_l1: float, m: int, scratch: Array) -> Any:
    """λ₁/(2m) Σ_l Σ|W[l]|.  weights, scratch : (n_weights,)."""
    return lambd_l1 / (2 * m) * _dot(np.sign(weights, out=scratch), weights) if lambd_l1 else 0.0


def add_l1_gradient(weights: Array, lambd_l1: float, m: int, gradient: Array, scratch: Array) -> None:
    """Add to dW[l]: λ₁/(2m) sign(W[l]), which is 0 at 0.  weights, gradient, scratch : (n_weights,)."""
    if lambd_l1:
        np.sign(weights, out=scratch)
        np.multiply(scratch, lambd_l1 / (2 * m), out=scratch)
        np.add(gradient, scratch, out=gradient)


def sparsity(weights: Array, tolerance: float = 1e-3) -> float:
    """Return the share of weights that are zero or nearly so: |w| ≤ tolerance · max|w|."""
    magnitudes = np.abs(weights)
    return float(np.mean(magnitudes <= tolerance * magnitudes.max()))
