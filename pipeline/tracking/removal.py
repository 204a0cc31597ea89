"""Removes the runs of a study from the tracking store: its own, their children, and the reruns of any of them.

Openings of test sets are kept, because removal cannot undo them; so are runs of registered models.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.tracking.archive import Archive
from pipeline.tracking.connection import connect, explain
from pipeline.tracking.found import Found
from pipeline.tracking.store import as_folder


def runs_of_study(archive: Archive, study: str) -> tuple[list[Found], list[Found]]:
    """Return the runs of a study to remove, children before their parents, and those to keep."""
    below = [run for run in archive.runs("sweep") if run.study == study]
    found: dict[str, Found] = {}
    while below:
        found |= {run.run_id: run for run in below}
        below = [child for run in below for child in archive.below(run.run_id) if child.run_id not in found]
    found |= {run.run_id: run for run in archive.runs("rerun") if run.tags.get("rerun_of") in found}
    sources = _sources_of_models(archive)
    stay = [run for run in found.values() if run.kind == "final" or run.run_id in sources]
    kept = {run.run_id for run in stay}
    return [run for run in reversed(found.values()) if run.run_id not in kept], stay


def _sources_of_models(archive: Archive) -> set[str]:
    try:
        return {str(version.run_id) for version in connect(archive.store).search_model_versions()}
    except Exception as error:
        raise explain(error, archive.store) from error


def remove_runs(archive: Archive, runs: Iterable[Found]) -> None:
    """Mark runs as deleted, and remove their files if they are in this store's own folder.

    Raises
    ------
    TrackingError
        The store cannot be written; calling again continues.
    """
    client = connect(archive.store)
    for run in runs:
        for folder in folders(archive, [run]):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            client.delete_run(run.run_id)
        except Exception as error:
            raise explain(error, archive.store) from error


def files_of_study(store: Path, name: str) -> list[Path]:
    """Return a study's other local files: outbox, report, exports, and the lock of its confirmation."""
    found = [store / "outbox" / name, store / "reports" / f"{name}.html", store / "studies" / f"{name}.confirm.lock"]
    found += [path for kind in ("trial", "baseline") for path in store.glob(f"exports/{name}-{kind}*")]
    return [path for path in found if path.exists()]


def bytes_of(paths: Iterable[Path]) -> int:
    """Return the size in bytes of the files and of everything in the folders, without what links to folders lead to."""
    return sum(_bytes_in(path) if path.is_dir() else path.stat().st_size for path in paths if path.exists())


def _bytes_in(folder: "str | os.PathLike[str]") -> int:
    """Return the size of a folder; one that vanishes meanwhile or may not be read counts 0."""
    try:
        with os.scandir(folder) as entries:
            return sum(map(_bytes_of_entry, entries))
    except OSError:
        return 0


def _bytes_of_entry(entry: "os.DirEntry[str]") -> int:
    """Return the size of an entry, whose kind is known without asking the disk again."""
    if entry.is_dir(follow_symlinks=False):
        return _bytes_in(entry)
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except OSError:
        return 0


def folders(archive: Archive, runs: Sequence[Found]) -> list[Path]:
    """Return the folders of the runs' files that are in this store's own folder."""
    base = as_folder(archive.store.artifacts or "")
    if archive.store.kind == "server" or base is None:
        return []
    return [folder for run in runs if (folder := base / run.run_id).is_dir() and run.run_id]
