"""Difference quotients of a network's cost for all coordinates at once, by restarting from the layer that is moved.

The plain loop runs the whole network twice per parameter. Almost all of that work is repeated:

* Moving W[l][i, j] by h moves only row i of Z[l], and there by h A[l-1][j, k] for example k, because Z[l] = W[l]
  A[l-1] + b[l]. (b[l][i] is the column whose input is always 1.) Layers 1..l-1 are as before.
* So only row i of A[l] changes, by some δ (k), and Z[l+1] = Z[l+1] before + W[l+1][:, i] δ: an outer product instead
  of a matrix product. From l+1 on the network runs as usual.
* All columns j of a row, at θ + h and at θ - h, are more examples of one batch: they go up together.
* Where δ = 0 (a ReLU that stays shut, a unit that dropout removed, an input of 0) the cost is bit for bit the same at
  both points, and the example is left out of the batch.

What is computed is J(θ + h) and J(θ - h) and nothing else: no derivative of any layer is used, so the result can
disagree with backpropagation. The quotient is taken per example before averaging, Σ_k (J_k(θ + h) - J_k(θ - h)) /
2hm, which subtracts numbers of the size of one example's change and loses less than subtracting two averages.

A kink is a coordinate whose two points lie on different sides of a corner of J: some Z of a ReLU or leaky ReLU has
another sign at θ + h than at θ - h, and J changes. There the quotient is a mean of two slopes, not a derivative.
"""

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.nn.activations import ACTIVATIONS
from pipeline.nn.network import Masks, Network
from pipeline.nn.numerical_gradient import Difference, Floats
from pipeline.nn.parameters import Parameters

Array = NDArray[Any]
Integers = NDArray[np.intp]

KINKED = frozenset({"relu", "leaky_relu"})
"""Activations with a corner at 0."""
BLOCK_ELEMENTS = 2**17
"""Numbers in the largest array of one batch of perturbations: 1 MiB of float64, which stays in a core's own cache."""


NO_KINKS = np.zeros(1, np.bool_)


class Quotients(NamedTuple):
    """Difference quotients of J, one for each coordinate asked for, and which of them straddle a kink."""

    values: Floats
    kinks: NDArray[np.bool_]


def softmax_losses(Z: Array, y: Array) -> Array:
    """Each example's cross-entropy, log Σ_c exp Z[c] - Z[y]; subtracting the largest logit only prevents overflow.

    Z : (C, points, k, q), overwritten;  y : (k,)  ->  (points, k, q)
    """
    flat = Z.reshape(len(Z), -1)
    flat -= np.maximum.reduce(flat.real, axis=0)
    at_label = Z[y, :, np.arange(y.size)].swapaxes(0, 1)
    log_sum: Array = np.log(np.add.reduce(np.exp(flat, out=flat), axis=0)).reshape(Z.shape[1:])
    return log_sum - at_label


def sigmoid_losses(Z: Array, y: Array) -> Array:
    """Each example's cross-entropy, log(1 + exp z) - y z, with log(1 + exp z) = max(z, 0) + log(1 + exp(-|z|)).

    Z : (1, points, k, q);  y : (k,)  ->  (points, k, q)
    """
    z, positive = Z[0], Z[0].real > 0
    losses: Array = np.log1p(np.exp(np.where(positive, -z, z))) + np.where(positive, z, 0) - y[:, None] * z
    return losses


LOSSES: dict[str, Callable[[Array, Array], Array]] = {"softmax": softmax_losses, "sigmoid": sigmoid_losses}


