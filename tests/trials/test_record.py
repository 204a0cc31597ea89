"""A record's file comes back whole or is refused."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.trials.record import TrialRecord


def record() -> TrialRecord:
    curves = {"dev_cost": np.array([0.7, np.nan, np.inf])}
    return TrialRecord(config={"seed": 3}, outcome="diverged", curves=curves, parameters={"W1": np.ones((2, 3))})


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record().save(tmp_path / "trial.npz")
    again = TrialRecord.load(tmp_path / "trial.npz")
    assert (again.config, again.outcome) == ({"seed": 3}, "diverged")
    np.testing.assert_array_equal(again.curves["dev_cost"], record().curves["dev_cost"])
    np.testing.assert_array_equal(again.parameters["W1"], np.ones((2, 3)))


def test_a_record_from_before_there_were_repeats_has_one_value() -> None:
    assert TrialRecord(config={}, summary={"best_dev_cost": 0.5}).values("dev_cost") == {0: 0.5}


@pytest.mark.parametrize("damage", ["empty", "torn", "text", "another archive", "an array"])
def test_an_incomplete_record_is_a_value_error(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "trial.npz"
    record().save(path)
    whole = path.read_bytes()
    if damage == "another archive":
        np.savez(path, x=np.ones(3))
    elif damage == "an array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    else:
        path.write_bytes({"empty": b"", "torn": whole[: len(whole) // 2], "text": b"no record"}[damage])
    with pytest.raises(ValueError, match=r".+"):
        TrialRecord.load(path)


def test_a_record_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    record().save(tmp_path / "trial.npz")
    assert done == ["fsync", "replace"]
