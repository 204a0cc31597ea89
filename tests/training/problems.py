"""Small fits that the tests of training share."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from pipeline.data.arrays import Normalization
from pipeline.data.batches import Examples
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.fit import Fit, FitState
from pipeline.training.optimizers import Optimizer
from pipeline.training.streams import streams


def unchanged(n_x: int) -> Normalization:
    """Leave every feature as it is."""
    return Normalization(np.zeros(n_x), np.zeros(n_x), np.ones(n_x))


def digits(m: int = 300, dtype: str = "float32", **keywords: Any) -> tuple[Examples, Examples]:
    """A training part of m handwritten digits and a dev part of 200, pixels between -1 and 1."""
    X, y = load_digits(return_X_y=True)
    scaled = Normalization(np.zeros(64), np.full(64, 8.0), np.full(64, 1 / 8))
    rows = np.random.default_rng(0).permutation(len(X))[: m + 200]
    parts = (rows[:m], rows[m:])
    train, dev = (Examples(X.astype(np.uint8), y, part, scaled, dtype, **keywords) for part in parts)
    return train, dev


def digits_fit(
    *,
    m: int = 300,
    dtype: str = "float32",
    hidden: tuple[int, ...] = (16, 12),
    optimizer: Optimizer | None = None,
    batch_size: int = 32,
    num_epochs: int = 12,
    patience: int | None = None,
    monitor: str = "dev_cost",
    min_delta: float = 0.0,
    augment: Any = None,
    examples: tuple[Examples, Examples | None] | None = None,
    **regularization: Any,
) -> Fit:
    """A fit on digits with everything changeable."""
    architecture = Architecture((64, *hidden, 10), ("relu",) * len(hidden), "softmax")
    network = Network(architecture, Regularization(m=m, **regularization), dtype=dtype, max_batch=batch_size)
    train, dev = digits(m, dtype) if examples is None else examples
    return Fit(
        network,
        train,
        dev,
        optimizer or Optimizer("momentum", 0.05),
        batch_size=batch_size,
        num_epochs=num_epochs,
        stopper=EarlyStopping(monitor, patience, min_delta=min_delta),
        augment=augment,
    )


def begin(fit: Fit, seed: int = 0, scheme: str = "auto", scale: float = 1.0) -> FitState:
    """The state before the first epoch, with everything drawn from the seed."""
    drawn = streams(seed)
    architecture = fit.network.architecture
    return fit.begin(initialize(architecture, scheme, scale, rng=drawn.init, dtype=fit.network.dtype), drawn)
