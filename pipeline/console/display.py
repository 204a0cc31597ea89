"""What a command shows in the terminal: progress while it runs, tables at its end. It decides nothing."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.table import Column, Table

from pipeline.config.text import printable, short

if TYPE_CHECKING:
    from pipeline.search.coordinator import Progress


class _Console(Console):
    """A console that strips control characters, and survives a reader that goes away, as in `make runs | head`."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print without control characters, which names and values of a record or a server may contain."""
        super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)

    def on_broken_pipe(self) -> None:
        """Discard all further output."""
        del self._buffer[:]
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = _Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)


WIDE = 120
"""Terminals at least this wide show run ids."""

GAP = 2
"""Blanks between two columns of a table."""

LINE_EVERY_S = 10.0
"""Seconds between two lines of progress in a file."""


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    title: str = "",
    *,
    output: Console = console,
    optional: Sequence[str] = (),
) -> None:
    """Print a table; numbers are right-aligned, run ids left out on a narrow terminal, and long cells folded there.

    Parameters
    ----------
    optional : columns that are left out, in this order, until the table fits without folding.
    """
    shown = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    kept = [number for number, name in enumerate(columns) if name != "run id" or output.width >= WIDE]
    widths = [max(len(short(cell)) for cell in column) for column in zip(columns, *rows, strict=True)]
    for name in optional:
        if sum(widths[number] + GAP for number in kept) - GAP > output.width:
            kept = [number for number in kept if columns[number] != name]
    for number in kept:
        numeric = all(isinstance(row[number], int | float) for row in rows) if rows else False
        shown.add_column(printable(columns[number]), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(printable(short(row[number])) for number in kept))
    output.print(shown)


def short_name(path: str) -> str:
    """Return the last word of a dotted path, with the one before if it is a layer's number: "scale", "keep_prob.0"."""
    words = path.split(".")
    return ".".join(words[-2:]) if words[-1].isdigit() else words[-1]


def values_text(values: Mapping[str, Any]) -> str:
    """Return searched values with their short names: "lambd 3.1, keep_prob 0.82, scale 0.4"."""
    return ", ".join(f"{short_name(path)} {short(value)}" for path, value in values.items())


class Counting:
    """Shows how many of a number of trainings are done: one moving line on a terminal; in a file a line every 10 s."""

    def __init__(self, what: str, *, output: Console = console, clock: Callable[[], float] = time.monotonic):
        self._what, self._output, self._clock, self._printed = what, output, clock, clock()
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn())
        self._progress = rich.progress.Progress(
            *columns, console=output, disable=not output.is_terminal, transient=True
        )
        self._task = self._progress.add_task(what, total=None)

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        self._progress.update(self._task, completed=done, total=total)
        if not self._output.is_terminal and self._clock() - self._printed >= LINE_EVERY_S:
            self._printed = self._clock()
            self._output.print(f"{done}/{total} {self._what}")

    def __enter__(self) -> "Counting":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


class SweepProgress:
    """Shows how far a sweep is: one moving line on a terminal; in a file a line every 10 s and at each new best."""

    def __init__(self, total: int, *, output: Console = console, clock: Callable[[], float] = time.monotonic):
        self._output, self._clock = output, clock
        self._began, self._printed = clock(), clock()
        self._done_before: int | None = None
        self._best: int | None = None
        self._progress = rich.progress.Progress(
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=output,
            disable=not output.is_terminal,
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("trials", total=total, left="", state="")

    def update(self, standing: "Progress") -> None:
        """Show the counts and the time left, and after them the best so far with its values."""
        left, state = self._left(standing), _state(standing)
        self._progress.update(self._task, completed=standing.done, total=standing.wanted, left=left, state=state)
        best = standing.best.number if standing.best else None
        if self._output.is_terminal or (best == self._best and self._clock() - self._printed < LINE_EVERY_S):
            return
        self._best, self._printed = best, self._clock()
        words = [f"{standing.done}/{standing.wanted} trials", left, state]
        self._output.print(", ".join(word for word in words if word), soft_wrap=True)

    def _left(self, standing: "Progress") -> str:
        """Estimate the time left from the trials that ended since this command began."""
        if self._done_before is None:
            self._done_before = standing.done
        done = standing.done - self._done_before
        if not done or standing.done >= standing.wanted:
            return ""
        seconds = (self._clock() - self._began) * (standing.wanted - standing.done) / done
        return f"{timedelta(seconds=round(seconds))} left"

    def __enter__(self) -> "SweepProgress":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


def _state(standing: "Progress") -> str:
    best = standing.best
    found = f"best {short(best.values[0])}: {values_text(best.params)}" if best is not None else ""
    counts = [f"{n} {word}" for n, word in ((standing.pruned, "pruned"), (standing.failed, "failed")) if n]
    return "; ".join(text for text in (found, ", ".join(counts)) if text)
