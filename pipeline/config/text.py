"""Values as text for people: short, safe to print, and safe in Markdown."""

import re
from typing import Any


def printable(text: str) -> str:
    """`text` without control characters: what a record or a server says must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def markdown(text: Any) -> str:
    """A name or a value within a line of Markdown: shown as it is, neither markup nor HTML."""
    line = " ".join(printable(str(text)).split())
    return re.sub(r"[\\`*<>|&]|(?<=\])\(", r"\\\g<0>", line)


def brief(value: Any, limit: int = 120) -> str:
    """A value in one line of at most `limit` characters, safe to print."""
    text = value if isinstance(value, str) else repr(value)
    return shortened(printable(" ".join(text.split())), limit)


def shortened(text: str, limit: int) -> str:
    """`text`, its end replaced by … where it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def short(value: Any) -> str:
    """A value for people: four significant digits of a number, nothing for None."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
