"""Repeats cross-validated trials of format-1 records, which trained one fold after the other and counted folds.

A trial of one fit is the same in both formats.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from pipeline.config.trial import TrialConfig
from pipeline.data.arrays import TrialArrays
from pipeline.training.diagnosis import diagnosis_of
from pipeline.training.fit import FitState
from pipeline.training.means import Curves
from pipeline.trials.environment import environment
from pipeline.trials.fits import Planned, begin, forget_others, make_fit, plan
from pipeline.trials.gradients import check
from pipeline.trials.parts import architecture_of, initial_parameters
from pipeline.trials.record import TrialRecord
from pipeline.trials.threads import one_thread


def repeat_folds(config: TrialConfig, arrays: TrialArrays, stop_fold: int | None = None) -> TrialRecord:
    """Train fold after fold to its end, `stop_fold` of them or all, and return a record of format 1.

    No fold is trained after one that diverged.
    """
    began, started_at = time.perf_counter(), time.time()
    architecture, planned = architecture_of(config, arrays), plan(config, arrays)
    forget_others(arrays, planned)
    initial = initial_parameters(config, architecture, planned[0].streams(config.seed))
    with one_thread(), np.errstate(all="ignore"):
        checks = {"init": check(config, architecture, arrays, planned[0], initial)}
        states = _train(config, arrays, planned[:stop_fold])
        checks["trained"] = check(config, architecture, arrays, planned[0], states[0].parameters())
        summary, curves = _summary(states), [state.curves() for state in states]
    outcomes = [state.outcome for state in states]
    ended = next((name for name in ("diverged", "early_stopped") if name in outcomes), "completed")
    pruned = stop_fold is not None and len(states) == stop_fold < len(planned) and ended != "diverged"
    reasons = [f"fold {number}: {state.reason}" for number, state in enumerate(states, start=1)]
    return TrialRecord(
        config=asdict(config),
        data={"digest": arrays.digest},
        outcome="pruned" if pruned else ended,
        reason=f"the pruner stopped it after {len(states)} folds" if pruned else "; ".join(reasons),
        stop_epoch=len(states),
        curves=_mean_curves(curves),
        parameters={
            f"fold{number}_{name}": values
            for number, state in enumerate(states, start=1)
            for name, values in state.parameters().as_dict().items()
        },
        summary=summary,
        gradient_checks={moment: report.as_dict() for moment, report in checks.items() if report is not None},
        diagnosis=diagnosis_of(curves, summary, config.data.optimal_error, config.diagnosis.threshold),
        fit_curves=curves,
        environment=environment(),
        started_at=started_at,
        duration_s=time.perf_counter() - began,
        format=1,
    )


def _train(config: TrialConfig, arrays: TrialArrays, planned: Sequence[Planned]) -> list[FitState]:
    """Train fold after fold; return the state of each that was begun."""
    architecture, states = architecture_of(config, arrays), list[FitState]()
    for each in planned:
        fit = make_fit(config, architecture, arrays, each.rows)
        states.append(fit.advance(begin(fit, each, config, architecture)))
        if states[-1].outcome == "diverged":
            break
    return states


def _mean_curves(curves: Sequence[Curves]) -> Curves:
    """Return the mean over folds, up to the shortest."""
    epochs = min(len(fold["dev_cost"]) for fold in curves)
    return {name: np.mean([fold[name][:epochs] for fold in curves], axis=0) for name in curves[0]}


def _summary(states: Sequence[FitState]) -> dict[str, float]:
    """Return the means over folds, their median best epoch, and the standard deviations of dev cost and error."""
    folds = [state.summary() for state in states]
    summary = {name: float(np.mean([fold[name] for fold in folds])) for name in folds[0]}
    summary["best_epoch"] = float(np.median([fold["best_epoch"] for fold in folds]))
    for name in ("best_dev_cost", "best_dev_error"):
        values = [fold[name] for fold in folds]
        summary[f"{name}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return summary
