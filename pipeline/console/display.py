"""What a command shows in the terminal: progress while it runs, tables at its end. It decides nothing."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from pipeline.search.coordinator import Progress


class _Console(Console):
    """A console whose reader may go away, as in `make runs | head`; the command goes on without a word."""

    def on_broken_pipe(self) -> None:
        """Write the rest to nowhere."""
        del self._buffer[:]
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = _Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print a table; numbers are right-aligned."""
    shown = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(columns):
        numeric = all(isinstance(row[number], int | float) for row in rows) if rows else False
        shown.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*(short(value) for value in row))
    console.print(shown)


def short(value: Any) -> str:
    """A value for people: four significant digits, lists without their quotes."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def values_text(values: Mapping[str, Any]) -> str:
    """Searched values with the last word of each path: "lambd 3.1, keep_prob 0.82, scale 0.4"."""
    return ", ".join(f"{path.split('.', 1)[-1]} {short(value)}" for path, value in values.items())


class SweepProgress:
    """A progress line for a sweep on a terminal; silent elsewhere."""

    def __init__(self, total: int):
        self._progress = rich.progress.Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("trials", total=total, state="")

    def update(self, standing: "Progress") -> None:
        """Show the counts, and the best so far with its values."""
        state = f"{standing.pruned} pruned, {standing.failed} failed"
        if standing.best is not None:
            state += f"; best {short(standing.best.values[0])} at {values_text(standing.best.params)}"
        self._progress.update(self._task, completed=standing.done, total=standing.wanted, state=state)

    def __enter__(self) -> "SweepProgress":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
