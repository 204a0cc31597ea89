"""The arithmetic that determines a trial's bits: OpenBLAS's kernel and the instruction sets of NumPy's own loops.

Both libraries choose by processor and environment variables when they are loaded. So a command or a worker gets
another arithmetic only by being started with other variables. NumPy is imported inside functions.
"""

import itertools
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pipeline.config.errors import ConfigError

Kernels = Literal["native", "portable"]

LEVELS = ("sse", "avx2", "avx512_skx", "avx512_icl", "avx512_spr")
"""NumPy's instruction sets on x86-64, each including those before it; processors since 2003, 2013, 2017, 2019, 2023."""

KERNEL, FEATURES, RESTARTED = "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "PIPELINE_RESTARTED_FOR"
"""Environment variables: OpenBLAS's, NumPy's, and ours with the arithmetics that this command has restarted for."""

_AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
_ICL = _AVX512 | {"avx512ifma", "avx512vbmi", "avx512_vbmi2", "avx512_bitalg", "avx512_vpopcntdq", "avx512_vnni"}
_LEVEL_FLAGS: dict[str, frozenset[str]] = {
    "sse": frozenset(),
    "avx2": frozenset({"avx2", "fma", "bmi1", "bmi2"}),
    "avx512_skx": _AVX512,
    "avx512_icl": _ICL,
    "avx512_spr": _ICL | {"avx512_fp16"},
}
_KERNEL_FLAGS: dict[str, frozenset[str]] = {
    "Katmai": frozenset(),
    "Prescott": frozenset(),
    "Nehalem": frozenset({"sse4_2"}),
    "Sandybridge": frozenset({"avx"}),
    "Haswell": frozenset({"avx2", "fma"}),
    "Zen": frozenset({"avx2", "fma"}),
    "SkylakeX": _AVX512,
    "Cooperlake": _AVX512 | {"avx512_bf16"},
    "SapphireRapids": _AVX512 | {"avx512_bf16", "avx512_fp16", "amx_bf16"},
}
"""Processor flags (as in /proc/cpuinfo) that each kernel needs; OpenBLAS itself does not check."""


class OtherArithmetic(ConfigError):
    """A process has another arithmetic than it should."""


@dataclass(frozen=True)
class Arithmetic:
    """The BLAS kernel and the instruction set, which determine bits.

    Attributes
    ----------
    kernel : OpenBLAS's kernel, "Haswell"; the library's name for other libraries.
    level : one of `LEVELS`; the machine's name for other processors than x86-64.
    """

    kernel: str
    level: str

    def __str__(self) -> str:
        return f"OpenBLAS kernel {self.kernel} and NumPy's {self.level} code"

    def as_dict(self) -> dict[str, str]:
        """The arithmetic as plain values."""
        return asdict(self)


PORTABLE = Arithmetic("Haswell", "avx2")
"""Available on every x86-64 processor with AVX2 (since 2013), so that trials repeat to the bit on all of them."""


@cache
def current() -> Arithmetic:
    """Return the arithmetic of this process; loads NumPy."""
    kernel = next((library["kernel"] or library["name"] for library in blas()), None)
    return Arithmetic(str(kernel or "unknown"), _level(cpu_features()))


def cpu_features() -> list[str]:
    """The instruction sets that NumPy found and may use."""
    return _instruction_sets("baseline", "found")


def _instruction_sets(*lists: str) -> list[str]:
    """The names in these lists of NumPy's; "not found" are those it has code for, but may not use here."""
    import numpy as np

    simd: Any = np.show_config(mode="dicts").get("SIMD Extensions", {})
    return sorted({name for each in lists for name in simd.get(each, [])})


def built_level() -> str:
    """The highest level that the installed NumPy has code for, whatever the processor has."""
    return _level(_instruction_sets("baseline", "found", "not found"))


def blas() -> list[dict[str, Any]]:
    """Return name, version, kernel and threads of NumPy's linear-algebra library (not SciPy's, which no trial uses)."""
    import numpy as np  # noqa: F401  loads the library
    from threadpoolctl import threadpool_info

    loaded = [library for library in threadpool_info() if library.get("user_api") == "blas"]
    own = [library for library in loaded if "numpy" in " ".join(Path(library.get("filepath", "")).parts[-3:])]
    return [
        {
            "name": library.get("internal_api"),
            "version": library.get("version"),
            "kernel": library.get("architecture"),
            "threads": library.get("num_threads"),
        }
        for library in own or loaded
    ]


def recorded(environment: Mapping[str, Any]) -> Arithmetic | None:
    """Return the arithmetic of a record's environment; None if this module does not know it."""
    found = environment.get("arithmetic")
    if isinstance(found, Mapping):
        known = Arithmetic(str(found.get("kernel")), str(found.get("level")))
    else:  # records up to version 0.2.0
        libraries, features = environment.get("blas"), environment.get("cpu_features")
        if not (isinstance(libraries, list) and libraries and isinstance(libraries[0], Mapping)):
            return None
        known = Arithmetic(str(libraries[0].get("kernel")), _level(features if isinstance(features, list) else []))
    return known if known.kernel in _KERNEL_FLAGS and known.level in LEVELS else None


def _level(features: Iterable[str]) -> str:
    """Return the highest of `LEVELS` up to which NumPy names all, since a user can disable one in between."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return platform.machine()
    has = set(features)
    above = itertools.takewhile(lambda level: _MARKS[level] & has, LEVELS[1:])
    return [LEVELS[0], *above][-1]


_MARKS = {
    "avx2": {"X86_V3", "AVX2"},
    "avx512_skx": {"X86_V4", "AVX512_SKX"},
    "avx512_icl": {"AVX512_ICL"},
    "avx512_spr": {"AVX512_SPR"},
}
"""By which of NumPy's names a level is known; they changed with version 2.4."""


