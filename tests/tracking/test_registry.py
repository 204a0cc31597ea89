"""Registered models: plain files, code of our own, a champion by dev cost alone, the same answers everywhere."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import RecordError, TrackingError
from pipeline.data.arrays import Normalization
from pipeline.models.inference import DESCRIPTION, Classifier
from pipeline.nn.architecture import Architecture
from pipeline.nn.parameters import Parameters
from pipeline.tracking.files import digest
from pipeline.tracking.packaging import ROOT, needed, save, signature
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.registry import Registered, Registry, plain_tags
from pipeline.trials.record import TrialRecord
from tests.servers import MlflowServer, model_server
from tests.tracking.conftest import a_record

NAME = "things-classifier"


def a_classifier(seed: int = 0) -> Classifier:
    """Two numbers and a text in, three classes out."""
    recipe = {
        "format": 1,
        "columns": [
            {"name": "width", "kind": "number"},
            {"name": "colour", "kind": "category", "categories": ["blue", "red"]},
            {"name": "height", "kind": "number"},
        ],
        "classes": ["cat", "dog", "owl"],
        "missing": "refuse",
    }
    rng = np.random.default_rng(seed)
    parameters = Parameters((4, 5, 3))
    parameters.theta[:] = rng.normal(size=parameters.theta.size)
    normalization = Normalization(np.zeros(4), rng.normal(size=4), rng.uniform(0.5, 2, 4))
    return Classifier(recipe, normalization, Architecture((4, 5, 3), ("tanh",), "softmax"), parameters.as_dict())


def a_table(m: int = 7) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    colour = np.array(["red", "blue"], dtype=object)[rng.integers(0, 2, m)]
    return pd.DataFrame({"width": rng.normal(size=m), "colour": colour, "height": rng.normal(size=m)})


@pytest.fixture
def run_id(recorder: Recorder, make_record: Callable[..., TrialRecord]) -> str:
    return recorder.write(make_record(), kind="train", name="a run", key="k")


@pytest.fixture
def registry(recorder: Recorder, root: Path) -> Registry:
    return Registry(TrackingConfig(store=str(root)))


@pytest.fixture
def register(registry: Registry, run_id: str) -> Callable[..., Registered]:
    return partial(registered, registry, run_id)


def registered(
    registry: Registry, run_id: str, seed: int, dev_cost: float, data_digest: str = "d1", **more: object
) -> Registered:
    sha256 = digest(a_classifier(seed).parameters)
    tags = {"parameters_sha256": sha256, "data_digest": data_digest, "dev_cost": dev_cost, **more}
    return registry.register(a_classifier(seed), a_table(3), name=NAME, run_id=run_id, tags=plain_tags(tags))


@pytest.fixture(scope="module")
def with_a_champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose champion each test leaves as it was."""
    root = tmp_path_factory.mktemp("champion")
    tracking = TrackingConfig(store=str(root))
    run_id = Recorder(tracking).write(a_record(), kind="train", name="a run", key="k")
    registered(Registry(tracking), run_id, 0, 0.1)
    return root


def test_a_model_is_plain_files_and_our_own_code_without_a_pickle(tmp_path: Path) -> None:
    save(a_classifier(), a_table(3), tmp_path / "model")
    files = {path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("*")}
    assert {
        "MLmodel",
        "served_model.py",
        "artifacts/classifier/classifier.json",
        "code/pipeline/models/inference.py",
    } <= files
    assert not [name for name in files if Path(name).suffix in (".pkl", ".pickle", ".joblib", ".cloudpickle")]
    assert not [name for name in files if "mlflow" in Path(name).stem.lower() and name.endswith(".py")]
    for path in (tmp_path / "model" / "code").rglob("*.py"):
        assert path.read_bytes() == (ROOT.parent / path.relative_to(tmp_path / "model" / "code")).read_bytes()


def test_a_model_carries_its_signature_an_example_and_pinned_requirements(tmp_path: Path) -> None:
    save(a_classifier(), a_table(3), tmp_path / "model")
    inputs = signature(a_classifier()).inputs
    assert [(str(column.type), column.name) for column in inputs] == [
        ("DataType.double", "width"),
        ("DataType.string", "colour"),
        ("DataType.double", "height"),
    ]
    assert json.loads((tmp_path / "model" / "input_example.json").read_text())["columns"] == [*a_table().columns]
    requirements = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in requirements} == {"mlflow", "numpy", "pandas"}
    assert all("==" in line for line in requirements)


def test_a_model_needs_nothing_of_the_project_but_what_it_carries() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in needed(ROOT / "models" / "inference.py")}
    assert {"models/inference.py", "nn/parameters.py", "data/encoding.py", "__init__.py"} <= names
    assert not [name for name in names if name.startswith(("tracking", "search", "selection", "training", "trial"))]


