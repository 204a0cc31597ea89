"""A store that an earlier release made keeps working: its trials repeat to the bit, and every command reads it."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import __main__
from tests.stores.make_store import COMMANDS, PORTABLE, unpack

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("0.2.0",)
PORTABLE_PROCESSOR = "avx2" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False
OUTCOMES = {"0.2.0": {"completed", "early_stopped", "pruned", "diverged"}}


@pytest.fixture(scope="module", params=VERSIONS)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked store of a release."""
    return unpack(request.param, tmp_path_factory.mktemp(f"store-{request.param}"))


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the store; returns its exit code and what it printed."""
    monkeypatch.setattr("sys.argv", ["pipeline"])
    monkeypatch.chdir(kept.parent)

    def carry_out(name: str, *arguments: str) -> tuple[int, str, str]:
        code = __main__.main([name, *arguments, f"tracking.store={kept}"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return carry_out


@functools.cache
def repeated(store: Path) -> dict[str, Any]:
    """What training every recorded run again gives, in a process under the arithmetic of the record."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.stores.repeat", str(store)],
        env=os.environ | PORTABLE | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs: dict[str, Any] = json.loads(done.stdout)
    return runs


def test_the_trials_of_an_old_store_repeat_to_the_bit(kept: Path) -> None:
    """On a processor without AVX2 the Haswell kernel does not run, so only nearly the same values can be asked for."""
    runs = repeated(kept)
    wanted = {"identical"} if PORTABLE_PROCESSOR else {"identical", "within_tolerance"}
    assert {name: table for name, (_, _, verdict, table) in runs.items() if verdict not in wanted} == {}


def test_the_kept_store_has_runs_of_every_kind_and_outcome(kept: Path) -> None:
    runs = repeated(kept).values()
    assert {kind for kind, *_ in runs} >= {"trial", "baseline", "train", "confirmation"}
    assert {outcome for _, outcome, *_ in runs} >= OUTCOMES["0.2.0"]


def test_the_best_trial_of_an_old_study_is_found_and_exported(kept: Path, run: Run, tmp_path: Path) -> None:
    code, said, _ = run("export", "run=best", "study=mixed", f"folder={tmp_path}/best")
    assert code == 0
    assert "mixed/trial-" in said
    assert {"record.json", "config.yaml", "curves.npz"} <= {path.name for path in (tmp_path / "best").iterdir()}


def test_old_runs_are_listed(run: Run) -> None:
    code, said, _ = run("runs", "study=mixed")
    assert code == 0
    assert "trial-0011" in said
    assert "diverged" in said


@pytest.mark.parametrize("study", ["mixed", "folds", "opened"])
def test_an_old_study_is_reported(kept: Path, run: Run, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if study != "mixed":  # whose pictures are also written
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: Path(path).touch())
    code, _, error = run("report", f"study={study}")
    assert (code, error) == (0, "")
    assert "trial-0002" in (kept / "reports" / f"{study}.html").read_text()


def test_continuing_an_old_study_is_refused_with_the_way_out(run: Run) -> None:
    code, _, error = run(*COMMANDS[0].split())
    assert code == 1
    assert "study.fresh=true" in error
    assert len(error.splitlines()) == 1


def test_the_search_of_an_old_study_cannot_be_replayed_and_it_says_why(run: Run) -> None:
    code, _, error = run("rerun", "run=search", "study=mixed")
    assert code == 1
    assert error == "error: The study mixed was made without a lag: its search cannot be replayed.\n"


def test_an_old_confirmation_is_continued_with_more_seeds(run: Run) -> None:
    code, said, _ = run("confirm", "study=opened", "top=2", "seeds=3", "workers.count=1")
    assert code == 0
    assert "over 3 seeds" in said


def test_an_opening_that_an_old_release_recorded_still_counts(run: Run) -> None:
    code, _, error = run("final", "study=opened")
    assert code == 1
    assert "force=true" in error


def test_a_model_of_an_old_release_still_predicts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("x1,x2\n0.1,0.2\n")
    code, said, error = run(
        "predict", "model=models:/circles-classifier@champion", f"input={tmp_path}/new.csv", "output=-"
    )
    assert (code, error) == (0, "")
    assert "probability" in said
