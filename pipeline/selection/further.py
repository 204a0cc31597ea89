"""What the further trainings of one configuration have measured, from their runs or their records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.tracking.found import Found
from pipeline.trials.record import ENDED, TrialRecord

Curves = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Trainings:
    """The further trainings of one configuration: one for each seed or repeat, with folds one for each fold of each.

    Attributes
    ----------
    values : of each measure the best, infinite where a training diverged or failed.
    new_rows : of repeats that divide the rows anew, what is compared at the epoch that the others choose.
    broken : how many seeds or repeats diverged or failed.
    """

    values: Mapping[str, Sequence[float]]
    new_rows: Sequence[float] = ()
    broken: int = 0


def of_seeds(runs: Sequence[Found], measure: str) -> Trainings:
    """Return what the runs of one configuration on new seeds have measured."""
    fine = [run.outcome in ENDED for run in runs]
    values = {
        name: [run.metrics[f"best_{name}"] if ended else math.inf for run, ended in zip(runs, fine, strict=True)]
        for name in shown_measures(measure)
    }
    return Trainings(values, broken=fine.count(False))


def of_repeats(records: Sequence[TrialRecord | None], measure: str) -> Trainings:
    """Return what the trainings of one configuration on further repeats have measured; None: it diverged or failed."""
    fits = [() if record is None else _fits(record) for record in records]
    flat = [fit for each in fits for fit in each]
    epochs = [int(summary["best_epoch"]) for summary, _ in flat]
    measured = iter(at_epochs_of_others([curves[measure] for _, curves in flat], epochs))
    folds = max([len(each) for each in fits], default=0) or 1
    broken = [math.inf] * folds  # all folds of a repeat end together
    values = {
        name: [value for each in fits for value in ([summary[f"best_{name}"] for summary, _ in each] or broken)]
        for name in shown_measures(measure)
    }
    new_rows = [value for each in fits for value in ([next(measured) for _ in each] or broken)]
    return Trainings(values, new_rows, records.count(None))


def _fits(record: TrialRecord) -> Sequence[tuple[Mapping[str, float], Curves]]:
    """Return the summary and the curves of each fit."""
    if not record.fit_curves:
        return [(record.summary, record.curves)]
    return [(fit["summary"], curves) for fit, curves in zip(record.fits, record.fit_curves, strict=True)]


def shown_measures(measure: str) -> list[str]:
    """Return the measures that a confirmation shows, the compared one among them."""
    return list(dict.fromkeys(("dev_cost", "dev_error", measure)))


def at_epochs_of_others(curves: Sequence[NDArray[np.float64]], best: Sequence[int]) -> list[float]:
    """Return the value of each curve at the median of the other fits' best epochs.

    A fit keeps the epoch that is best on its own dev rows, which makes their cost too low for new rows. Those rows have
    no part in the median of the others, as in cross-validation of the number of epochs. A curve that ends before that
    epoch counts with its last value; a single fit with its own best.

    Parameters
    ----------
    curves : (epochs + 1,) each.
    best : the epoch that each fit kept.
    """
    if len(curves) == 1:
        return [float(curves[0][best[0]])]
    epochs = [int(np.median(np.delete(best, fit))) for fit in range(len(best))]
    return [float(curve[min(epoch, len(curve) - 1)]) for curve, epoch in zip(curves, epochs, strict=True)]
