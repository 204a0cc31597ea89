"""What the package says of itself in pyproject.toml agrees with what is in it."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
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


def declared() -> set[str]:
    """Names of the distributions that the project requires, extras too."""
    project = PROJECT["project"]
    texts = project["dependencies"] + [text for extra in project["optional-dependencies"].values() for text in extra]
    names = {text.split("[")[0].split("<")[0].split(">")[0].split("=")[0] for text in texts}
    return {name.lower().replace("_", "-") for name in names}


def test_every_distribution_that_is_imported_is_declared() -> None:
    distributions = packages_distributions()
    names = {name for path in (ROOT / "pipeline").rglob("*.py") for name in imported(path)}
    names -= sys.stdlib_module_names | {"pipeline"}
    wanted = {name: {d.lower().replace("_", "-") for d in distributions.get(name, [name])} for name in names}
    assert {name: found for name, found in wanted.items() if not found & declared()} == {}


def test_the_wheel_has_every_package_and_the_configuration_groups() -> None:
    packages = PROJECT["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "pipeline").rglob("__init__.py")}
    assert sorted(packages) == sorted([".".join(folder.parts) for folder in folders] + ["pipeline.conf"])
