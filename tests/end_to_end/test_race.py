"""The race at the end of a sweep, in commands that really run."""

import json
from pathlib import Path

import pytest

from pipeline.tracking.archive import CONCLUSION
from tests.end_to_end.sweeps import SMALL, run, started, stored, wait_for_lines

RACE = (*SMALL, "study.race=true", "repeats=2", "study.trials=5", "study.name=raced")


def conclusion(store: Path) -> dict[str, object]:
    (path,) = store.glob(f"artifacts/*/artifacts/{CONCLUSION}")
    found: dict[str, object] = json.loads(path.read_text())
    return found


@pytest.mark.slow
def test_a_race_killed_in_the_middle_comes_to_the_same_conclusion_and_trains_nothing_twice(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ended = run(whole, "sweep", *RACE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with started(killed, "sweep", *RACE) as process:  # killed -9 at the end of the block
        assert wait_for_lines(process, killed, 60)
    resumed = run(killed, "sweep", *RACE)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert conclusion(killed) == conclusion(whole)
    names = [run.info.run_name for run in stored(killed).of_kind("confirm")]
    assert len(names) == len(set(names)) > 0

    (parent,) = stored(whole).of_kind("sweep")
    plain = conclusion(whole)
    assert json.loads(parent.data.tags["recommended"]) == plain["values"]
    assert parent.data.metrics["recommended_dev_cost"] == plain["expected"]["mean"]  # type: ignore[index]
    said = " ".join(ended.stdout.split())
    assert "Expect dev cost" in said
    note = " ".join(parent.data.tags["mlflow.note.content"].split())
    assert said[said.index("Expect dev cost") : said.index("Intervals are 95 %.")] in note
    best = run(whole, "rerun", "run=best")
    assert best.returncode == 0, best.stdout
    assert str(plain["run"]) in best.stdout
