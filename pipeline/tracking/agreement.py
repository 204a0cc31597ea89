"""Compares what the tracking store shows of a run with the run's record, from which it was derived.

A metric or a param can be changed in the store; a rerun alone would not notice, since it repeats the record.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.config.text import brief, printable
from pipeline.tracking import facts
from pipeline.tracking.files import CHECKS, CHECKS_TEXT, checks_text, sha256
from pipeline.tracking.notes import NOTE, Note
from pipeline.trials.environment import PACKAGE, code_digest
from pipeline.trials.record import TrialRecord

if TYPE_CHECKING:
    from mlflow.entities import Run

SHOWN = "shown"
"""Entry of `record.json`: the shown values that cannot be derived from the record."""

CUT_OFF = ("RUNNING", "KILLED")
"""Status of a run that was not written to its end."""

_REWRITTEN = "the description in the tracking store does not begin with the one that was written"
_LARGEST = sys.float_info.max
"""MLflow's databases store this for an infinity."""


@dataclass(frozen=True)
class Page:
    """What the UI shows of a run.

    Attributes
    ----------
    points : of each metric (step, value, time in ms), in stored order.
    latest : the value of each metric that the run list has, which MLflow keeps beside the points.
    datasets : the data sets that are its inputs.
    """

    run_id: str
    name: str
    status: str
    started_ms: int
    ended_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Mapping[str, list[tuple[int, float, int]]]
    latest: Mapping[str, float]
    datasets: Sequence[Mapping[str, str]]

    @classmethod
    def of(cls, run: "Run", points: Mapping[str, list[tuple[int, float, int]]]) -> "Page":
        """Make the page of a run from what MLflow's client returns."""
        info, data = run.info, run.data
        inputs = run.inputs.dataset_inputs if run.inputs else []
        datasets = [{key: getattr(each.dataset, key) for key in facts.DATASET} for each in inputs]
        times = info.start_time, info.end_time or 0
        names = str(info.run_id), str(info.run_name), str(info.status)
        return cls(*names, *times, data.params, data.tags, points, data.metrics, datasets)


def shown(
    note: str, started_ms: int, ended_ms: int, tags: Mapping[str, str], names: Iterable[str] = ()
) -> dict[str, Any]:
    """Return what `record.json` notes of a page: its times, the digest of its description, and where it belongs."""
    times = {"started_ms": started_ms, "ended_ms": ended_ms}
    text = {"description_sha256": sha256(note.encode()), "description_length": len(note)}
    return {**times, **text, "tags": dict(tags), "tag_names": sorted(names)}


