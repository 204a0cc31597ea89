"""Checks plain values against the schema in `pipeline.config`; it alone decides what a valid configuration is.

Values come from Hydra, a record or Python; an invalid one is refused in one sentence that names field, rule and value.
Workers never import this module: they receive validated configurations.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.errors import ConfigError, RecordError
from pipeline.config.trial import Strict, TrialConfig, spelled

Schema = TypeVar("Schema", bound=Strict)
Kind = TypeVar("Kind")


def parse(schema: type[Schema], plain: Mapping[str, Any]) -> Schema:
    """Turn nested plain values into the typed configuration `schema`.

    Raises
    ------
    ConfigError
        An unknown name, a value of the wrong type or out of range, or two values that contradict each other.
    """
    try:
        config: Schema = _adapter(schema).validate_json(json.dumps(plain))
    except ValidationError as error:
        raise ConfigError(_sentence(error.errors(include_url=False), schema)) from None
    if isinstance(config, TrialConfig):
        _check_together(config)
    return config


def read_as(kind: type[Kind], plain: Any, *, file: str, what: str) -> Kind:
    """Turn the content of a recorded JSON file into the dataclass `kind`.

    Parameters
    ----------
    file, what : name the file and its content in the message: "trials.json is not a study's history: …".

    Raises
    ------
    RecordError
        A value is missing or of another type.
    """
    try:
        found: Kind = TypeAdapter(kind).validate_python(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(": ".join(filter(None, [f"{file} is not {what}", where, f"{first['msg']}."]))) from None
    return found


def as_plain(config: Strict) -> dict[str, Any]:
    """Return the configuration as nested plain values, spelled as `parse` takes them."""
    plain: dict[str, Any] = asdict(config, dict_factory=_spelled)
    return plain


def _spelled(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {spelled(name): value for name, value in pairs}


_ADAPTERS: dict[type[Strict], TypeAdapter[Any]] = {}


def _adapter(schema: type[Strict]) -> TypeAdapter[Any]:
    if schema not in _ADAPTERS:
        _ADAPTERS[schema] = TypeAdapter(schema)
    return _ADAPTERS[schema]


def _sentence(errors: Sequence[ErrorDetails], schema: type) -> str:
    """Return a sentence for the first refused field; of a union's branches, for the one that fits the value's type."""
    first = _path(errors[0])
    same_field = [error for error in errors if _path(error)[:1] == first[:1] and _path(error)[:2] == first[:2]]
    error = next((e for e in same_field if not e["type"].endswith("_type")), same_field[0])
    name = ".".join(str(part) for part in _path(error))
    if error["type"] == "unexpected_keyword_argument":
        return f"{name} is no configuration value{did_you_mean(name, known_paths(schema))}."
    rules = " or ".join(dict.fromkeys(_rule(e) for e in same_field if e["type"] == error["type"]))
    return f"{name} {rules}, but is {json.dumps(error['input'])}."


def _path(error: ErrorDetails) -> tuple[str | int, ...]:
    """Return the field's path without the names that pydantic gives to the branches of a union."""
    return tuple(part for part in error["loc"] if isinstance(part, int) or part.isidentifier())


def _rule(error: ErrorDetails) -> str:
    words = (
        error["msg"]
        .removeprefix("Input ")
        .removeprefix("String ")
        .replace("valid array", "list")
        .replace("should", "must")
    )
    return words[0].lower() + words[1:]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return a hint at the nearest known path, comparing the whole path first and its last word second."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    leaf = name.rsplit(".", 1)[-1]
    close = close or [path for path in known if path.rsplit(".", 1)[-1] == leaf][:1]
    return f" (did you mean {close[0]}?)" if close else ""


def known_paths(schema: type[Strict]) -> tuple[str, ...]:
    """Return every dotted path of the schema, sections and leaves."""

    def walk(value: Any, prefix: str) -> list[str]:
        fields = getattr(value, "__dataclass_fields__", None)
        if fields is None:
            return []
        paths = []
        for name in fields:
            path = f"{prefix}{spelled(name)}"
            paths += [path, *walk(getattr(value, name), f"{path}.")]
        return paths

    return tuple(walk(schema(), ""))


def _check_together(config: TrialConfig) -> None:
    """Rules that span several fields."""
    hidden = len(config.model.hidden_units)
    for name, value in (
        ("regularization.keep_prob", config.regularization.keep_prob),
        ("model.activation", config.model.activation),
    ):
        if isinstance(value, list) and len(value) != hidden:
            raise ConfigError(
                f"{name} must be one value or one for each of the {hidden} hidden layers, "
                f"but has {len(value)}: {json.dumps(value)}."
            )
    data = config.data
    if data.source == "file" and data.path is None:
        raise ConfigError("data.path must name a CSV, Parquet or NPZ file when data=file, but is null.")
    if data.folds is not None and data.given is not None:
        raise ConfigError(f"data.folds must be null when data.given is set, but is {data.folds}.")
    if config.model.init.legacy_seed is not None and (config.repeats > 1 or config.first_repeat > 0):
        raise ConfigError(
            "repeats must be 1 and first_repeat 0 when model.init.legacy_seed is given, which fixes the initial "
            f"weights, but they are {config.repeats} and {config.first_repeat}."
        )
