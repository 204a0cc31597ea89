"""Composes a command's configuration from `conf/` and the command line; the only place that knows Hydra and OmegaConf.

Whatever Hydra refuses is told in one sentence, as everything else is.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.errors import ConfigError, UserError
from pipeline.config.trial import Strict
from pipeline.config.validation import did_you_mean, known_paths, parse

OF_A_LEAF = ("low", "high", "log", "step", "points", "choices", "when")
CONF = Path(__file__).resolve().parents[2] / "conf"
Schema = TypeVar("Schema", bound=Strict)


def run(name: str, schema: type[Schema], command: Callable[[Schema], int | None], arguments: Sequence[str]) -> int:
    """Compose `conf/<name>.yaml` with `arguments` and call `command` with the checked configuration.

    Hydra's own flags work: `--multirun` calls `command` once for each point of the grid, `--cfg job` prints.

    Returns
    -------
    int
        The exit code: the worst of all calls.

    Raises
    ------
    UserError
        What Hydra or the schema refused, in one sentence.
    """
    codes = [0]
    arguments, texts = set_aside(schema, arguments)
    arguments = [quoted(argument) for argument in arguments]

    def job(config: DictConfig) -> None:
        try:
            checked = parse(schema, plain(config) | texts)
            refuse_searched(HydraConfig.get().overrides.task, plain(config))
            codes.append(command(checked) or 0)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            codes.append(1)

    arguments.sort(key=lambda text: text not in ("--multirun", "-m"))  # Hydra takes no flag between two overrides
    sys.argv = [f"{sys.argv[0]} {name}", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would otherwise print and turn into an exit
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_sentence(error, schema)) from None
    return max(codes)


def set_aside(schema: type[Strict], arguments: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """Take out the values of a command's own text fields, such as `study=` of runs and `input=` of predict.

    They are taken as they are, null for None and one pair of quotes around them left out: Hydra would read `study=` as
    the choice of a file in `conf/study/`, and stumble over file names with a comma or brackets.
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


_FREE_TEXT = ("data.path", "data.target", "data.given")
_READ_AS_IT_IS = re.compile(
    r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_./~][\w./:~-]*|null|['\"].*|\$\{.*", re.IGNORECASE
)


def quoted(argument: str) -> str:
    """Put a path or a column's name in quotes if Hydra would stumble over it, or read it as a number.

    A list of several, for `--multirun`, is left as it is.
    """
    name, given, text = argument.partition("=")
    if not given or name not in _FREE_TEXT or "," in text or _READ_AS_IT_IS.fullmatch(text):
        return argument
    escaped = text.replace("'", "\\'")
    return f"{name}='{escaped}'"


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as nested plain values, its interpolations resolved."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def overrides() -> list[str]:
    """What was given on the command line of the command under way; nothing when it was called from Python."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def refuse_searched(overrides: Sequence[str], config: dict[str, Any]) -> None:
    """Refuse a plain value on the command line for something that the sweep searches.

    Raises
    ------
    ConfigError
        Naming the override that takes the value out of the search space.
    """
    for override in overrides:
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
    """Whether this is a range, a choice, or one of them for each layer, and not a branch that holds some below it."""
    if not isinstance(space, dict):
        return True
    return bool({"low", "high", "choices"} & space.keys()) or all(str(key).isdigit() for key in space)


def _sentence(error: Exception, schema: type[Strict]) -> str:
    """One sentence for Hydra's message, which is made for developers and has several lines."""
    text = str(error.__cause__ or error) if "Error merging" in str(error) else str(error)
    if found := re.search(r"Could not override '([^']+)'", str(error)):
        inner = re.search(r"full_key: (search\.space\.\S+)", str(error.__cause__))
        return _unknown_key(max(found[1], inner[1] if inner else "", key=len), schema)
    if found := re.search(
        r"Could not (?:find|load) '([^']+)/([^'/]+)'.*?Available options in '[^']+':(.*?)(?:\n\s*\n|Config search|\Z)",
        text,
        re.S,
    ):
        return f"{found[1]} must be one of {', '.join(found[3].split())}, but is {found[2]}."
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found[1]} must be given, but is missing."
    if isinstance(error, OverrideParseException):
        trouble = re.sub(r"Error parsing override .*\n", "", text).splitlines()[0].split(" expecting")[0]
        return f"the override {error.override} cannot be read: {trouble}."
    return " ".join(text.split("\nSee https")[0].split())


def _unknown_key(key: str, schema: type[Strict]) -> str:
    if key.startswith("search.space."):
        value = "…" if key.rsplit(".", 1)[-1] in OF_A_LEAF else "{low: …, high: …}"
        return f"{key} is not in the search space; to add it, write +{key}={value}."
    return f"{key} is no configuration value{did_you_mean(key, known_paths(schema))}."
