"""Axes that the pictures of a search share: labels, scales, and which searched values are shown."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.reporting.results import Sweep, label
from pipeline.reporting.style import RED
from pipeline.search.space import Leaf

if TYPE_CHECKING:
    from matplotlib.axes import Axes


AXES = {
    "dev_cost": "dev cost (nats per example)",
    "dev_error": "dev error (share of the examples)",
    "balanced_error": "balanced dev error (mean over classes)",
    "parameters": "parameters (count)",
}
"""Axis label of each objective."""


SPAN = 4.0
"""Trials whose objective spans more than this factor are drawn on a logarithmic axis beside the process."""


MOST = 4
"""How many searched values are shown against each other, the most important ones."""


def mark_baseline(axes: "Axes", sweep: Sweep) -> None:
    """Draw the objective of the run without regularisation as a dashed line."""
    if sweep.baseline is not None and math.isfinite(sweep.baseline[sweep.metric]):
        value = sweep.baseline[sweep.metric]
        axes.axhline(value, color=RED, linestyle="--", linewidth=1.2, label=f"no regularisation ({value:.3g})")


def log_if_wide(axes: "Axes", values: Sequence[float], span: float = 10.0) -> None:
    """Make the axis logarithmic, with readable numbers, if the values span more than this factor."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > span * min(finite):
        axes.set_yscale("log")
        number_log_axis(axes.yaxis)


def number_log_axis(axis: Any, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Write plain numbers on a logarithmic axis: these multiples of each power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def shown_leaves(sweep: Sweep) -> list[Leaf]:
    """Return the leaves to show: all, or the most important ones."""
    weight = sweep.importances
    leaves = sorted(sweep.space.leaves, key=lambda leaf: -weight.get(label(leaf.path), 0.0))
    kept = leaves[:MOST]
    return [leaf for leaf in sweep.space.leaves if leaf in kept]


def scale_axis(axis: Any, leaf: Leaf) -> Any:
    """Label and scale an axis for a searched value; return the function from a value to its place on it."""
    log = not leaf.is_choice and leaf.range.log
    axis.set_label_text(label(leaf.path) + (" (log scale)" if log else ""))
    if leaf.is_choice:
        names = [str(text) for text in leaf.labels]
        axis.set_ticks(range(len(names)), names, rotation=20)
        return leaf.choices.index
    if log:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        number_log_axis(axis, subs=(1, 3))
    return lambda value: value