def variables(wanted: Arithmetic, numpy_version: str | None = None) -> dict[str, str]:
    """Return the environment variables that give a process this arithmetic, for the installed version of NumPy."""
    version = numpy_version or _numpy_version()
    table = _NAMES if tuple(map(int, version.split(".")[:2])) >= (2, 4) else _NAMES_BEFORE_2_4
    above = LEVELS[LEVELS.index(wanted.level) + 1 :]
    return {KERNEL: wanted.kernel, FEATURES: " ".join(table[level] for level in above)}


_NAMES = {
    "avx2": "X86_V3",
    "avx512_skx": "X86_V4",
    "avx512_icl": "AVX512_ICL",
    "avx512_spr": "AVX512_SPR",
}
_NAMES_BEFORE_2_4 = {
    "avx2": "AVX F16C FMA3 AVX2",
    "avx512_skx": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL",
    "avx512_icl": "AVX512_ICL",
    "avx512_spr": "AVX512_SPR",
}
"""Names of the levels in `NPY_DISABLE_CPU_FEATURES`, which only warns about unknown ones."""


def _numpy_version() -> str:
    from importlib.metadata import version

    return version("numpy")


def obstacle(wanted: Arithmetic) -> str:
    """Return why this machine cannot use the arithmetic, as the end of a sentence; empty if it can."""
    here = current()
    if here.level not in LEVELS or here.kernel not in _KERNEL_FLAGS:
        return f"which needs NumPy with OpenBLAS on x86-64, and this is {here.kernel} on {platform.machine()}"
    has = _flags()
    if not _LEVEL_FLAGS[wanted.level] <= has:
        return f"which needs a processor with {_SPOKEN[wanted.level]}"
    if not _KERNEL_FLAGS[wanted.kernel] <= has:
        return f"which needs a processor for OpenBLAS's {wanted.kernel} kernel"
    if LEVELS.index(wanted.level) > LEVELS.index(built := built_level()):
        return f"which needs a NumPy with {wanted.level} code, and NumPy {_numpy_version()} has none above {built}"
    return ""


_SPOKEN = {
    "avx2": "AVX2 (Intel since Haswell, AMD since Excavator)",
    "avx512_skx": "AVX-512 (Intel Skylake-X and later servers, AMD since Zen 4)",
    "avx512_icl": "AVX-512 as in Ice Lake (Intel servers since 2021, AMD since Zen 4)",
    "avx512_spr": "AVX-512 as in Sapphire Rapids (Intel servers since 2023)",
}


@cache
def _flags() -> frozenset[str]:
    """Return the processor's flags as in /proc/cpuinfo; elsewhere those that the arithmetic in use implies."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    here = current()
    below = LEVELS[: LEVELS.index(here.level) + 1] if here.level in LEVELS else ()
    return frozenset().union(*(_LEVEL_FLAGS[level] for level in below), _KERNEL_FLAGS.get(here.kernel, ()))


def as_recorded(environment: Mapping[str, Any]) -> Arithmetic:
    """Return the recorded arithmetic if this machine can use it, else that of this process."""
    wanted = recorded(environment)
    return wanted if wanted is not None and (wanted == current() or not obstacle(wanted)) else current()


def require(wanted: Arithmetic, who: str = "this process", found: Arithmetic | None = None) -> None:
    """Refuse to go on under another arithmetic than `wanted`.

    Parameters
    ----------
    who, found : the process, and its arithmetic if it is not this one.

    Raises
    ------
    OtherArithmetic
        The process has another arithmetic; the message gives the variables to start it with.
    """
    found = found or current()
    if found != wanted:
        given = ""
        if wanted.level in LEVELS:
            given = " ".join(f"{name}='{value}'" for name, value in variables(wanted).items())
            given = f"; start it with {given}"
        raise OtherArithmetic(f"{who} computes with {found}, but {wanted} is wanted{given}.")


def prepare_worker(wanted: Arithmetic) -> None:
    """Load what trials need in a worker process, and check its arithmetic."""
    import_module("pipeline.trials.trial")
    require(wanted)


def choose(kernels: Kernels) -> None:
    """Give this command the arithmetic that `kernels` names; restart it if portable ones need that.

    Raises
    ------
    ConfigError
        Portable kernels are not available here.
    """
    if kernels == "portable":
        run_under(PORTABLE, "kernels=portable means")


def restarted() -> bool:
    """Return whether this command was restarted to get another arithmetic than the processor's default."""
    return RESTARTED in os.environ


def run_under(wanted: Arithmetic, why: str) -> None:
    """Return if this command has the wanted arithmetic, else restart it with other variables.

    Call it before anything has begun: a restart replaces this process and releases its locks.

    Parameters
    ----------
    why : beginning of the sentence of an error, such as "kernels=portable means".

    Raises
    ------
    ConfigError
        This machine cannot use the arithmetic, or the variables had no effect.
    """
    if current() == wanted:
        return
    if trouble := obstacle(wanted):
        raise ConfigError(f"{why} {wanted}, {trouble}.")
    tried = os.environ.get(RESTARTED, "").split()
    mark = f"{wanted.kernel}/{wanted.level}"
    if mark in tried or not _is_command():
        require(wanted)
    sys.stdout.flush()
    sys.stderr.flush()
    environment = os.environ | variables(wanted) | {RESTARTED: " ".join([*tried, mark])}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _is_command() -> bool:
    """Return whether this process is `python -m pipeline …`, which can be restarted with the same arguments."""
    return getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", "") == "pipeline.__main__"
