"""`make runs`: list studies, and the trials of one with their run ids."""

import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.commands import RunsConfig
from pipeline.console import compose
from pipeline.console.display import console, short_name, table
from pipeline.tracking.archive import Archive
from pipeline.tracking.facts import COMMONEST
from pipeline.tracking.found import Found
from pipeline.tracking.removal import bytes_of, files_of_study, folders, runs_of_study
from pipeline.tracking.views import searched as searched_paths

COLUMNS = ("run", "outcome", "dev cost", "dev error")
"""Columns that every run has."""


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline runs`."""
    return compose.run("runs", RunsConfig, runs, arguments)


def runs(config: RunsConfig) -> int:
    """Print the studies, the trials of one study (by default the latest), and single runs."""
    tracking = config.tracking
    archive = Archive(tracking)
    studies, _ = archive.page("tags.kind = 'sweep'", config.count)
    if studies and config.study is None:
        _list_studies(archive, studies, config)
    study = config.study or (studies[0].study if studies else None)
    if study is not None:
        _list_trials(archive, study, config)
    if config.study is None and config.page == 1:
        _list_single(archive, config.count)
    if config.study is None:
        _say_size(config)
    return 0


def _list_studies(archive: Archive, studies: Sequence[Found], config: RunsConfig) -> None:
    """Print the studies, with what their files take if that was asked for."""
    rows: list[list[object]] = [[run.study, run.status] for run in studies]
    if config.sizes:
        for row, run in zip(rows, studies, strict=True):
            row.append(_megabytes(_bytes_of_study(archive, run.study, Path(config.tracking.store))))
    columns = ["study", "status", *(["size"] if config.sizes else [])]
    _list("Studies", list(zip(studies, rows, strict=True)), columns)


def _bytes_of_study(archive: Archive, study: str, store: Path) -> int:
    """What `make remove` would free on disk."""
    runs, _ = runs_of_study(archive, study)
    return bytes_of([*folders(archive, runs), *files_of_study(store, study), store / "studies" / f"{study}.journal"])


def _say_size(config: RunsConfig) -> None:
    """Print what the store's folder takes, and how to see whose it is."""
    store = Path(config.tracking.store)
    total = bytes_of([store])
    if total:
        whose = "" if config.sizes else "; by study: make runs ARGS=sizes=true"
        console.print(f"{store} takes {_megabytes(total)}; make remove STUDY=… removes a study{whose}.")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _list_trials(archive: Archive, study: str, config: RunsConfig) -> None:
    """Print one page of a study's runs, and how to see the next."""
    parent = archive.parent(study)
    runs, more = archive.page_of(parent, config.count, config.page)
    searched = sorted(searched_paths(parent.params))
    columns = [*COLUMNS, *(short_name(path) for path in searched)]
    _list(f"Study {study}", [(run, _row(run, searched)) for run in runs], columns, ("started", "outcome"))
    if "recommended" in parent.tags:
        console.print("Further repeats of the leaders are runs of their own, in the UI.\n")
    if beside := next((run.tags[COMMONEST] for run in runs if COMMONEST in run.tags), ""):
        console.print(f"For comparison, {beside}.\n")
    if more:
        console.print(f"More: make runs STUDY={study} ARGS=page={config.page + 1}\n")


def _list_single(archive: Archive, count: int) -> None:
    """Print the latest runs of single commands."""
    found = {kind: archive.page(f"tags.kind = '{kind}'", count) for kind in ("train", "rerun")}
    latest = sorted((run for runs, _ in found.values() for run in runs), key=lambda run: -run.started_at)[:count]
    if latest:
        _list("Single runs", [(run, [run.kind, *_row(run, [])]) for run in latest], ["kind", *COLUMNS])
    if any(more for _, more in found.values()):
        console.print(f"Older single runs are in the UI, or with ARGS=count={4 * count}.")


def _row(run: Found, paths: Sequence[str]) -> list[object]:
    values = [_value(run.params.get(path, "")) for path in paths]
    return [
        run.name,
        run.outcome.replace("early_stopped", "stopped"),
        run.metrics.get("best_dev_cost"),
        run.metrics.get("best_dev_error"),
        *values,
    ]


def _value(text: str) -> object:
    """A searched value, numbers as such."""
    try:
        return float(text)
    except ValueError:
        return text[:12]


def _list(
    title: str,
    rows: Sequence[tuple[Found, Sequence[object]]],
    columns: Sequence[str],
    optional: Sequence[str] = (),
) -> None:
    if not rows:
        console.print(f"{title}: none yet.")
        return
    started = [time.strftime("%F %T", time.localtime(run.started_at)) for run, _ in rows]
    shown = [[*row, when, run.run_id] for (run, row), when in zip(rows, started, strict=True)]
    table([*columns, "started", "run id"], shown, title=title, optional=optional)
    console.print()
