"""The wheel works in an environment of its own, from a folder without a checkout or a store."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.end_to_end.sweeps import ROOT, SMALL

pytestmark = pytest.mark.slow

SERVED = """
import importlib.util, json, sys
assert importlib.util.find_spec("pipeline") is None
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
names = model.metadata.signature.inputs.input_names()
example = pandas.DataFrame([[0.5] * len(names)], columns=names)
print(json.dumps([model.predict(example).iloc[0, 0], sys.modules["pipeline"].__file__]))
"""


def carry_out(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end, in an environment that does not know the checkout; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `sweep-pipeline` of a wheel in a new environment, which borrows the dependencies alone."""
    place = tmp_path_factory.mktemp("package")
    for name in ("pipeline", "conf"):
        shutil.copytree(ROOT / name, place / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, place / "code")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    carry_out(*pip, "wheel", "--quiet", "--no-deps", "-w", place, place / "code", cwd=place)
    shutil.rmtree(place / "code")
    venv.create(place / "env", with_pip=False)
    python = place / "env" / "bin" / "python"
    (wheel,) = place.glob("*.whl")
    carry_out(*pip, "--python", python, "install", "--no-deps", wheel, cwd=place)
    (packages,) = (place / "env").glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])
    return place / "env" / "bin" / "sweep-pipeline"


def test_an_installed_wheel_sweeps_and_ships_a_model_that_serves_without_it(installed: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "conf"
    foreign.mkdir()
    (foreign / "config.yaml").write_text("defaults: [db: mysql]\nseed: 9\n")
    (foreign / "sweep.yaml").write_text("defaults: [optimizer: nesterov]\nstudy: {trials: 99}\n")
    settings = (*SMALL, "study.trials=3", "study.name=wheel", "workers.count=1", "tracking.pictures=false")
    said = carry_out(installed, "sweep", *settings, cwd=tmp_path)
    assert "3 of 3 trials done" in said
    assert (tmp_path / "mlruns" / "mlflow.db").is_file()
    carry_out(installed, "report", "study=wheel", cwd=tmp_path)
    assert (tmp_path / "mlruns" / "reports" / "wheel.html").is_file()
    assert "identical" in carry_out(installed, "rerun", "run=best", "study=wheel", cwd=tmp_path)
    carry_out(installed, "confirm", "study=wheel", "top=2", "seeds=2", "workers.count=1", cwd=tmp_path)
    carry_out(installed, "final", "study=wheel", cwd=tmp_path)
    (model,) = {path.parent for path in (tmp_path / "mlruns").rglob("MLmodel")}
    away = tmp_path / "away"
    away.mkdir()
    shutil.move(model, away / "model")
    label, code = json.loads(carry_out(sys.executable, "-P", "-c", SERVED, away / "model", cwd=away).splitlines()[-1])
    assert label in ("benign", "malignant")
    assert Path(code).is_relative_to(away / "model")
