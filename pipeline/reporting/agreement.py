"""Compares what a sweep's own run shows with what follows from the records of its trials.

Pictures are left out: `make report` and the sweep draw them anew.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.config.errors import RecordError
from pipeline.config.text import brief, printable
from pipeline.reporting.conclusion import WRITTEN_BY, summarize
from pipeline.reporting.results import gather
from pipeline.search import replay
from pipeline.selection.again import draw_again
from pipeline.tracking.archive import CONCLUSION, Archive, Found
from pipeline.tracking.facts import params, tag
from pipeline.trials.environment import PACKAGE, code_digest

RTOL = 1e-6
"""Of numbers that a Gaussian process or a statistic gives: libraries differ in their last digits."""


def sweep_disagreements(archive: Archive, study: str) -> list[str]:
    """Sentences on what a sweep's own run shows otherwise than the records of its trials say; none if they agree."""
    parent = archive.parent(study)
    try:
        recorded = replay.read(archive.read_json(parent, replay.FILE))
        return [
            *_different("the param", parent.params, _searched_left_out(parent, params(recorded.config))),
            *_conclusion(archive, parent, recorded),
            *_page(archive, parent),
        ]
    except RecordError as error:
        return [f"What the run of {study} shows could not be compared: {str(error).rstrip('.')}"]


def _searched_left_out(parent: Found, given: Mapping[str, str]) -> dict[str, str]:
    """The params that the sweep's run has: a searched value is the trials' own, but its range must be there."""
    return {name: value for name, value in given.items() if name in parent.params or name.startswith("search.space.")}


def _conclusion(archive: Archive, parent: Found, recorded: replay.History) -> Iterator[str]:
    """Where `conclusion.json` says something else than the race over the recorded runs; nothing if there was none."""
    settings = archive.read_json(parent, "sweep.json")["study"]
    if "recommended" not in parent.tags or parent.status != "FINISHED" or not settings.get("race", True):
        return
    claimed = archive.read_json(parent, CONCLUSION)
    runs = [run for run in archive.children(parent.study) if run.outcome]
    found = draw_again(archive, runs, recorded, settings.get("prefer", "best"))
    drawn = json.loads(json.dumps(found.as_dict())) if found is not None else {}
    for path, there, here in _apart(claimed, drawn):
        yield (
            f"{CONCLUSION} of {parent.study} has {path} = {brief(there, 60)}, but {brief(here, 60)} follows from the "
            "records"
        )


def _apart(there: Any, here: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every place at which two nested plain values differ; numbers within a tolerance do not."""
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


def _page(archive: Archive, parent: Found) -> Iterator[str]:
    """Differences of the metrics and tags, and of the words if this version's code wrote them."""
    sweep = gather(archive, parent.study)
    found = summarize(sweep)
    numbers = {**found.metrics, **(sweep.conclusion.metrics() if sweep.conclusion else {})}
    for name, value in numbers.items():
        if not _equal(parent.metrics.get(name), value):
            yield _sentence(parent, f"the metric {name}", parent.metrics.get(name), value)
    words = {"recommended": json.dumps(sweep.conclusion.values)} if sweep.conclusion else {}
    if parent.tags.get(WRITTEN_BY) == code_digest(PACKAGE):
        words |= found.tags
    yield from _different("the tag", parent.tags, {name: printable(tag(value)) for name, value in words.items()})


def _different(what: str, there: Mapping[str, str], given: Mapping[str, str]) -> Iterator[str]:
    for name, value in given.items():
        if there.get(name) != value:
            shown = brief(there[name], 60) if name in there else "missing"
            yield f"{what} {name} of the sweep's run is {shown} in the tracking store, but {brief(value, 60)} follows"


def _sentence(parent: Found, what: str, shown: Any, value: Any) -> str:
    return f"{what} of the sweep's run is {shown} in the tracking store, but {value} follows from its records"
