"""Only `make final` can read test rows: by who imports whom, and by what a worker that trains opens."""

import ast
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.config.commands import TrackingConfig
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.prepare import prepare
from pipeline.tracking.archive import Archive

ROOT = Path(pipeline.__file__).parent


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Every import and attribute in the project's code, with its file."""
    return [
        (path.relative_to(ROOT).as_posix(), node)
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Attribute)
    ]


def importers(module: str) -> set[str]:
    """Files that import a module of the project, at the top or inside a function."""
    package, _, name = module.rpartition(".")
    found = set()
    for path, node in nodes():
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        origin = node.module if isinstance(node, ast.ImportFrom) else None
        if module in names or origin == module or (origin == package and name in names):
            found.add(path)
    return found


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("pipeline.data.heldout", {"selection/test_set.py"}),
        ("pipeline.selection.test_set", {"selection/opening.py"}),
        ("pipeline.selection.opening", {"commands/final.py"}),
        ("pipeline.commands.final", set()),
    ],
)
def test_the_chain_from_the_command_to_the_test_rows_has_no_other_entrance(module: str, expected: set[str]) -> None:
    assert importers(module) == expected


def test_no_other_file_names_the_folder_of_test_rows_for_reading() -> None:
    users = {
        path
        for path, node in nodes()
        if isinstance(node, ast.Attribute) and node.attr == "heldout" and isinstance(node.ctx, ast.Load)
    }
    # prepare and store write it; opening hands it to test_set; recognition gives hashes alone
    assert users <= {"data/prepare.py", "data/store.py", "data/recognition.py", "selection/opening.py"}


_WORKER = """
import json, sys
opened = []
events = ("open", "os.listdir", "os.scandir")
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in events else None)
from pathlib import Path
from pipeline.config.trial import TrialConfig, TrainingConfig, DataConfig, ModelConfig
from pipeline.trials.trial import work
config = TrialConfig(**{key: {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig}[key](**value)
                        for key, value in json.loads(sys.argv[2]).items()})
record = work(Path(sys.argv[1]), config, None).record
print(json.dumps({"opened": opened, "dev_cost": record.summary["best_dev_cost"].hex()}))
"""


def trained(arrays: Path, config: dict[str, object]) -> dict[str, object]:
    """What a worker opens, and gets, from what the coordinator gives it: the arrays' folder and a configuration."""
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(arrays), json.dumps(config)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_worker_opens_no_test_row_and_does_not_miss_them(store: Path) -> None:
    config = {
        "data": {"name": "circles", "examples": 200},
        "model": {"hidden_units": [4]},
        "training": {"num_epochs": 3},
    }
    prepared = prepare(parse(TrialConfig, config).data, store)
    found = trained(prepared.path, config)
    assert any(str(prepared.path) in path for path in found["opened"])
    assert not any("heldout" in path for path in found["opened"])
    shutil.rmtree(store / "heldout")
    assert trained(prepared.path, config)["dev_cost"] == found["dev_cost"]


def test_the_arrays_of_a_trial_hold_no_test_row(store: Path) -> None:
    record = Archive(TrackingConfig(store=str(store))).load(Archive(TrackingConfig(store=str(store))).best("first"))
    prepared = prepare(parse(TrialConfig, record.config).data, store)
    seen, kept = np.load(prepared.path / "rows.npy"), np.load(prepared.heldout / "rows.npy")
    assert not set(seen) & set(kept)
    assert len(seen) + len(kept) == 200
    X, test = np.load(prepared.path / "X.npy"), np.load(prepared.heldout / "X.npy")
    assert not {row.tobytes() for row in X} & {row.tobytes() for row in test}
