"""Training: epochs of mini-batch steps with an evaluation after each, until the last one, an early stop or divergence.

A fit can be carried out in pieces of any length, in different processes, and gives the same bits as in one go:
`FitState` holds everything that is kept between two epochs.
"""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.nn.network import Network
from pipeline.nn.parameters import Parameters
from pipeline.nn.penalties import sparsity
from pipeline.training.early_stopping import EarlyStopping, Memory
from pipeline.training.history import History
from pipeline.training.measures import measures
from pipeline.training.optimizers import Optimizer, Slots
from pipeline.training.streams import Streams

Array = NDArray[Any]
Augment = Callable[..., Array]  # (rows (b, n_x), rng) -> rows (b, n_x)
Batch = tuple[Array, Array]  # X (n_x, b), y (b,)
PROBE_EXAMPLES = 64


class ExampleSource(Protocol):
    """What a fit needs of a set of examples; `pipeline.data.batches.Examples` is one."""

    m: int
    n_x: int
    labels: Array

    def batches(self, batch_size: int, streams: Streams, augment: Augment | None = None) -> Iterator[Batch]:
        """Yield every example once, in a new random order."""

    def blocks(self) -> Iterator[Batch]:
        """Yield every example once, in order and unchanged."""

    def head(self, count: int) -> Batch:
        """Return the first examples."""


