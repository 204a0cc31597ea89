"""Prepared data on disk: complete or absent, and checked for changes."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.trial import DataConfig
from pipeline.data import store as files
from pipeline.data.prepare import PreparedData, prepare


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedData:
    return prepare(DataConfig(name="circles", examples=100), tmp_path)


def test_a_draft_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with files.writing(tmp_path) as draft:
        files.save(draft.trial, y=np.arange(3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["X.npy", "y.npy"])
def test_one_changed_byte_is_noticed(prepared: PreparedData, name: str) -> None:
    assert files.restore(prepared.path)
    content = bytearray((prepared.path / name).read_bytes())
    content[-5] ^= 1
    (prepared.path / name).write_bytes(content)
    assert not files.restore(prepared.path)


@pytest.mark.parametrize("name", ["X.npy", "y.npy", "folds.npz", "meta.json"])
def test_a_missing_file_is_noticed(prepared: PreparedData, name: str) -> None:
    (prepared.path / name).unlink()
    assert not files.restore(prepared.path)


def test_the_group_numbers_are_part_of_the_digest(prepared: PreparedData) -> None:
    meta = json.loads((prepared.path / "meta.json").read_text())
    before = files.trial_digest(prepared.path, meta)
    files.save(prepared.path, groups=np.arange(80))
    assert files.trial_digest(prepared.path, meta) != before


@pytest.mark.parametrize("name", ["y.npy", "meta.json"])
def test_arrays_that_were_damaged_together_with_their_note_are_made_anew(
    prepared: PreparedData, tmp_path: Path, name: str
) -> None:
    for path in (*(tmp_path / "prepared").iterdir(), prepared.path / name):
        path.write_bytes(b"nonsense")
    assert prepare(DataConfig(name="circles", examples=100), tmp_path).digest == prepared.digest
    assert files.restore(prepared.path)


def test_arrays_written_twice_at_once_are_kept_once(prepared: PreparedData, tmp_path: Path) -> None:
    """Another process that wrote the same arrays first has left them in their place."""
    for note in (tmp_path / "prepared").iterdir():
        note.unlink()
    again = prepare(DataConfig(name="circles", examples=100), tmp_path)
    assert again.digest == prepared.digest
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == [prepared.digest]
    assert not list(tmp_path.glob(".draft-*"))
