"""The follow-up commands that a command prints at its end, without credentials."""

import shlex
from collections.abc import Sequence

from pipeline.console.compose import overrides
from pipeline.console.display import console


def same_store() -> str:
    """Return what a further `make` command needs to find the same tracking store: "" or ` ARGS="…"`."""
    store = [text for text in overrides() if text.startswith("tracking")]
    return f' ARGS="{shlex.join(store)}"' if store else ""


def print_next(lines: Sequence[tuple[str, str]]) -> None:
    """Print the possible next steps: a few words and a command for each."""
    console.print("\nNext:")
    for what, command in lines:
        console.print(f"  {what:30} {command}", soft_wrap=True)
    if any("***" in command for _, command in lines):
        console.print("  (*** stands for the user and password that you gave)")
