"""Audits a study from the tracking store alone: replays its search, counts its runs and compares them with records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config.digests import plain_digest
from pipeline.config.errors import ConfigError, RecordError
from pipeline.config.text import brief
from pipeline.search import replay
from pipeline.search.coordinator import run_name
from pipeline.search.pruning import Pruned
from pipeline.search.widening import Copy
from pipeline.tracking.archive import Archive
from pipeline.tracking.files import ENVIRONMENT, RECORD
from pipeline.tracking.found import Found
from pipeline.trials import kernels
from pipeline.trials.environment import PACKAGE, code_digest

SHOWN = 5


@dataclass(frozen=True)
class Audit:
    """The result of an audit: sentences for display, and whether everything agrees with the record."""

    sentences: tuple[str, ...]
    whole: bool


def audit_search(archive: Archive, study: str) -> Audit:
    """Replay the study's search and look for each of its trials' runs.

    If this process computes with another arithmetic, the command restarts under the study's, where possible.

    Raises
    ------
    RecordError
        The study had no lag, or left no history, so it cannot be replayed.
    """
    parent = archive.parent(study)
    if parent.params.get("study.lag", "null") == "null":
        made = "ran free (study.lag=null)" if "study.lag" in parent.params else "was made without a lag"
        raise RecordError(f"The study {study} {made}: its search cannot be replayed.")
    try:
        recorded = replay.read(archive.read_json(parent, replay.FILE))
    except RecordError as error:
        raise RecordError(f"The search of {study} cannot be replayed: {error}") from None
    elsewhere = _other_arithmetic(recorded, study)
    found = replay.replay(recorded)
    runs = {run.name: run for run in archive.trials(study)}
    missing = [t.number for t in recorded.trials if t.outcome is not None and run_name(t.number) not in runs]
    measure = _measured(recorded.config)
    runs_of = {each: _runs_if_any(archive, each) for each in dict.fromkeys(each.study for each in recorded.before)}
    edited = [text for trial in recorded.trials for text in _edited(trial, runs, measure)]
    edited += [text for each in recorded.before for text in _otherwise(archive, each, runs_of, measure)]
    sentences = [f"{found.sentence}; {_missing(missing, len(recorded.trials))}."]
    sentences += _compared(recorded.before, runs_of)
    sentences += [f"{text}." for text in edited[:SHOWN]]
    if found.parted:
        changed = replay.changed_versions(recorded.versions)
        sentences.append(f"The first that parts: {found.parted}.")
        sentences += [f"That may be why: {why}" for why in (f"{changed}." if changed else "", elsewhere) if why]
    return Audit(tuple(sentences), not (missing or edited or found.parted))


def _other_arithmetic(recorded: replay.StudyHistory, study: str) -> str:
    """Return why this process cannot use the study's arithmetic; empty if it does."""
    wanted = kernels.recorded({"arithmetic": recorded.arithmetic})
    if wanted is None:
        return ""
    try:
        kernels.run_under(wanted, f"the study {study} began with")
    except ConfigError as error:
        return str(error)
    return ""


def _runs_if_any(archive: Archive, study: str) -> dict[str, Found]:
    """Return a study's trials by name; none if it is no longer in the store."""
    try:
        return {run.name: run for run in archive.trials(study)}
    except RecordError:
        return {}


def _compared(before: Sequence[Copy], runs_of: Mapping[str, Mapping[str, Found]]) -> list[str]:
    """Return how many of the copied trials could be compared with their records."""
    if not before:
        return []
    there = sum(run_name(each.number) in runs_of[each.study] for each in before)
    sources = ", ".join(runs_of)
    gone = "" if there == len(before) else "; the others are no longer in the store"
    return [f"{there} of {len(before)} trials taken over from {sources} were compared with their records{gone}."]


def _otherwise(
    archive: Archive, each: Copy, runs_of: Mapping[str, Mapping[str, Found]], measure: tuple[str, int]
) -> list[str]:
    """Return how the record of a copied trial differs from the copy."""
    run = runs_of[each.study].get(run_name(each.number))
    if run is None:
        return []
    try:
        record = archive.load(run)
    except RecordError as error:
        return [f"The record of {each.name}, which was taken over, cannot be read: {str(error).rstrip('.')}"]
    pairs: list[tuple[str, Any, Any]] = [
        ("configuration", plain_digest(record.config), each.config),
        ("outcome", record.outcome, each.outcome),
    ]
    pairs += [(name, list(record.values(name).values()), values) for name, values in each.repeats.items()]
    if each.values:
        name, place = measure
        pairs.append((f"best_{name}", record.summary.get(f"best_{name}"), each.values[place]))
    return [
        f"{each.name} has {key} {here!r} in its record, but was taken over with {there!r}"
        for key, here, there in pairs
        if here != there
    ]


def _measured(config: Mapping[str, Any]) -> tuple[str, int]:
    """Return the first objective that is measured on the dev part, and its place among the objectives."""
    given = config["study"]["objective"]
    names = given if isinstance(given, list) else [given]
    return next((name, place) for place, name in enumerate(names) if name != "parameters")


def _pruned_otherwise(archive: Archive, number: int, why: Pruned, runs: Mapping[str, Found]) -> list[str]:
    """Return how the record of a pruned trial explains that otherwise; older records do not explain it."""
    name = run_name(number)
    if name not in runs:
        return []
    try:
        recorded = archive.read_json(runs[name], RECORD).get("pruned")
    except RecordError as error:
        return [f"The record of {name} cannot be read: {str(error).rstrip('.')}"]
    if not recorded or recorded == why.as_dict():
        return []
    same_numbers = all(recorded.get(key) == getattr(why, key) for key in ("measure", "epoch", "value", "limit"))
    by_this_code = archive.read_json(runs[name], ENVIRONMENT).get("code", {}).get("digest") == code_digest(PACKAGE)
    if same_numbers and not by_this_code:  # whose words may differ
        return []
    there = brief(recorded.get("sentence"))
    return [f"{name} was pruned for '{there}' by its record, but for '{why.sentence}' by the history"]


def _missing(numbers: Sequence[int], trials: int) -> str:
    """Say that no trial is missing, or which: "48 of 50 runs are there: trials 3, 7 are gone"."""
    if not numbers:
        return "no trial is missing"
    named = ", ".join(str(number) for number in numbers[:SHOWN]) + (", …" if len(numbers) > SHOWN else "")
    words = f"trial {named} is gone" if len(numbers) == 1 else f"trials {named} are gone"
    return f"{trials - len(numbers)} of {trials} runs are there: {words}"


def _edited(trial: replay.Ended, runs: Mapping[str, Found], measure: tuple[str, int]) -> list[str]:
    """Return how the run of a trial differs from the history."""
    name = run_name(trial.number)
    run = runs.get(name)
    if run is None or trial.outcome is None:
        return []
    pairs: list[tuple[str, Any, Any]] = [("outcome", run.outcome, trial.outcome)]
    pairs += [(path, run.params.get(path), repr(v)) for path, v in trial.params.items() if isinstance(v, float)]
    if trial.values:
        key, place = f"best_{measure[0]}", measure[1]
        pairs.append((key, run.metrics.get(key), trial.values[place]))
    return [
        f"{name} has {key} {here!r} in the tracking store, but {there!r} in the history"
        for key, here, there in pairs
        if here is not None and here != there
    ]
