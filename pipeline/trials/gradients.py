"""The gradient check of a trial, on a small stratified batch of training examples of its first fit."""

from pipeline.config.trial import TrialConfig
from pipeline.data.arrays import TrialArrays
from pipeline.data.batches import Examples
from pipeline.data.sampling import stratified_sample
from pipeline.gradcheck.check import GradientReport, check_gradients
from pipeline.nn.architecture import Architecture
from pipeline.nn.parameters import Parameters
from pipeline.trials.fits import Planned, network


def check(
    config: TrialConfig, architecture: Architecture, arrays: TrialArrays, fit: Planned, parameters: Parameters
) -> GradientReport | None:
    """Check the gradients at `parameters`, masks frozen where dropout is on; None if checks are off."""
    c = config.gradcheck
    if not c.enabled:
        return None
    rows, rng = fit.rows, fit.streams(config.seed).gradcheck
    chosen = stratified_sample(arrays.y[rows.train], c.examples, rng=rng)
    batch = Examples(arrays.X, arrays.y, rows.train[chosen], rows.normalization, "float64")
    X, y = batch.head(len(chosen))
    checked = network(config, architecture, rows, len(y))
    masks = checked.draw_masks(len(y), rng) if min(checked.keep_prob) < 1 else None
    return check_gradients(
        checked,
        parameters,
        X,
        y,
        rng=rng,
        masks=masks,
        epsilon=c.epsilon,
        max_coordinates=c.max_coordinates,
        directions=c.directions,
        max_kink_share=c.max_kink_share,
    )
