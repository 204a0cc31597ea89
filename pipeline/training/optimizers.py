"""Optimisers on the flat parameter vector θ, in place, and the decay of their learning rate α.

They see ∂J/∂θ with the penalty in it, so λ acts through the gradient (for Adam this is not decoupled weight decay).
Every slot, such as the velocity, is a vector like θ that starts at 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[Any]
Slots = tuple[Vector, ...]


@dataclass(frozen=True)
class Optimizer:
    """Which rule, and its constants; `learning_rate` is α of the first epoch."""

    name: str = "momentum"
    learning_rate: float = 0.05
    momentum: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: str = "none"
    decay_rate: float = 0.0

    def __post_init__(self) -> None:
        """Check every value on its own."""
        for label, value, known in (("optimizer", self.name, RULES), ("decay", self.decay, DECAYS)):
            if value not in known:
                raise ValueError(f"{label} must be one of {', '.join(known)}, got {value!r}")
        for label, number in (("learning_rate", self.learning_rate), ("epsilon", self.epsilon)):
            if not 0 < number < math.inf:
                raise ValueError(f"{label} must be positive and finite, got {number}")
        for label, number in (("momentum", self.momentum), ("beta2", self.beta2)):
            if not 0 <= number < 1:
                raise ValueError(f"{label} must be in [0, 1), got {number}")
        if not 0 <= self.decay_rate < math.inf:
            raise ValueError(f"decay_rate must be finite and not negative, got {self.decay_rate}")

    def slots(self, theta: Vector) -> Slots:
        """Return the zero vectors that the rule keeps between steps."""
        return tuple(np.zeros_like(theta) for _ in range(RULES[self.name].num_slots))

    def rate(self, epoch: int, num_epochs: int) -> float:
        """Return α of an epoch, counted from 0."""
        return self.learning_rate * DECAYS[self.decay](epoch, num_epochs, self.decay_rate)

    def update(self, theta: Vector, gradient: Vector, slots: Slots, step: int, alpha: float, scratch: Vector) -> None:
        """Take step number `step`, counted from 1; `scratch` is a vector like θ."""
        RULES[self.name].update(theta, gradient, slots, step, alpha, scratch, self)


class UpdateRule(NamedTuple):
    """One optimiser: how it moves θ, and how many vectors it remembers."""

    update: Callable[[Vector, Vector, Slots, int, float, Vector, Optimizer], None]
    num_slots: int


def gradient_descent(
    theta: Vector, gradient: Vector, slots: Slots, step: int, alpha: float, scratch: Vector, constants: Optimizer
) -> None:
    """θ ← θ − α dθ."""
    np.multiply(gradient, alpha, out=scratch)
    np.subtract(theta, scratch, out=theta)


def momentum(
    theta: Vector, gradient: Vector, slots: Slots, step: int, alpha: float, scratch: Vector, constants: Optimizer
) -> None:
    """In turn v ← β v + dθ;  θ ← θ − α v.

    As PyTorch has it. The course writes v ← β v + (1 − β) dθ, which is the same with α larger by 1 / (1 − β).
    """
    (v,) = slots
    np.multiply(v, constants.momentum, out=v)
    np.add(v, gradient, out=v)
    np.multiply(v, alpha, out=scratch)
    np.subtract(theta, scratch, out=theta)


def rmsprop(
    theta: Vector, gradient: Vector, slots: Slots, step: int, alpha: float, scratch: Vector, constants: Optimizer
) -> None:
    """In turn s ← β₂ s + (1 − β₂) dθ²;  θ ← θ − α dθ / (√s + ε).

    Hinton 2012, lecture 6e; no correction of the start.
    """
    (s,) = slots
    _average_squares(s, gradient, constants.beta2, scratch)
    np.sqrt(s, out=scratch)
    np.add(scratch, constants.epsilon, out=scratch)
    np.divide(gradient, scratch, out=scratch)
    np.multiply(scratch, alpha, out=scratch)
    np.subtract(theta, scratch, out=theta)


def adam(
    theta: Vector, gradient: Vector, slots: Slots, step: int, alpha: float, scratch: Vector, constants: Optimizer
) -> None:
    """In turn v ← β₁ v + (1 − β₁) dθ;  s ← β₂ s + (1 − β₂) dθ²;  θ ← θ − α v' / (√s' + ε).

    Kingma & Ba 2015, algorithm 1: v' = v / (1 − β₁ᵗ) and s' = s / (1 − β₂ᵗ) correct the start at 0 in step t. Written
    with c = √(1 − β₂ᵗ):
    θ ← θ − (α c / (1 − β₁ᵗ)) v / (√s + ε c).
    """
    v, s = slots
    beta1, beta2 = constants.momentum, constants.beta2
    np.multiply(v, beta1, out=v)
    np.multiply(gradient, 1 - beta1, out=scratch)
    np.add(v, scratch, out=v)
    _average_squares(s, gradient, beta2, scratch)
    c = math.sqrt(1 - beta2**step)
    np.sqrt(s, out=scratch)
    np.add(scratch, constants.epsilon * c, out=scratch)
    np.divide(v, scratch, out=scratch)
    np.multiply(scratch, alpha * c / (1 - beta1**step), out=scratch)
    np.subtract(theta, scratch, out=theta)


def _average_squares(s: Vector, gradient: Vector, beta2: float, scratch: Vector) -> None:
    np.multiply(s, beta2, out=s)
    np.multiply(gradient, gradient, out=scratch)
    np.multiply(scratch, 1 - beta2, out=scratch)
    np.add(s, scratch, out=s)


def no_decay(epoch: int, num_epochs: int, decay_rate: float) -> float:
    """α stays."""
    return 1.0


def inverse_decay(epoch: int, num_epochs: int, decay_rate: float) -> float:
    """α / (1 + decay_rate · epoch)."""
    return 1 / (1 + decay_rate * epoch)


def exponential_decay(epoch: int, num_epochs: int, decay_rate: float) -> float:
    """α exp(−decay_rate · epoch)."""
    return math.exp(-decay_rate * epoch)


def cosine_decay(epoch: int, num_epochs: int, decay_rate: float) -> float:
    """α (1 + cos(π epoch / num_epochs)) / 2, which would reach 0 after the last epoch."""
    return (1 + math.cos(math.pi * epoch / num_epochs)) / 2


RULES: dict[str, UpdateRule] = {
    "gradient_descent": UpdateRule(gradient_descent, 0),
    "momentum": UpdateRule(momentum, 1),
    "rmsprop": UpdateRule(rmsprop, 1),
    "adam": UpdateRule(adam, 2),
}
DECAYS: dict[str, Callable[[int, int, float], float]] = {
    "none": no_decay,
    "inverse": inverse_decay,
    "exponential": exponential_decay,
    "cosine": cosine_decay,
}
