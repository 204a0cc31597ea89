"""Derives from a finished record what its study stores."""

import math
from collections.abc import Sequence
from typing import Any

from optuna.trial import TrialState

from pipeline.gradcheck.report import distrust
from pipeline.training.means import MEASURES
from pipeline.trials.record import ENDED, TrialRecord


def objective_value(name: str, record: TrialRecord) -> float:
    """Return the value of one objective: best dev cost, best dev error, or the number of parameters (of one fit)."""
    if name == "parameters":
        return float(record.num_parameters)
    return record.summary[f"best_{name}"]


def end_of(record: TrialRecord, objectives: Sequence[str]) -> tuple[TrialState, list[float] | None]:
    """Return the study's word for a trial's outcome, and its values if it has any."""
    if record.outcome in ENDED:
        return TrialState.COMPLETE, [objective_value(name, record) for name in objectives]
    return (TrialState.FAIL if record.outcome == "failed" else TrialState.PRUNED), None


def summary_of(record: TrialRecord) -> dict[str, Any]:
    """Return the outcome, the epochs and every finite value of the summary."""
    brief: dict[str, Any] = {"outcome": record.outcome, "epochs": record.stop_epoch, **record.summary}
    if distrust(record.gradient_checks):
        brief["distrusted"] = True
    return {key: value for key, value in brief.items() if not isinstance(value, float) or math.isfinite(value)}


def values_of(record: TrialRecord) -> dict[str, list[float]]:
    """Return the best dev cost, dev error and balanced error of each repeat; format 1 lacks the last."""
    known = MEASURES if record.format > 1 else ("dev_cost", "dev_error")
    return {measure: list(record.values(measure).values()) for measure in known}
