"""`make runs`: studies with their sizes on disk, and the trials of one at the width of the terminal."""

from pathlib import Path

import pytest

from pipeline.commands.runs import runs
from pipeline.config.commands import RunsConfig, TrackingConfig
from pipeline.console import display
from tests.stores.make_store import unpack


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("0.2.0", tmp_path_factory.mktemp("store"))


def shown(store: Path, capsys: pytest.CaptureFixture[str], **settings: object) -> list[str]:
    assert runs(RunsConfig(tracking=TrackingConfig(store=str(store)), **settings)) == 0  # type: ignore[arg-type]
    return capsys.readouterr().out.splitlines()


def test_each_study_has_its_size_if_that_is_asked_for(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(store, capsys, sizes=True)
    assert lines[1].split() == ["study", "status", "size", "started", "run", "id"]
    sizes = [float(line.split()[2]) for line in lines[2:5]]
    assert all(0.05 < size < 5 for size in sizes)
    assert lines[2].split()[3] == "MB"


def test_the_last_line_says_what_the_store_takes_and_how_to_see_whose_it_is(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    last = shown(store, capsys)[-1]
    assert f"takes {total / 1e6:.1f} MB; make remove STUDY=… removes a study; by study: make runs ARGS=sizes=" in last


@pytest.mark.parametrize("width", [60, 80])
def test_a_trial_is_one_line_on_a_narrow_terminal(
    width: int, store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display.console, "width", width)
    lines = shown(store, capsys, study="opened")
    trials = [line.split()[0] for line in lines if line.startswith("trial-")]
    assert len(trials) > 2
    assert trials == [f"trial-{number:04d}" for number in range(len(trials))]
    assert max(map(len, lines)) <= width


def test_further_repeats_are_not_among_the_trials(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not [line for line in shown(store, capsys, study="opened") if line.startswith("confirm")]
