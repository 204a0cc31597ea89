"""What files take on disk."""

import contextlib
import os
from pathlib import Path

import pytest

from pipeline.tracking.removal import bytes_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """7 bytes in three files, one of them two folders down."""
    found = tmp_path / "store"
    (found / "runs" / "one").mkdir(parents=True)
    for name, size in (("a", 1), ("runs/b", 2), ("runs/one/c", 4)):
        (found / name).write_bytes(bytes(size))
    return found


def test_the_size_is_that_of_files_and_of_all_below_folders(folder: Path) -> None:
    assert bytes_of([folder]) == 7
    assert bytes_of([folder / "a", folder / "runs", folder / "missing"]) == 7
    assert bytes_of([]) == 0


def test_a_link_to_a_file_counts_what_it_leads_to_and_one_to_a_folder_or_to_nothing_does_not(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d").write_bytes(bytes(8))
    for name, target in (("file", "elsewhere/d"), ("folder", "elsewhere"), ("nothing", "missing"), ("round", "store")):
        (folder / name).symlink_to(tmp_path / target)
    assert bytes_of([folder]) == 7 + 8


def test_what_vanishes_while_it_is_counted_counts_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def removed_after(path: Path) -> contextlib.AbstractContextManager[list[os.DirEntry[str]]]:
        entries = list(scandir(path))
        (folder / "a").unlink(missing_ok=True)
        (folder / "runs" / "one" / "c").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (folder / "runs" / "one").rmdir()
        return contextlib.nullcontext(entries)

    monkeypatch.setattr(os, "scandir", removed_after)
    assert bytes_of([folder]) == 2
