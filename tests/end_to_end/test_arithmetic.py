"""Bits travel: studies keep the arithmetic they began with; reruns and workers take it, whatever this process has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.trials import kernels
from pipeline.trials.kernels import PORTABLE, Arithmetic
from tests.end_to_end.sweeps import ROOT, SMALL, command, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(kernels.obstacle(PORTABLE)), reason="needs OpenBLAS on an x86-64 processor with AVX2"),
]

QUICK = (*SMALL, "study.trials=3", "study.name=one", "tracking.pictures=false", "tracking.code_diff=false")
OTHERS = [
    {"OPENBLAS_CORETYPE": "Haswell"},
    {"OPENBLAS_CORETYPE": "SkylakeX"},
    {"OPENBLAS_CORETYPE": "Sandybridge"},
    {"OPENBLAS_CORETYPE": "Nehalem"},
    kernels.variables(PORTABLE),
    kernels.variables(Arithmetic("Nehalem", "sse")),
]


def under(variables: dict[str, str], store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(store, *arguments),
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def needed(variables: dict[str, str]) -> None:
    if trouble := kernels.obstacle(Arithmetic(variables["OPENBLAS_CORETYPE"], "sse")):
        pytest.skip(trouble)


@pytest.fixture(scope="module", params=["float32", "float64"])
def portable(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A sweep that was recorded portable."""
    store = tmp_path_factory.mktemp("portable")
    ended = run(store, "sweep", *QUICK, "kernels=portable", f"training.dtype={request.param}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return store


@pytest.mark.parametrize("variables", OTHERS, ids=lambda variables: "-".join(variables.values()))
def test_a_portable_sweep_repeats_to_the_bit_under_every_arithmetic(portable: Path, variables: dict[str, str]) -> None:
    needed(variables)
    ended = under(variables, portable, "rerun", "run=all", "study=one", "track=false")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 identical" in ended.stdout


def test_a_sweep_that_is_resumed_under_another_arithmetic_keeps_its_own(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    longer = (*QUICK, "study.trials=6")
    assert under({}, whole, "sweep", *longer).returncode == 0
    assert under({}, cut, "sweep", *QUICK).returncode == 0
    resumed = under(kernels.variables(Arithmetic("Nehalem", "sse")), cut, "sweep", *longer)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"Computing with {kernels.current()}, as the study began." in " ".join(resumed.stdout.split())
    found = [run(store, "export", "run=one/trial-0005", f"folder={store}/out") for store in (whole, cut)]
    assert [ended.returncode for ended in found] == [0, 0]
    assert (whole / "out" / "curves.npz").read_bytes() == (cut / "out" / "curves.npz").read_bytes()


def test_portable_kernels_that_do_not_take_are_refused_and_nothing_is_begun(tmp_path: Path) -> None:
    """A variable that outlives the restart stands for any installation in which the variables do nothing."""
    code = "import sys; from pipeline.trials import kernels; kernels.variables = lambda *_: {}; "
    code += "from pipeline.__main__ import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", code, "sweep", *QUICK, "kernels=portable", f"tracking.store={tmp_path}"],
        cwd=ROOT,
        env=os.environ | kernels.variables(Arithmetic("Nehalem", "sse")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: this process computes with OpenBLAS kernel Nehalem"), ended.stderr
    assert not list(tmp_path.iterdir())
