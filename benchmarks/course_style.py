"""The course's network as its exercises write it: dictionaries of arrays, a new array for every intermediate result.

Plain on purpose; `tests/nn/test_course_style.py` holds it to the same answer as the core. ReLU, softmax, L2, dropout.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]


def random_mini_batches(X: Array, Y: Array, batch_size: int, permutation: Array) -> Iterator[tuple[Array, Array]]:
    """Shuffle the columns of X (n_x, m) and Y (C, m), and cut them into batches."""
    X, Y = X[:, permutation], Y[:, permutation]
    for i in range(0, X.shape[1], batch_size):
        yield X[:, i : i + batch_size], Y[:, i : i + batch_size]


def forward(X: Array, parameters: Arrays, num_layers: int, keep_prob: float, masks: Arrays | None) -> Arrays:
    """Z = W A + b and A = relu(Z), dropped out if keep_prob < 1; softmax at the end."""
    cache: Arrays = {"A0": X}
    A = X
    for layer in range(1, num_layers):
        Z = parameters[f"W{layer}"] @ A + parameters[f"b{layer}"]
        A = np.maximum(0, Z)
        if keep_prob < 1:
            D = np.random.rand(*A.shape) < keep_prob if masks is None else masks[f"D{layer}"]  # noqa: NPY002
            A = A * D
            A = A / keep_prob
            cache[f"D{layer}"] = D
        cache[f"Z{layer}"], cache[f"A{layer}"] = Z, A
    Z = parameters[f"W{num_layers}"] @ A + parameters[f"b{num_layers}"]
    exponentials = np.exp(Z - np.max(Z, axis=0, keepdims=True))
    cache[f"A{num_layers}"] = exponentials / np.sum(exponentials, axis=0, keepdims=True)
    return cache


def cost(A: Array, Y: Array, parameters: Arrays, num_layers: int, lambd: float, m: int) -> float:
    """Cross-entropy plus L2; m is the size of the training set."""
    cross_entropy = -np.sum(Y * np.log(A)) / Y.shape[1]
    if lambd == 0:
        return float(cross_entropy)
    squares = sum(np.sum(np.square(parameters[f"W{layer}"])) for layer in range(1, num_layers + 1))
    return float(cross_entropy + lambd / (2 * m) * squares)


def backward(
    cache: Arrays, Y: Array, parameters: Arrays, num_layers: int, keep_prob: float, lambd: float, m: int
) -> Arrays:
    """The gradients dW and db of every layer."""
    gradients: Arrays = {}
    batch = Y.shape[1]
    dZ = cache[f"A{num_layers}"] - Y
    for layer in range(num_layers, 0, -1):
        W = parameters[f"W{layer}"]
        gradients[f"dW{layer}"] = dZ @ cache[f"A{layer - 1}"].T / batch
        if lambd != 0:
            gradients[f"dW{layer}"] = gradients[f"dW{layer}"] + lambd / m * W
        gradients[f"db{layer}"] = np.sum(dZ, axis=1, keepdims=True) / batch
        if layer > 1:
            dA = W.T @ dZ
            if keep_prob < 1:
                dA = dA * cache[f"D{layer - 1}"]
                dA = dA / keep_prob
            dZ = np.array(dA, copy=True)
            dZ[cache[f"Z{layer - 1}"] <= 0] = 0
    return gradients


def momentum(parameters: Arrays, gradients: Arrays, v: Arrays, learning_rate: float, beta: float) -> None:
    """V = β v + gradient; parameter = parameter - α v."""
    for name in parameters:
        v[name] = beta * v[name] + gradients[f"d{name}"]
        parameters[name] = parameters[name] - learning_rate * v[name]


def adam(
    parameters: Arrays, gradients: Arrays, v: Arrays, s: Arrays, t: int, learning_rate: float, beta1: float
) -> None:
    """The course's Adam: corrected means of the gradient and of its square."""
    beta2, epsilon = 0.999, 1e-8
    for name in parameters:
        v[name] = beta1 * v[name] + (1 - beta1) * gradients[f"d{name}"]
        s[name] = beta2 * s[name] + (1 - beta2) * np.square(gradients[f"d{name}"])
        v_corrected = v[name] / (1 - beta1**t)
        s_corrected = s[name] / (1 - beta2**t)
        parameters[name] = parameters[name] - learning_rate * v_corrected / (np.sqrt(s_corrected) + epsilon)


class CourseStyle:
    """A course-style network in training, so that epochs can be timed one by one."""

    def __init__(
        self,
        parameters: Arrays,
        *,
        optimizer: str,
        learning_rate: float,
        beta: float = 0.9,
        keep_prob: float = 1.0,
        lambd: float = 0.0,
        m: int,
    ) -> None:
        self.parameters = {name: value.copy() for name, value in parameters.items()}
        self.num_layers, self.keep_prob, self.lambd, self.m = len(parameters) // 2, keep_prob, lambd, m
        self.optimizer, self.learning_rate, self.beta, self.t = optimizer, learning_rate, beta, 0
        self.v = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.s = {name: np.zeros_like(value) for name, value in parameters.items()}

    def step(self, X: Array, Y: Array, masks: Arrays | None = None) -> float:
        """One step on one batch; returns the cost before it."""
        cache = forward(X, self.parameters, self.num_layers, self.keep_prob, masks)
        J = cost(cache[f"A{self.num_layers}"], Y, self.parameters, self.num_layers, self.lambd, self.m)
        gradients = backward(cache, Y, self.parameters, self.num_layers, self.keep_prob, self.lambd, self.m)
        self.t += 1
        if self.optimizer == "adam":
            adam(self.parameters, gradients, self.v, self.s, self.t, self.learning_rate, self.beta)
        else:
            momentum(self.parameters, gradients, self.v, self.learning_rate, self.beta)
        return J

    def epoch(self, X: Array, Y: Array, batch_size: int, permutation: Array) -> float:
        """One epoch; returns the mean cost."""
        costs = [self.step(*batch) for batch in random_mini_batches(X, Y, batch_size, permutation)]
        return float(np.mean(costs))
