"""The style of pictures, legible also for colour-blind people, and how they become files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, "Color Universal Design".
BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
)
GREY, INK, PALE = "#8a8a8a", "#222222", "#e6e6e6"
SERIES = (BLUE, ORANGE, GREEN, PINK, RED)
OUTCOMES = {
    "completed": (BLUE, "o"),
    "early_stopped": (GREEN, "s"),
    "pruned": (GREY, "v"),
    "diverged": (RED, "X"),
    "failed": (INK, "P"),
}
"""Colour and marker of each outcome."""

_SETTINGS = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
}


@contextmanager
def canvas(width: float = 8.0, height: float = 4.6, **subplots: Any) -> Iterator[tuple["Figure", Any]]:
    """Yield a figure (size in inches) with its axes in our style; close it when the block ends."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context(_SETTINGS):  # type: ignore[arg-type]
        figure, axes = plt.subplots(figsize=(width, height), **subplots)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


@contextmanager
def foreign() -> Iterator[None]:
    """Apply the style to pictures that a library draws on its own figures, which are closed when the block ends."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    before = set(plt.get_fignums())
    with mpl.rc_context(_SETTINGS):  # type: ignore[arg-type]
        try:
            yield
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def tidy(axes: "Axes") -> None:
    """Apply the style to axes that a library drew."""
    axes.set_facecolor("white")
    axes.grid(visible=True, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9, which="both")
    axes.xaxis.label.set(color=INK, fontsize=11)
    axes.yaxis.label.set(color=INK, fontsize=11)


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG and return its path."""
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
        figure.set_layout_engine("none")  # savefig would draw everything a second time to lay it out
    figure.savefig(path, facecolor="white")
    return path


def save_foreign(axes: "Axes", width: float, height: float, path: Path) -> Path:
    """Save the figure that a library made for `axes`, in the given size."""
    from matplotlib.figure import Figure

    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.set_size_inches(width, height)
    return save(figure, path)
