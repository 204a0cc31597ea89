"""All pictures of a sweep, drawn into a folder."""

from collections.abc import Callable
from pathlib import Path

from threadpoolctl import threadpool_limits

from pipeline.reporting.results import Sweep

CAPTIONS = {
    "history": "Each trial's objective at its returned parameters, and the best so far.",
    "importance": "How much of the objective's variation each searched value explains among the better trials.",
    "slices": "What a Gaussian process through all trials predicts along each searched value, the others held, and the "
    "trials themselves, whose other values vary; all as if trained on the repeats behind what to expect.",
    "contours": "The objective over pairs of searched values: a smoothing spline through the trials, the rest varying.",
    "pareto-front": "Trials that no other beats in every objective.",
    "learning-curves": "The best trials epoch by epoch, the recommended first, and the run without regularisation.",
    "bias-variance": "Right of the vertical line bias is high; above the slanted one variance is high.",
    "pruning": "How long each trial was trained before it ended, was stopped early or was pruned.",
}
"""Every picture's name, in the order of a report, with what it shows."""


def draw_all(sweep: Sweep, folder: Path) -> dict[str, Path]:
    """Draw every picture that these trials allow; return the files by name."""
    from pipeline.reporting import contours, slices
    from pipeline.reporting import search_pictures as search
    from pipeline.reporting import training_pictures as training

    painters: dict[str, Callable[[Sweep, Path], Path | None]] = {
        "history": search.draw_history,
        "importance": search.draw_importance,
        "slices": slices.draw_slices,
        "contours": contours.draw_contours,
        "pareto-front": search.draw_front,
        "learning-curves": training.draw_curves,
        "bias-variance": training.draw_errors,
        "pruning": training.draw_pruning,
    }
    with threadpool_limits(1):  # more threads wait for each other, and cost more time than they save
        drawn = {name: painters[name](sweep, folder / f"{name}.png") for name in CAPTIONS}
    return {name: path for name, path in drawn.items() if path is not None}
