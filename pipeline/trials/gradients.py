"""The gradient check of a trial, on a small stratified batch of training examples of its first fit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.trial import GradcheckConfig, TrialConfig
from pipeline.data.arrays import Fold, TrialArrays
from pipeline.data.batches import Examples
from pipeline.gradcheck.check import GradientReport, check_gradients
from pipeline.nn.architecture import Architecture
from pipeline.nn.network import Masks, Network
from pipeline.nn.parameters import Parameters
from pipeline.trials.fits import Planned, network

Batch = tuple[NDArray[Any], NDArray[Any]]


def check(
    config: TrialConfig, architecture: Architecture, arrays: TrialArrays, fit: Planned, parameters: Parameters
) -> GradientReport | None:
    """Check the gradients at `parameters`, masks frozen where dropout is on; None if checks are off."""
    if not config.gradcheck.enabled:
        return None
    rng = fit.streams(config.seed).gradcheck
    X, y = training_sample(arrays, fit.rows, config.gradcheck.examples, rng=rng)
    checked = network(config, architecture, arrays, fit.rows, len(y))
    masks = checked.draw_masks(len(y), rng) if min(checked.keep_prob) < 1 else None
    return check_as_configured(config.gradcheck, checked, parameters, (X, y), masks, rng=rng)


def check_as_configured(
    config: GradcheckConfig,
    network: Network,
    parameters: Parameters,
    batch: Batch,
    masks: Masks | None,
    *,
    rng: np.random.Generator,
    method: str = "two_sided",
) -> GradientReport:
    """Call `check_gradients` with the limits of a configuration."""
    return check_gradients(
        network,
        parameters,
        *batch,
        rng=rng,
        masks=masks,
        method=method,
        epsilon=config.epsilon,
        max_coordinates=config.max_coordinates,
        directions=config.directions,
        max_kink_share=config.max_kink_share,
    )


def training_sample(arrays: TrialArrays, fold: Fold, count: int, *, rng: np.random.Generator) -> Batch:
    """Return a stratified sample of a training part, X : (n_x, count) in float64, y : (count,)."""
    chosen = stratified_sample(arrays.y[fold.train], count, rng=rng)
    examples = Examples(arrays.X, arrays.y, fold.train[chosen], fold.normalization, np.float64)
    return examples.head(len(chosen))


def stratified_sample(y: NDArray[Any], count: int, *, rng: np.random.Generator) -> NDArray[Any]:
    """Return the positions of `count` examples, taken from the classes in turn so that as many as possible occur.

    Parameters
    ----------
    y : (m,) class numbers.
    """
    order = rng.permutation(len(y))
    turn = np.empty(len(y), dtype=np.int64)  # rank of an example within its class
    for label in np.unique(y):
        of_class = order[y[order] == label]
        turn[of_class] = np.arange(len(of_class))
    return order[np.argsort(turn[order], kind="stable")][:count]
