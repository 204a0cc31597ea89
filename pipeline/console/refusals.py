"""Turns what Hydra refuses, in several lines for developers, into one sentence for a user."""

import re

from hydra.errors import OverrideParseException

from pipeline.config.trial import Strict
from pipeline.config.validation import did_you_mean, known_paths

OF_A_LEAF = ("low", "high", "log", "step", "points", "choices", "when")
_OPTIONS = re.compile(
    r"Could not (?:find|load) '([^']+)/([^'/]+)'.*?Available options in '[^']+':(.*?)(?:\n\s*\n|Config search|\Z)", re.S
)


def sentence(error: Exception, schema: type[Strict]) -> str:
    """Return one sentence for an error of Hydra or OmegaConf."""
    text = str(error.__cause__ or error) if "Error merging" in str(error) else str(error)
    if found := re.search(r"Could not override '([^']+)'", str(error)):
        inner = re.search(r"full_key: (search\.space\.\S+)", str(error.__cause__))
        return _unknown_key(max(found[1], inner[1] if inner else "", key=len), schema)
    if found := _OPTIONS.search(text):
        return f"{found[1]} must be one of {', '.join(found[3].split())}, but is {found[2]}."
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found[1]} must be given, but is missing."
    if found := re.search(r"Sweep parameters '(.*)' requires --multirun|Ambiguous value for argument '(.*?)'", text):
        given = found[1] or found[2]
        return f"{given} lists several values: add --multirun for a run of each, or put the text in quotes."
    if isinstance(error, OverrideParseException):
        trouble = re.sub(r"Error parsing override .*\n", "", text).splitlines()[0].split(" expecting")[0]
        return f"the override {error.override} cannot be read: {trouble}."
    if found := re.search(r"\n\s*full_key: (\S+)", text):
        trouble = " ".join(text[: found.start()].split()).rstrip(".")
        return f"{found[1]} cannot be used as it is given: {trouble}."
    return " ".join(text.split("\nSee https")[0].split())


_REMOVED = {
    "workers.synchronous": "workers.synchronous has been removed: with study.lag the search repeats with any workers."
}


def _unknown_key(key: str, schema: type[Strict]) -> str:
    if key in _REMOVED:
        return _REMOVED[key]
    if key.startswith("search.space."):
        value = "…" if key.rsplit(".", 1)[-1] in OF_A_LEAF else "{low: …, high: …}"
        return f"{key} is not in the search space; to add it, write +{key}={value}."
    return f"{key} is no configuration value{did_you_mean(key, known_paths(schema))}."
