"""The fits of a trial: lists them, builds each from plain values, and trains them side by side.

A trial trains one configuration for each repeat and for each fold of that repeat's division. All fits are at the same
epoch, except those that have ended, so cutting a trial into segments changes nothing.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pipeline.config.trial import TrialConfig
from pipeline.data import batches
from pipeline.data.arrays import Fold, TrialArrays
from pipeline.data.augment import make_augment
from pipeline.data.batches import Examples
from pipeline.nn.architecture import Architecture
from pipeline.nn.network import Network
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.fit import PROBE_EXAMPLES, Fit, FitState
from pipeline.training.optimizers import Optimizer
from pipeline.training.stack import Stack, grouped
from pipeline.training.streams import Streams, streams
from pipeline.trials.parts import class_weights_of, initial_parameters, regularization_of


@dataclass(frozen=True)
class Planned:
    """One fit: the repeat whose seed it has, the number of its fold (from 1; None with a fixed dev part), its rows."""

    repeat: int
    fold: int | None
    rows: Fold

    def streams(self, seed: int) -> Streams:
        """The random streams of this fit; the folds of one repeat share them."""
        return streams(seed, self.repeat)


def plan(config: TrialConfig, arrays: TrialArrays) -> list[Planned]:
    """Return the fits of a trial: for each of its repeats, one for each fold."""
    fits = []
    for repeat in config.repeat_numbers:
        folds = arrays.division(repeat)
        fits += [Planned(repeat, k if len(folds) > 1 else None, rows) for k, rows in enumerate(folds, start=1)]
    return fits


def begin(fit: Fit, planned: Planned, config: TrialConfig, architecture: Architecture) -> FitState:
    """Return the state of a fit before its first epoch."""
    drawn = planned.streams(config.seed)
    return fit.begin(initial_parameters(config, architecture, drawn), drawn)


def train(fits: Sequence[Fit], states: Sequence[FitState], until: int | None, deadline: float | None) -> list[FitState]:
    """Train every fit on, epoch by epoch, to `until`, to the end or past the deadline; return their states.

    All stop at the epoch in which one diverges. Small networks are trained side by side, others in turn.
    """
    for fit, state in zip(fits, states, strict=True):
        fit.resume(state)
    epoch, groups, in_groups = max(state.epoch for state in states), list[Fit | Stack](), 0
    while outcome(fit.state for fit in fits) is None and (until is None or epoch < until):
        live = [fit for fit in fits if fit.state.outcome is None]
        if len(live) != in_groups:
            groups, in_groups = in_stacks(live), len(live)
        for group in groups:
            group.run_epoch()
        epoch += 1
        if deadline is not None and time.perf_counter() >= deadline:
            break
    return [fit.pause() for fit in fits]


def in_stacks(fits: Sequence[Fit]) -> list[Fit | Stack]:
    """Return stacks of the fits that are faster together, and the other fits unchanged."""
    return [Stack(group, batches.side_by_side) if len(group) > 1 else group[0] for group in grouped(fits)]


def outcome(states: Iterable[FitState]) -> str | None:
    """Return the outcome of a trial from those of its fits; None while there is more to train.

    One fit that diverged makes the trial diverged; one that stopped early, among others that completed, early_stopped.
    """
    outcomes = {state.outcome for state in states}
    if "diverged" in outcomes:
        return "diverged"
    if None in outcomes:
        return None
    return "early_stopped" if "early_stopped" in outcomes else "completed"


def network(
    config: TrialConfig, architecture: Architecture, arrays: TrialArrays, rows: Fold, max_batch: int
) -> Network:
    """Build the network of one fit."""
    return Network(
        architecture,
        regularization_of(config, len(rows.train)),
        dtype=config.training.dtype,
        max_batch=max_batch,
        class_weights=class_weights_of(config, arrays, rows),
    )


def make_fit(config: TrialConfig, architecture: Architecture, arrays: TrialArrays, rows: Fold) -> Fit:
    """Build one fit."""
    t = config.training
    batch_size = len(rows.train) if isinstance(t.batch_size, str) else min(t.batch_size, len(rows.train))
    return Fit(
        network(config, architecture, arrays, rows, max(batch_size, PROBE_EXAMPLES)),
        examples(arrays, rows, "train", t.dtype),
        examples(arrays, rows, "dev", t.dtype) if len(rows.dev) else None,
        _optimizer(config),
        batch_size=batch_size,
        num_epochs=t.num_epochs,
        stopper=EarlyStopping("dev_cost" if t.monitor == "auto" else t.monitor, t.patience, t.min_delta),
        augment=make_augment(**asdict(config.augmentation), image_shape=arrays.image_shape),
    )


def _optimizer(config: TrialConfig) -> Optimizer:
    t = config.training
    return Optimizer(
        name=t.optimizer,
        learning_rate=t.learning_rate,
        momentum=t.momentum,
        beta2=t.beta2,
        epsilon=t.epsilon,
        decay=t.decay,
        decay_rate=t.decay_rate,
    )


def examples(arrays: TrialArrays, rows: Fold, part: str, dtype: str) -> Examples:
    """Return the examples of a part, kept for the trial's next segment and for the next trial with the same fits.

    Beyond `KEPT_BYTES` their rows are gathered when they are needed, from the arrays that all workers share.
    """
    kept, key = _KEPT.examples, (id(arrays), id(rows), part, dtype)
    if key not in kept:
        index, in_all = getattr(rows, part), sum(examples.kept_bytes for *_, examples in kept.values())
        keep = in_all + len(index) * arrays.X.shape[1] * np.dtype(dtype).itemsize <= KEPT_BYTES
        kept[key] = (arrays, rows, Examples(arrays.X, arrays.y, index, rows.normalization, dtype, keep=keep))
    return kept[key][2]


def forget_others(arrays: TrialArrays, fits: Sequence[Planned]) -> None:
    """Drop the examples of all fits but these."""
    wanted = {(id(arrays), id(fit.rows)) for fit in fits}
    _KEPT.examples = {key: kept for key, kept in _KEPT.examples.items() if key[:2] in wanted}


class _Kept(threading.local):
    """Each thread's own examples, because a batch is a view of a buffer that the next batch overwrites.

    They are found by the identity of arrays and fold, which are kept too, so that no others can have the same.
    """

    def __init__(self) -> None:
        self.examples: dict[tuple[int, int, str, str], tuple[TrialArrays, Fold, Examples]] = {}


_KEPT = _Kept()
KEPT_BYTES = 2 * batches.RESIDENT_BYTES
"""Bytes that a thread's normalised examples may take; those of one fit are always kept."""
