"""A file is written whole or not at all, and a durable one is on the disk before it takes its place."""

import os
from pathlib import Path

import pytest

from pipeline.config.writing import replacing


def test_the_new_content_takes_the_place_of_the_old_at_the_end_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def fail_half_way(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"half of the n")
        raise RuntimeError("no")


def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="no"):
        fail_half_way(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_file_reaches_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    with replacing(tmp_path / "file", durable=durable) as file:
        file.write(b"content")
    assert done == (["fsync", "replace"] if durable else ["replace"])


def test_a_new_file_can_be_read_by_those_who_may_read_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with replacing(tmp_path / "file") as file:
        file.write(b"content")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode
