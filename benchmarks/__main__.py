"""`make bench`: every benchmark's table, and at the end what was wanted beside what was measured.

`python -m benchmarks [name…] [--full]` runs those named, or all: core, gradient_check, data, sweep, lag, peers, answer,
unseen. A run takes some minutes; `--full` takes every case and more turns.
"""

import argparse
import contextlib
import importlib
import io
import os
import sys
import time
from collections.abc import Sequence

SHORT = {
    "core": ("--only", "float32 momentum", "--turns", "5"),
    "gradient_check": ("--turns", "3"),
    "data": ("--rows", "20000", "--turns", "3"),
    "sweep": ("--turns", "1"),
    "lag": ("pairs", "found", "--pairs", "3", "--seeds", "3"),
    "peers": ("--seeds", "1", "--fresh", "10"),
    "answer": ("--data", "breast_cancer", "--seeds", "3", "--fresh", "20"),
    "unseen": ("--data", "breast_cancer", "--seeds", "2"),
}
"""The benchmarks, and the arguments of a short run."""


class Twice(io.TextIOBase):
    """What is printed goes to the terminal, and is kept for the summary."""

    def __init__(self) -> None:
        self.text, self._terminal = "", sys.stdout

    def write(self, text: str) -> int:
        """Print and keep."""
        self.text += text
        return self._terminal.write(text)

    def flush(self) -> None:
        """Show what was printed."""
        self._terminal.flush()


def run(name: str, arguments: Sequence[str]) -> list[str]:
    """Run one benchmark's own `main`; the lines it printed."""
    print(f"\n== {name} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)", flush=True)
    sys.argv = [f"benchmarks.{name}", *arguments]
    printed = Twice()
    with contextlib.redirect_stdout(printed):
        importlib.import_module(f"benchmarks.{name}").main()
    return printed.text.splitlines()


def summarize(lines: dict[str, list[str]]) -> None:
    """Say of each benchmark how many of its wanted figures it reached, and show those it missed."""
    print("\n== wanted and measured")
    for name, text in lines.items():
        reached = [line for line in text if {"ok", "ok,"} & set(line.split())]
        missed = [line for line in text if "wanted " in line and line not in reached]
        print(f"{name}: {len(reached)} of {len(reached) + len(missed)} reached")
        print("".join(f"  missed: {' '.join(line.split())}\n" for line in missed), end="")


def main() -> None:
    """Run what is asked for; a figure that is missed on a busy machine is no failure of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(SHORT))
    parser.add_argument("--full", action="store_true", help="every case, with each benchmark's own number of turns")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - SHORT.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(SHORT)}")
    began = time.monotonic()
    names = chosen.names or list(SHORT)
    summarize({name: run(name, () if chosen.full else SHORT[name]) for name in names})
    print(f"{(time.monotonic() - began) / 60:.1f} minutes; ratios are of one run in turns, and of this machine's load")


if __name__ == "__main__":
    main()
