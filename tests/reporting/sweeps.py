"""Sweeps made up in memory, as they would be read back from a store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from pipeline.config.commands import SweepConfig
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.reporting.results import TOP, Sweep, Trial
from pipeline.search.space import Space
from pipeline.tracking.found import Found
from pipeline.training.diagnosis import diagnose
from pipeline.trials.record import TrialRecord

LAMBD = {"regularization": {"lambd": {"low": 0.01, "high": 30.0, "log": True}}}
THREE = {
    "regularization": {"lambd": {"low": 0.01, "high": 30.0, "log": True}, "keep_prob": {"low": 0.5, "high": 1.0}},
    "model": {"init": {"scale": {"low": 0.1, "high": 3.0, "log": True}}},
}


DATA = {
    "name": "digits",
    "examples": {"train": 1079, "dev": 359, "test": 359},
    "digest": "d",
    "classes": ["0", "1"],
    "class_counts": {"train": [800, 279], "dev": [269, 90], "test": [270, 89]},
}


def a_trial(
    number: int,
    values: Mapping[str, Any],
    dev_cost: float,
    *,
    outcome: str = "early_stopped",
    train: float = 0.0,
    dev: float = 0.02,
    best_epoch: int = 20,
    epochs: int = 40,
) -> Trial:
    """A finished trial with its dev cost, and its train and dev errors as fractions; number −1 is the baseline."""
    metrics = {
        "best_dev_cost": dev_cost,
        "best_train_cost": dev_cost / 4,
        "best_dev_error": dev,
        "best_train_error": train,
        "best_epoch": float(best_epoch),
        "stop_epoch": float(epochs),
        "num_parameters": 100.0 + number,
        "gradcheck_init_relative_error": 1e-10 * (number + 2),
    }
    name, kind = (f"trial-{number:04d}", "trial") if number >= 0 else ("baseline", "baseline")
    tags = {"gradcheck_init": "good", "diagnosis_verdict": diagnose(train, dev).verdict, "outcome": outcome}
    found = Found(f"{number + 1:032x}", name, kind, "made-up", "FINISHED", outcome, 1.7e9, {}, metrics, tags, "")
    return Trial(number, found, epochs, values)


def a_sweep(
    trials: Sequence[Trial],
    *,
    baseline: Trial | None = None,
    space: Mapping[str, Any] = LAMBD,
    dev_costs: Sequence[float] | None = None,
    **changes: Mapping[str, Any],
) -> Sweep:
    """A sweep of these trials; `changes` are laid over the sections of the default configuration.

    `dev_costs` is the curve of every trial; without it curves fall smoothly to each trial's dev cost.
    """
    config = asdict(SweepConfig())
    for section, values in changes.items():
        config[section] |= values
    plain = asdict(parse(TrialConfig, {field.name: config[field.name] for field in fields(TrialConfig)}))
    parent = Found("f" * 32, "made-up", "sweep", "made-up", "FINISHED", "", 1.7e9, {}, {}, {"source_digest": "5"}, "")
    config["search"]["space"] = space
    sweep = Sweep(parent, config, Space(space, plain), trials, baseline, {})
    shown = [*sweep.ranked[:TOP], *([baseline] if baseline else [])]
    return Sweep(parent, config, sweep.space, trials, baseline, {t.name: _record(t, plain, dev_costs) for t in shown})


def _record(trial: Trial, config: dict[str, Any], dev_costs: Sequence[float] | None) -> TrialRecord:
    fall = np.linspace(0, 1, trial.epochs + 1) ** 0.2
    curve = 2.3 * (1 - fall) + trial["best_dev_cost"] if dev_costs is None else np.array(dev_costs)
    names = ("dev_cost", "train_cost", "dev_error")
    check = {
        "verdict": "good",
        "relative_error": 1e-10,
        "tensors": {"W1": 1e-10},
        "worst": [["W1[0, 1]", 0.25, 0.25]],
        "method": "two_sided",
        "epsilon": 1e-5,
        "examples": 16,
        "dropout": "off",
        "coverage": {"coordinates": 4, "compared": 4, "kinks": 0},
        "notes": [],
    }
    return TrialRecord(
        config=config,
        data=DATA,
        outcome=trial.outcome,
        curves=dict.fromkeys(names, curve)
        | {"dev_error": np.minimum(curve, 1.0), "train_error": np.full(len(curve), trial["best_train_error"])},
        summary=dict(trial.run.metrics),
        gradient_checks={"init": check},
        environment={"python": "3.11", "packages": {"numpy": "2.4"}, "blas": [], "code": {"commit": "c0ffee"}},
    )
