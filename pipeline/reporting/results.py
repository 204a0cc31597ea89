"""A sweep as read from the tracking store: the trials with their values, and the searched ranges."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import optuna

from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.divisions import is_fixed
from pipeline.search.space import Leaf, Space
from pipeline.selection.recommendation import Recommendation
from pipeline.tracking.archive import CONCLUSION, Archive
from pipeline.tracking.files import RECORD
from pipeline.tracking.found import Found
from pipeline.training.means import mean_by_repeat
from pipeline.trials.record import ENDED, TrialRecord

ENOUGH = 5
"""Fewest trials that ran to their end for computing importance."""

TOP = 5
"""Number of best trials shown with their curves."""

MEASURES = {
    "dev_cost": "best_dev_cost",
    "dev_error": "best_dev_error",
    "balanced_error": "best_balanced_error",
    "parameters": "num_parameters",
}
"""The metric of each objective."""

NAMES = {
    "regularization.lambd": "λ",
    "regularization.lambd_l1": "λ₁",
    "model.init.scale": "init scale",
    "model.init.scheme": "init scheme",
}


def label(path: str) -> str:
    """Return a searched value's name for people: λ, keep_prob, keep_prob 1, init scale, learning_rate."""
    if path in NAMES:
        return NAMES[path]
    *_, parent, last = ["", *path.split(".")]
    return f"{parent} {int(last) + 1}" if last.isdigit() else last


@dataclass(frozen=True)
class Trial:
    """One finished run of a sweep: a trial, or the baseline.

    Attributes
    ----------
    number : the trial's; −1 for the baseline.
    epochs : trained epochs; with folds and records of format 1, folds.
    values : the searched values, by dotted path; for the baseline the values it has instead.
    """

    number: int
    run: Found
    epochs: int
    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """trial-0007, or baseline."""
        return self.run.name

    @property
    def outcome(self) -> str:
        """completed, early_stopped, pruned, diverged or failed."""
        return self.run.outcome

    @property
    def trained(self) -> bool:
        """Whether it ran to its own end, so that its result counts."""
        return self.outcome in ENDED

    def __getitem__(self, metric: str) -> float:
        """A summary metric; NaN where the run has none."""
        return self.run.metrics.get(metric, math.nan)


@dataclass(frozen=True)
class Measured:
    """The objective of one run by repeat, infinite where a fit diverged; several runs may share their values."""

    name: str
    values: Mapping[str, Any]
    by_repeat: Mapping[int, float]


@dataclass(frozen=True)
class Sweep:
    """Everything a report needs of a sweep.

    Attributes
    ----------
    parent : the sweep's own run.
    config : its configuration as plain values.
    space : its search space.
    trials : the finished trials in the order of their numbers.
    baseline : the run without regularisation, if there is one yet.
    records : the records of the best trials, by run name, best first, and of the baseline.
    conclusion : what the sweep recommends; None before its race is over, or without one.
    measured : the first objective of all that was trained to its end: trials, further repeats, and the baseline.
    """

    parent: Found
    config: Mapping[str, Any]
    space: Space
    trials: Sequence[Trial]
    baseline: Trial | None
    records: Mapping[str, TrialRecord]
    conclusion: Recommendation | None = None
    measured: Sequence[Measured] = ()

    @property
    def name(self) -> str:
        """The study's name."""
        return self.parent.study

    @property
    def objectives(self) -> list[str]:
        """dev_cost, dev_error, parameters: one of them, or several."""
        given = self.config["study"]["objective"]
        return list(given) if isinstance(given, list) else [given]

    @property
    def metric(self) -> str:
        """The summary metric of the first objective."""
        return MEASURES[self.objectives[0]]

    @cached_property
    def ranked(self) -> list[Trial]:
        """Trials that count, the best first."""
        metrics = [MEASURES[name] for name in self.objectives]
        counted = [t for t in self.trials if t.trained and all(math.isfinite(t[metric]) for metric in metrics)]
        return sorted(counted, key=lambda trial: (trial[self.metric], trial.number))

    @property
    def leader(self) -> Trial:
        """The trial that is recommended; without a recommendation, or where that is no trial, the lowest of them."""
        name = "" if self.conclusion is None else self.conclusion.name
        return next((trial for trial in self.ranked if trial.name == name), self.ranked[0])

    @property
    def folds(self) -> int | None:
        """Number of folds; None with a fixed dev part."""
        folds = self.config["data"]["folds"]
        return None if folds is None else int(folds)

    @property
    def unit(self) -> str:
        """The unit of a trial's length."""
        return "folds" if self.counts_folds else "epochs"

    @property
    def counts_folds(self) -> bool:
        """Whether a trial's length is in folds, as in records of format 1 with cross-validation."""
        return bool(self.folds) and any(trial.run.tags.get("record_format") == "1" for trial in self.trials)

    @property
    def one_division(self) -> bool:
        """Whether repeats differ in their seeds only."""
        return is_fixed(parse(TrialConfig, {"data": self.config["data"]}).data)

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """The data's description, as the best trial's record has it."""
        return next((record.data for record in self.records.values()), {})

    @cached_property
    def study(self) -> optuna.Study:
        """The trials that count as an Optuna study in memory, their searched values by their names for people."""
        study = optuna.create_study(directions=["minimize"] * len(self.objectives))
        for trial in self.ranked:
            values = [trial[MEASURES[name]] for name in self.objectives]
            drawn = self.space.encode({leaf.path: trial.values[leaf.path] for leaf in self.leaves(trial)})
            study.add_trial(
                optuna.trial.create_trial(
                    values=values,
                    params={label(path): value for path, value in drawn.items()},
                    distributions={label(leaf.path): leaf.distribution for leaf in self.leaves(trial)},
                )
            )
        return study

    @cached_property
    def importances(self) -> Mapping[str, float]:
        """How much each searched value, by its name for people, matters for the first objective, as shares of 1.

        By PED-ANOVA (Watanabe et al. 2023), over the trials that have all the values. Empty while too few have ended.
        """
        if len(self.study.trials) < ENOUGH or len(self.space.leaves) < 2:
            return {}
        try:
            with warnings.catch_warnings(action="ignore"):
                return optuna.importance.get_param_importances(self.study, target=lambda trial: trial.values[0])
        except (ValueError, RuntimeError):  # every trial has the same objective, or no two values in common
            return {}

    def leaves(self, trial: Trial) -> list[Leaf]:
        """The leaves that were searched in this trial."""
        return [leaf for leaf in self.space.leaves if leaf.path in trial.values]


