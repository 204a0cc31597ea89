"""`make remove`: remove a study with its runs and files; the register of opened test sets stays."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import optuna

from pipeline.config.commands import RemoveConfig, StudyConfig, SweepConfig
from pipeline.config.errors import ConfigError, StudyError
from pipeline.console import compose
from pipeline.console.display import console
from pipeline.search.identity import study_name
from pipeline.search.lock import hold_study
from pipeline.search.storage import journal_path, open_storage
from pipeline.tracking.archive import Archive
from pipeline.tracking.removal import bytes_of, files_of_study, folders, remove_runs, runs_of_study


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline remove`."""
    return compose.run("remove", RemoveConfig, remove, arguments)


def remove(config: RemoveConfig) -> int:
    """Remove everything of the study, after asking; return 0 when it is gone, 1 when the answer was no.

    The study's journal is removed last, so that an interrupted removal can be repeated.

    Raises
    ------
    UserError
        No study is named, there is none of that name, or a sweep holds it.
    """
    if config.study is None:
        raise ConfigError("study must name the study to remove (STUDY=…), but is null.")
    sweep = SweepConfig(study=StudyConfig(name=config.study, storage=config.storage), tracking=config.tracking)
    name, journal = study_name(sweep), journal_path(sweep, config.study)
    archive = Archive(config.tracking)
    with hold_study(config.storage, journal, name):
        runs, stay = runs_of_study(archive, name)
        _check_storage(config, [run.params.get("study.storage", "null") for run in runs if run.kind == "sweep"])
        files = files_of_study(Path(config.tracking.store), name)
        kept_study = "://" in (config.storage or "") or journal.is_file()
        if not (runs or files or kept_study):
            raise StudyError(f"There is no study {name} in {archive.store.shown}.")
        size = bytes_of([*folders(archive, runs), *files, journal])
        if not config.yes and not _asked(f"Remove study {name}: {len(runs)} runs, {size / 1e6:.1f} MB? [y/N] "):
            return 1
        remove_runs(archive, runs)
        for path in files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _remove_study(sweep, name, journal)
    console.print(f"Study {name} is removed: {len(runs)} runs, {size / 1e6:.1f} MB.")
    if stay:
        console.print(f"Kept: {', '.join(run.handle if run.kind == 'trial' else run.name for run in stay)}, because")
        console.print("openings of a test set stay recorded, and registered models need their trials.")
    return 0


def _check_storage(config: RemoveConfig, recorded: Iterable[str]) -> None:
    """Refuse if the study is kept in a database that the command was not given."""
    for storage in recorded:
        if storage != "null" and config.storage is None:
            raise ConfigError(f"storage must name where the study is kept ({storage}), but is null.")


def _asked(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("yes must be true (ARGS=yes=true) when there is no terminal to ask on, but is false.")
    return input(question).strip().lower() in ("y", "yes")


def _remove_study(sweep: SweepConfig, name: str, journal: Path) -> None:
    if "://" in (sweep.study.storage or ""):
        storage = open_storage(sweep, name)
        if name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=name, storage=storage)
    elif sweep.study.storage is None or journal.stem == name:
        journal.unlink(missing_ok=True)
        journal.with_name(f"{name}.lock").unlink(missing_ok=True)
    else:
        console.print(f"The journal {journal} may hold other studies too, so it is kept.")
