"""Why a trial was pruned: its value at the rung, and the limit that the pruner held it to there."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.commands import PrunerConfig
from pipeline.config.text import short


@dataclass(frozen=True)
class Pruned:
    """The end of a pruned trial: `value` of `measure` at `epoch`, above `limit`; `rule` says where the limit is from.

    The value is None if the measure was not a number.
    """

    measure: str
    epoch: int
    value: float | None
    limit: float | None
    rule: str

    @property
    def sentence(self) -> str:
        """Dev cost 0.31 at epoch 15 is above 0.12, the median there of 9 completed trials."""
        words = f"{self.measure.replace('_', ' ').capitalize()}"
        if self.value is None or self.limit is None:
            return f"{words} was not a number at epoch {self.epoch}"
        return f"{words} {short(self.value)} at epoch {self.epoch} is above {short(self.limit)}, {self.rule}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the sentence."""
        return {**asdict(self), "sentence": self.sentence}


def why(config: PrunerConfig, measure: str, trial: FrozenTrial, known: Sequence[FrozenTrial]) -> Pruned:
    """Say why a trial was pruned at its last report.

    Parameters
    ----------
    known : the other trials that the pruner saw.
    """
    epoch = max(trial.intermediate_values)
    value = trial.intermediate_values[epoch]
    if math.isnan(value):
        return Pruned(measure, epoch, None, None, "")
    limit, rule = LIMITS[config.name](config, trial, known)
    return Pruned(measure, epoch, value, limit, rule)


def _threshold(config: PrunerConfig, trial: FrozenTrial, known: Sequence[FrozenTrial]) -> tuple[float, str]:
    assert config.upper is not None
    return config.upper, "the limit pruner.upper"


def _median(config: PrunerConfig, trial: FrozenTrial, known: Sequence[FrozenTrial]) -> tuple[float, str]:
    """Return the median of the completed trials at the same epoch."""
    epoch = max(trial.intermediate_values)
    values = [
        other.intermediate_values[epoch]
        for other in known
        if other.state == TrialState.COMPLETE and epoch in other.intermediate_values
    ]
    return float(np.nanmedian(values)), f"the median there of {len(values)} completed trials"


def _best_share(config: PrunerConfig, trial: FrozenTrial, known: Sequence[FrozenTrial]) -> tuple[float, str]:
    """Return the worst of the best 1 / reduction_factor values at the rung, the trial's included (Li et al. 2020).

    Hyperband compares within a bracket; the trials of bracket s skip their first s rungs.
    """
    rungs, epoch = _rungs(trial), max(trial.intermediate_values)
    rivals = [other for other in known if _bracket(other) == _bracket(trial) and _rungs(other) >= rungs]
    values = sorted(each.intermediate_values[epoch] for each in [*rivals, trial])
    best = max(1, len(values) // config.reduction_factor)
    return values[best - 1], f"the worst of the best {best} of {len(values)} trials there"


def _rungs(trial: FrozenTrial) -> int:
    """How many rungs the pruner has judged a trial at."""
    return sum(name.startswith("completed_rung_") for name in trial.system_attrs)


def _bracket(trial: FrozenTrial) -> int:
    """At how many reports the pruner did not look."""
    return len(trial.intermediate_values) - _rungs(trial)


LIMITS: dict[str, Callable[[PrunerConfig, FrozenTrial, Sequence[FrozenTrial]], tuple[float, str]]] = {
    "threshold": _threshold,
    "median": _median,
    "successive_halving": _best_share,
    "hyperband": _best_share,
}
