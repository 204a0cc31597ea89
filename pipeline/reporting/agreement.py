"""Compares what a sweep's own run shows with what follows from the records of its trials, pictures included."""

import io
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.errors import RecordError
from pipeline.config.text import brief
from pipeline.reporting.conclusion import PICTURES, summarize
from pipeline.reporting.pictures import draw_all
from pipeline.reporting.results import Sweep, gather
from pipeline.search import replay
from pipeline.selection.again import draw_again
from pipeline.selection.claims import apart, different
from pipeline.tracking.archive import CONCLUSION, Archive
from pipeline.tracking.facts import params, tag
from pipeline.tracking.found import Found
from pipeline.tracking.notes import Note

_SOFTWARE = re.compile(rb"tEXtSoftware\0(Matplotlib version[\d.]+)")
_HEADER = 29
"""Bytes of a PNG file up to the end of its first chunk, which holds width, height and the type of its pixels."""


@dataclass(frozen=True)
class Compared:
    """Sentences on what differs, and on what could not be compared."""

    differences: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def compare_sweep(archive: Archive, study: str) -> Compared:
    """Compare a sweep's own run with what was noted when it was written, and that with what follows from records."""
    differences: list[str] = []
    remarks: list[str] = []
    try:
        for sentence in _differences(archive, study, remarks):
            differences.append(f"{study}: {sentence}")
    except RecordError as error:
        differences.append(f"What the run of {study} shows could not be compared: {str(error).rstrip('.')}")
    return Compared(tuple(differences), tuple(remarks))


def _differences(archive: Archive, study: str, remarks: list[str]) -> Iterator[str]:
    """Yield what differs, and add to `remarks` what is not compared."""
    parent = archive.parent(study)
    note = archive.note(parent)
    yield from archive.changes(parent, note)
    if parent.status != "FINISHED":  # its last words are not written yet
        remarks.append(
            f"The run of {study} is {parent.status}, not FINISHED: its trials are compared, but not its conclusion, "
            "description and pictures."
        )
        return
    recorded = replay.read(archive.read_json(parent, replay.FILE))
    sweep = gather(archive, study)
    yield from different("the param", note.params, _searched_left_out(note, params(recorded.config)))
    yield from _conclusion(archive, parent, recorded, note)
    yield from _numbers(sweep, recorded, note)
    yield from _words(sweep, note)
    yield from _pictures(archive, sweep, note, remarks)


def _searched_left_out(note: Note, given: Mapping[str, str]) -> dict[str, str]:
    """The params that the sweep's run has: a searched value is the trials' own, but its range must be there."""
    return {name: value for name, value in given.items() if name in note.params or name.startswith("search.space.")}


def _conclusion(archive: Archive, parent: Found, recorded: replay.StudyHistory, note: Note) -> Iterator[str]:
    """Return differences between `conclusion.json` and the race over the recorded runs; none without a race."""
    if "recommended" not in note.tags:
        return
    claimed = archive.read_json(parent, CONCLUSION)
    prefer = archive.read_json(parent, "sweep.json")["study"].get("prefer", "best")
    runs = [run for run in archive.children(parent.study) if run.outcome]
    found = draw_again(archive, runs, recorded, prefer)
    drawn = json.loads(json.dumps(found.as_dict())) if found is not None else {}
    for path, there, here in apart(claimed, drawn):
        yield f"{CONCLUSION} has {path} = {brief(there, 60)}, but {brief(here, 60)} follows from the records"


def _numbers(sweep: Sweep, recorded: replay.StudyHistory, note: Note) -> Iterator[str]:
    """Differences of the metrics from what follows from the trials and the conclusion."""
    concluded = sweep.conclusion.metrics() if sweep.conclusion else {}
    yield from different(
        "the metric", note.latest, {**summarize(sweep).metrics, **_standing(sweep, recorded), **concluded}
    )


def _words(sweep: Sweep, note: Note) -> Iterator[str]:
    """Differences of the tags; description and diagnosis are derived again if this version's code wrote them."""
    words = {"recommended": json.dumps(sweep.conclusion.values)} if sweep.conclusion else {}
    names = {"data_digest": "digest", "source_digest": "source_digest"}
    words |= {name: str(sweep.data[key]) for name, key in names.items() if key in sweep.data}
    words |= summarize(sweep).tags if note.by_this_code else {}
    yield from different("the tag", note.tags, {name: tag(value) for name, value in words.items()})


def _standing(sweep: Sweep, recorded: replay.StudyHistory) -> dict[str, float]:
    """How many trials there are, and the lowest value of the first objective."""
    values = [trial.values[0] for trial in recorded.trials if trial.values]
    best = {f"best_{sweep.objectives[0]}": min(values)} if values else {}
    return {**best, "trials": float(len(recorded.trials))}


def _pictures(archive: Archive, sweep: Sweep, note: Note, remarks: list[str]) -> Iterator[str]:
    """Draw the pictures again, if this code and this Matplotlib drew them, and compare every pixel."""
    if not any(name.startswith(f"{PICTURES}/") for name in note.files_sha256):
        return
    if not note.by_this_code:
        remarks.append("Other code drew the sweep's pictures, so they are not drawn again to be compared.")
        return
    others = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in draw_all(sweep, Path(folder)).items():
            try:
                there = archive.read_file(sweep.parent, f"{PICTURES}/{path.name}")
            except RecordError:  # told as a changed file
                continue
            same = there == path.read_bytes() or _same_picture(there, path.read_bytes())
            if same is None:
                others.append(name)
            elif not same:
                yield f"the picture {name} is not what the records give"
    if others:
        remarks.append(
            f"Another Matplotlib drew {', '.join(others)}, so these pictures are not compared with new ones."
        )


def _same_picture(there: bytes, here: bytes) -> bool | None:
    """Return whether two PNG files have the same pixels; None if different versions of Matplotlib drew them."""
    from matplotlib.image import imread

    if _SOFTWARE.findall(there) != _SOFTWARE.findall(here):
        return None
    if there[:_HEADER] != here[:_HEADER]:
        return False
    try:
        return bool(np.array_equal(imread(io.BytesIO(there), "png"), imread(io.BytesIO(here), "png")))
    except (OSError, ValueError, SyntaxError):
        return False
