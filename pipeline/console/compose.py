"""Composes a command's configuration from `conf/` and the command line, and checks it before the command runs.

Hydra's own errors become one sentence too. Only this folder imports Hydra and OmegaConf.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import pipeline
from pipeline.config.addresses import mask
from pipeline.config.errors import ConfigError, UserError
from pipeline.config.trial import Strict
from pipeline.config.validation import parse
from pipeline.console.arguments import CONFIGURATION, HELP, MULTIRUN, check_names, grid, quoted, set_aside, split_flags
from pipeline.console.display import console
from pipeline.console.help import help_text
from pipeline.console.refusals import sentence

_INSTALLED = Path(pipeline.__file__).parent / "conf"
CONF = _INSTALLED if _INSTALLED.is_dir() else Path(pipeline.__file__).parents[1] / "conf"
"""The configuration groups: beside the code in a checkout, within the package in a wheel."""

Schema = TypeVar("Schema", bound=Strict)
_given: list[str] = []


def run(name: str, schema: type[Schema], command: Callable[[Schema], int | None], arguments: Sequence[str]) -> int:
    """Compose `conf/<name>.yaml` with `arguments` and call `command` with the checked configuration.

    `--multirun` calls it once for each point of a grid, after all points have been checked; `--cfg` prints the
    configuration and `--help` explains it, without calling the command.

    Returns
    -------
    int
        The exit code: the worst of all calls.

    Raises
    ------
    UserError
        What Hydra or the schema refused, in one sentence.
    """
    flags, values = split_flags(arguments)
    several = MULTIRUN[0] in flags
    values, texts = set_aside(schema, values)
    values = [quoted(value, several=several) for value in values]
    try:
        points = grid(values) if several else [values]
        composed = [plain(_compose(name, point), whole=HELP[0] not in flags) for point in points]
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(sentence(error, schema)) from None
    if HELP[0] in flags:
        console.print(help_text(name, schema, composed[0] | texts, CONF), soft_wrap=True)
        return 0
    configs = [parse(schema, values | texts) for values in composed]
    for point, unchecked in zip(points, composed, strict=True):
        refuse_searched(point, unchecked)
    if CONFIGURATION[0] in flags:
        for unchecked in composed:
            console.print(mask(OmegaConf.to_yaml(OmegaConf.create(unchecked | texts))))
        return 0
    return max(_call(command, config, point, alone=not several) for config, point in zip(configs, points, strict=True))


def _call(command: Callable[[Schema], int | None], config: Schema, point: list[str], *, alone: bool) -> int:
    """Call the command once and return its exit code; one failed point of a grid does not stop the others."""
    _given[:] = point
    try:
        return command(config) or 0
    except UserError as error:
        if alone:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        _given.clear()


def _compose(name: str, values: list[str]) -> DictConfig:
    """Compose with the project's files first; `./conf` only adds files under names that the project does not have."""
    own = Path.cwd() / "conf"
    check_names(values, CONF)
    added = [f"hydra.searchpath=['file://{own}']"] if own.is_dir() and own.resolve() != CONF.resolve() else []
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(name, [*added, *values])


def plain(config: DictConfig, *, whole: bool = True) -> dict[str, Any]:
    """Return the configuration as nested plain values with interpolations resolved; if `whole`, none may be missing."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=whole)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def overrides() -> list[str]:
    """Return the overrides of the running command, without credentials; empty when called from Python."""
    return [mask(text) for text in _given]


def refuse_searched(given: Sequence[str], config: dict[str, Any]) -> None:
    """Refuse a plain value on the command line for a searched key.

    Raises
    ------
    ConfigError
        Naming the override that takes the value out of the search space.
    """
    for override in given:
        path = override.split("=", 1)[0].lstrip("+")
        space: Any = config.get("search", {}).get("space", {})
        for key in path.split("."):
            space = space.get(key) if isinstance(space, dict) else None
        if space is not None and _is_searched(space):
            raise ConfigError(
                f"{path} is searched by this sweep, so it cannot have a plain value; "
                f"take it out of the search space with ~search.space.{path}."
            )


def _is_searched(space: Any) -> bool:
    """Return whether this is a range, a choice, or one of these for each layer, and not a branch above some."""
    if not isinstance(space, dict):
        return True
    return bool({"low", "high", "choices"} & space.keys()) or all(str(key).isdigit() for key in space)
