"""The environment says what changes bits, and nothing about who and where."""

import getpass
import json
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.trials.environment import MAX_DIFF_BYTES, code_version, environment, packages, without_secrets
from pipeline.trials.kernels import blas


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "a.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_it_names_the_linear_algebra_kernel_and_its_threads() -> None:
    libraries = environment()["blas"]
    assert libraries
    assert all(library["kernel"] and library["threads"] >= 1 for library in libraries)


def test_the_library_is_numpys_own_also_where_a_folder_above_is_called_numpy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packages = "/home/ann/numpy/packages"
    paths = {"of scipy": f"{packages}/scipy.libs/libscipy_openblas.so", "own": f"{packages}/numpy.libs/libopenblas.so"}
    loaded = [{"user_api": "blas", "filepath": path, "version": name} for name, path in paths.items()]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: loaded)
    assert [library["version"] for library in blas()] == ["own"]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: loaded[:1])
    assert [library["version"] for library in blas()] == ["of scipy"]  # a NumPy that uses the system's library


def test_it_has_the_exact_versions_and_can_be_written_as_json() -> None:
    found = environment()
    assert found["packages"]["numpy"] == np.__version__
    assert {"mlflow", "optuna", "scikit-learn"} <= set(packages())
    assert found["cpu_features"]
    assert json.loads(json.dumps(found)) == found


def test_it_knows_neither_host_nor_user_nor_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    found = environment()
    text = json.dumps({key: value for key, value in found.items() if key != "packages"})
    assert found["variables"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert "hunter2" not in text
    assert socket.gethostname() not in text.split('"')
    assert getpass.getuser() not in text.split('"')


def test_a_clean_checkout_has_a_commit_and_no_diff(checkout: Path) -> None:
    version = code_version(checkout)
    assert (version["state"], version["dirty"]) == ("clean", False)
    assert len(version["commit"]) == 40
    assert "diff" not in version


def test_changes_and_new_files_are_in_the_diff(checkout: Path) -> None:
    (checkout / "pipeline" / "a.py").write_text("x = 2\n")
    (checkout / "pipeline" / "b.py").write_text("y = 3\n")
    (checkout / "private.txt").write_text("not code")
    version = code_version(checkout)
    assert version["dirty"]
    assert "+x = 2" in version["diff"]
    assert "+y = 3" in version["diff"]
    assert "not code" not in version["diff"]
    assert "diff" not in code_version(checkout, diff=False)


def test_the_diff_is_cut_at_its_limit(checkout: Path) -> None:
    (checkout / "pipeline" / "a.py").write_text("# long\n" * (MAX_DIFF_BYTES // 4))
    version = code_version(checkout)
    assert len(version["diff"].encode()) <= MAX_DIFF_BYTES
    assert version["diff_truncated"]


def test_a_link_to_a_private_file_is_not_followed(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("home") / "secret.py"
    secret.write_text("hunter2")
    (checkout / "pipeline" / "link.py").symlink_to(secret)
    assert "hunter2" not in code_version(checkout)["diff"]


def test_a_folder_that_is_no_checkout_says_so(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert code_version(tmp_path_factory.mktemp("plain"))["state"] == "not a git checkout"
    (checkout / "inner").mkdir()
    assert code_version(checkout / "inner")["state"] == "not a git checkout"


@pytest.mark.parametrize(
    "line",
    [
        "+password = 'hunter2'",
        "+    api_key: hunter2",
        '+  "access_token": "hunter2",',
        "+uri = postgresql://ann:hunter2@db/mlflow",
        "+AWS_SECRET_ACCESS_KEY=hunter2",
    ],
)
def test_secrets_in_a_diff_are_masked(line: str) -> None:
    assert "hunter2" not in without_secrets(line)


def test_ordinary_lines_of_a_diff_are_kept() -> None:
    text = "+keep_prob = 0.8\n-tokens = 3 if x else 4  # 'keys'\n+key = lambda run: run.name\n"
    assert without_secrets(text).splitlines()[::2] == text.splitlines()[::2]


def test_the_digest_of_the_code_follows_its_text_and_needs_no_git(checkout: Path, tmp_path: Path) -> None:
    def digest(text: bytes, name: str) -> str:
        package = tmp_path / name / "pipeline"
        package.mkdir(parents=True)
        (package / "a.py").write_bytes(text)
        return str(code_version(tmp_path / name)["digest"])

    first = code_version(checkout)["digest"]
    assert digest(b"x = 1\n", "copied") == first
    assert digest(b"x = 1\r\n", "by another system") == first
    assert digest(b"x = 2\n", "changed") != first
