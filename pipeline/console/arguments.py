"""Prepares a command line for Hydra: flags, texts that are taken literally, and grids of values."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from pipeline.config.errors import ConfigError
from pipeline.config.trial import Strict

HELP = ("--help", "-h")
MULTIRUN = ("--multirun", "-m")
CONFIGURATION = ("--cfg", "-c")


def split_flags(arguments: Sequence[str]) -> tuple[set[str], list[str]]:
    """Separate `--help`, `--multirun` and `--cfg job` from the values.

    Raises
    ------
    ConfigError
        A flag that no command has.
    """
    flags, values = set[str](), []
    for argument in arguments:
        known = next((flag[0] for flag in (HELP, MULTIRUN, CONFIGURATION) if argument in flag), None)
        if known is not None:
            flags.add(known)
        elif argument.startswith("-"):
            raise ConfigError(f"{argument} is no flag; known are --help, --multirun and --cfg.")
        elif not (argument == "job" and CONFIGURATION[0] in flags):
            values.append(argument)
    return flags, values


def set_aside(schema: type[Strict], arguments: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """Take out the values of a command's own text fields, such as `study=` of runs and `input=` of predict.

    They are taken literally, except that null means None and one pair of quotes is removed. Hydra would read `study=`
    as the choice of a file in `conf/study/`, and reject file names with a comma or brackets.
    """
    hints = get_type_hints(schema)
    names = {name for name, hint in hints.items() if str in (hint, *get_args(hint))}
    left, texts = [], dict[str, str | None]()
    for argument in arguments:
        name, given, text = argument.partition("=")
        if given and name in names:
            texts[name] = None if text == "null" else re.sub(r"""^(['"])(.*)\1$""", r"\2", text, flags=re.DOTALL)
        else:
            left.append(argument)
    return left, texts


_FREE_TEXT = ("data.path", "data.target", "data.given", "data.group")
_READ_AS_IT_IS = re.compile(
    r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_./~][\w./:~-]*|null|['\"].*|\$\{.*", re.IGNORECASE
)


def quoted(argument: str, *, several: bool) -> str:
    """Quote a path or a column's name that Hydra would reject, or read as a number.

    If there may be `several`, for `--multirun`, a list with commas is left as it is.
    """
    name, given, text = argument.partition("=")
    if not given or name not in _FREE_TEXT or (several and "," in text) or _READ_AS_IT_IS.fullmatch(text):
        return argument
    escaped = text.replace("'", "\\'")
    return f"{name}='{escaped}'"


def check_names(arguments: Sequence[str], conf: Path) -> None:
    """Refuse values without a name, and groups of `conf` whose choice is no text; Hydra would raise a plain ValueError.

    Raises
    ------
    ConfigError
        Naming the argument, or the group with its choices.
    """
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        name, chosen = str(override.key_or_group), override.value()
        if not name:
            raise ConfigError(f"{override.input_line} must be name=value, but names nothing.")
        if override.is_delete() or isinstance(chosen, dict):  # several values of a group are values, not a choice
            continue
        choices = sorted(path.stem for path in (conf / name).glob("*.yaml"))
        names = chosen if isinstance(chosen, list) else [chosen]
        if choices and not all(isinstance(text, str) and text for text in names):
            given = str(override.input_line).partition("=")[2] or "empty"
            raise ConfigError(f"{name} must be one of {', '.join(choices)}, but is {given}.")


def grid(arguments: Sequence[str]) -> list[list[str]]:
    """Return a command line for each point of the grid that `seed=0,1,2` and the like span; the last varies fastest."""
    parsed = OverridesParser.create().parse_overrides(list(arguments))
    return [list(point) for point in itertools.product(*(_values(override) for override in parsed))]


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise ConfigError(f"{override.key_or_group} must list its values for --multirun, but is {override.input_line}.")
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
