"""Writes a classifier as an MLflow model folder: our own code, plain data, signature, example and pinned requirements.

The folder works in a process that does not have this project; MLflow's server runs `served_model.py` from it.
"""

import ast
import contextlib
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.models.inference import Classifier

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ("mlflow", "numpy", "pandas")


def save(classifier: Classifier, example: "pd.DataFrame", folder: Path, **named: Any) -> None:
    """Write the classifier as an MLflow model folder: code, plain data, signature, example and pinned requirements."""
    with tempfile.TemporaryDirectory() as staging, undisturbed():
        import mlflow.pyfunc

        classifier.save(Path(staging) / "classifier")
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(ROOT / "models" / "served_model.py"),
            code_paths=[str(_copy_code(Path(staging) / "code" / ROOT.name))],
            artifacts={"classifier": str(Path(staging) / "classifier")},
            signature=signature(classifier),
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            metadata={"classes": classifier.classes},
            **named,
        )
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)


def signature(classifier: Classifier) -> "ModelSignature":
    """Return the signature: numbers are doubles, categories strings; the output is a string and a double per class."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    kinds = {"number": "double", "category": "string"}
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(kinds[column["kind"]], str(column["name"])) for column in classifier.recipe["columns"]
    ]
    label, *probabilities = classifier.columns
    outputs: list[ColSpec | TensorSpec] = [ColSpec("string", label)]
    outputs += [ColSpec("double", name) for name in probabilities]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _copy_code(place: Path) -> Path:
    """Copy the modules that a model needs, so that it works without this project."""
    for source in needed(ROOT / "models" / "inference.py"):
        target = place / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return place


def needed(module: Path, found: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """Return the file of a module and, recursively, of this project's modules that it imports, with their packages."""
    found |= {module, *(folder / "__init__.py" for folder in module.parents if folder.is_relative_to(ROOT))}
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        for imported in _imported(node):
            found = found if imported in found else needed(imported, found)
    return found


def _imported(node: ast.AST) -> list[Path]:
    """Return the files of this project that an import statement such as `from pipeline.nn import costs` loads."""
    if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(f"{ROOT.name}."):
        return []
    place = ROOT.parent.joinpath(*(node.module or "").split("."))
    return [place / f"{alias.name}.py" for alias in node.names] if place.is_dir() else [place.with_suffix(".py")]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Silence MLflow's warnings about its own code, and restore `sys.path`, which it changes when saving a model."""
    path = list(sys.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            sys.path[:] = path