def gather(archive: Archive, study: str) -> Sweep:
    """Read a sweep from the tracking store.

    Raises
    ------
    RecordError
        There is no such study, or its records cannot be read.
    """
    parent = archive.parent(study)
    config = archive.read_json(parent, "sweep.json")
    base = {field.name: config[field.name] for field in fields(TrialConfig) if field.name in config}
    space = Space(config["search"]["space"], base)
    runs = [run for run in archive.children(study) if run.outcome]
    found = [_trial(run, space) for run in runs if run.kind in ("trial", "baseline")]
    trials = sorted((trial for trial in found if trial.run.kind == "trial"), key=lambda trial: trial.number)
    baseline = next((trial for trial in found if trial.run.kind == "baseline"), None)
    conclusion = None
    if "recommended" in parent.tags:
        conclusion = Recommendation.from_dict(archive.read_json(parent, CONCLUSION))
    sweep = Sweep(parent, config, space, trials, baseline, {}, conclusion)
    wanted = [*sweep.ranked[:TOP]]
    if sweep.ranked and sweep.leader not in wanted:
        wanted.append(sweep.leader)
    wanted += [baseline] if baseline and baseline.outcome != "failed" else []
    records = {trial.name: archive.load(trial.run) for trial in wanted}
    counted = [*sweep.ranked, *(_trial(run, space) for run in runs if run.kind == "confirm")]
    counted += [baseline] if baseline and baseline.trained else []
    measured = [_measured(archive, trial, sweep.objectives[0]) for trial in counted]
    return Sweep(parent, config, space, trials, baseline, records, conclusion, measured)


def _measured(archive: Archive, trial: Trial, measure: str) -> Measured:
    """Return the objective by repeat, as the record's description has it; for older records the mean of all."""
    fits = archive.read_json(trial.run, RECORD).get("fits", [])
    if not fits:
        return Measured(trial.name, trial.values, {0: trial[MEASURES[measure]]})
    values = [fit["summary"].get(f"best_{measure}", math.inf) for fit in fits]
    reached = [v if fit["outcome"] in ENDED else math.inf for v, fit in zip(values, fits, strict=True)]
    return Measured(trial.name, trial.values, mean_by_repeat(reached, [fit["repeat"] for fit in fits]))


def _trial(run: Found, space: Space) -> Trial:
    values = {}
    for leaf in space.leaves:
        if all(_plain(run.params.get(path, "null")) == wanted for path, wanted in leaf.when.items()):
            values[leaf.path] = _value(run.params, leaf.path)
    number = int(run.tags.get("trial", "-1")) if run.kind == "trial" else -1
    return Trial(number, run, int(run.metrics.get("stop_epoch", 0)), values)


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _value(params: Mapping[str, str], path: str) -> Any:
    """Return the value at a dotted path; an index selects from a list, and a scalar stands for every layer."""
    if path in params:
        return _plain(params[path])
    parent, _, last = path.rpartition(".")
    value = _plain(params.get(parent, "null"))
    return value[int(last)] if isinstance(value, list) and last.isdigit() and int(last) < len(value) else value
