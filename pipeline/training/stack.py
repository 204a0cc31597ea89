"""Trains several fits side by side, as arrays with a leading axis, which needs fewer operations on small networks.

Each fit gets the bits that it has alone; fits are evaluated one by one.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.nn.network import Network
from pipeline.nn.parameters import Parameters
from pipeline.training.fit import Batch, Fit

CACHE_BYTES = 2**21
"""What the parameters and activations of a stack may take; about two second-level caches of a processor.

Up to there, more fits side by side are faster: on 64-64-32-10 with batches of 64 and 1 MiB of cache, four fits take
their steps 1.3 times as fast as alone, eight 1.45 times. A network of 784-128-64-10 takes 2 MB itself, and is trained
alone.
"""

SideBySide = Callable[[Sequence[Any], int, Sequence[Any]], Iterator[Batch]]


class Stack:
    """Resumed fits of one configuration with equally many training examples; they must not be augmented.

    Parameters
    ----------
    side_by_side : gives the mini-batches of several sets as stacks, `pipeline.data.batches.side_by_side`.
    """

    def __init__(self, fits: Sequence[Fit], side_by_side: SideBySide) -> None:
        first, self.fits, self._side_by_side = fits[0], list(fits), side_by_side
        self.network = Network(
            first.network.architecture,
            first.network.regularization,
            dtype=first.network.dtype,
            max_batch=first.batch_size,
            stack=len(fits),
            class_weights=_stacked([fit.network.class_weights for fit in fits]),
        )
        theta = np.empty((len(fits), first.parameters.theta.size), first.network.dtype)
        self.slots = tuple(np.empty_like(theta) for _ in first.state.slots)
        for row, fit in enumerate(fits):
            fit.move(theta[row], tuple(slot[row] for slot in self.slots))
        self.parameters = Parameters(first.state.layer_sizes, theta=theta)
        self._gradients, self._scratch = self.parameters.like(), np.empty_like(theta)

    def run_epoch(self) -> None:
        """Train one epoch of every fit, and evaluate each."""
        with np.errstate(all="ignore"):
            for fit, J in zip(self.fits, self._train_epoch(), strict=True):
                fit.end_epoch(J)

    def _train_epoch(self) -> list[float]:
        """Take the steps of one epoch; return for each fit what `Fit.train_epoch` would."""
        first, streams = self.fits[0], [fit.streams for fit in self.fits]
        total, broken, step = np.zeros(len(self.fits)), dict[int, _Broken](), first.state.step
        alpha = first.optimizer.rate(first.state.epoch, first.num_epochs)
        for X, y in self._side_by_side([fit.train for fit in self.fits], first.batch_size, streams):
            masks = self.network.draw_masks(y.shape[-1], *(each.dropout for each in streams))
            J = self.network.cost_and_gradients(X, y, self.parameters, self._gradients, masks)
            if not math.isfinite(J.sum()):
                for row in np.flatnonzero(~np.isfinite(J)):
                    broken.setdefault(int(row), _Broken(self.fits[row], float(J[row]), step))
            step += 1
            theta, gradient = self.parameters.theta, self._gradients.theta
            first.optimizer.update(theta, gradient, self.slots, step, alpha, self._scratch)
            total += J.astype(float) * y.shape[-1]
        for fit in self.fits:
            fit.state.step = step
        for each in broken.values():
            each.restore()
        return [broken[row].J if row in broken else total[row] / first.train.m for row in range(len(self.fits))]


def _stacked(class_weights: Sequence[Any]) -> Any:
    """The class weights of every fit, (r, C): their training parts may have other counts; None without weights."""
    return None if class_weights[0] is None else np.stack(class_weights)


class _Broken:
    """The state of a fit at the step where its J is no longer finite, while the others of its stack go on."""

    def __init__(self, fit: Fit, J: float, step: int) -> None:
        self.fit, self.J, self.step = fit, J, step
        self.theta = fit.parameters.theta.copy()
        self.slots = [slot.copy() for slot in fit.state.slots]

    def restore(self) -> None:
        """Undo the steps that the stack took after it."""
        self.fit.state.step = self.step
        self.fit.parameters.theta[:] = self.theta
        for slot, kept in zip(self.fit.state.slots, self.slots, strict=True):
            slot[:] = kept


def bytes_of(fit: Fit) -> int:
    """Estimate the bytes that the steps of a fit touch: θ, its gradient, slots, scratch, and a batch's activations."""
    network, sizes = fit.network, fit.network.architecture.layer_sizes
    vectors = 3 + len(fit.state.slots)
    dropped = sum(size for size, keep in zip(sizes, network.keep_prob, strict=False) if keep < 1)
    activations = fit.batch_size * (3 * sum(sizes[1:]) + 2 * dropped)
    return network.dtype.itemsize * (vectors * fit.parameters.theta.size + activations)


def can_stack(fit: Fit) -> bool:
    """Whether a fit may be trained in a stack: in mini-batches and without augmentation, which draws as it gathers."""
    return fit.augment is None and fit.batch_size < fit.train.m


def grouped(fits: Sequence[Fit]) -> list[list[Fit]]:
    """Divide fits into groups to be trained side by side, as large as the cache allows; a group may be a single fit."""
    by_size: dict[int, list[Fit]] = {}
    for number, fit in enumerate(fits):
        by_size.setdefault(fit.train.m if can_stack(fit) else -1 - number, []).append(fit)
    groups = []
    for alike in by_size.values():
        largest = max(1, CACHE_BYTES // bytes_of(alike[0]))
        count = math.ceil(len(alike) / largest)
        groups += [alike[k * len(alike) // count : (k + 1) * len(alike) // count] for k in range(count)]
    return groups