@dataclass
class FitState:
    """All that a fit carries from one epoch to the next; small, and can be pickled.

    Attributes
    ----------
    epoch : epochs trained.
    outcome : None while there is more to do, else "completed", "early_stopped" or "diverged".
    reason : a sentence that says why it ended.
    step : optimiser steps taken.
    theta, best_theta : (n,) the parameters now, and at the best epoch.
    slots : what the optimiser remembers.
    streams : where the random streams stand.
    """

    layer_sizes: tuple[int, ...]
    theta: Array
    best_theta: Array
    slots: Slots
    streams: dict[str, Any]
    history: History
    memory: Memory = field(default_factory=Memory)
    epoch: int = 0
    step: int = 0
    outcome: str | None = None
    reason: str = ""

    def parameters(self) -> Parameters:
        """Return the parameters of the best epoch."""
        return Parameters(self.layer_sizes, theta=self.best_theta.copy())

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Return every curve, indexed by epoch."""
        return self.history.curves()

    def summary(self) -> dict[str, float]:
        """Return the measures at the best epoch, and the share of its weights that are nearly zero."""
        best = self.history.at(self.memory.best_epoch)
        names = ("dev_cost", "dev_error", "train_cost", "train_error", "balanced_error")
        return {
            "best_epoch": float(self.memory.best_epoch),
            **{f"best_{name}": best[name] for name in names},
            "sparsity": sparsity(self.parameters().weights),
        }


class Fit:
    """Minimise J on `train`, watched on `dev`; without a dev part the last epoch counts as the best."""

    def __init__(
        self,
        network: Network,
        train: ExampleSource,
        dev: ExampleSource | None,
        optimizer: Optimizer,
        *,
        batch_size: int,
        num_epochs: int,
        stopper: EarlyStopping,
        augment: Augment | None = None,
    ) -> None:
        if not 1 <= batch_size <= train.m:
            raise ValueError(f"batch_size must be in 1..{train.m}, the number of training examples, got {batch_size}")
        if num_epochs < 1:
            raise ValueError(f"num_epochs must be at least 1, got {num_epochs}")
        for examples in (train, dev):
            if examples is not None:
                _check_fits(examples, network)
        self.network, self.optimizer, self.stopper = network, optimizer, stopper
        self.train, self.dev, self.augment = train, dev, augment
        self.batch_size, self.num_epochs = batch_size, num_epochs
        self.parameters = Parameters(network.architecture.layer_sizes, network.dtype)
        self._gradients = self.parameters.like()
        self._scratch = np.empty_like(self.parameters.theta)
        num_classes = network.architecture.num_classes
        self._dev_counts = np.bincount(() if dev is None else dev.labels, minlength=num_classes)
        self._probe = train.head(min(PROBE_EXAMPLES, network.max_batch, train.m))

    def begin(self, parameters: Parameters, streams: Streams) -> FitState:
        """Return the state before the first epoch, with the initial parameters evaluated."""
        self.parameters.theta[:] = parameters.theta
        state = FitState(
            layer_sizes=parameters.layer_sizes,
            theta=self.parameters.theta.copy(),
            best_theta=self.parameters.theta.copy(),
            slots=self.optimizer.slots(self.parameters.theta),
            streams=streams.states(),
            history=History(self.network.architecture.num_layers),
        )
        with np.errstate(all="ignore"):
            self._conclude_epoch(state, math.nan)
        return state

    def advance(self, state: FitState, until_epoch: int | None = None) -> FitState:
        """Return the state at `until_epoch` or at the end of the fit; the one given stays as it is."""
        last = self.num_epochs if until_epoch is None else min(until_epoch, self.num_epochs)
        self.resume(state)
        while self.state.outcome is None and self.state.epoch < last:
            self.run_epoch()
        return self.pause()

    def resume(self, state: FitState) -> None:
        """Take up a fit where `state` left it; the state given stays as it is."""
        self.state = replace(
            state,
            best_theta=state.best_theta.copy(),
            slots=tuple(slot.copy() for slot in state.slots),
            history=state.history.copy(),
        )
        self.streams = Streams.restore(deepcopy(state.streams))
        self.parameters.theta[:] = state.theta

    def run_epoch(self) -> None:
        """Train one epoch of the fit that was resumed, and evaluate it."""
        with np.errstate(all="ignore"):  # a diverging trial overflows, which its outcome reports
            self.end_epoch(self.train_epoch(self.state, self.streams))

    def end_epoch(self, J: float) -> None:
        """Evaluate the fit after an epoch's steps, with J as `train_epoch` returns it."""
        self.state.epoch += 1
        self._conclude_epoch(self.state, J)

    def move(self, theta: Array, slots: Slots) -> None:
        """Continue in a stack's memory, into which the present values are copied.  theta, slots : (n,) each."""
        for there, here in zip((theta, *slots), (self.parameters.theta, *self.state.slots), strict=True):
            there[:] = here
        self.parameters = Parameters(self.state.layer_sizes, theta=theta)
        self.state.slots = slots

    def pause(self) -> FitState:
        """Return the state of the fit that was resumed."""
        slots = tuple(slot.copy() for slot in self.state.slots)
        return replace(self.state, theta=self.parameters.theta.copy(), slots=slots, streams=self.streams.states())

    def train_epoch(self, state: FitState, streams: Streams) -> float:
        """Take the steps of one epoch and return the mean of J over its examples, or the first J that is not finite."""
        network, parameters, gradients, total = self.network, self.parameters, self._gradients, 0.0
        alpha = self.optimizer.rate(state.epoch, self.num_epochs)
        for X, y in self.train.batches(self.batch_size, streams, self.augment):
            masks = network.draw_masks(len(y), streams.dropout)
            J = float(network.cost_and_gradients(X, y, parameters, gradients, masks))
            if not math.isfinite(J):
                return J
            state.step += 1
            self.optimizer.update(parameters.theta, gradients.theta, state.slots, state.step, alpha, self._scratch)
            total += J * len(y)
        return total / self.train.m

    def _conclude_epoch(self, state: FitState, J: float) -> None:
        """Evaluate, remember, and decide whether to go on; row 0 has no J."""
        train_cost, train_error = self._evaluate(self.train)
        dev_cost, dev_error, balanced_error = self._evaluate_dev()
        state.history.append(train_cost, dev_cost, train_error, dev_error, J, balanced_error, *self._norms())
        costs = [train_cost]
        if state.epoch > 0:
            costs.append(J)
        if self.dev is not None:
            costs.append(dev_cost)
        if not all(map(math.isfinite, costs)):
            state.outcome = "diverged"
            state.reason = f"the cost was no longer a finite number in epoch {state.epoch}"
            return
        reason = self._watch(state, {"dev_cost": dev_cost, "dev_error": dev_error, "balanced_error": balanced_error})
        if state.memory.best_epoch == state.epoch:
            state.best_theta[:] = self.parameters.theta
        if reason is not None:
            state.outcome, state.reason = "early_stopped", reason
        elif state.epoch == self.num_epochs:
            state.outcome, state.reason = "completed", f"trained all {self.num_epochs} epochs"

    def _watch(self, state: FitState, measures: dict[str, float]) -> str | None:
        """Update the memory and return why to stop, if so; without a dev part the last epoch is the best."""
        if self.dev is None:
            state.memory = replace(state.memory, best_epoch=state.epoch)
            return None
        state.memory = self.stopper.update(state.memory, state.epoch, measures[self.stopper.monitor])
        return self.stopper.reason_to_stop(state.memory, state.epoch)

    def _evaluate_dev(self) -> tuple[float, float, float]:
        """Return cost, error and balanced error (1/C Σ_c missed_c / m_c over the classes there are) of the dev part."""
        if self.dev is None:
            return math.nan, math.nan, math.nan
        missed = np.zeros_like(self._dev_counts)
        cost, error = self._evaluate(self.dev, missed)
        there = self._dev_counts > 0
        return cost, error, float(np.mean(missed[there] / self._dev_counts[there]))

    def dev_measures(self, state: FitState) -> dict[str, float]:
        """Return precision, recall and the like of a state's best parameters on the dev part; nothing without one."""
        if self.dev is None:
            return {}
        parameters = state.parameters()
        Z = np.concatenate([self.network.logits(X, parameters) for X, _ in self.dev.blocks()], axis=1)
        return measures(Z, self.dev.labels)

    def _evaluate(self, examples: ExampleSource, missed: Array | None = None) -> tuple[float, float]:
        cost, error = 0.0, 0.0
        for X, y in examples.blocks():
            block_cost, block_error = self.network.evaluate(X, y, self.parameters, missed)
            cost += block_cost * len(y) / examples.m
            error += block_error * len(y) / examples.m
        return cost, error

    def _norms(self) -> list[float]:
        X, y = self._probe
        self.network.cost_and_gradients(X, y, self.parameters, self._gradients)
        root_m = math.sqrt(len(y))
        return (
            [_norm(W) for W in self.parameters.W.values()]
            + [_norm(dW) for dW in self._gradients.W.values()]
            + [_norm(A) / root_m for A in self.network.activations(len(y))]
        )


def _check_fits(examples: ExampleSource, network: Network) -> None:
    n_x, num_classes = network.architecture.layer_sizes[0], network.architecture.num_classes
    if examples.n_x != n_x:
        raise ValueError(f"the examples have {examples.n_x} features, the network takes {n_x}")
    if examples.labels.max() >= num_classes:
        raise ValueError(f"labels must be in 0..{num_classes - 1}, got {examples.labels.max()}")


def _norm(array: Array) -> float:
    flat = array.ravel(order="K")  # as it lies: no copy
    return math.sqrt(np.dot(flat, flat))