def disagreements(page: Page, record: TrialRecord, meta: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each difference between the store and the record.

    Tags that the record does not give, such as a person's own, are left alone.

    Parameters
    ----------
    meta : the content of `record.json`.
    """
    old, noted = _redefined(record), _mapping(meta.get(SHOWN))
    kind, name, belongs = meta.get("kind"), meta.get("name"), _mapping(noted.get("tags"))
    source = {"mlflow.source.name": f"pipeline {kind}", "mlflow.source.type": "LOCAL"}
    about = {"kind": kind, "mlflow.runName": name, **source}
    derived = {**about, **facts.tags(record)}
    written = noted.get("tag_names") or derived  # a later version may derive more tags than were written
    tags = {**belongs, **{k: v for k, v in derived.items() if k in page.tags or k in written or k in about}}
    status = facts.TERMINAL.get(record.outcome, "FINISHED")
    found = [
        *_texts("param", page.params, facts.params(record.config), missing=True, more=True),
        *_texts("tag", page.tags, {k: v for k, v in tags.items() if k not in old}, missing=record.format > 1),
        *_points(page.points, {k: v for k, v in facts.points(record).items() if k not in old}, old),
        *_latest(page),
        *_datasets(page, record),
        *_page(page, meta.get(SHOWN)),
        *_words(page, record, meta, belongs.get("study", "")),
    ]
    pairs: list[tuple[str, Any, Any]] = [("the name", page.name, name)]
    if page.status in CUT_OFF:
        found.append(f"its run is {page.status}: it was cut off while it was written, which its command would complete")
    else:
        pairs.append(("the status", page.status, status))
    return [_sentence(what, here, there) for what, here, there in pairs if here != there] + found


def changes(page: Page, note: Note) -> list[str]:
    """Return a sentence for each difference between the store and what was noted of a run without a record.

    Tags that were not noted, such as a person's own, are left alone, and so is what follows the description. While the
    run goes on, only its params are compared; of one that was killed, its times and its status are not.
    """
    found = list(_texts("param", page.params, note.params, missing=True, more=True))
    if page.status == note.status == "RUNNING":
        return found
    found += _texts("tag", page.tags, {k: v for k, v in note.tags.items() if k != NOTE}, missing=True)
    if not page.tags.get(NOTE, "").startswith(note.tags.get(NOTE, "")):
        found.append(_REWRITTEN)
    found += [*_points(page.points, _stored_or_last(page, note), ()), *_latest(page)]
    pairs: list[tuple[str, Any, Any]] = [("the name", page.name, note.name)]
    pairs.append(("the time at which it started, in ms,", page.started_ms, note.started_ms))
    if note.status != "RUNNING":
        pairs.append(("the status", page.status, note.status))
        pairs.append(("the time at which it ended, in ms,", page.ended_ms, note.ended_ms))
        found += _times(page)
    return [_sentence(what, here, there) for what, here, there in pairs if here != there] + found


def _stored_or_last(page: Page, note: Note) -> dict[str, dict[int, float]]:
    """Return the noted points without earlier ones that the store lacks: a crash came between note and store."""
    steps = {name: {step for step, *_ in points} for name, points in page.points.items()}
    return {
        name: {step: value for step, value in of.items() if step in steps.get(name, ()) or step == max(of)}
        for name, of in note.points.items()
    }


def _redefined(record: TrialRecord) -> tuple[str, ...]:
    """Return names of facts that older versions derived differently, so that they are not compared.

    With folds, format 1 counted the parameters of all folds, and showed the first fold's curves while training.
    """
    if record.format == 1 and record.fit_curves:
        return ("num_parameters", *facts.MAIN_CURVES)
    return ()


def _texts(
    what: str, there: Mapping[str, str], given: Mapping[str, Any], *, missing: bool, more: bool = False
) -> Iterator[str]:
    """Return differences of named texts; names that only one side has count if `missing` or `more` say so."""
    for name, value in given.items():
        if value and (name in there or missing) and there.get(name) != value:
            yield _sentence(f"the {what} {name}", there.get(name), value)
    for name in there if more else ():
        if name not in given:
            yield _sentence(f"the {what} {name}", there[name], None)


def _points(
    there: Mapping[str, list[tuple[int, float, int]]], given: Mapping[str, Mapping[int, float]], old: tuple[str, ...]
) -> Iterator[str]:
    """Return one difference for each metric: the first step with another value."""
    for name in {**given, **there}:
        stored = [(step, value) for step, value, _ in there.get(name, ())]
        wanted = sorted(given.get(name, {}).items())
        if name in old or (len(stored) == len(wanted) and all(map(_same, sorted(stored), wanted))):
            continue
        shown, recorded = dict(stored), dict(wanted)
        differing = (s for s in sorted({*shown, *recorded}) if not _same((s, shown.get(s)), (s, recorded.get(s))))
        step = next(differing, None)
        if step is None:
            yield f"the metric {name} has steps that are stored twice"
        else:
            yield _sentence(f"the metric {name} at step {step}", shown.get(step), recorded.get(step))


def _latest(page: Page) -> Iterator[str]:
    """One difference for each metric whose value in the run list is not its last point."""
    for name, value in page.latest.items():
        if points := page.points.get(name):
            step, last, _ = max(points, key=lambda point: (point[0], point[2]))
            if not _same((step, value), (step, last)):
                yield f"the metric {printable(name)} is {value} in the run list, but its last point is {last}"


def _datasets(page: Page, record: TrialRecord) -> Iterator[str]:
    """Differences of the data set that is named as the run's input."""
    wanted = facts.dataset(record.data)
    found = page.datasets[0] if len(page.datasets) == 1 else {}
    for key, value in (wanted or {}).items():
        if found.get(key) != value and (page.datasets or record.format > 1):
            yield _sentence(f"the {key} of the data set", found.get(key), value)
    if len(page.datasets) > 1:
        yield f"the run has {len(page.datasets)} data sets in the tracking store, but one in the record"


def _same(shown: tuple[int, float | None], recorded: tuple[int, float | None]) -> bool:
    (step, value), (wanted, number) = shown, recorded
    if value is None or number is None or step != wanted:
        return value is number and step == wanted
    return value == max(-_LARGEST, min(_LARGEST, number)) or (value != value and number != number)


def _page(page: Page, noted: Any) -> Iterator[str]:
    """Return differences of times and description; records before 0.3 lack these."""
    if not isinstance(noted, Mapping):
        return
    times = {"started": page.started_ms} | ({} if page.status in CUT_OFF else {"ended": page.ended_ms})
    for what, ms in times.items():
        if noted.get(f"{what}_ms") != ms:
            yield _sentence(f"the time at which it {what}, in ms,", ms, noted.get(f"{what}_ms"))
    text = page.tags.get(NOTE, "")
    length = noted.get("description_length")
    written = text[:length] if isinstance(length, int) else text
    if noted.get("description_sha256") != sha256(written.encode()):
        yield _REWRITTEN
    if page.status not in CUT_OFF:
        yield from _times(page)


def _times(page: Page) -> Iterator[str]:
    """One difference for each metric whose times are not in order, or not within the run."""
    for name, points in page.points.items():
        times = [time for _, _, time in sorted(points)]
        if times != sorted(times) or (times and not page.started_ms <= times[0] <= times[-1] <= page.ended_ms):
            yield f"the times of the metric {name} in the tracking store run backwards or leave those of the run"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _words(page: Page, record: TrialRecord, meta: Mapping[str, Any], study: str) -> Iterator[str]:
    """Yield texts that do not follow from the record; only its own code would write them so, so only that is asked."""
    if record.environment.get("code", {}).get("digest") != code_digest(PACKAGE):
        return
    kind, name = str(meta.get("kind")), str(meta.get("name"))
    note = facts.description(record, kind, name, facts.handle(kind, study, name, page.run_id))
    if not page.tags.get(NOTE, "").startswith(note):
        yield "the description in the tracking store is not what follows from the record"
    if _mapping(meta.get("files_sha256")).get(CHECKS_TEXT) != sha256(checks_text(record.gradient_checks).encode()):
        yield f"{CHECKS_TEXT} is not what follows from {CHECKS}"


def _sentence(what: str, shown: Any, recorded: Any) -> str:
    texts = ["missing" if value is None else brief(value, 60) for value in (shown, recorded)]
    return f"{printable(what)} is {texts[0]} in the tracking store, but {texts[1]} in the record"
