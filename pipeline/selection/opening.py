"""Opens the test set: checks permission, records the opening, evaluates, and explains the result.

Every opening is a run of kind `final`; `pipeline.tracking.openings` counts them. An opening is announced with hashes of
its rows, gets a number from the server, and reads the rows only if no other announcement has a lower one.
"""

import tempfile
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config.errors import DataError, StudyError, UserError
from pipeline.config.text import markdown, markdown_table
from pipeline.data.arrays import TrialArrays
from pipeline.data.commonest import always_commonest
from pipeline.data.prepare import PreparedData
from pipeline.data.recognition import PresentRows, present_rows
from pipeline.search.lock import Check, hold
from pipeline.selection.candidates import Candidate, Choice
from pipeline.selection.evaluation import FINAL, Evaluation, gap_sentence
from pipeline.selection.pictures import draw_confusion
from pipeline.selection.statistics import LEVEL
from pipeline.selection.test_set import evaluate_on_test
from pipeline.selection.winner import Winner
from pipeline.tracking.archive import Archive
from pipeline.tracking.notes import NOTE
from pipeline.tracking.openings import (
    ROWS,
    Opening,
    Openings,
    left_running,
    openings,
    take_number,
    whose,
    write_rows,
)
from pipeline.tracking.recorder import Recorder


@dataclass(frozen=True)
class Finalist:
    """The chosen configuration, ready to be evaluated and shipped."""

    study: str
    choice: Choice
    candidate: Candidate
    prepared: PreparedData
    arrays: TrialArrays
    winner: Winner


@dataclass(frozen=True)
class Opened:
    """The result of an opening, with those before it."""

    run_id: str
    finalist: Finalist
    result: Evaluation
    before: Openings

    @property
    def earlier(self) -> list[Opening]:
        """The openings before this one."""
        return self.before.counted

    @property
    def headline(self) -> str:
        """The error with its interval, in one sentence."""
        e = self.result.error
        return (
            f"Test error {e.value:.2%} ({e.count:.0f} of {e.n:,}), 95% interval {e.low:.2%} to {e.high:.2%}; "
            f"accuracy {1 - e.value:.2%}, cost {self.result.cost:.4g}."
        )

    @property
    def remarks(self) -> list[str]:
        """Sentences on what the numbers mean."""
        unseen = ", ".join(f"{name} ({count})" for name, count in self.result.unseen.items())
        remarks = [
            self._always_commonest(),
            self.result.unequal(),
            self.result.confused(),
            gap_sentence(self.finalist.winner.dev_error, self.result.error),
            f"Test rows with a category that no training row had: {unseen}." if unseen else "",
            self._which_opening(),
            *(opening.doubt for opening in self.before.doubtful),
        ]
        return [remark for remark in remarks if remark]

    def _always_commonest(self) -> str:
        found = always_commonest(self.finalist.prepared.description, "test")
        return "" if found is None else f"For comparison, always answering {found[0]}: test error {found[1]:.2%}."

    def _which_opening(self) -> str:
        if not self.earlier:
            return "This was the first opening of the test set of this data."
        listed = "; ".join(f"{number}. {opening.sentence}" for number, opening in enumerate(self.earlier, start=1))
        return (
            f"This was opening {len(self.earlier) + 1} of the test set of this data, so its error is no longer an "
            f"unbiased one. Before: {listed}."
        )

    def markdown(self) -> str:
        """Return the description of the run."""
        names, rows = self.result.class_table()
        paragraphs = [
            f"**{self.headline}**",
            self.finalist.choice.why,
            f"Evaluated: {self.finalist.winner.how}.",
            markdown_table(names, [[markdown(cell) for cell in row] for row in rows]),
            f"In brackets: {LEVEL:.0%} intervals.",
            *self.remarks,
        ]
        return "\n\n".join(paragraphs)


def lock_of(store: Path, source_digest: str) -> AbstractContextManager[Check]:
    """Lock the test set of one data set against other processes that use the same local folder.

    Raises
    ------
    StudyError
        Another living process holds it.
    """
    return hold(store / "locks" / f"final-{source_digest}.lock", "the test set of these data")


def end_dead(recorder: Recorder, root: Path) -> None:
    """End the runs of openings whose process was killed; such an opening counts if it had a number."""
    for opening in left_running(recorder.store):
        with suppress(StudyError), lock_of(root, opening.source_digest):
            if not opening.may_have_looked:
                recorder.annotate(opening.run_id, {"test_opened": "false"})
            recorder.close(opening.run_id, "KILLED")


