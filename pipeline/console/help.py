"""The text of `<command> --help`: every key with its meaning, default and type, grouped by section."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Len, Lt

from pipeline.__main__ import COMMANDS
from pipeline.config.sentences import sentences
from pipeline.config.trial import Strict, spelled

_USAGE = (
    "python -m pipeline {} [key=value …]; with --multirun, key=value1,value2 runs once for each value; "
    "--cfg prints the configuration"
)
_PLAIN = {bool: "true or false", int: "integer", float: "number", str: "text", NoneType: "null"}
_RULES = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def help_text(name: str, schema: type[Strict], defaults: Mapping[str, Any], conf: Path, width: int = 80) -> str:
    """Return the help text of a command for a terminal of `width` columns; `defaults` are its composed values."""
    sections = {key for key, value in defaults.items() if isinstance(value, Mapping)}
    groups = sections | {"experiment"} if "data" in sections else sections
    options = {group: sorted(path.stem for path in (conf / group).glob("*.yaml")) for group in sorted(groups)}
    lines = [f"{name}: {COMMANDS[name]}", "", *_wrapped(_USAGE.format(name), width, 0, 2), ""]
    lines += ["Groups of values (files of conf/, to which your own ./conf may add):"]
    for group, names in options.items():
        lines += _wrapped(f"{group}={' | '.join(names)}", width, 2, 6)
    lines += [line for section in _sections(schema, defaults, "") for line in _section(*section, width)]
    return "\n".join(lines)


Section = tuple[str, type[Strict], Mapping[str, Any]]


def _sections(schema: type[Strict], values: Mapping[str, Any], path: str) -> Iterator[Section]:
    yield path, schema, values
    for field in fields(schema):
        if section := _as_section(get_type_hints(schema)[field.name]):
            yield from _sections(section, values[field.name], f"{path}{field.name}.")


def _as_section(hint: Any) -> type[Strict] | None:
    return hint if isinstance(hint, type) and issubclass(hint, Strict) else None


def _section(path: str, schema: type[Strict], values: Mapping[str, Any], width: int) -> Iterator[str]:
    hints, words = get_type_hints(schema, include_extras=True), sentences(schema)
    own = [field.name for field in fields(schema) if not _as_section(hints[field.name])]
    if own:
        heading = (schema.__doc__ or "").split("\n")[0]
        yield ""
        yield from _wrapped(f"{path.rstrip('.')}: {heading}" if path else "Values:", width, 0, 2)
    for name in own:
        yield from _wrapped(
            f"{path}{spelled(name)}={_shown(values.get(spelled(name)))}  ({_kind(hints[name])})", width, 2, 6
        )
        yield from _wrapped(words[name], width, 6, 6)


def _wrapped(text: str, width: int, first: int, rest: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=" " * first, subsequent_indent=" " * rest, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")


def _kind(hint: Any) -> str:
    """Return in words what a type allows: "integer ≥ 1 or null"."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_kind(inner[0])}{_rules(hint.__metadata__)}"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(part) for part in inner))
    if origin is Literal:
        return " | ".join(str(value) for value in inner)
    if origin is list:
        return f"list of {_kind(inner[0])}"
    return _PLAIN.get(hint, "mapping")


def _rules(metadata: tuple[Any, ...]) -> str:
    words = []
    for rule in metadata:
        if type(rule) in _RULES:
            sign, attribute = _RULES[type(rule)]
            words.append(f" {sign} {getattr(rule, attribute):g}")
        elif isinstance(rule, Len):
            most = f" to {rule.max_length}" if rule.max_length else " or more"
            words.append(f", {rule.min_length}{most} long")
    return " and".join(words)
