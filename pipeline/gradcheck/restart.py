"""Difference quotients of a network's cost for all coordinates at once, by restarting from the layer that is moved.

The plain loop runs the whole network twice per parameter. Almost all of that work is repeated:

* Moving W[l][i, j] by h moves only row i of Z[l], and there by h A[l-1][j, k] for example k, because Z[l] = W[l]
  A[l-1] + b[l]. (b[l][i] is the column whose input is always 1.) Layers 1..l-1 are as before.
* So only row i of A[l] changes, by some δ (k), and Z[l+1] = Z[l+1] before + W[l+1][:, i] δ: an outer product instead
  of a matrix product. From l+1 on the network runs as usual.
* All columns j of a row, at θ + h and at θ - h, and as many rows as fit, are more examples of one batch: they go up
  together.
* Where δ = 0 (a ReLU that stays shut, a unit that dropout removed, an input of 0) the cost is bit for bit the same at
  both points, and the example is left out of the batch.

What is computed is J(θ + h) and J(θ - h) and nothing else: no derivative of any layer is used, so the result can
disagree with backpropagation. The quotient is taken per example before averaging, Σ_k (J_k(θ + h) - J_k(θ - h)) /
2hm, which subtracts numbers of the size of one example's change and loses less than subtracting two averages.

A kink is a coordinate whose two points lie on different sides of a corner of J: some Z of a ReLU or leaky ReLU has
another sign at θ + h than at θ - h, and J changes. There the quotient is a mean of two slopes, not a derivative.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.gradcheck.numerical import Difference, Floats
from pipeline.nn.activations import ACTIVATIONS
from pipeline.nn.network import Masks, Network
from pipeline.nn.parameters import Parameters

Array = NDArray[Any]
Integers = NDArray[np.intp]

KINKED = frozenset({"relu", "leaky_relu"})
"""Activations with a corner at 0."""
BLOCK_ELEMENTS = 2**18
"""Numbers in the largest array of one batch of perturbations if nothing is left out of it: 2 MiB of float64."""
NO_KINKS = np.zeros((1, 1, 1), np.bool_)
"""Of any shape by broadcasting."""


class Quotients(NamedTuple):
    """Difference quotients of J, one for each coordinate asked for, and which of them straddle a kink."""

    values: Floats
    kinks: NDArray[np.bool_]


class _Moved(NamedTuple):
    """What becomes of the pairs of a moved unit and an example whose cost may change.

    Attributes
    ----------
    losses : (s, points, q)
    straddles : (s, q) which of them lie on two sides of a kink
    unit, example : (s,) the pairs: a place among the moved units, and an example
    """

    losses: Array
    straddles: Array
    unit: Integers
    example: Integers


def softmax_losses(Z: Array, y: Array) -> Array:
    """Return each example's cross-entropy, log Σ_c exp Z[c] - Z[y]; the largest logit is subtracted against overflow.

    Z : (C, s, points, q), overwritten;  y : (s,)  ->  (s, points, q)
    """
    flat = Z.reshape(len(Z), -1)
    flat -= np.maximum.reduce(flat.real, axis=0)
    at_label = Z[y, np.arange(y.size)]
    losses: Array = np.log(np.add.reduce(np.exp(flat, out=flat), axis=0)).reshape(Z.shape[1:])
    return np.subtract(losses, at_label, out=losses)


def sigmoid_losses(Z: Array, y: Array) -> Array:
    """Each example's cross-entropy, log(1 + exp z) - y z, with log(1 + exp z) = max(z, 0) + log(1 + exp(-|z|)).

    Z : (1, s, points, q);  y : (s,)  ->  (s, points, q)
    """
    z, positive = Z[0], Z[0].real > 0
    losses: Array = np.log1p(np.exp(np.where(positive, -z, z))) + np.where(positive, z, 0) - y[:, None, None] * z
    return losses


LOSSES: dict[str, Callable[[Array, Array], Array]] = {"softmax": softmax_losses, "sigmoid": sigmoid_losses}


class Restart:
    """A network at one point θ on one batch, with every layer's values kept, so that it can restart from any of them.

    The arrays of a batch of perturbations have up to four axes: units of the layer that is reached (n), pairs of a
    moved unit and an example (s), points such as θ ± ε (points), and the inputs whose weight is moved (q).

    Attributes
    ----------
    A : layer l = 1..L -> (n_{l-1} + 1, m), what the layer takes, dropout applied, and a row of ones for the bias
    Z : layer -> (n_l, m)
    weights : (m,) how often the loss of each example counts: the weight of its class
    D : layer l = 0..L-1 -> (n_l, m) the frozen dropout mask that A[l] is multiplied with, or None
    """

    def __init__(self, network: Network, parameters: Parameters, X: Array, y: Array, masks: Masks | None) -> None:
        self.architecture, self.num_layers = network.architecture, network.architecture.num_layers
        self.W, self.b = parameters.W, parameters.b
        self.y, self.m = y, X.shape[1]
        self.weights = np.ones(self.m) if network.class_weights is None else network.class_weights[y]
        layers = range(1, self.num_layers + 1)
        logits, inputs = network.trace(X, parameters, masks)
        self.Z = dict(zip(layers, logits, strict=True))
        self.A = {layer: np.vstack([A, np.ones((1, self.m))]) for layer, A in zip(layers, inputs, strict=True)}
        self.D = dict(enumerate(masks)) if masks is not None else {}
        self._memory: dict[tuple[str, Any], Array] = {}

    def data_cost(self) -> Any:
        """The mean loss of the batch at θ itself, weighted by class."""
        Z = self.Z[self.num_layers][:, :, None, None].copy()
        return self._losses(Z, slice(None)).sum() / self.m

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
        steps = self.A[layer].T[:, None, :] * formula.displacements(epsilon)[:, None]  # (m, points, n_{l-1} + 1)
        widest = max(self.architecture.layer_sizes[min(layer + 1, self.num_layers) :])
        limit = max(1, BLOCK_ELEMENTS // (widest * steps.shape[1] * self.m))
        values, kinks = np.zeros(rows.size), np.zeros(rows.size, np.bool_)
        for place, units, inputs in _blocks(rows, columns, limit):
            moved = self._move(layer, units, steps[:, :, inputs])
            slopes = np.zeros((units.size, self.m, inputs.size))  # 0 where the example's cost does not change
            slopes[moved.unit, moved.example] = formula.derivative(moved.losses.swapaxes(0, 1), epsilon)
            values[place] = slopes.sum(axis=1).ravel() / self.m
            if moved.straddles.any():
                crossed = np.zeros(slopes.shape, np.bool_)
                crossed[moved.unit, moved.example] = moved.straddles
                kinks[place] = crossed.any(axis=1).ravel() & (values[place] != 0)
        return Quotients(values, kinks)

    def _move(self, layer: int, units: Integers, steps: Array) -> _Moved:
        """Move Z[layer] of each unit, in every example, by `steps` (m, points, q), each unit alone."""
        if layer == self.num_layers:
            return self._move_logits(units, steps)
        delta, straddles = self._change(layer, units, steps)
        unit, example = np.nonzero(delta.any(axis=(2, 3)))
        delta = delta[unit, example]
        straddles = straddles[unit, example] if straddles.any() else NO_KINKS[0]
        Z = self._array("Z", (len(self.Z[layer + 1]), *delta.shape), delta.dtype)
        np.multiply(self.W[layer + 1][:, units[unit], None, None], delta, out=Z)
        Z += self.Z[layer + 1][:, example, None, None]
        return _Moved(*self._finish(layer + 1, Z, example, straddles), unit, example)

    def _change(self, layer: int, units: Integers, steps: Array) -> tuple[Array, Array]:
        """Return the change of A[layer] of each unit, (r, m, points, q), and which straddle a kink, (r, m, q)."""
        A = self.Z[layer][units][:, :, None, None] + steps
        straddles = self._activate(layer, A, self._mask(layer, units, slice(None)))
        A -= self.A[layer + 1][units][:, :, None, None]
        return A, straddles

    def _move_logits(self, units: Integers, steps: Array) -> _Moved:
        """Do the same at the output layer, where every pair counts and there are no kinks."""
        unit, example = np.divmod(np.arange(units.size * self.m), self.m)
        Z = self._array("Z", (len(self.Z[self.num_layers]), unit.size, *steps.shape[1:]), steps.dtype)
        Z[...] = self.Z[self.num_layers][:, example, None, None]
        Z[units[unit], np.arange(unit.size)] += steps[example]
        return _Moved(self._losses(Z, example), NO_KINKS[0], unit, example)

    def _finish(self, start: int, Z: Array, examples: Integers, straddles: Array) -> tuple[Array, Array]:
        """Run on from Z[start] : (n, s, points, q) of `examples` (s,); return losses (s, points, q), kinks (s, q)."""
        for layer in range(start, self.num_layers):
            mask = self._mask(layer, slice(None), examples)
            straddles = straddles | self._activate(layer, Z, mask).any(axis=0)
            memory = "other Z" if (layer - start) % 2 == 0 else "Z"  # never the one that Z is in
            Z = self._product(memory, self.W[layer + 1], Z)
            Z += self.b[layer + 1][:, :, None, None]
        return self._losses(Z, examples), straddles

    def _losses(self, Z: Array, examples: Any) -> Array:
        """The weighted loss of each example from its logits, (C, s, points, q) -> (s, points, q); Z is overwritten."""
        losses = LOSSES[self.architecture.output](Z, self.y[examples])
        return np.multiply(losses, self.weights[examples, None, None], out=losses)

    def _mask(self, layer: int, units: Any, examples: Any) -> Array | None:
        """The dropout mask of some units and examples of a hidden layer, if it has one."""
        D = self.D.get(layer)
        return None if D is None else D[units][:, examples]

    def _activate(self, layer: int, Z: Array, D: Array | None) -> Array:
        """Turn Z : (n, s, points, q) into A = g(Z) * D in place; say what straddles a kink on the way, (n, s, q)."""
        name = self.architecture.activations[layer - 1]
        straddles = self._straddles(Z, D) if name in KINKED else NO_KINKS
        ACTIVATIONS[name].forward(Z, self._array("slope", Z.shape, np.float64))
        if D is not None:
            Z *= D[:, :, None, None]
        return straddles

    def _straddles(self, Z: Array, D: Array | None) -> Array:
        """Return which Z : (n, s, points, q) cross 0 between the outer points, dropped units left out: (n, s, q)."""
        positive = np.greater(Z.real, 0, out=self._array("positive", Z.shape, np.bool_))
        straddles: Array = positive[:, :, 0] != positive[:, :, -1]
        if not straddles.any():
            return NO_KINKS
        return straddles if D is None else straddles & (D != 0)[:, :, None]

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


def _blocks(rows: Integers, columns: Integers, limit: int) -> Iterator[tuple[slice, Integers, Integers]]:
    """Cut the coordinates into blocks of at most `limit`: whole rows that move the same columns, or part of one row.

    Yields the block's place among the coordinates, its rows (r,), and its columns (q,).
    """
    block: list[slice] = []
    for span in _row_spans(rows, limit):
        if block and not _extends(block, span, rows, columns, limit):
            yield _joined(block, rows, columns)
            block = []
        block.append(span)
    if block:
        yield _joined(block, rows, columns)


def _row_spans(rows: Integers, limit: int) -> Iterator[slice]:
    """Yield the place of each run of equal rows, in pieces of at most `limit`."""
    edges = [*np.flatnonzero(np.diff(rows, prepend=-1)), rows.size]
    for begin, end in pairwise(edges):
        for start in range(int(begin), int(end), limit):
            yield slice(start, min(start + limit, int(end)))


def _extends(block: list[slice], span: slice, rows: Integers, columns: Integers, limit: int) -> bool:
    """Return whether a span is one more row of the block, moves the block's columns, and still fits."""
    return (
        (len(block) + 1) * (span.stop - span.start) <= limit
        and rows[span.start] != rows[block[-1].start]
        and np.array_equal(columns[span], columns[block[0]])
    )


def _joined(block: list[slice], rows: Integers, columns: Integers) -> tuple[slice, Integers, Integers]:
    return slice(block[0].start, block[-1].stop), rows[[span.start for span in block]], columns[block[0]]
