"""`make runs`: list studies, and the trials of one with their run ids."""

import time
from collections.abc import Sequence

from pipeline.config.commands import RunsConfig
from pipeline.console import compose
from pipeline.console.display import console, short_name, table
from pipeline.tracking.archive import Archive, Found


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline runs`."""
    return compose.run("runs", RunsConfig, runs, arguments)


def runs(config: RunsConfig) -> int:
    """Print the studies, the trials of the one named or else of the latest, and single runs."""
    tracking = config.tracking
    archive = Archive(tracking)
    studies = archive.studies()
    if studies and config.study is None:
        _list("Studies", [(run, [run.study, run.status]) for run in studies], ["study", "status"])
    study = config.study or (studies[0].study if studies else None)
    if study is not None:
        trials = archive.children(study)
        searched = sorted(path for path in _varying(trials))
        columns = ["run", "outcome", "dev cost", "dev error", *(short_name(path) for path in searched)]
        _list(f"Study {study}", [(run, _row(run, searched)) for run in trials], columns)
    single = [run for run in archive.runs() if run.kind in ("train", "rerun")]
    if single and config.study is None:
        _list("Single runs", [(run, [run.kind, *_row(run, [])]) for run in single], ["kind", *columns_of_a_run()])
    return 0


def columns_of_a_run() -> list[str]:
    """Names of the columns that every run has."""
    return ["run", "outcome", "dev cost", "dev error"]


def _row(run: Found, paths: Sequence[str]) -> list[object]:
    values = [run.params.get(path, "")[:12] for path in paths]
    return [run.name, run.outcome, run.metrics.get("best_dev_cost"), run.metrics.get("best_dev_error"), *values]


def _varying(runs: Sequence[Found]) -> set[str]:
    """Params that are not the same in all trials: what was searched."""
    trials = [run for run in runs if run.kind == "trial"]
    names = {name for run in trials for name in run.params}
    return {name for name in names if len({run.params.get(name) for run in trials}) > 1}


def _list(title: str, rows: Sequence[tuple[Found, Sequence[object]]], columns: Sequence[str]) -> None:
    if not rows:
        console.print(f"{title}: none yet.")
        return
    started = [time.strftime("%F %T", time.localtime(run.started_at)) for run, _ in rows]
    shown = [[*row, when, run.run_id] for (run, row), when in zip(rows, started, strict=True)]
    table([*columns, "started", "run id"], shown, title=title)
    console.print()
