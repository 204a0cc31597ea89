"""The network: forward, cost and backward over a batch, in memory allocated once.

X is (n_x, m), W[l] (n_l, n_{l-1}), b[l] (n_l, 1), Z[l] = W[l] A[l-1] + b[l], A[l] = g(Z[l]), A[0] = X; labels y are
(m,) integers 0..C-1. The formulas live in activations, costs, dropout and penalties; this file puts them in order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.nn import dropout, penalties
from pipeline.nn.activations import ACTIVATIONS
from pipeline.nn.architecture import Architecture, Regularization
from pipeline.nn.costs import OUTPUTS
from pipeline.nn.parameters import Parameters
from pipeline.nn.workspace import Views, Workspace

__all__ = ["Architecture", "Masks", "Network", "Regularization"]

Array = NDArray[Any]
Masks = Sequence[Array | None]  # D[0], ..., D[L-1]: (n_l, m), 0 or 1/keep_prob; None where everything is kept
EVALUATION_VALUES = 2**18
"""Activations of the widest layer that are evaluated at a time: 1 MiB in float32, what a processor's cache holds."""


class Network:
    """A feed-forward network for batches of up to `max_batch` examples.

    With `stack`, it stands for that many networks of the same kind side by side: `draw_masks`, `cost_and_gradients`
    and `penalty` then take and return arrays with a leading axis, X (r, n_x, m), y (r, m), J (r,), and each network
    gets the bits that it has alone.

    With `class_weights`, the loss of an example of class c counts w_c times in J and its gradient, never in `evaluate`.

    The methods check shapes; labels and values are checked once by `check_examples`. What a method returns as an array
    is a view of the workspace, valid until the next call.
    """

    def __init__(
        self,
        architecture: Architecture,
        regularization: Regularization,
        *,
        dtype: DTypeLike = np.float32,
        max_batch: int,
        stack: int | None = None,
        class_weights: Array | None = None,
    ) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, got {max_batch}")
        hidden = architecture.num_layers - 1
        if len(regularization.keep_prob) not in (0, hidden):
            raise ValueError(f"keep_prob must be one per hidden layer ({hidden}), got {regularization.keep_prob}")
        self.architecture, self.regularization = architecture, regularization
        self.dtype, self.max_batch = np.dtype(dtype), max_batch
        self.keep_prob = (regularization.keep_prob_input, *(regularization.keep_prob or (1.0,) * hidden))
        self._last = architecture.num_layers
        self._layers = range(1, self._last + 1)
        self._activations = {layer: ACTIVATIONS[name] for layer, name in enumerate(architecture.activations, 1)}
        self._output = OUTPUTS[architecture.output]
        self._stack = () if stack is None else (stack,)
        self.class_weights = None if class_weights is None else np.asarray(class_weights, self.dtype)
        if class_weights is not None and np.shape(class_weights) != (*self._stack, architecture.num_classes):
            raise ValueError(f"class_weights must be one per class, got an array of shape {np.shape(class_weights)}")
        self._workspace = Workspace(architecture.layer_sizes, self.keep_prob, self.dtype, max_batch, self._stack)
        chunk = max(max_batch, EVALUATION_VALUES // max(architecture.layer_sizes[1:]))
        self._evaluation = Workspace(architecture.layer_sizes, (), self.dtype, chunk)  # no masks

    def draw_masks(self, m: int, *rngs: np.random.Generator) -> Masks:
        """Draw the dropout masks of one batch of m examples into the workspace; copy them to keep them.

        In a stack, each network has its own generator.
        """
        views = self._workspace.views(m)
        if not views.masks:
            return views.D
        count = sum(D.shape[-1] for D in views.masks.values())
        drawn = [dropout.draw_words(count, rng=rng) for rng in rngs]
        words = np.stack(drawn) if self._stack else drawn[0]
        for layer, D in views.masks.items():
            dropout.fill_mask(words[..., : D.shape[-1]], self.keep_prob[layer], D)
            words = words[..., D.shape[-1] :]
        return views.D

    def forward(self, X: Array, parameters: Parameters, masks: Masks | None = None) -> Array:
        """Return the logits Z[L] : (n_L, m); dropout is on if masks are given."""
        X = self._as_input(X)
        return self._forward(X, parameters, masks, self._workspace.views(X.shape[1]))

    def cost(self, X: Array, y: Array, parameters: Parameters, masks: Masks | None = None) -> float:
        """Return J, the cross-entropy of the batch, weighted by class, plus the penalty."""
        X = self._as_input(X)
        views = self._workspace.views(X.shape[1])
        Z = self._forward(X, parameters, masks, views)
        return float(self._data_cost(Z, y, views, self._weights_of(y)) + self.penalty(parameters))

    def cost_and_gradients(
        self, X: Array, y: Array, parameters: Parameters, gradients: Parameters, masks: Masks | None = None
    ) -> Any:
        """Fill `gradients` with ∂J/∂W[l] and ∂J/∂b[l], and return J, penalty included.

        dW[l] = dZ[l] A[l-1]ᵀ;  db[l] = Σ_i dZ[l];  dA[l-1] = W[l]ᵀ dZ[l];  dZ[l-1] = dA[l-1] * g'(Z[l-1])

        Products are of the transposed arrays, as they lie in memory: dW[l]ᵀ = A[l-1] dZ[l]ᵀ, dA[l-1]ᵀ = dZ[l]ᵀ W[l].
        """
        X = self._as_input(X, self._stack)
        views = self._workspace.views(X.shape[-1])
        Z, w = self._forward(X, parameters, masks, views), self._weights_of(y)
        J = self._data_cost(Z, y, views, w) + self.penalty(parameters)
        self._backward(parameters, gradients, masks, views, w)
        self._add_penalty_gradient(parameters, gradients)
        return J if self._stack else float(J)

    def evaluate(self, X: Array, y: Array, parameters: Parameters, missed: Array | None = None) -> tuple[float, float]:
        """Return cost and error of any number of examples, in chunks: dropout off, without penalty and class weights.

        Parameters
        ----------
        missed : (C,) integers; the errors on the examples of each class are added to them.
        """
        X = self._as_input(X)
        m, chunk = X.shape[1], self._evaluation.max_batch
        if m == 0 or len(y) != m:
            raise ValueError(f"y must have one label for each of one or more examples, got {len(y)} for {m}")
        total, wrong = 0.0, 0
        for start in range(0, m, chunk):
            labels = y[start : start + chunk]
            views = self._evaluation.views(len(labels))
            Z = self._forward(X[:, start : start + chunk], parameters, None, views)
            is_wrong = self._output.predict(Z) != labels
            wrong += int(np.count_nonzero(is_wrong))
            if missed is not None:
                missed += np.bincount(labels[is_wrong], minlength=len(missed))
            total += float(self._data_cost(Z, labels, views)) * len(labels)
        return total / m, wrong / m

    def logits(self, X: Array, parameters: Parameters) -> Array:
        """Return Z[L] : (n_L, m), dropout off, in memory of its own, for any number of examples, in chunks."""
        X = self._as_input(X)
        m, chunk = X.shape[1], self._evaluation.max_batch
        Z = np.empty((self.architecture.layer_sizes[-1], m), self.dtype)
        for start in range(0, m, chunk):
            part = X[:, start : start + chunk]
            Z[:, start : start + chunk] = self._forward(part, parameters, None, self._evaluation.views(part.shape[1]))
        return Z

    def penalty(self, parameters: Parameters) -> Any:
        """Return the L2 and L1 terms of J."""
        r = self.regularization
        weights, scratch = parameters.weights, self._workspace.weights_scratch
        return penalties.l2_cost(weights, r.lambd, r.m) + penalties.l1_cost(weights, r.lambd_l1, r.m, scratch)

    def activations(self, m: int) -> list[Array]:
        """Return A[1], ..., A[L] of the last batch, if it had m examples; A[L] is the probabilities."""
        views = self._workspace.views(m)
        return [*list(views.Z.values())[:-1], views.P]

    def trace(self, X: Array, parameters: Parameters, masks: Masks | None = None) -> tuple[list[Array], list[Array]]:
        """Return ([Z[1], ..., Z[L]], [A[0], ..., A[L-1]]) in memory of their own, each A with its dropout applied.

        Complex parameters are allowed here, for the complex step of the gradient check.
        """
        A, Zs, As = self._as_input(X), [], []
        for layer in self._layers:
            D = masks[layer - 1] if masks is not None else None
            A = A.copy() if D is None else A * D
            Z = np.dot(parameters.W[layer], A) + parameters.b[layer]
            Zs.append(Z)
            As.append(A)
            if layer < self._last:
                A = Z.copy()
                self._activations[layer].forward(A, np.empty(A.shape, A.real.dtype))
        return Zs, As

    def _as_input(self, X: Array, stack: tuple[int, ...] = ()) -> Array:
        X, expected = np.asarray(X, self.dtype), (*stack, self.architecture.layer_sizes[0])
        if X.shape[:-1] != expected:
            raise ValueError(f"X must be ({', '.join(map(str, expected))}, m), got {X.shape}")
        return X

    def _forward(self, X: Array, parameters: Parameters, masks: Masks | None, views: Views) -> Array:
        A = X
        for layer in self._layers:
            D = masks[layer - 1] if masks is not None else None
            if D is not None:
                A = dropout.apply(A, D, out=views.dropped[layer - 1])
            views.inputs[layer] = A
            Z, W = views.Z[layer], parameters.W[layer]
            if layer < self._last:
                views.dot(A.mT, W.mT, out=Z.mT)  # Zᵀ = Aᵀ Wᵀ, as they lie in memory: see Views
            else:
                views.dot(W, A, out=Z)
            np.add(Z, parameters.b[layer], out=Z)
            if layer < self._last:
                self._activations[layer].forward(Z, views.G[layer])
            A = Z
        return A

    def _weights_of(self, y: Array) -> Array | None:
        """Return the weight of each example by its class, (1, m); None without class weights."""
        if self.class_weights is None:
            return None
        if self._stack:
            return np.take_along_axis(self.class_weights, y, axis=-1)[:, None, :]
        return self.class_weights[y][None, :]

    def _data_cost(self, Z: Array, y: Array, views: Views, w: Array | None = None) -> Any:
        if y.shape[-1] != Z.shape[-1]:
            raise ValueError(f"y must have one label for each of the {Z.shape[-1]} examples, got {y.shape[-1]}")
        self._output.encode(y, views.units, views.Y)
        return self._output.cost(Z, views.Y, views.P, views.row, w)

    def _backward(
        self, parameters: Parameters, gradients: Parameters, masks: Masks | None, views: Views, w: Array | None
    ) -> None:
        self._output.gradient(views.P, views.Y, views.dZ[self._last], w)
        for layer in reversed(self._layers):
            dZ = views.dZ[layer]
            views.dot(views.inputs[layer], dZ.mT, out=gradients.W[layer].mT)
            views.dot(dZ, views.ones, out=gradients.b[layer])
            if layer == 1:
                return
            dA = views.dZ[layer - 1]
            views.dot(dZ.mT, parameters.W[layer], out=dA.mT)
            D = masks[layer - 1] if masks is not None else None
            if D is not None:
                dropout.backward(dA, D)
            self._activations[layer - 1].backward(dA, views.Z[layer - 1], views.G[layer - 1])

    def _add_penalty_gradient(self, parameters: Parameters, gradients: Parameters) -> None:
        r, scratch = self.regularization, self._workspace.weights_scratch
        penalties.add_l2_gradient(parameters.weights, r.lambd, r.m, gradients.weights, scratch)
        penalties.add_l1_gradient(parameters.weights, r.lambd_l1, r.m, gradients.weights, scratch)
