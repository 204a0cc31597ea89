"""What a command shows in the terminal: progress while it runs, tables at its end. It decides nothing."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())


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

    def __init__(self, total: int, done: int):
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("trials", total=total, completed=done, state="")

    def update(self, done: int, total: int, pruned: int, failed: int, best: str) -> None:
        """Show the counts, and the best so far with its values."""
        state = f"{pruned} pruned, {failed} failed" + (f"; best {best}" if best else "")
        self._progress.update(self._task, completed=done, total=total, state=state)

    def __enter__(self) -> "SweepProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
