"""Initial weights: the scheme fixes the variance, `scale` multiplies the standard deviation; biases start at 0."""

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import DTypeLike

from pipeline.nn.architecture import Architecture
from pipeline.nn.parameters import Parameters


def he(fan_in: int, fan_out: int) -> float:
    """Var = 2 / n_{l-1}, for ReLU (He et al. 2015, equation 10)."""
    return sqrt(2 / fan_in)


def xavier(fan_in: int, fan_out: int) -> float:
    """Var = 1 / n_{l-1}, the course's Xavier (Keras: lecun)."""
    return sqrt(1 / fan_in)


def glorot(fan_in: int, fan_out: int) -> float:
    """Var = 2 / (n_{l-1} + n_l) (Glorot & Bengio 2010, equation 12; PyTorch: xavier)."""
    return sqrt(2 / (fan_in + fan_out))


def fixed(fan_in: int, fan_out: int) -> float:
    """Standard deviation 0.01, whatever the layer."""
    return 0.01


def zeros(fan_in: int, fan_out: int) -> float:
    """All weights are 0, so the units of a layer stay equal."""
    return 0.0


def identity(fan_in: int, fan_out: int) -> float:
    """Like `zeros`, but with `scale` on the diagonal: W = scale · I, the course's example of growth and decay."""
    return 0.0


SCHEMES: dict[str, Callable[[int, int], float]] = {
    "he": he,
    "xavier": xavier,
    "glorot": glorot,
    "fixed": fixed,
    "zeros": zeros,
    "identity": identity,
}
BY_ACTIVATION = {"relu": "he", "leaky_relu": "he"}  # the others and the output layer: xavier


def initialize(
    architecture: Architecture,
    scheme: str = "auto",
    scale: float = 1.0,
    *,
    rng: np.random.Generator | np.random.RandomState,
    dtype: DTypeLike = np.float32,
) -> Parameters:
    """Draw W[l] ~ N(0, (scale · std)²) for l = 1..L in turn, row by row, in float64; b[l] = 0.

    "auto" chooses by the layer's activation, any other scheme holds for every layer. Values are drawn even if the
    standard deviation is 0, so that the stream does not depend on the scheme. (`RandomState` is for the course's
    published draws.)
    """
    if scheme != "auto" and scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of auto, {', '.join(SCHEMES)}, got {scheme!r}")
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be positive and finite, got {scale}")
    parameters = Parameters(architecture.layer_sizes, dtype)
    for layer, W in parameters.W.items():
        W[...] = rng.standard_normal(W.shape) * (scale * SCHEMES[_scheme(architecture, scheme, layer)](*W.shape[::-1]))
        if scheme == "identity":
            np.fill_diagonal(W, scale)
    return parameters


def _scheme(architecture: Architecture, scheme: str, layer: int) -> str:
    if scheme != "auto":
        return scheme
    activation = architecture.activations[layer - 1] if layer < architecture.num_layers else None
    return BY_ACTIVATION.get(activation or "", "xavier")
