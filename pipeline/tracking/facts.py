"""The part of a record that MLflow shows, charts and filters: params, metrics, tags and a description.

Few names, the same for every run; everything else is in the run's files.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.config.text import markdown, short, shortened
from pipeline.data.commonest import in_words, sentence
from pipeline.gradcheck.report import distrust
from pipeline.tracking.files import digests, masked
from pipeline.training.diagnosis import basis
from pipeline.trials.record import TrialRecord

MAIN_CURVES = ("train_cost", "dev_cost", "train_error", "dev_error", "train_cost_penalized", "balanced_error")
SPREADS = ("dev_cost_sd", "dev_error_sd", "balanced_error_sd")
"""Curves that only trials of several fits have."""

NORM_STEPS = 5
"""Number of epochs at which per-layer norms go to MLflow; `curves.npz` has all of them."""

COMMONEST = "beside_dev_error"
"""Tag that says what always answering the commonest class would err."""

PRUNED = "pruned_because"
"""Tag of a pruned trial: its value, what that was compared with, and at which epoch."""

SUMMARY = "summary"
"""Tag that shows in one column of the run list which values were tried."""

MAX_PARAM, MAX_TAG = 6000, 5000
TERMINAL = {"failed": "FAILED"}
"""Run status by outcome; every other outcome is a result, so FINISHED."""


def params(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten a configuration to dotted names; numbers as Python writes them, lists as JSON."""
    flat: dict[str, str] = {}
    for key, value in masked(config).items():
        if isinstance(value, Mapping):
            flat |= params(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[f"{prefix}{key}"] = shortened(text, MAX_PARAM)
    return flat


def curve_points(curves: Mapping[str, np.ndarray], *, norms: bool) -> dict[str, dict[int, float]]:
    """Return the points of each curve for MLflow, by step: every epoch of the main curves, few of the norms.

    `train_cost_penalized` has no value at step 0, before the first epoch.
    """
    points = {}
    for name, values in curves.items():
        every = name in (*MAIN_CURVES, *SPREADS)
        if norms or every:
            points[name] = {step: float(values[step]) for step in _steps(values, every=every)}
    return points


def _steps(values: np.ndarray, *, every: bool) -> list[int]:
    last = len(values) - 1
    steps = range(last + 1) if every else sorted({int(step) for step in np.linspace(0, max(last, 0), NORM_STEPS)})
    return [step for step in steps if step <= last and (step or not math.isnan(values[0]))]


def points(record: TrialRecord) -> dict[str, dict[int, float]]:
    """Return every metric point of a record, by name and step: its curves, and its summary at step 0."""
    return curve_points(record.curves, norms=True) | {name: {0: value} for name, value in metrics(record).items()}


def metrics(record: TrialRecord) -> dict[str, float]:
    """Numbers that sum a run up; the run list shows and sorts by them."""
    numbers: dict[str, Any] = dict(record.summary)
    for moment, report in record.gradient_checks.items():
        numbers[f"gradcheck_{moment}_relative_error"] = report.get("relative_error")
    numbers |= {name: record.diagnosis.get(name) for name in ("avoidable_bias", "variance")}
    numbers["num_parameters"] = record.num_parameters or None
    numbers |= {"stop_epoch": record.stop_epoch, "duration_s": record.duration_s}
    return {name: float(value) for name, value in numbers.items() if isinstance(value, int | float | np.number)}


def tags(record: TrialRecord) -> dict[str, str]:
    """Words to filter and group by."""
    code = record.environment.get("code")
    words: dict[str, Any] = {
        "outcome": record.outcome,
        "reason": record.reason,
        COMMONEST: in_words(record.data),
        PRUNED: record.pruned.get("sentence"),
        "record_format": record.format,
        "data_digest": record.data.get("digest"),
        "seed": record.config.get("seed"),
        SUMMARY: regularisation(record.config),
        **{f"gradcheck_{moment}": report.get("verdict") for moment, report in record.gradient_checks.items()},
        **{f"diagnosis_{key}": value for key, value in record.diagnosis.items() if isinstance(value, str)},
        "diagnosis_remedies": "; ".join(map(str, record.diagnosis.get("remedies") or [])),
        **digests(record),
    }
    if isinstance(code, Mapping):
        words |= {"mlflow.source.git.commit": code.get("commit"), "code_dirty": code.get("dirty")}
    return {name: tag(value) for name, value in words.items() if value not in (None, "")}


def tag(value: Any) -> str:
    """A tag's text: masked, and no longer than MLflow takes."""
    text = str(masked(value)) if isinstance(value, str) else json.dumps(masked(value))
    return shortened(text, MAX_TAG)


DATASET = ("name", "digest", "source", "profile")
"""What MLflow shows of a data set."""


def dataset(data: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the data set that a run names as its input, by our digest of its exact arrays; None if there is none."""
    if not data.get("digest"):
        return None
    profile = json.dumps(masked({key: value for key, value in data.items() if key != "digest"}))
    source = json.dumps({"source_digest": data.get("source_digest")})
    return dict(
        zip(DATASET, (str(data.get("name") or "data"), str(data["digest"])[:36], source, profile[:60_000]), strict=True)
    )


NAMED = ("trial", "baseline")
"""Kinds of runs whose name is unique in their study."""


def handle(kind: str, study: str, name: str, run_id: str) -> str:
    """Return what a user types as RUN: `<study>/trial-0007`, or the id of a run whose name is not unique."""
    unique = kind in NAMED or name.startswith("confirm-")
    return f"{study}/{name}" if study and unique else run_id


def description(record: TrialRecord, kind: str, name: str, handle: str) -> str:
    """Return a short Markdown summary: configuration, result, advice, and how to repeat it by its `handle`, if any."""
    checks = [f"{moment} {report.get('verdict')}" for moment, report in record.gradient_checks.items() if report]
    paragraphs = [
        f"**{markdown(f'{kind} {name}')}**: {_what(record.config)}",
        _outcome(record),
        distrust(record.gradient_checks),
        _table(record.summary),
        markdown(sentence(record.data)),
        _diagnosis(record.diagnosis, basis(_at(record.config, "training.monitor"))),
        f"**Gradient check:** {markdown(', '.join(checks))} (the numbers are in `gradcheck.txt`)" if checks else "",
        f"Repeat it, and compare every bit: `make rerun RUN={handle}`" if handle else "",
    ]
    return tag("\n\n".join(paragraph for paragraph in paragraphs if paragraph))


def _outcome(record: TrialRecord) -> str:
    said = [text for text in (record.reason, record.pruned.get("sentence")) if text]
    return f"**Outcome:** {record.outcome.replace('_', ' ')}: {markdown('. '.join(map(str, said)))}".rstrip(": ")


def _table(summary: Mapping[str, float]) -> str:
    shown = ("best_epoch", "best_dev_cost", "best_dev_error", "best_train_cost", "best_train_error")
    errors = {key: f" ± {summary[f'{key}_se']:.2g}" for key in shown if f"{key}_se" in summary}
    rows = [f"| {key.replace('_', ' ')} | {summary[key]:.6g}{errors.get(key, '')} |" for key in shown if key in summary]
    return "\n".join(["| at the returned parameters | |", "|---|---|", *rows]) if rows else ""


def _diagnosis(diagnosis: Mapping[str, Any], plain: str) -> str:
    verdict = diagnosis.get("verdict")
    if not verdict:
        return ""
    words = "neither high bias nor high variance" if verdict == "neither" else markdown(verdict)
    numbers = [
        f"{name.replace('_', ' ')} {diagnosis[name]:.1%}"
        for name in ("avoidable_bias", "variance")
        if isinstance(diagnosis.get(name), int | float)
    ]
    numbers += [plain] if plain else []
    remedies = ", ".join(map(str, diagnosis.get("remedies") or []))
    advice = f"; try, in this order: {markdown(remedies)}" if remedies else ""
    return f"**Diagnosis:** {words} ({', '.join(numbers)}){advice}"


def regularisation(config: Mapping[str, Any]) -> str:
    """Return the most commonly searched values: "λ 2.5, keep_prob 0.85, scale 0.4"."""
    named = {"λ": "regularization.lambd", "keep_prob": "regularization.keep_prob", "scale": "model.init.scale"}
    values = {name: _at(config, path) for name, path in named.items()}
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items() if value is not None)


def _short(value: Any) -> str:
    return f"[{', '.join(map(short, value))}]" if isinstance(value, list) else short(value)


def _what(config: Mapping[str, Any]) -> str:
    def at(path: str) -> str:
        return markdown(_short(_at(config, path)))

    fits = config.get("repeats", 1)
    return (
        f"{at('data.name')}, hidden units {at('model.hidden_units')}, {at('model.activation')}, "
        f"λ = {at('regularization.lambd')}, keep_prob = {at('regularization.keep_prob')}, "
        f"init scale = {at('model.init.scale')}, {at('training.optimizer')}, seed {at('seed')}"
        + (f", mean of {markdown(fits)} repeats" if fits != 1 else "")
    )


def _at(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
