"""The same trial in other processes, with the surroundings really changed: the comparison must see what happened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.trials.comparison import Comparison, compare
from pipeline.trials.record import TrialRecord

TRIAL = """
import sys
from pathlib import Path
from pipeline.config.trial import DataConfig, ModelConfig, RegularizationConfig, TrainingConfig, TrialConfig
from pipeline.data.arrays import load_arrays
from pipeline.data.prepare import prepare
from pipeline.trials.trial import run_trial

config = TrialConfig(
    data=DataConfig(name="moons", examples=400),
    model=ModelConfig(hidden_units=[48, 48]),
    regularization=RegularizationConfig(lambd=0.1, keep_prob=0.8),
    training=TrainingConfig(num_epochs=12, dtype=sys.argv[3]),
)
prepared = prepare(config.data, Path(sys.argv[1]))
run_trial(config, load_arrays(prepared.path)).save(Path(sys.argv[2]))
"""
KERNELS = ("Haswell", "Sandybridge", "SkylakeX")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def train(store: Path, path: Path, dtype: str = "float64", **variables: str) -> TrialRecord:
    """The trial in a fresh process, as NumPy and its BLAS look at the environment only when they are loaded."""
    command = [sys.executable, "-c", TRIAL, str(store), str(path), dtype]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return TrialRecord.load(path)


@pytest.fixture(scope="module")
def recorded(store: Path, tmp_path_factory: pytest.TempPathFactory) -> TrialRecord:
    return train(store, tmp_path_factory.mktemp("recorded") / "record.npz")


def kernel(record: TrialRecord) -> str:
    return str(record.environment["blas"][0]["kernel"])


def assert_explained(comparison: Comparison, words: str) -> None:
    assert any(words in line for line in comparison.explanations["environment"]), comparison.explanations


def test_another_process_and_the_number_of_threads_that_the_user_allows_change_no_bit(
    store: Path, recorded: TrialRecord, tmp_path: Path
) -> None:
    comparison = compare(recorded, train(store, tmp_path / "again.npz", OPENBLAS_NUM_THREADS="2"))
    assert (comparison.verdict, comparison.explanations) == ("identical", {})


def test_another_kernel_of_the_linear_algebra_library_is_named(
    store: Path, recorded: TrialRecord, tmp_path: Path
) -> None:
    other = next(name for name in KERNELS if name != kernel(recorded))
    repeated = train(store, tmp_path / "again.npz", OPENBLAS_CORETYPE=other)
    if kernel(repeated) == kernel(recorded):
        pytest.skip("this linear-algebra library does not let its kernel be chosen")
    comparison = compare(recorded, repeated)
    assert_explained(comparison, f"{kernel(recorded)} then, {kernel(repeated)} now")
    assert comparison.verdict in ("identical", "within_tolerance")
    assert comparison.largest < 1e-6


def test_fewer_instruction_sets_for_numpy_are_named(store: Path, recorded: TrialRecord, tmp_path: Path) -> None:
    features = [name for name in recorded.environment["cpu_features"] if name in ("AVX512_ICL", "X86_V4", "AVX2")]
    if not features:
        pytest.skip("this processor has no optional instruction sets")
    repeated = train(store, tmp_path / "again.npz", NPY_DISABLE_CPU_FEATURES=" ".join(features))
    comparison = compare(recorded, repeated)
    assert_explained(comparison, "cpu_features")
    assert_explained(comparison, "NPY_DISABLE_CPU_FEATURES")
    assert comparison.verdict in ("identical", "within_tolerance")


def test_another_precision_differs_from_the_first_epoch(store: Path, recorded: TrialRecord, tmp_path: Path) -> None:
    comparison = compare(recorded, train(store, tmp_path / "again.npz", dtype="float32"))
    assert comparison.verdict == "differs"
    assert "epoch 0" in comparison.first
    assert comparison.explanations["config"] == ["training.dtype: float64 then, float32 now"]
