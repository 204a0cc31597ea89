"""What a result depends on apart from its configuration: software, processor, linear algebra, and this project's code.

Host names and user names are left out, and so are environment variables that change no bits.
"""

import difflib
import hashlib
import os
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config.addresses import mask
from pipeline.training.streams import STREAM_SCHEME
from pipeline.trials.kernels import blas, cpu_features, current

BIT_CHANGING = ("OPENBLAS_CORETYPE", "MKL_CBWR", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES")
"""Environment variables that change bits; the number of threads is recorded with the library."""

ROOT = Path(__file__).resolve().parents[2]
"""The folder of this project."""

PACKAGE = ROOT / "pipeline"

MAX_DIFF_BYTES = 256 * 1024
_OWN = ("pipeline", "conf")
_SECRET_LINE = re.compile(
    r"(?i)(\b[\w-]*(?:password|passwd|secret|token|api_?key|access_?key|credential)[\w-]*['\"]?\s*[:=]\s*)\S.*"
)


def environment() -> dict[str, Any]:
    """Return the environment of the running process.

    Returns
    -------
    dict
        python, platform, processor, packages (name to version), arithmetic (kernel and level, which decide the bits),
        blas (name, version, kernel, threads), cpu_features that NumPy uses, stream_scheme (how random streams come
        from the seed), and the variables of `BIT_CHANGING` that are set.
    """
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()).strip(),
        "processor": _processor(),
        "byteorder": sys.byteorder,
        "arithmetic": current().as_dict(),
        "blas": blas(),
        "cpu_features": cpu_features(),
        "stream_scheme": STREAM_SCHEME,
        "variables": {name: os.environ[name] for name in BIT_CHANGING if name in os.environ},
        "packages": packages(),
    }


@cache
def _processor() -> str:
    """Return the system's name for the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@cache
def _installed(paths: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        try:
            names = sorted(os.listdir(path or "."))
        except OSError:
            continue
        for name in names:
            if match := re.fullmatch(r"(.+)-([^-]+)\.dist-info", name):
                found.setdefault(match[1].replace("_", "-").lower(), match[2])
    return dict(sorted(found.items()))


def packages() -> dict[str, str]:
    """Return every installed distribution with its version, read quickly from the names of metadata folders."""
    return _installed(tuple(sys.path))


def code_version(root: Path = ROOT, *, diff: bool = True) -> dict[str, Any]:
    """Return the version of the code: the commit, and how the working tree differs from it.

    Parameters
    ----------
    root : the project's folder.
    diff : whether to include the text of uncommitted changes under `pipeline` and `conf`, new files too.

    Returns
    -------
    dict
        digest (of the package's code, also where there is no git), state ("clean", "changed", or "not a git checkout"),
        commit, dirty, diff, diff_truncated.
    """
    digest = code_digest(root / "pipeline")
    commit = _git(root, "rev-parse", "HEAD")
    inside = _git(root, "rev-parse", "--show-toplevel")
    if commit is None or inside is None or Path(inside.strip()).resolve() != root.resolve():
        return {"digest": digest, "state": "not a git checkout", "commit": None, "dirty": None}
    status = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", *_OWN, "pyproject.toml") or ""
    version: dict[str, Any] = {
        "digest": digest,
        "state": "changed" if status.strip() else "clean",
        "commit": commit.strip(),
        "dirty": bool(status.strip()),
    }
    if diff and version["dirty"]:
        text = without_secrets(_changes(root))
        content = text.encode()
        version["diff"] = content[:MAX_DIFF_BYTES].decode(errors="ignore")
        version["diff_truncated"] = len(content) > MAX_DIFF_BYTES
    return version


@cache
def code_digest(package: Path) -> str:
    """Return 16 hexadecimal digits (SHA-256) over path and text of every Python file of the package."""
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        total.update(f"{path.relative_to(package).as_posix()} {len(text)} ".encode() + text)
    return total.hexdigest()[:16]


def _changes(root: Path) -> str:
    tracked = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--", *_OWN, "pyproject.toml")
    names = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *_OWN) or ""
    new = [name for name in names.split("\0") if name.endswith((".py", ".yaml"))]
    return (tracked or "") + "".join(_as_new_file(root, name) for name in sorted(new))


def _as_new_file(root: Path, name: str) -> str:
    path = root / name
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_DIFF_BYTES:
        return f"diff --git a/{name} b/{name}\n(not shown: a link, or too large)\n"
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    return f"diff --git a/{name} b/{name}\n" + "".join(difflib.unified_diff([], lines, "/dev/null", f"b/{name}"))


def without_secrets(text: str) -> str:
    """Mask what looks like a credential: users in addresses, and values assigned to names such as `password`."""
    return _SECRET_LINE.sub(r"\1***", mask(text))


def _git(root: Path, *arguments: str) -> str | None:
    """Return the output of a git command in `root`; None if git is missing or fails."""
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotepath=off", *arguments]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
