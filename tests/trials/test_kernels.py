"""The arithmetic of a process is known, can be asked for, and is refused where the processor lacks it."""

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.errors import ConfigError
from pipeline.config.trial import DataConfig, GradcheckConfig, TrainingConfig, TrialConfig
from pipeline.data.prepare import prepare
from pipeline.trials import kernels
from pipeline.trials.comparison import compare
from pipeline.trials.environment import environment
from pipeline.trials.kernels import PORTABLE, Arithmetic, OtherArithmetic
from pipeline.trials.record import TrialRecord

ROOT = Path(__file__).resolve().parents[2]
HASWELL = frozenset({"sse4_2", "avx", "avx2", "fma", "bmi1", "bmi2"})
SERVER = HASWELL | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def has_it(wanted: Arithmetic = PORTABLE) -> bool:
    return not kernels.obstacle(wanted)


needs_portable = pytest.mark.skipif(not has_it(), reason="needs OpenBLAS on an x86-64 processor with AVX2")


def test_a_worker_begins_only_under_the_arithmetic_that_is_wanted() -> None:
    kernels.prepare_worker(kernels.current())
    with pytest.raises(OtherArithmetic, match=r"this process computes with .*, but .* is wanted"):
        kernels.prepare_worker(Arithmetic("another", "avx2"))


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("2.2.6", "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"),
        ("2.4.6", "X86_V4 AVX512_ICL AVX512_SPR"),
        ("2.10.0", "X86_V4 AVX512_ICL AVX512_SPR"),
    ],
)
def test_the_variables_of_the_portable_arithmetic_follow_numpys_version(version: str, names: str) -> None:
    found = kernels.variables(PORTABLE, version)
    assert found == {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": names}


def test_a_record_names_the_arithmetic_of_its_process_and_old_records_name_it_otherwise() -> None:
    here = environment()
    assert kernels.recorded(here) == kernels.current()
    del here["arithmetic"]
    assert kernels.recorded(here) == kernels.current()


@pytest.mark.parametrize(
    ("features", "level"),
    [
        (["SSE42", "AVX2", "FMA3"], "avx2"),
        (["AVX2", "AVX512F", "AVX512_SKX"], "avx512_skx"),
        (["X86_V2", "X86_V3", "X86_V4", "AVX512_ICL"], "avx512_icl"),
        (["X86_V2"], "sse"),
        (["X86_V2", "X86_V3", "AVX512_SPR"], "avx2"),
    ],
)
def test_the_level_follows_from_numpys_names_of_all_versions(features: list[str], level: str) -> None:
    assert kernels.recorded({"blas": [{"kernel": "Zen"}], "cpu_features": features}) == Arithmetic("Zen", level)


@pytest.mark.parametrize(
    "hostile",
    [
        {},
        {"arithmetic": "Haswell"},
        {"arithmetic": {"kernel": "Haswell\nLD_PRELOAD=x", "level": "avx2"}},
        {"arithmetic": {"kernel": "Haswell", "level": 3}},
        {"blas": 5},
        {"blas": [{"kernel": None}], "cpu_features": 7},
    ],
)
def test_what_a_record_may_claim_never_becomes_a_variable(hostile: dict[str, Any]) -> None:
    assert kernels.recorded(hostile) is None


@pytest.mark.parametrize(
    ("wanted", "flags", "said"),
    [
        (PORTABLE, HASWELL, ""),
        (PORTABLE, frozenset({"sse4_2", "avx"}), "needs a processor with AVX2"),
        (Arithmetic("SkylakeX", "avx512_skx"), HASWELL, "needs a processor with AVX-512"),
        (Arithmetic("SkylakeX", "avx512_icl"), SERVER, "AVX-512 as in Ice Lake"),
        (Arithmetic("SkylakeX", "avx2"), HASWELL, "needs a processor for OpenBLAS's SkylakeX kernel"),
        (Arithmetic("SkylakeX", "avx512_skx"), SERVER, ""),
        (Arithmetic("Nehalem", "sse"), frozenset({"sse4_2"}), ""),
    ],
)
def test_missing_processor_features_are_named(
    monkeypatch: pytest.MonkeyPatch, wanted: Arithmetic, flags: frozenset[str], said: str
) -> None:
    monkeypatch.setattr(kernels, "current", lambda: Arithmetic("Sandybridge", "sse"))
    monkeypatch.setattr(kernels, "_flags", lambda: flags)
    assert said in kernels.obstacle(wanted)
    assert bool(said) == bool(kernels.obstacle(wanted))


def test_a_level_that_the_installed_numpy_has_no_code_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy 2.2 has no code for Sapphire Rapids, so a record made there with NumPy 2.4 cannot be had again by it."""
    wanted = Arithmetic("SkylakeX", "avx512_spr")
    monkeypatch.setattr(kernels, "current", lambda: Arithmetic("SkylakeX", "avx512_icl"))
    monkeypatch.setattr(kernels, "_flags", lambda: kernels._LEVEL_FLAGS["avx512_spr"])
    monkeypatch.setattr(kernels, "built_level", lambda: "avx512_icl")
    monkeypatch.setattr(kernels, "_numpy_version", lambda: "2.2.6")
    assert kernels.obstacle(wanted) == (
        "which needs a NumPy with avx512_spr code, and NumPy 2.2.6 has none above avx512_icl"
    )
    assert kernels.as_recorded({"arithmetic": wanted.as_dict()}) == Arithmetic("SkylakeX", "avx512_icl")
    monkeypatch.setattr(kernels, "built_level", lambda: "avx512_spr")
    assert kernels.obstacle(wanted) == ""


@pytest.mark.parametrize("here", [Arithmetic("neoversen1", "aarch64"), Arithmetic("mkl", "avx2")])
def test_portable_kernels_are_refused_in_one_sentence_on_arm_and_with_other_libraries(
    monkeypatch: pytest.MonkeyPatch, here: Arithmetic
) -> None:
    monkeypatch.setattr(kernels, "current", lambda: here)
    with pytest.raises(ConfigError, match=rf"^kernels=portable means .*needs NumPy with OpenBLAS .*{here.kernel} on"):
        kernels.choose("portable")


def test_what_is_trained_for_a_record_takes_its_arithmetic_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Arithmetic("SkylakeX", "avx512_skx")
    monkeypatch.setattr(kernels, "current", lambda: here)
    monkeypatch.setattr(kernels, "_flags", lambda: SERVER)
    assert kernels.as_recorded({"arithmetic": PORTABLE.as_dict()}) == PORTABLE
    assert kernels.as_recorded({"arithmetic": {"kernel": "SapphireRapids", "level": "avx512_spr"}}) == here
    assert kernels.as_recorded({}) == here


class Started(Exception):
    """Stands in for the new process, which never returns."""


@pytest.fixture
def on_a_server(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """A command on a processor with AVX-512; gives the variables it was started again with."""
    started: list[dict[str, str]] = []

    def execve(path: str, arguments: list[str], variables: dict[str, str]) -> None:
        assert arguments[0] == path == sys.executable
        started.append(variables)
        raise Started

    monkeypatch.setattr(kernels, "current", lambda: Arithmetic("SkylakeX", "avx512_skx"))
    monkeypatch.setattr(kernels, "_flags", lambda: SERVER)
    monkeypatch.setattr(kernels, "_is_command", lambda: True)
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.delenv(kernels.RESTARTED, raising=False)
    return started


def test_a_command_starts_itself_again_once(on_a_server: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Started):
        kernels.choose("portable")
    assert on_a_server[0].items() >= kernels.variables(PORTABLE).items()
    monkeypatch.setenv(kernels.RESTARTED, on_a_server[0][kernels.RESTARTED])
    with pytest.raises(OtherArithmetic, match="start it with OPENBLAS_CORETYPE='Haswell' NPY_DISABLE_CPU_FEATURES='"):
        kernels.choose("portable")
    assert len(on_a_server) == 1


def test_a_caller_from_python_is_told_the_variables(
    on_a_server: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_is_command", lambda: False)
    with pytest.raises(OtherArithmetic, match="start it with OPENBLAS_CORETYPE"):
        kernels.choose("portable")
    assert on_a_server == []


def test_native_kernels_and_those_in_use_start_nothing(on_a_server: list[dict[str, str]]) -> None:
    kernels.choose("native")
    kernels.run_under(Arithmetic("SkylakeX", "avx512_skx"), "the study began with")
    assert on_a_server == []


# --- bits ------------------------------------------------------------------------------------------------------------

_REPEAT = """
import pickle, sys
from pathlib import Path
from pipeline.trials import kernels
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import work_whole
arrays, config, out = sys.argv[1:]
config = pickle.loads(Path(config).read_bytes())
work_whole(Path(arrays), config).save(Path(out))
"""


def trained(folder: Path, config: TrialConfig, *launcher: str, **variables: str) -> TrialRecord:
    """The record of a trial that another process trained, under these variables."""
    arrays, given, out = prepare(config.data, folder / "store").path, folder / "config.pickle", folder / "record.npz"
    given.write_bytes(pickle.dumps(config))
    quiet = {name: value for name, value in os.environ.items() if name not in (kernels.KERNEL, kernels.FEATURES)}
    done = subprocess.run(
        [*launcher, sys.executable, "-c", _REPEAT, str(arrays), str(given), str(out)],
        env=quiet | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return TrialRecord.load(out)


def small(dtype: str) -> TrialConfig:
    training = TrainingConfig(num_epochs=4, dtype=dtype)
    return TrialConfig(
        data=DataConfig(name="digits"),
        training=training,
        gradcheck=GradcheckConfig(examples=4, max_coordinates=50),
    )


@needs_portable
def test_a_process_started_with_the_variables_has_that_arithmetic(tmp_path: Path) -> None:
    code = "from pipeline.trials.kernels import current; import json; print(json.dumps(current().as_dict()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | kernels.variables(PORTABLE),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Arithmetic(**json.loads(done.stdout)) == PORTABLE


@needs_portable
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("source", ["digits", "circles"])
def test_arrays_and_their_digest_are_the_same_under_every_arithmetic(tmp_path: Path, source: str, dtype: str) -> None:
    config = dataclasses.replace(small(dtype), data=DataConfig(name=source))
    code = "import sys; from pathlib import Path; from pipeline.config.trial import DataConfig;"
    code += "from pipeline.data.prepare import prepare; p = prepare(DataConfig(name=sys.argv[1]), Path(sys.argv[2]));"
    code += "print(p.digest)"
    there = subprocess.run(
        [sys.executable, "-c", code, source, str(tmp_path / "there")],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | kernels.variables(PORTABLE),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    here = prepare(config.data, tmp_path / "here")
    assert here.digest == there
    [folds] = (tmp_path / "there").rglob(f"{there}/folds.npz")
    assert folds.read_bytes() == (here.path / "folds.npz").read_bytes()


@needs_portable
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_portable_trial_repeats_to_the_bit_on_an_emulated_processor_with_avx2(tmp_path: Path, dtype: str) -> None:
    if shutil.which("qemu-x86_64") is None:
        pytest.skip("needs qemu-x86_64, of Debian's package qemu-user")
    config = small(dtype)
    portable = trained(tmp_path, config, **kernels.variables(PORTABLE))
    assert kernels.recorded(portable.environment) == PORTABLE
    emulated = trained(tmp_path, config, "qemu-x86_64", "-cpu", "Haswell")
    assert kernels.recorded(emulated.environment) == PORTABLE
    assert compare(portable, emulated).verdict == "identical"


@pytest.fixture(scope="module")
def older_numpy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a process that has the oldest NumPy of requirements.in, and everything else as it is here."""
    folder = tmp_path_factory.mktemp("numpy")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), "numpy==2.2.6"]
    if subprocess.run(install, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs NumPy 2.2.6, which cannot be installed here")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


@needs_portable
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_portable_trial_repeats_to_the_bit_with_numpy_2_2_and_back(
    tmp_path: Path, older_numpy: dict[str, str], dtype: str
) -> None:
    newer = trained(tmp_path, small(dtype), **kernels.variables(PORTABLE))
    older = trained(tmp_path, small(dtype), **older_numpy, **kernels.variables(PORTABLE, "2.2.6"))
    assert older.environment["packages"]["numpy"] == "2.2.6"
    assert [kernels.recorded(each.environment) for each in (newer, older)] == [PORTABLE, PORTABLE]
    assert compare(newer, older).verdict == compare(older, newer).verdict == "identical"


@needs_portable
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", ["Haswell", "SkylakeX", "Sandybridge", "Nehalem"])
@pytest.mark.parametrize("level", ["avx2", "avx512_skx", "avx512_icl"])
def test_every_arithmetic_of_this_processor_can_be_had_again(
    tmp_path: Path, kernel: str, level: str, dtype: str
) -> None:
    wanted = Arithmetic(kernel, level)
    if not has_it(wanted):
        pytest.skip(kernels.obstacle(wanted))
    first, again = (trained(tmp_path, small(dtype), **kernels.variables(wanted)) for _ in range(2))
    assert kernels.recorded(first.environment) == wanted
    assert compare(first, again).verdict == "identical"
