"""The chosen configuration as a classifier: its recorded parameters, or after cross-validation one training on all."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.errors import RecordError, UserError
from pipeline.data.arrays import Fold, TrialArrays, load_arrays
from pipeline.data.prepare import PreparedData
from pipeline.models.inference import Classifier
from pipeline.selection.candidates import Candidate
from pipeline.selection.statistics import Proportion, proportion
from pipeline.tracking.files import digest
from pipeline.tracking.sizes import config_of
from pipeline.trials.parts import architecture_of
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import Segment, advance

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 3
"""Rows of the input example in a model."""

DEV_COST_RTOL = 1e-3
"""Largest relative error of the dev cost from recorded parameters on any machine; float32 gives about 1e-6."""


@dataclass(frozen=True)
class Winner:
    """The classifier to evaluate and register.

    Attributes
    ----------
    dev_error : on the dev part, or the mean over folds.
    how : a sentence on where the parameters come from.
    """

    classifier: Classifier
    dev_cost: float
    dev_error: Proportion
    how: str


def winner(candidate: Candidate, arrays: TrialArrays, prepared: PreparedData) -> Winner:
    """Build the classifier of a trial.

    Raises
    ------
    RecordError
        The recorded parameters do not give the recorded dev cost.
    """
    return _retrained(candidate, arrays, prepared) if len(arrays.folds) > 1 else _recorded(candidate, arrays, prepared)


def _recorded(candidate: Candidate, arrays: TrialArrays, prepared: PreparedData) -> Winner:
    """Return a classifier with the parameters of repeat 0, after checking that they give the recorded dev cost."""
    record, fold = candidate.record, arrays.folds[0]
    summary = record.fits[0]["summary"] if record.fits else record.summary
    classifier = _classifier(candidate, arrays, prepared, fold, candidate.record.first_parameters())
    X, y = arrays.X[fold.dev], arrays.y[fold.dev]
    cost, wrong = classifier.cost(X, y), int(np.count_nonzero(classifier.classify(X)[0] != y))
    if not np.isclose(cost, summary["best_dev_cost"], rtol=DEV_COST_RTOL, atol=1e-6):
        raise RecordError(
            f"The recorded parameters of {candidate.run.handle} give a dev cost of {cost:.6g}, but "
            f"{summary['best_dev_cost']:.6g} was recorded."
        )
    how = f"the recorded parameters of {candidate.run.handle}, from epoch {summary['best_epoch']:.0f}{_spread(record)}"
    return Winner(classifier, summary["best_dev_cost"], proportion(wrong, len(y)), how)


def _spread(record: TrialRecord) -> str:
    """Return a sentence on the repeat that the network is from, with the costs of all; empty for a single training."""
    costs = list(record.values("dev_cost").values())
    if len(costs) < 2:
        return ""
    return (
        f", which is the network of repeat 0 alone (dev cost {costs[0]:.4g}; its {len(costs)} repeats cost "
        f"{min(costs):.4g} to {max(costs):.4g})"
    )


def _retrained(candidate: Candidate, arrays: TrialArrays, prepared: PreparedData) -> Winner:
    """Train one network on all folds for the median of their best epochs, since each fold has its own network."""
    summary, folds = candidate.record.summary, len(arrays.folds)
    epochs = max(1, round(summary["best_epoch"]))
    config = candidate.config
    config = replace(
        config,
        repeats=1,
        first_repeat=0,
        training=replace(config.training, patience=None),
        gradcheck=replace(config.gradcheck, enabled=False),
    )
    segment = advance(config, replace(arrays, folds=(arrays.everything,)), until=epochs)
    outcome, parameters = _reached(segment)
    if outcome == "diverged":
        raise UserError(f"{candidate.run.handle} diverged when it was trained on all folds together.")
    classifier = _classifier(candidate, arrays, prepared, arrays.everything, parameters)
    error = proportion(summary["best_dev_error"] * len(arrays.y), len(arrays.y))
    how = (
        f"the configuration of {candidate.run.handle}, trained on all {folds} folds together for {epochs} epochs, the "
        "median of the folds' best"
    )
    return Winner(classifier, summary["best_dev_cost"], error, how)


def _reached(segment: Segment) -> tuple[str | None, dict[str, np.ndarray]]:
    """Return outcome and last parameters of a training without a dev part, even if it was cut short."""
    if segment.record is not None:
        return segment.record.outcome, segment.record.parameters
    return segment.fits[0].outcome, dict(segment.fits[0].parameters().as_dict())


def _classifier(
    candidate: Candidate, arrays: TrialArrays, prepared: PreparedData, fold: Fold, parameters: dict[str, np.ndarray]
) -> Classifier:
    own = {name: np.array(values) for name, values in parameters.items()}
    return Classifier(prepared.recipe, fold.normalization, architecture_of(candidate.config, arrays), own)


def shipped_otherwise(
    shipped: Classifier, tags: Mapping[str, str], record: TrialRecord, prepared: PreparedData
) -> list[str]:
    """Return how a registered model differs from its run: in its parts, or in the dev cost that made it champion.

    After cross-validation the parameters were trained anew on all folds, and are not compared.
    """
    arrays = load_arrays(prepared.path)
    several = len(arrays.folds) > 1
    fold = arrays.everything if several else arrays.folds[0]
    summary = record.fits[0]["summary"] if record.fits and not several else record.summary
    parts = {
        "columns and classes": shipped.recipe == prepared.recipe,
        "normalisation": _bits(asdict(shipped.normalization)) == _bits(asdict(fold.normalization)),
        "layers": shipped.architecture == architecture_of(config_of(record), arrays),
        "parameters": several or _bits(shipped.parameters) == _bits(record.first_parameters()),
        "dev cost": tags.get("dev_cost") == repr(float(summary["best_dev_cost"])),
    }
    return [part for part, same in parts.items() if not same]


def _bits(arrays: Mapping[str, np.ndarray]) -> str:
    return digest({name: np.asarray(values) for name, values in arrays.items()})


def example_rows(classifier: Classifier, arrays: TrialArrays) -> "pd.DataFrame":
    """Return a few training rows without missing values as raw feature columns, as an example of the input."""
    import pandas as pd

    fold = arrays.everything if len(arrays.folds) > 1 else arrays.folds[0]
    X = np.asarray(arrays.X[fold.train[:EXAMPLES]], dtype=np.float64)
    X = np.where(np.isnan(X), fold.normalization.fill, X)
    columns: dict[str, Any] = {}
    at = 0
    for column in classifier.recipe["columns"]:
        if column["kind"] == "number":
            columns[column["name"]] = X[:, at]
            at += 1
        else:
            categories = np.array(column["categories"], dtype=object)
            columns[column["name"]] = categories[X[:, at : at + len(categories)].argmax(axis=1)]
            at += len(categories)
    return pd.DataFrame(columns)
