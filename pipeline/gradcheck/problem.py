"""The object of a gradient check: one network, in float64, at one θ on one batch, with a second definition of its cost.

The second cost comes straight from the definition and shares with the network only the activations g and the order of
the layers (`Network.trace`). Difference quotients are taken of it; that it is the network's own cost is checked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.gradcheck.numerical import COMPLEX_STEP, Difference, Floats
from pipeline.gradcheck.restart import Quotients, Restart
from pipeline.nn.activations import ACTIVATIONS
from pipeline.nn.architecture import Regularization
from pipeline.nn.network import Masks, Network
from pipeline.nn.parameters import Parameters

Array = NDArray[Any]
Integers = NDArray[np.intp]

UNIT_ROUNDOFF = 2.0**-53
SAFETY = 16
"""Covers what `rounding_floor` does not count one by one: several roundings per term, and their sum over the terms."""
STALE = 1e6
"""Initial content of the gradients, which exposes one that is not written, or is added instead of assigned."""
SAME_COST = 1e-9
"""Two computations of J that differ by less, relative to 1 + |J|, are the same function."""


def penalty_terms(w: Array, regularization: Regularization) -> Array:
    """The penalty of each weight, λ/(2m) w² + λ₁/(2m) |w|; |w| is written sign(w) w to be analytic off 0."""
    terms: Array = regularization.lambd * w * w + regularization.lambd_l1 * np.sign(w.real) * w
    return terms / (2 * regularization.m)


def _each(masks: Masks | None, change: Callable[[Array], Array]) -> Masks | None:
    """Return every mask changed; where there is none, none."""
    return None if masks is None else [None if D is None else change(D) for D in masks]


@dataclass(frozen=True)
class Problem:
    """The cost J of one network on one batch, as a function of θ around the values of `parameters`.

    Attributes
    ----------
    network, parameters, X, masks : in float64
    y : (m,) labels
    """

    network: Network
    parameters: Parameters
    X: Floats
    y: Array
    masks: Masks | None

    @classmethod
    def of(cls, network: Network, parameters: Parameters, X: Array, y: Array, masks: Masks | None = None) -> "Problem":
        """Make the float64 twin of a network of any dtype; the arguments are neither changed nor kept."""
        twin = type(network)(
            network.architecture,
            network.regularization,
            dtype=np.float64,
            max_batch=len(y),
            class_weights=network.class_weights,
        )
        frozen = _each(masks, lambda D: D.astype(np.float64))
        problem = cls(twin, parameters.copy(np.float64), np.array(X, np.float64), np.array(y), frozen)
        problem._elsewhere().backpropagation()
        return problem

    def _elsewhere(self) -> "Problem":
        """Return the same network at another θ, on another batch, with the complementary masks.

        A backward pass here precedes every check, so that a value wrongly kept from the first call, such as an input or
        a slope g'(Z), shows as a wrong gradient.
        """
        rng, parameters = np.random.default_rng(0), self.parameters.like()
        for W in parameters.W.values():
            W[...] = rng.standard_normal(W.shape) / np.sqrt(W.shape[1])
        X, y = rng.standard_normal(self.X.shape), rng.integers(0, self.network.architecture.num_classes, self.y.size)
        return Problem(self.network, parameters, X, y, _each(self.masks, lambda D: D.max() - D))

    def backpropagation(self, parameters: Parameters | None = None) -> tuple[float, Parameters]:
        """Return J and ∂J/∂θ as the network computes them."""
        parameters = parameters or self.parameters
        gradients = self.parameters.like()
        gradients.theta.fill(STALE)
        return self.network.cost_and_gradients(self.X, self.y, parameters, gradients, self.masks), gradients

    def cost(self, parameters: Parameters) -> Any:
        """J at any θ, complex too, from its definition: mean loss, each weighted by its class, + Σ penalty."""
        return self._restart(parameters).data_cost() + self._penalty(parameters)

    def cost_disagreement(self, *, rng: np.random.Generator) -> str | None:
        """Return a sentence if the network's J is not the defined one, at θ or at a random point where no b is 0."""
        elsewhere = self.parameters.copy()
        elsewhere.theta += 0.1 * rng.standard_normal(elsewhere.theta.size)
        for place, parameters in (("at θ", self.parameters), ("at a random point near θ", elsewhere)):
            theirs, ours = self.backpropagation(parameters)[0], float(self.cost(parameters))
            if not abs(theirs - ours) <= SAME_COST * (1 + abs(ours)):
                return (
                    f"The network's cost {place} is {theirs:.12g}, by the definition it is {ours:.12g}: the forward "
                    f"pass, the cost or the penalty is wrong, and dθ is compared with the slope of the defined cost."
                )
        return None

    def quotients(self, indices: Integers, formula: Difference, epsilon: float) -> Quotients:
        """Difference quotients of J, penalty included, for the coordinates θ[indices], in ascending order."""
        values, kinks = np.zeros(indices.size), np.zeros(indices.size, np.bool_)
        for layer, places, rows, columns in self._by_layer(indices):
            order = np.argsort(rows, kind="stable")
            data = self._here.quotients(layer, rows[order], columns[order], formula, epsilon)
            values[places[order]], kinks[places[order]] = data.values, data.kinks
        weights = indices < self.parameters.weights.size
        points = self.parameters.weights[indices[weights]] + formula.displacements(epsilon)[:, None]
        values[weights] += formula.derivative(penalty_terms(points, self.network.regularization), epsilon)
        if self.network.regularization.lambd_l1:
            kinks[weights] |= np.sign(points[0].real) != np.sign(points[-1].real)
        return Quotients(values, kinks)

    def directional(self, direction: Floats, formula: Difference, epsilon: float) -> tuple[float, bool]:
        """Return the difference quotient of J along `direction` (n,), and whether a kink lies between its points."""
        costs, signs = [], []
        for h in formula.displacements(epsilon):
            moved = self.parameters.copy(np.result_type(h, np.float64))
            moved.theta += h * direction
            there = self._restart(moved)
            costs.append(there.data_cost() + self._penalty(moved))
            corners = np.sign(moved.weights.real if self.network.regularization.lambd_l1 else [])
            signs.append(np.append(there.signs(), corners))
        return float(formula.derivative(np.array(costs), epsilon)), not np.array_equal(signs[0], signs[-1])

    @cached_property
    def rounding_floor(self) -> Floats:
        """How far rounding alone may move each ∂J/∂θ[i], whatever method computes it: (n,).

        M bounds |dZ|, E its error. dZ[L] = (A − Y)/m and the slopes 1 − A² and A (1 − A) subtract numbers of the size
        of 1, so each carries an error of u however small it is; from there backpropagation passes errors on like
        gradients, with nothing cancelling in the worst case:

            M[L] = w/m;   M[l-1] = |W[l]|ᵀ M[l] * D * |g'(Z[l-1])|
            E[L] = u w/m;   E[l-1] = (|W[l]|ᵀ E[l] * |g'(Z[l-1])| + u |W[l]|ᵀ M[l]) * D
            floor of dW[l] = E[l] |A[l-1]|ᵀ;   floor of db[l] = Σ_i E[l]

        (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1). g' is taken by the complex step.
        """
        floor, here, regularization = self.parameters.like(), self._here, self.network.regularization
        u = SAFETY * UNIT_ROUNDOFF
        M = np.broadcast_to(here.weights / here.m, here.Z[here.num_layers].shape)
        E = u * M
        for layer in range(here.num_layers, 0, -1):
            both = E @ np.abs(here.A[layer]).T
            floor.W[layer][...], floor.b[layer][...] = both[:, :-1], both[:, -1:]
            if layer > 1:
                slope, W_T = self._slope(layer - 1), np.abs(self.parameters.W[layer]).T
                D = here.D.get(layer - 1)
                E = (W_T @ E * slope + u * (W_T @ M)) * (1 if D is None else D)
                M = W_T @ M * slope * (1 if D is None else D)
        floor.weights[...] += u * regularization.lambd / regularization.m * np.abs(self.parameters.weights)
        return floor.theta

    @cached_property
    def _here(self) -> Restart:
        return self._restart(self.parameters)

    def _restart(self, parameters: Parameters) -> Restart:
        return Restart(self.network, parameters, self.X, self.y, self.masks)

    def _penalty(self, parameters: Parameters) -> Any:
        return penalty_terms(parameters.weights, self.network.regularization).sum()

    def _slope(self, layer: int) -> Floats:
        """|g'(Z)| of a hidden layer, (n_l, m)."""
        A = self._here.Z[layer] + 1j * COMPLEX_STEP
        ACTIVATIONS[self.network.architecture.activations[layer - 1]].forward(A, np.empty(A.shape))
        return np.abs(A.imag / COMPLEX_STEP)

    def _by_layer(self, indices: Integers) -> Iterator[tuple[int, Integers, Integers, Integers]]:
        """For each layer: the places in `indices` of its coordinates, with the row and column in [W b] of each."""
        where = self.parameters.slices
        for layer, W in self.parameters.W.items():
            parts = []
            for name, first_column in ((f"W{layer}", 0), (f"b{layer}", W.shape[1])):
                start, end = np.searchsorted(indices, (where[name].start, where[name].stop))
                columns, rows = np.divmod(indices[start:end] - where[name].start, len(W))
                parts.append((np.arange(start, end), rows, columns + first_column))
            places, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
            if places.size:
                yield layer, places, rows, columns
