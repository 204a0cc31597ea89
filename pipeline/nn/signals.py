"""How signals grow or vanish with depth: the course's example of linear layers that are all the same multiple of I."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.nn.parameters import Parameters


class Signals(NamedTuple):
    """Norms by layer l = 1..L, in arrays of length L.

    Attributes
    ----------
    activation_norms : ‖Z[l]‖ / ‖X‖; Z[l] = A[l], since the layers are linear; multiplier^l
    gradient_norms : ‖∂J/∂Z[l]‖ / ‖∂J/∂Z[L]‖ = multiplier^(L-l)

    """

    activation_norms: NDArray[np.float64]
    gradient_norms: NDArray[np.float64]


def linear_signals(multiplier: float, num_layers: int, units: int = 2) -> Signals:
    """Send a signal through L linear layers with W[l] = multiplier · I and b[l] = 0, forward and back.

    At the last layer's input the signal has grown by multiplier^(L-1): 1.5 explodes and 0.5 vanishes; the last layer
    multiplies once more. The gradient at the first layer has grown by multiplier^(L-1) as well.
    """
    if num_layers < 1 or units < 2:
        raise ValueError(f"num_layers must be at least 1 and units at least 2, got {num_layers} and {units}")
    architecture = Architecture((units,) * (num_layers + 1), ("identity",) * (num_layers - 1), "softmax")
    network = Network(architecture, Regularization(m=1), dtype=np.float64, max_batch=1)
    parameters = Parameters(architecture.layer_sizes, np.float64)
    for W in parameters.W.values():
        np.fill_diagonal(W, multiplier)
    gradients = parameters.like()
    X, y = np.zeros((units, 1)), np.ones(1, np.intp)
    X[0] = 1  # the logits favour class 0 and the label is 1, so the gradient stays alive however large they grow
    Z, _ = network.trace(X, parameters)
    network.cost_and_gradients(X, y, parameters, gradients)
    dZ = [np.linalg.norm(db) for db in gradients.b.values()]
    return Signals(np.array([np.linalg.norm(z) for z in Z]) / np.linalg.norm(X), np.array(dZ) / dZ[-1])
