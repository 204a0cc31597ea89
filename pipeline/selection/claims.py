"""Derives again what the runs of `confirm` and `final` claim, from the records that they rest on.

The test set stays closed: what `final` counted there is only recorded, but every measure follows from its counts.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.config.errors import RecordError
from pipeline.config.text import brief, printable
from pipeline.selection.candidates import load, shared_rows
from pipeline.selection.confirmation import CONFIRMATION, conclude_from
from pipeline.selection.evaluation import FINAL, Evaluation, counted
from pipeline.selection.unequal import Measure
from pipeline.tracking.archive import Archive
from pipeline.tracking.facts import tag
from pipeline.tracking.found import Found
from pipeline.tracking.notes import Note

RTOL = 1e-6
"""Of numbers that a Gaussian process or a statistic gives: libraries differ in their last digits."""


def claim_differences(archive: Archive, study: str) -> list[str]:
    """Return a sentence for each difference in the runs of `confirm` and `final` of a study.

    What the store shows is compared with what was noted when it was written, and that with what follows from records.
    """
    children = archive.children(study)
    found = []
    for run in children:
        if run.kind in _AGAIN and not run.outcome:
            found += [f"{study}/{run.name}: {sentence}" for sentence in _run_differences(archive, children, run)]
    return found


def _run_differences(archive: Archive, children: list[Found], run: Found) -> Iterator[str]:
    try:
        note = archive.note(run)
        yield from archive.changes(run, note)
        if run.status == "FINISHED":
            yield from _AGAIN[run.kind](archive, children, run, note)
    except RecordError as error:
        yield f"what it shows could not be compared: {str(error).rstrip('.')}"


def _confirmation(archive: Archive, children: list[Found], run: Found, note: Note) -> Iterator[str]:
    """Return differences of a confirmation from the records of its trainings."""
    claimed = archive.read_json(run, CONFIRMATION)
    trials = {each.name: each for each in children}
    try:
        seeds = [int(number) for number in claimed["seeds"]]
        runs = [trials[str(row["trial"])] for row in claimed["rows"]]
        first = load(archive, runs[0])
        overlap = shared_rows(first) if first.config.repeats > 1 else None
        result = conclude_from(archive, run.run_id, run.study, str(claimed["measure"]), seeds, runs, overlap=overlap)
        result = replace(result, looks=int(note.tags.get("revision", 1)))
    except (KeyError, IndexError, TypeError, ValueError):
        raise RecordError(f"{CONFIRMATION} does not fit the runs that are there") from None
    words = result.tags() if note.by_this_code else {}
    written = {**result.as_dict(), "verdict": words.get("verdict", claimed.get("verdict"))}
    yield from _apart_from(CONFIRMATION, claimed, written)
    yield from different("the metric", note.latest, result.metrics())
    yield from different("the tag", note.tags, {name: tag(value) for name, value in words.items()})


def _opening(archive: Archive, children: list[Found], run: Found, note: Note) -> Iterator[str]:
    """Return differences of an opening from its own counts and from the record of the trial that it tested."""
    claimed = archive.read_json(run, FINAL)
    tested = next((each for each in children if each.run_id == note.tags.get("trial_run_id")), None)
    if tested is None:
        raise RecordError("the trial that it tested is no longer in the store")
    record = archive.load(tested)
    of_network = record.fits[0]["summary"] if record.fits and not record.config["data"].get("folds") else record.summary
    dev_cost, dev_error = float(of_network["best_dev_cost"]), float(of_network["best_dev_error"])
    try:
        result = _evaluated(claimed, record.data)
    except (KeyError, TypeError, ValueError):
        raise RecordError(f"{FINAL} does not hold a result") from None
    wanted = json.loads(json.dumps(result.as_dict() | {"trial": tested.handle, "dev_error": dev_error}))
    yield from _apart_from(FINAL, {name: claimed.get(name) for name in wanted}, wanted)
    yield from different("the metric", note.latest, result.beside(dev_cost, dev_error))


def _evaluated(claimed: Mapping[str, Any], data: Mapping[str, Any]) -> Evaluation:
    """Return the evaluation that follows from the recorded counts, cost, rankings and unseen categories.

    Raises
    ------
    RecordError
        The counts are not those of a test set of these data.
    """
    classes, counts = [str(name) for name in claimed["classes"]], np.asarray(claimed["confusion_matrix"])
    fits = counts.shape == (len(classes), len(classes)) and counts.dtype.kind in "iu" and counts.min() >= 0
    if not fits or counts.sum() != data["examples"]["test"]:
        raise RecordError(
            f"the confusion matrix in {FINAL} does not count the {data['examples']['test']} test examples of its data"
        )
    names = [name for name in ("roc_auc", "average_precision") if f"test_{name}" in claimed]
    rankings = {
        name: Measure(*(float(claimed[f"test_{name}{end}"]) for end in ("", "_low", "_high"))) for name in names
    }
    unseen = {str(name): int(count) for name, count in claimed["unseen_categories"].items()}
    return counted(classes, counts, cost=float(claimed["test_cost"]), rankings=rankings, unseen=unseen)


_AGAIN = {"confirm": _confirmation, "final": _opening}


def _apart_from(name: str, claimed: Any, derived: Any) -> Iterator[str]:
    for path, there, here in apart(claimed, derived):
        yield f"{name} has {path} = {brief(there, 60)}, but {brief(here, 60)} follows from the records"


def different(what: str, there: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Return a sentence for each given value that was not written so."""
    for name, value in given.items():
        if not equal(there.get(name), value):
            shown = "missing" if name not in there else brief(there[name], 60)
            yield f"{what} {name} was written as {shown}, but {brief(value, 60)} follows from the records"


def apart(there: Any, here: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Return every place at which two nested plain values differ by more than a tolerance."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in {**there, **here}:
            yield from apart(there.get(key), here.get(key), f"{path}.{key}" if path else printable(str(key)))
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for number, pair in enumerate(zip(there, here, strict=True)):
            yield from apart(*pair, f"{path}.{number}")
    elif not equal(there, here):
        yield path, there, here


def equal(there: Any, here: Any) -> bool:
    """Return whether two plain values are the same, numbers within a tolerance."""
    numbers = all(isinstance(value, int | float) for value in (there, here))
    return math.isclose(there, here, rel_tol=RTOL, abs_tol=1e-12) if numbers else bool(there == here)
