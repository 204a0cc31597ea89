"""Compares what a sweep's own run shows with what follows from the records of its trials.

Pictures are left out: `make report` and the sweep draw them anew.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.config.errors import RecordError
from pipeline.config.text import brief, printable
from pipeline.reporting.conclusion import SHOWN, summarize
from pipeline.reporting.results import Sweep, gather
from pipeline.search import replay
from pipeline.selection.again import draw_again
from pipeline.tracking.archive import CONCLUSION, Archive
from pipeline.tracking.facts import params, tag
from pipeline.tracking.found import Found
from pipeline.tracking.recorder import NOTE
from pipeline.trials.environment import PACKAGE, code_digest

RTOL = 1e-6
"""Of numbers that a Gaussian process or a statistic gives: libraries differ in their last digits."""


def sweep_disagreements(archive: Archive, study: str) -> list[str]:
    """Return a sentence for each difference between a sweep's own run and the records of its trials."""
    parent = archive.parent(study)
    if parent.status != "FINISHED":  # its last words are not written yet
        return []
    try:
        recorded = replay.read(archive.read_json(parent, replay.FILE))
        sweep = gather(archive, study)
        return [
            *_different("the param", parent.params, _searched_left_out(parent, params(recorded.config))),
            *_conclusion(archive, parent, recorded),
            *_numbers(sweep, recorded),
            *_words(archive, sweep),
        ]
    except RecordError as error:
        return [f"What the run of {study} shows could not be compared: {str(error).rstrip('.')}"]


def _searched_left_out(parent: Found, given: Mapping[str, str]) -> dict[str, str]:
    """The params that the sweep's run has: a searched value is the trials' own, but its range must be there."""
    return {name: value for name, value in given.items() if name in parent.params or name.startswith("search.space.")}


def _conclusion(archive: Archive, parent: Found, recorded: replay.History) -> Iterator[str]:
    """Return differences between `conclusion.json` and the race over the recorded runs; none without a race."""
    if "recommended" not in parent.tags:
        if any(name.startswith("recommended_") for name in parent.metrics):
            yield _sentence("the tag recommended", "missing", "there")
        return
    claimed = archive.read_json(parent, CONCLUSION)
    prefer = archive.read_json(parent, "sweep.json")["study"].get("prefer", "best")
    runs = [run for run in archive.children(parent.study) if run.outcome]
    found = draw_again(archive, runs, recorded, prefer)
    drawn = json.loads(json.dumps(found.as_dict())) if found is not None else {}
    for path, there, here in _apart(claimed, drawn):
        there, here = brief(there, 60), brief(here, 60)
        yield f"{CONCLUSION} of {parent.study} has {path} = {there}, but {here} follows from the records"


def _apart(there: Any, here: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Return every place at which two nested plain values differ by more than a tolerance."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in {**there, **here}:
            yield from _apart(there.get(key), here.get(key), f"{path}.{key}" if path else printable(str(key)))
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for number, pair in enumerate(zip(there, here, strict=True)):
            yield from _apart(*pair, f"{path}.{number}")
    elif not _equal(there, here):
        yield path, there, here


def _equal(there: Any, here: Any) -> bool:
    numbers = all(isinstance(value, int | float) for value in (there, here))
    return math.isclose(there, here, rel_tol=RTOL, abs_tol=1e-12) if numbers else bool(there == here)


def _numbers(sweep: Sweep, recorded: replay.History) -> Iterator[str]:
    """Differences of the metrics from what follows from the trials and the conclusion."""
    concluded = sweep.conclusion.metrics() if sweep.conclusion else {}
    for name, value in {**summarize(sweep).metrics, **_standing(sweep, recorded), **concluded}.items():
        if not _equal(sweep.parent.metrics.get(name), value):
            yield _sentence(f"the metric {name}", sweep.parent.metrics.get(name), value)


def _words(archive: Archive, sweep: Sweep) -> Iterator[str]:
    """Differences of the tags; description and diagnosis are derived again if this version's code wrote them."""
    words = {"mlflow.runName": sweep.name, "mlflow.source.name": "pipeline sweep"}
    words |= {"recommended": json.dumps(sweep.conclusion.values)} if sweep.conclusion else {}
    names = {"data_digest": "digest", "source_digest": "source_digest"}
    words |= {name: str(sweep.data[key]) for name, key in names.items() if key in sweep.data}
    if NOTE in sweep.parent.tags:
        written = archive.read_json(sweep.parent, SHOWN)
        words |= written.get("tags", {})
        words |= summarize(sweep).tags if written.get("code") == code_digest(PACKAGE) else {}
    yield from _different("the tag", sweep.parent.tags, {name: printable(tag(value)) for name, value in words.items()})


def _standing(sweep: Sweep, recorded: replay.History) -> dict[str, float]:
    """How many trials there are, and the lowest value of the first objective."""
    values = [trial.values[0] for trial in recorded.trials if trial.values]
    best = {f"best_{sweep.objectives[0]}": min(values)} if values else {}
    return {**best, "trials": float(len(recorded.trials))}


def _different(what: str, there: Mapping[str, str], given: Mapping[str, str]) -> Iterator[str]:
    for name, value in given.items():
        if there.get(name) != value:
            yield _sentence(f"{what} {name}", there.get(name, "missing"), value)


def _sentence(what: str, shown: Any, value: Any) -> str:
    return (
        f"{what} of the sweep's run is {brief(shown, 60)} in the tracking store, but {brief(value, 60)} follows from "
        "its records"
    )
