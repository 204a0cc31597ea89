"""Records wait whole or not at all, in the order of their names."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.errors import StudyError
from pipeline.search.outbox import Outbox
from pipeline.trials.record import TrialRecord


def a_record(reason: str = "") -> TrialRecord:
    return TrialRecord(config={"seed": 1}, reason=reason, curves={"dev_cost": np.arange(3.0)})


def test_records_wait_by_name_until_their_files_are_gone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a" / "b")
    for name in ("trial-0010", "baseline", "trial-0009"):
        outbox.put(name, a_record(name))
    assert outbox.waiting() == ["baseline", "trial-0009", "trial-0010"]
    outbox.path("baseline").unlink()
    again = Outbox(tmp_path / "a" / "b")
    assert again.waiting() == ["trial-0009", "trial-0010"]
    assert again.load("baseline") is None
    found = again.load("trial-0009")
    assert found is not None
    assert found.reason == "trial-0009"
    assert found.curves["dev_cost"].tolist() == [0.0, 1.0, 2.0]


def test_a_record_that_waits_whole_is_not_written_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put("trial-0000", a_record("first"))
    outbox.put("trial-0000", a_record("second"))
    found = outbox.load("trial-0000")
    assert found is not None
    assert found.reason == "first"


def test_a_damaged_record_is_removed_and_written_anew(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put("trial-0000", a_record("first"))
    path = outbox.path("trial-0000")
    path.write_bytes(path.read_bytes()[:100])
    assert outbox.load("trial-0000") is None
    assert outbox.waiting() == []
    path.write_bytes(b"")
    outbox.put("trial-0000", a_record("second"))
    found = outbox.load("trial-0000")
    assert found is not None
    assert found.reason == "second"


def test_the_remains_of_a_record_after_a_crash_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".trial-0000.npz.tmp").write_bytes(b"half")
    Outbox(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match=r"file/outbox must be writable for finished trials, but: Not a directory\."):
        Outbox(tmp_path / "file" / "outbox")
