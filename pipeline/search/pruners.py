"""Optuna's pruners by name, and the rungs: the epochs at which a trial reports and may be stopped."""

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
)

from pipeline.config.commands import PrunerConfig
from pipeline.config.errors import ConfigError


def rungs(config: PrunerConfig, last: int) -> tuple[int, ...]:
    """Return the epochs first, first·f, first·f², … below `last`, f the reduction factor; none without pruning.

    By default `first` is a tenth of `last`: earlier looks make the median pruner stop configurations that start slowly
    and would end best.

    They are the rungs of successive halving (Li et al. 2020, "A system for massively parallel hyperparameter tuning"),
    and the same for every trial of a study, so that trials are compared at equal epochs.
    """
    if config.name == "none":
        return ()
    epochs = []
    epoch = first_rung(config, last)
    while epoch < last:
        epochs.append(epoch)
        epoch *= config.reduction_factor
    return tuple(epochs)


def first_rung(config: PrunerConfig, last: int) -> int:
    """Return the epoch of the first look at trials of `last` epochs."""
    return config.first_rung or max(1, last // 10)


def make_pruner(config: PrunerConfig, last: int) -> BasePruner:
    """Return the pruner that `config.name` names, for trials of `last` epochs.

    Raises
    ------
    ConfigError
        No trial reaches the first rung, or the threshold is missing.
    """
    first = first_rung(config, last)
    if config.name != "none" and config.first_rung is not None and first >= last:
        raise ConfigError(f"pruner.first_rung must be below training.num_epochs = {last}, but is {first}.")
    if config.name == "threshold":
        if config.upper is None:
            raise ConfigError("pruner.upper must be given for pruner=threshold, but is null.")
        return ThresholdPruner(upper=config.upper)
    if config.name == "median":
        return MedianPruner(n_startup_trials=config.startup_trials, n_warmup_steps=0)
    if config.name == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=config.reduction_factor)
    if config.name == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=last, reduction_factor=config.reduction_factor)
    return NopPruner()
