"""Optuna's pruners by name, and the rungs: the epochs at which a trial reports and may be stopped."""

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
)

from pipeline.config import PrunerConfig
from pipeline.errors import ConfigError


def rungs(config: PrunerConfig, num_epochs: int) -> tuple[int, ...]:
    """Epochs first, first·f, first·f², … below `num_epochs`, f the reduction factor; none without pruning.

    They are successive halving's own grid (Li et al. 2020, "A system for massively parallel hyperparameter tuning"),
    and the same for every trial of a study, so that trials are compared at equal epochs.
    """
    if config.name == "none":
        return ()
    epochs = []
    epoch = config.first_rung
    while epoch < num_epochs:
        epochs.append(epoch)
        epoch *= config.reduction_factor
    return tuple(epochs)


def make_pruner(config: PrunerConfig, num_epochs: int) -> BasePruner:
    """The pruner that `config.name` names.

    Raises
    ------
    ConfigError
        A first rung that no trial reaches, or a threshold that is not given.
    """
    if config.name != "none" and config.first_rung >= num_epochs:
        raise ConfigError(
            f"pruner.first_rung must be below training.num_epochs = {num_epochs}, but is {config.first_rung}."
        )
    if config.name == "threshold":
        if config.upper is None:
            raise ConfigError("pruner.upper must be given for pruner=threshold, but is null.")
        return ThresholdPruner(upper=config.upper)
    if config.name == "median":
        return MedianPruner(n_startup_trials=config.startup_trials, n_warmup_steps=0)
    if config.name == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=config.first_rung, reduction_factor=config.reduction_factor)
    if config.name == "hyperband":
        return HyperbandPruner(
            min_resource=config.first_rung, max_resource=num_epochs, reduction_factor=config.reduction_factor
        )
    return NopPruner()
