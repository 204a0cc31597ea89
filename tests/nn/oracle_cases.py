"""The cases in which the core is compared with PyTorch, with their inputs drawn from fixed seeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from pipeline.nn.activations import ACTIVATIONS
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.nn.parameters import Parameters

M = 11
N_X = 4
PENALTIES = {"none": (0.0, 0.0), "l2": (0.7, 0.0), "l1": (0.0, 0.4), "l1_l2": (0.7, 0.4)}
HIDDEN = {"none": (), "one": (5,), "three": (5, 3, 4)}


@dataclass(frozen=True)
class Case:
    """One combination of what the network can be made of."""

    activation: str
    output: str
    penalty: str
    hidden: str
    dropout: bool

    @property
    def name(self) -> str:
        dropout = "dropout" if self.dropout else "plain"
        return f"{self.activation}-{self.output}-{self.penalty}-{self.hidden}-{dropout}"


@dataclass
class Inputs:
    """What both sides get; masks hold 0 or 1/keep_prob."""

    network: Network
    parameters: Parameters
    X: np.ndarray
    y: np.ndarray
    masks: list[np.ndarray | None]


def cases() -> Iterator[Case]:
    for combination in product(ACTIVATIONS, ("softmax", "sigmoid"), PENALTIES, HIDDEN, (False, True)):
        yield Case(*combination)


def few_cases() -> list[Case]:
    """Those whose reference values are kept in a file: every choice, not every combination of penalties."""
    return [case for case in cases() if case.penalty in ("none", "l1_l2")]


def inputs(case: Case, dtype: Any = np.float64, max_batch: int = M) -> Inputs:
    rng = np.random.default_rng(list(case.name.encode()))
    sizes = (N_X, *HIDDEN[case.hidden], 1 if case.output == "sigmoid" else 3)
    hidden = len(sizes) - 2
    lambd, lambd_l1 = PENALTIES[case.penalty]
    regularization = Regularization(
        m=50,
        lambd=lambd,
        lambd_l1=lambd_l1,
        keep_prob=(0.7,) * hidden if case.dropout else (),
        keep_prob_input=0.8 if case.dropout else 1.0,
    )
    architecture = Architecture(sizes, (case.activation,) * hidden, case.output)
    network = Network(architecture, regularization, dtype=dtype, max_batch=max_batch)
    parameters = initialize(architecture, rng=rng, dtype=dtype)
    for value in parameters.as_dict().values():
        value += 0.3 * rng.standard_normal(value.shape)
    X, y = rng.standard_normal((N_X, M)), rng.integers(0, architecture.num_classes, M)
    masks = [
        (rng.random((n, M)) < keep) / keep if case.dropout else None
        for n, keep in zip(sizes[:-1], network.keep_prob, strict=True)
    ]
    return Inputs(network, parameters, X, y, masks)


def cost_and_gradient(case: Case) -> tuple[float, np.ndarray]:
    """The core's answer."""
    given = inputs(case)
    gradients = given.parameters.like()
    J = given.network.cost_and_gradients(given.X, given.y, given.parameters, gradients, given.masks)
    return J, row_by_row(gradients)


def row_by_row(parameters: Parameters) -> np.ndarray:
    """Every W, then every b, row by row, however they lie in memory."""
    return np.concatenate([value.ravel() for value in parameters.as_dict().values()])
