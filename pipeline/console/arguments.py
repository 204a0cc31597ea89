"""Prepares a command line for Hydra: flags, texts that are taken literally, and grids of values."""

import itertools
import re
from collections.abc import Sequence
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
