"""What the package says of itself in pyproject.toml agrees with what is in it."""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def imported(path: Path) -> Iterator[str]:
    """Names of the packages that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def normalized(names: Iterable[str]) -> set[str]:
    """Names of distributions as pip compares them."""
    return {name.lower().replace("_", "-") for name in names}


def distributions(texts: Iterable[str]) -> set[str]:
    """Names of the distributions in requirements."""
    return normalized(text.split("[")[0].split("<")[0].split(">")[0].split("=")[0] for text in texts)


def test_what_is_imported_is_declared_and_what_is_required_is_imported() -> None:
    names = {name for path in (ROOT / "pipeline").rglob("*.py") for name in imported(path)}
    names -= sys.stdlib_module_names | {"pipeline"}
    owners = packages_distributions()
    found = {name: normalized(owners.get(name, [name])) for name in names}
    required = distributions(PROJECT["project"]["dependencies"])
    extras = distributions(chain.from_iterable(PROJECT["project"]["optional-dependencies"].values()))
    assert {name for name, known in found.items() if not known & (required | extras)} == set()
    assert required - set().union(*found.values()) == set()


def test_the_wheel_has_every_package_and_the_configuration_groups() -> None:
    packages = PROJECT["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "pipeline").rglob("__init__.py")}
    assert sorted(packages) == sorted([".".join(folder.parts) for folder in folders] + ["pipeline.conf"])
