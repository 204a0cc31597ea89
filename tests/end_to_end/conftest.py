"""Sweeps within the test's own process: real trials, a real study and a real tracking store, but no workers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import __main__
from pipeline.commands import sweep
from pipeline.selection import repetition
from tests.end_to_end.sweeps import SMALL
from tests.inline import inline


@dataclass(frozen=True)
class Ended:
    """What a command left in the terminal."""

    code: int
    out: str
    err: str

    @property
    def study(self) -> str:
        found = re.search(r"Study (\S+):", self.out)
        assert found, self.out + self.err
        return found[1]


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all of them, since a tracking store takes seconds to make and studies do not interfere."""
    return tmp_path_factory.mktemp("mlruns")


@pytest.fixture
def pipeline(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Run `python -m pipeline …` in this process."""

    monkeypatch.setattr(sweep, "open_executor", inline)
    monkeypatch.setattr(repetition, "open_executor", inline)
    monkeypatch.setattr("sys.argv", ["pipeline"])

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = __main__.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def sweep_of(pipeline: Callable[..., Ended], shared_store: Path) -> Callable[..., Ended]:
    """Run a small sweep with these overrides."""

    def run(*overrides: str, store: Path = shared_store, small: Sequence[str] = SMALL) -> Ended:
        quiet = (
            "tracking.pictures=false",
            "tracking.code_diff=false",
            "training.num_epochs=12",
            "study.baseline=false",
            "repeats=1",
            "study.race=false",
        )
        return pipeline("sweep", *small, *quiet, f"tracking.store={store}", *overrides)

    return run
