"""Values as text for people: short, safe to print, and safe in Markdown."""

import re
from collections.abc import Sequence
from typing import Any


def printable(text: str) -> str:
    """Return `text` without control characters, so that a record or a server cannot control the terminal."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def markdown(text: Any) -> str:
    """Return a name or a value escaped for a line of Markdown, so that it is neither markup nor HTML."""
    line = " ".join(printable(str(text)).split())
    return re.sub(r"[\\`*<>|&]|(?<=\])\(", r"\\\g<0>", line)


def markdown_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; its cells are taken as they are."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (names, ["---"] * len(names), *rows))


def joined(texts: Sequence[str], last: str = "and") -> str:
    """Return a list for a sentence: "λ, dropout and init scale"."""
    return f" {last} ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def brief(value: Any, limit: int = 120) -> str:
    """Return a value in one line of at most `limit` characters, safe to print."""
    text = value if isinstance(value, str) else repr(value)
    return shortened(printable(" ".join(text.split())), limit)


def shortened(text: str, limit: int) -> str:
    """Return `text`, its end replaced by … if it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def short(value: Any) -> str:
    """Return a value for display: a float with four significant digits, None as an empty text."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
