"""Checks examples once, before a network sees them, so that the training loop need not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_examples(X: NDArray[Any], y: NDArray[Any], n_x: int, num_classes: int) -> None:
    """Raise ValueError unless X is (n_x, m), finite and not empty, and y is (m,) with integer labels 0..C-1."""
    if X.ndim != 2 or X.shape[0] != n_x:
        raise ValueError(f"X must be ({n_x}, m), got {X.shape}")
    if X.shape[1] == 0:
        raise ValueError("X must have at least one example, got none")
    if y.shape != (X.shape[1],):
        raise ValueError(f"y must be ({X.shape[1]},), one label per example, got {y.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {y.dtype}")
    if y.min() < 0 or y.max() >= num_classes:
        raise ValueError(f"labels must be in 0..{num_classes - 1}, got {y.min()}..{y.max()}")
    if not np.isfinite(X).all():
        feature, example = np.argwhere(~np.isfinite(X))[0]
        raise ValueError(f"X must be finite, got {X[feature, example]} in feature {feature} of example {example}")
