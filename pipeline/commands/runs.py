"""`make runs`: list studies, and the trials of one with their run ids."""

import time
from collections.abc import Sequence

from pipeline.config.commands import RunsConfig
from pipeline.console import compose
from pipeline.console.display import console, short_name, table
from pipeline.tracking.archive import Archive
from pipeline.tracking.facts import COMMONEST
from pipeline.tracking.found import Found
from pipeline.tracking.views import searched as searched_paths


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline runs`."""
    return compose.run("runs", RunsConfig, runs, arguments)


def runs(config: RunsConfig) -> int:
    """Print the studies, the trials of one study (by default the latest), and single runs."""
    tracking = config.tracking
    archive = Archive(tracking)
    studies, _ = archive.page("tags.kind = 'sweep'", config.count)
    if studies and config.study is None:
        _list("Studies", [(run, [run.study, run.status]) for run in studies], ["study", "status"])
    study = config.study or (studies[0].study if studies else None)
    if study is not None:
        _list_trials(archive, study, config)
    if config.study is None and config.page == 1:
        _list_single(archive, config.count)
    return 0


def _list_trials(archive: Archive, study: str, config: RunsConfig) -> None:
    """Print one page of a study's runs, and how to see the next."""
    parent = archive.parent(study)
    runs, more = archive.page_of(parent, config.count, config.page)
    searched = sorted(searched_paths(parent.params))
    columns = [*columns_of_a_run(), *(short_name(path) for path in searched)]
    _list(f"Study {study}", [(run, _row(run, searched)) for run in runs], columns)
    if beside := next((run.tags[COMMONEST] for run in runs if COMMONEST in run.tags), ""):
        console.print(f"For comparison, {beside}.\n")
    if more:
        console.print(f"More: make runs STUDY={study} ARGS=page={config.page + 1}\n")


def _list_single(archive: Archive, count: int) -> None:
    """Print the latest runs of single commands."""
    found = {kind: archive.page(f"tags.kind = '{kind}'", count) for kind in ("train", "rerun")}
    latest = sorted((run for runs, _ in found.values() for run in runs), key=lambda run: -run.started_at)[:count]
    if latest:
        _list("Single runs", [(run, [run.kind, *_row(run, [])]) for run in latest], ["kind", *columns_of_a_run()])
    if any(more for _, more in found.values()):
        console.print(f"Older single runs are in the UI, or with ARGS=count={4 * count}.")


def columns_of_a_run() -> list[str]:
    """Return the names of the columns that every run has."""
    return ["run", "outcome", "dev cost", "dev error"]


def _row(run: Found, paths: Sequence[str]) -> list[object]:
    values = [run.params.get(path, "")[:12] for path in paths]
    return [run.name, run.outcome, run.metrics.get("best_dev_cost"), run.metrics.get("best_dev_error"), *values]


def _list(title: str, rows: Sequence[tuple[Found, Sequence[object]]], columns: Sequence[str]) -> None:
    if not rows:
        console.print(f"{title}: none yet.")
        return
    started = [time.strftime("%F %T", time.localtime(run.started_at)) for run, _ in rows]
    shown = [[*row, when, run.run_id] for (run, row), when in zip(rows, started, strict=True)]
    table([*columns, "started", "run id"], shown, title=title)
    console.print()
