"""The same cost and gradient from PyTorch's autograd in float64."""

import numpy as np
import torch
from torch.nn import functional

from tests.nn.oracle_cases import Case, Inputs, inputs

ACTIVATIONS = {
    "relu": torch.relu,
    "leaky_relu": functional.leaky_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "identity": lambda Z: Z,
}


def tensors(given: Inputs) -> dict[str, torch.Tensor]:
    """Leaves with the parameters' values, by name."""
    return {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in given.parameters.as_dict().items()}


def cost(given: Inputs, parameters: dict[str, torch.Tensor]) -> torch.Tensor:
    """J of the batch, penalties written out."""
    architecture, regularization = given.network.architecture, given.network.regularization
    A = torch.from_numpy(given.X)
    for layer in range(1, architecture.num_layers + 1):
        mask = given.masks[layer - 1]
        A = A if mask is None else A * torch.from_numpy(mask)
        Z = parameters[f"W{layer}"] @ A + parameters[f"b{layer}"]
        if layer < architecture.num_layers:
            A = ACTIVATIONS[architecture.activations[layer - 1]](Z)
    y = torch.from_numpy(given.y)
    if architecture.output == "softmax":
        J = functional.cross_entropy(Z.T, y)
    else:
        J = functional.binary_cross_entropy_with_logits(Z[0], y.double())
    weights = [parameters[f"W{layer}"] for layer in range(1, architecture.num_layers + 1)]
    J = J + regularization.lambd / (2 * regularization.m) * sum((W**2).sum() for W in weights)
    return J + regularization.lambd_l1 / (2 * regularization.m) * sum(W.abs().sum() for W in weights)


def cost_and_gradient(case: Case) -> tuple[float, np.ndarray]:
    given = inputs(case)
    parameters = tensors(given)
    J = cost(given, parameters)
    J.backward()
    return J.item(), np.concatenate([value.grad.numpy().ravel() for value in parameters.values()])


def train(case: Case, optimizer: str, steps: int, learning_rate: float) -> np.ndarray:
    """θ after some steps on one batch with `torch.optim`, its constants those of the core's defaults."""
    given = inputs(case)
    parameters = tensors(given)
    leaves = list(parameters.values())
    made = {
        "gradient_descent": lambda: torch.optim.SGD(leaves, lr=learning_rate),
        "momentum": lambda: torch.optim.SGD(leaves, lr=learning_rate, momentum=0.9),
        "rmsprop": lambda: torch.optim.RMSprop(leaves, lr=learning_rate, alpha=0.999, eps=1e-8),
        "adam": lambda: torch.optim.Adam(leaves, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8),
    }[optimizer]()
    for _ in range(steps):
        made.zero_grad()
        cost(given, parameters).backward()
        made.step()
    return np.concatenate([value.detach().numpy().ravel() for value in leaves])
