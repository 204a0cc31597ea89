"""The commands that a command offers at its end, without the credentials that it was given."""

import shlex
from collections.abc import Sequence

from pipeline.console.compose import overrides
from pipeline.console.display import console


def same_store() -> str:
    """What a further `make` command has to be given to find the same tracking store: "" or ` ARGS="…"`."""
    store = [text for text in overrides() if text.startswith("tracking")]
    return f' ARGS="{shlex.join(store)}"' if store else ""


def print_next(lines: Sequence[tuple[str, str]]) -> None:
    """Print what one may do next: a few words and the command of each."""
    console.print("\nNext:")
    for what, command in lines:
        console.print(f"  {what:30} {command}", soft_wrap=True)
    if any("***" in command for _, command in lines):
        console.print("  (*** stands for the user and password that you gave)")
