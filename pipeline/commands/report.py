"""`make report`: gather a sweep in one HTML file."""

import logging
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.config.commands import ReportConfig
from pipeline.config.errors import UserError
from pipeline.console import compose
from pipeline.console.display import console
from pipeline.data.prepare import find_prepared
from pipeline.data.recognition import present_rows
from pipeline.reporting.html import render
from pipeline.reporting.limits import find_limits
from pipeline.reporting.pictures import draw_all
from pipeline.reporting.results import Sweep, gather
from pipeline.tracking.archive import Archive
from pipeline.tracking.openings import NO_TEST_SET, openings


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline report`."""
    return compose.run("report", ReportConfig, report, arguments)


def report(config: ReportConfig) -> int:
    """Write the file and print its path.

    Raises
    ------
    UserError
        There is no such study, or the file cannot be written.
    """
    logging.getLogger("optuna").setLevel(logging.WARNING)
    tracking = config.tracking
    archive = Archive(tracking)
    sweep = gather(archive, config.study or archive.latest_study())
    findings = find_limits(sweep)
    with tempfile.TemporaryDirectory() as folder, console.status("Drawing pictures"):
        pictures = draw_all(sweep, Path(folder))
        page = render(
            sweep,
            findings,
            pictures,
            confirmation=confirmation(archive, sweep),
            test_set=test_set(archive, sweep),
        )
    path = Path(config.output or Path(tracking.store) / "reports" / f"{sweep.name}.html")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"output must be a file that can be written, but {path} cannot: {error.strerror}.") from None
    if findings:
        console.print(f"{findings[0].claim} {findings[0].evidence}")
    console.print(f"Report of {sweep.name}, {len(sweep.trials)} trials: {path}", soft_wrap=True)
    return 0


def confirmation(archive: Archive, sweep: Sweep) -> str:
    """Return the evidence for the choice: a confirmation, the race's fresh repeats, or only its rank."""
    for run in archive.children(sweep.name, "confirm"):
        if run.tags.get("verdict"):
            return f"Confirmed on new seeds: {run.tags['verdict']}"
    if sweep.conclusion is not None:
        fresh = len(sweep.conclusion.fresh)
        return f"The claim rests on {fresh} repeats that no choice used; make confirm adds more."
    if not sweep.ranked:
        return ""
    return "The best is unconfirmed and may have been lucky (make confirm trains the best again on new seeds)."


def test_set(archive: Archive, sweep: Sweep) -> str:
    """Return a sentence on whether the test set of these data was opened, and with which result."""
    examples = sweep.data.get("examples") or {}
    if sweep.config["data"]["test"] == "none" or not examples.get("test", 1):
        return NO_TEST_SET
    tags = sweep.parent.tags
    prepared = find_prepared(tags.get("data_digest", ""), archive.store.root)
    rows = None if prepared is None else partial(present_rows, prepared)
    return openings(archive.store, tags.get("source_digest", ""), rows).sentence
