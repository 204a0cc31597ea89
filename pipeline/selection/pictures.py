"""The confusion matrix as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.selection.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NUMBERED = 20
"""With more classes the cells are too small for numbers."""


def draw_confusion(result: Evaluation, path: Path) -> None:
    """Write the picture of the matrix to a file."""
    confusion(result).savefig(path, dpi=100)


def confusion(result: Evaluation) -> "Figure":
    """Draw the matrix, each row as shares of its true class, with counts in the cells."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    C = len(result.classes)
    totals = result.confusion.sum(axis=1, keepdims=True)
    shares = result.confusion / np.maximum(totals, 1)
    side = min(10.0, 2.5 + 0.45 * C)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set(xlabel="predicted class", ylabel="true class", title=f"Test: {result.error.n:,} examples")
    if C <= MAX_NUMBERED:
        axes.set_xticks(
            range(C), result.classes, rotation=45 if max(map(len, result.classes)) > 3 else 0, parse_math=False
        )
        axes.set_yticks(range(C), result.classes, parse_math=False)
        for (i, j), count in np.ndenumerate(result.confusion):
            if count:
                axes.text(j, i, f"{count}", ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
    return figure
