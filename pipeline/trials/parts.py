"""Builds the parts of a training from the plain values of a configuration: layers, penalties, initial weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.trial import TrialConfig
from pipeline.data.arrays import Fold, TrialArrays
from pipeline.nn.architecture import Architecture, Regularization
from pipeline.nn.costs import balanced_weights
from pipeline.nn.initializers import initialize
from pipeline.nn.parameters import Parameters
from pipeline.training.streams import Streams


def architecture_of(config: TrialConfig, arrays: TrialArrays) -> Architecture:
    """Return the layers of a configuration for these features and classes; with two classes the output is a sigmoid."""
    hidden, classes = config.model.hidden_units, len(arrays.classes)
    output = ("sigmoid", 1) if classes == 2 else ("softmax", classes)
    sizes = (arrays.X.shape[1], *hidden, output[1])
    return Architecture(sizes, _per_layer(config.model.activation, len(hidden)), output[0])


def regularization_of(config: TrialConfig, m: int) -> Regularization:
    """Return the penalties and dropout of a configuration for m training examples."""
    r = config.regularization
    return Regularization(
        m=m,
        lambd=r.lambd,
        lambd_l1=r.lambd_l1,
        keep_prob=_per_layer(r.keep_prob, len(config.model.hidden_units)),
        keep_prob_input=r.keep_prob_input,
    )


def class_weights_of(config: TrialConfig, arrays: TrialArrays, rows: Fold) -> NDArray[np.float64] | None:
    """Return the weight of each class in the cost, from the counts of one fit's training part; None if all are 1."""
    if config.training.class_weight == "none":
        return None
    return balanced_weights(arrays.y[rows.train], len(arrays.classes))


def initial_parameters(config: TrialConfig, architecture: Architecture, drawn: Streams) -> Parameters:
    """Return the initial weights of a configuration, from its stream or from the course's published draws."""
    init = config.model.init
    rng = drawn.init if init.legacy_seed is None else np.random.RandomState(init.legacy_seed)
    return initialize(architecture, init.scheme, init.scale, rng=rng, dtype=config.training.dtype)


def _per_layer(value: Any, count: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,) * count