@dataclass(frozen=True)
class Permission:
    """The permission to open a test set: the hashes of its rows, and whether to ignore earlier openings."""

    rows: PresentRows
    force: bool


def permitted(archive: Archive, prepared: PreparedData, *, force: bool) -> Permission:
    """Return the permission to open this data's test set.

    Raises
    ------
    UserError
        There is no test set, or it was opened before and this is not forced.
    """
    if not prepared.description["examples"].get("test"):
        raise UserError(
            "There is no test set to open, because the study was made with data.test=none; "
            'make final ARGS="evaluate=false" registers its model all the same.'
        )
    rows = present_rows(prepared)
    _refuse_opened(openings(archive.store, prepared.source_digest, lambda: rows).counted, force=force)
    return Permission(rows, force)


def _refuse_opened(earlier: list[Opening], *, force: bool) -> None:
    if earlier and not force:
        times = "once" if len(earlier) == 1 else f"{len(earlier)} times"
        raise UserError(
            f"The test set of this data has been opened {times}, last {earlier[-1].sentence}, and a choice made after "
            'looking would make its error look too good; ARGS="force=true" opens it again and counts that, '
            'ARGS="evaluate=false" registers the model without opening it.'
        )


def open_test(finalist: Finalist, archive: Archive, recorder: Recorder, permission: Permission) -> Opened:
    """Record the opening before reading any row; once a row was read, the record stays, even after a failure."""
    run_id = _announce(finalist, archive, recorder)
    status, looked = "FAILED", False
    try:
        before = _in_turn(run_id, finalist, recorder, permission)
        looked = True
        result = evaluate_on_test(finalist.winner.classifier, finalist.prepared.heldout)
        opened = Opened(run_id, finalist, result, before)
        _record(opened, recorder)
        status = "FINISHED"
    except DataError:
        looked = False  # no row was read
        raise
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if not looked:
            recorder.annotate(run_id, {"test_opened": "false"})
        recorder.close(run_id, status)
    return opened


def _announce(finalist: Finalist, archive: Archive, recorder: Recorder) -> str:
    candidate, prepared = finalist.candidate, finalist.prepared
    parent = archive.parent(finalist.study).run_id
    number = 1 + sum(run.kind == "final" for run in archive.below(parent))
    tags = {
        "study": finalist.study,
        "trial_name": candidate.name,
        "trial_run_id": candidate.run.run_id,
        "confirmed": str(finalist.choice.confirmed).lower(),
        "source_digest": prepared.source_digest,
        "data_digest": prepared.digest,
        "test_opened": "true",
        "opened_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "opened_from": whose(recorder.store),
    }
    name = "final" if number == 1 else f"final-{number}"
    return recorder.open_run("final", name, tags, asdict(candidate.config), parent=parent, noted=True)


def _in_turn(run_id: str, finalist: Finalist, recorder: Recorder, permission: Permission) -> Openings:
    """Take a number, which makes this opening visible to later ones, and return every earlier opening.

    Raises
    ------
    UserError
        An opening of the same rows was announced since the permission was given, with a lower number.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / ROWS, permission.rows.held_out)
        recorder.write_file(run_id, Path(folder) / ROWS)
    number = take_number(recorder.store, run_id)
    found = openings(recorder.store, finalist.prepared.source_digest, lambda: permission.rows)
    earlier = [o for o in found.counted if o.run_id != run_id and (o.order is None or o.order < number)]
    _refuse_opened(earlier, force=permission.force)
    recorder.annotate(run_id, {"opening_number": number, "opening": len(earlier) + 1})
    return Openings(earlier, found.doubtful)


def _record(opened: Opened, recorder: Recorder) -> None:
    result, dev = opened.result, opened.finalist.winner.dev_error
    metrics = result.beside(opened.finalist.winner.dev_cost, dev.value)
    recorder.annotate(opened.run_id, {NOTE: opened.markdown()}, metrics)
    known = {"trial": opened.finalist.candidate.run.handle, "dev_error": dev.value, "dev_examples": dev.n}
    before = [asdict(opening) for opening in opened.earlier]
    recorder.write_json(opened.run_id, FINAL, known | result.as_dict() | {"earlier_openings": before})
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "confusion_matrix.png"
        draw_confusion(result, picture)
        recorder.write_file(opened.run_id, picture)