class Restart:
    """A network at one point θ on one batch, with every layer's values kept, so that it can restart from any of them.

    Attributes
    ----------
    A : layer l = 1..L -> (n_{l-1} + 1, m), what the layer takes, dropout applied, and a row of ones for the bias
    Z : layer -> (n_l, m)
    D : layer l = 0..L-1 -> (n_l, m) the frozen dropout mask that A[l] is multiplied with, or None
    """

    def __init__(self, network: Network, parameters: Parameters, X: Array, y: Array, masks: Masks | None) -> None:
        self.architecture, self.W, self.b, self.y = network.architecture, parameters.W, parameters.b, y
        self.num_layers, self.m = self.architecture.num_layers, X.shape[1]
        layers = range(1, self.num_layers + 1)
        logits, inputs = network.trace(X, parameters, masks)
        self.Z = dict(zip(layers, logits, strict=True))
        self.A = {layer: np.vstack([A, np.ones((1, self.m))]) for layer, A in zip(layers, inputs, strict=True)}
        self.D = dict(enumerate(masks)) if masks is not None else {}
        self._memory: dict[tuple[str, Any], Array] = {}

    def data_cost(self) -> Any:
        """The mean loss of the batch at θ itself."""
        Z = self.Z[self.num_layers][:, None, :, None].copy()
        return LOSSES[self.architecture.output](Z, self.y).sum() / self.m

    def signs(self) -> NDArray[np.bool_]:
        """On which side of its kink each unit that has one is, for every example: one flat vector."""
        kinked = [layer for layer, name in enumerate(self.architecture.activations, 1) if name in KINKED]
        return np.concatenate([(self.Z[layer].real > 0).ravel() for layer in kinked] or [np.empty(0, np.bool_)])

    def quotients(
        self, layer: int, rows: Integers, columns: Integers, formula: Difference, epsilon: float
    ) -> Quotients:
        """∂J/∂W[layer][row, column] for each pair, without the penalty; column n_{l-1} means b[layer][row].

        Parameters
        ----------
        rows, columns : (n,)
            In ascending order of rows.
        """
        steps = formula.displacements(epsilon)[:, None, None] * self.A[layer].T  # (points, m, n_{l-1} + 1)
        widest = max(self.architecture.layer_sizes[min(layer + 1, self.num_layers) :])
        limit = max(1, BLOCK_ELEMENTS // (widest * steps.shape[0] * self.m))
        values, kinks = np.zeros(rows.size), np.zeros(rows.size, np.bool_)
        for part in _blocks(rows, limit):
            losses, straddles = self._move(layer, int(rows[part.start]), steps[:, :, columns[part]])
            values[part] = formula.derivative(losses, epsilon).sum(axis=0) / self.m
            kinks[part] = straddles & (values[part] != 0)
        return Quotients(values, kinks)

    def _move(self, layer: int, row: int, steps: Array) -> tuple[Array, Array]:
        """Move row `row` of Z[layer] by `steps` (points, m, q); the losses that change (points, k, q), kinks (q,)."""
        if layer == self.num_layers:
            Z = self._array("Z", (len(self.Z[layer]), *steps.shape), steps.dtype)
            Z[...] = self.Z[layer][:, None, :, None]
            Z[row] += steps
            return LOSSES[self.architecture.output](Z, self.y), np.zeros(steps.shape[-1], np.bool_)
        A = self.Z[layer][row][:, None] + steps
        kinks = self._activate(layer, A[None], row=row)
        A -= self.A[layer + 1][row][:, None]
        examples = np.flatnonzero(A.any(axis=(0, 2)))
        return self._finish(layer + 1, self._add_outer(layer + 1, row, A, examples), examples, kinks)

    def _add_outer(self, layer: int, row: int, delta: Array, examples: Integers) -> Array:
        """Z[layer] + W[layer][:, row] δ for `examples` : (k,), with δ : (points, m, q); (n_l, points, k, q)."""
        Z = self._product("Z", self.W[layer][:, row : row + 1], delta[None].take(examples, axis=2))
        Z += self.Z[layer][:, None, examples, None]
        return Z

    def _finish(self, layer: int, Z: Array, examples: Integers, kinks: Array) -> tuple[Array, Array]:
        """Run on from Z[layer] : (n_l, points, k, q) of `examples` : (k,); the losses (points, k, q), kinks (q,)."""
        for below in range(layer, self.num_layers):
            kinks = kinks | self._activate(below, Z, examples)
            Z = self._product("other Z" if (below - layer) % 2 == 0 else "Z", self.W[below + 1], Z)
            flat = Z.reshape(len(Z), -1)
            flat += self.b[below + 1]
        return LOSSES[self.architecture.output](Z, self.y[examples]), kinks

    def _activate(self, layer: int, Z: Array, examples: Any = slice(None), row: int | None = None) -> Array:
        """Turn Z : (n, points, k, q) into A = g(Z) * D in place; say which columns straddle a kink on the way, (q,)."""
        name = self.architecture.activations[layer - 1]
        units = slice(None) if row is None else slice(row, row + 1)
        D = self.D.get(layer)
        kinks = self._kinks(Z, None if D is None else D[units, examples]) if name in KINKED else NO_KINKS
        ACTIVATIONS[name].forward(Z, self._array("slope", Z.shape, np.float64))
        if D is not None:
            Z *= D[units, None, examples, None]
        return kinks

    def _kinks(self, Z: Array, D: Array | None) -> Array:
        """Which columns of Z : (n, points, k, q) have a unit, not dropped, on two sides of 0; (q,) or just (1,)."""
        positive = np.greater(Z.real, 0, out=self._array("positive", Z.shape, np.bool_))
        straddles = positive[:, 0] != positive[:, -1]
        if not straddles.any():
            return NO_KINKS
        if D is not None:
            straddles &= (D != 0)[:, :, None]
        kinks: Array = np.any(straddles, axis=(0, 1))
        return kinks

    def _product(self, name: str, left: Array, right: Array) -> Array:
        """The matrix product over the first axis of `right`, in memory that is used again."""
        out = self._array(name, (len(left), *right.shape[1:]), right.dtype)
        np.dot(left, right.reshape(len(right), -1), out=out.reshape(len(left), -1))
        return out

    def _array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of memory that is kept from one batch of perturbations to the next."""
        size, kept = prod(shape), self._memory.get((name, dtype))
        if kept is None or kept.size < size:
            kept = self._memory[name, dtype] = np.empty(max(size, BLOCK_ELEMENTS), dtype)
        return kept[:size].reshape(shape)


def _blocks(rows: Integers, limit: int) -> list[slice]:
    """Slices of equal entries of the ascending `rows`, none longer than `limit`."""
    edges = [*np.flatnonzero(np.diff(rows, prepend=-1)), rows.size]
    return [
        slice(start, min(start + limit, int(end)))
        for begin, end in pairwise(edges)
        for start in range(int(begin), int(end), limit)
    ]