_ELSEWHERE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
answer = model.predict(pd.read_json(sys.argv[2], orient="split"))
import pipeline
print(json.dumps([pipeline.__file__, answer.to_dict(orient="list")]))
"""


@pytest.mark.slow
def test_a_process_that_knows_nothing_of_the_project_gets_the_same_answers(tmp_path: Path) -> None:
    save(a_classifier(), a_table(3), tmp_path / "model")
    a_table().to_json(tmp_path / "table.json", orient="split", double_precision=15)
    command = [sys.executable, "-I", "-c", _ELSEWHERE, str(tmp_path / "model"), str(tmp_path / "table.json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    origin, answer = json.loads(done.stdout.splitlines()[-1])
    assert Path(origin).is_relative_to(tmp_path / "model" / "code")
    given = pd.read_json(tmp_path / "table.json", orient="split")
    assert answer == a_classifier().predict(given).to_dict(orient="list")


def test_the_registry_gives_back_what_was_registered_to_the_same_bits(register, registry: Registry) -> None:
    assert register(0, 0.1).address == f"models:/{NAME}@champion"
    for address in (f"models:/{NAME}@champion", f"models:/{NAME}/1"):
        answer = registry.load(address).predict(a_table())
        pd.testing.assert_frame_equal(answer, a_classifier(0).predict(a_table()), check_exact=True)


def test_the_run_that_made_a_model_is_linked_with_it(register, registry: Registry, run_id: str) -> None:
    register(0, 0.1)
    champion = registry.champion(NAME)
    assert champion is not None
    assert champion.run_id == run_id
    outputs = registry._client.get_run(run_id).outputs.model_outputs
    assert [(output.model_id, output.step) for output in outputs] == [(champion.source.removeprefix("models:/"), 0)]


def test_only_a_better_dev_cost_on_the_same_split_makes_a_new_champion(register, registry: Registry) -> None:
    assert register(0, 0.10).is_champion
    worse, equal, elsewhere = register(1, 0.11), register(2, 0.10), register(3, 0.01, "d2")
    assert [model.is_champion for model in (worse, equal, elsewhere)] == [False] * 3
    assert "its dev cost 0.1 is not higher than 0.11" in worse.reason
    assert "chosen on another split" in elsewhere.reason
    better = register(4, 0.09)
    assert better.is_champion
    champion = registry.champion(NAME)
    assert champion is not None
    assert str(champion.version) == better.version == "5"


def test_a_better_test_error_makes_no_champion(register, registry: Registry) -> None:
    register(0, 0.10, test_error=0.50)
    late = register(1, 0.11, test_error=0.01)
    registry.annotate(NAME, late.version, {"test_error": "0.0"})
    assert not register(1, 0.11).is_champion


def test_the_same_parameters_are_registered_once(register) -> None:
    first, again = register(0, 0.1), register(0, 0.1)
    assert (first.is_new, again.is_new) == (True, False)
    assert first.version == again.version == "1"
    assert again.is_champion


def test_a_store_that_was_moved_is_still_read(register, root: Path, tmp_path: Path) -> None:
    register(0, 0.1)
    moved = root.rename(tmp_path / "elsewhere")
    answer = Registry(TrackingConfig(store=str(moved))).load(f"models:/{NAME}@champion").predict(a_table())
    pd.testing.assert_frame_equal(answer, a_classifier(0).predict(a_table()), check_exact=True)


def test_a_copied_store_is_read_where_it_is_not_where_it_was_copied_from(register, root: Path, tmp_path: Path) -> None:
    register(0, 0.1)
    copied = shutil.copytree(root, tmp_path / "copied")
    for description in root.rglob(DESCRIPTION):
        description.write_text("{}")
    answer = Registry(TrackingConfig(store=str(copied))).load(f"models:/{NAME}@champion").predict(a_table())
    pd.testing.assert_frame_equal(answer, a_classifier(0).predict(a_table()), check_exact=True)


@pytest.mark.parametrize("address", ["things", f"models:/{NAME}", "runs:/0/model", "models:/a'b@champion"])
def test_an_address_that_is_none_is_refused(registry: Registry, address: str) -> None:
    with pytest.raises(RecordError, match="MODEL must be models:/<name>@<alias> or models:/<name>/<version>"):
        registry.load(address)


def test_a_model_that_is_not_there_is_told_with_those_that_are(register, registry: Registry) -> None:
    register(0, 0.1)
    for address in ("models:/other@champion", f"models:/{NAME}/7", f"models:/{NAME}@best"):
        with pytest.raises(RecordError, match=f"has no model {address}; it has models:/{NAME}@champion"):
            registry.load(address)


def test_a_model_whose_files_were_tampered_with_runs_nothing_and_is_refused(register, root: Path) -> None:
    register(0, 0.1)
    (folder,) = root.rglob("artifacts/classifier")
    (folder.parents[1] / "served_model.py").write_text("raise SystemExit('the code of a record was run')")
    registry = Registry(TrackingConfig(store=str(root)))
    registry.load(f"models:/{NAME}@champion")
    for name, content in (("parameters.npz", b"PK no archive"), ("classifier.json", b'{"format": 1}')):
        (folder / name).write_bytes(content)
        with pytest.raises(RecordError, match="is none that this pipeline can read"):
            registry.load(f"models:/{NAME}@champion")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architecture": {"layer_sizes": [4, 10**12, 3], "activations": ["tanh"], "output": "softmax"}}, "W1 must"),
        ({"architecture": {"layer_sizes": [4, 8.5, 3], "activations": ["tanh"], "output": "softmax"}}, "whole numbers"),
        ({"architecture": {"layer_sizes": 4, "activations": ["tanh"], "output": "softmax"}}, "not iterable"),
        ({"architecture": {}}, "it has no 'layer_sizes'"),
        ({"recipe": {"classes": 5, "columns": []}}, "classes must be 3 names"),
        ({"recipe": {"classes": ["a", "b", "c"], "columns": []}}, "columns must be a list of at least one"),
        ({"recipe": {"classes": ["a", "b", "c"], "columns": [{"name": "x", "kind": "\x1b[2J"}]}}, "number or category"),
        ({"recipe": {"classes": ["a", "b", "c"], "columns": [{"name": "x", "kind": "number"}]}}, "make 1 features"),
        ({"recipe": 7}, "not iterable"),
    ],
)
def test_an_invalid_model_is_refused_in_one_sentence(with_a_champion: Path, change: dict, told: str) -> None:
    (path,) = with_a_champion.rglob("classifier.json")
    valid = path.read_text()
    path.write_text(json.dumps(json.loads(valid) | change))
    with pytest.raises(RecordError, match="is none that this pipeline can read") as refusal:
        Registry(TrackingConfig(store=str(with_a_champion))).load(f"models:/{NAME}@champion")
    path.write_text(valid)
    assert told in str(refusal.value)
    assert "\x1b" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_parameters_that_were_exchanged_are_refused(register, registry: Registry, root: Path) -> None:
    register(0, 0.1)
    (path,) = root.rglob("classifier/parameters.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["W1"][0, 0] += 1e-6
    np.savez(path, **arrays)
    with pytest.raises(RecordError, match="are not those that were registered"):
        registry.load(f"models:/{NAME}@champion")


def test_the_versions_of_a_run_are_found_by_it(register, registry: Registry) -> None:
    assert registry.of_runs() == {}
    first, second = register(0, 0.1), register(1, 0.2)
    [versions] = registry.of_runs().values()
    assert {str(version.version) for version in versions} == {first.version, second.version}


def test_a_champion_whose_dev_cost_is_not_a_number_is_replaced(register, registry: Registry) -> None:
    register(0, 0.1)
    registry.annotate(NAME, "1", {"dev_cost": "abc"})
    assert register(1, 0.2).is_champion


def test_a_registry_that_cannot_be_reached_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="No tracking server answers"):
        Registry(TrackingConfig(uri="http://127.0.0.1:9", store=str(tmp_path)))


def test_the_processs_own_tracking_address_is_left_alone(register, monkeypatch: pytest.MonkeyPatch) -> None:
    path = list(sys.path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    register(0, 0.1)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert sys.path == path


@pytest.mark.slow
def test_mlflow_serves_the_champion_over_http_with_the_same_numbers(register, root: Path, tmp_path: Path) -> None:
    register(0, 0.1)
    with model_server(f"models:/{NAME}@champion", f"sqlite:///{root / 'mlflow.db'}", tmp_path) as server:
        _check_served(server)


def _check_served(server: MlflowServer) -> None:
    table = a_table()
    expected = a_classifier(0).predict(table)
    status, answer = server.ask({"dataframe_split": table.to_dict(orient="split")})
    assert status == 200
    pd.testing.assert_frame_equal(pd.DataFrame(answer["predictions"]), expected, check_exact=True)

    status, answer = server.ask({"dataframe_split": table.drop(columns="colour").to_dict(orient="split")})
    assert status == 400
    assert "Model is missing inputs ['colour']" in answer["message"]

    status, answer = server.ask({"dataframe_split": table.assign(width="wide").to_dict(orient="split")})
    assert status == 400
    assert "Failed to convert column width" in answer["message"]

    status, answer = server.ask({"dataframe_records": [{"width": None, "colour": "red", "height": 1}]})
    assert status == 400
    assert "1 missing value(s) in column 'width'" in answer["message"]
