"""The picture of the numerical gradient's error against ε."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.gradcheck.epsilon_sweep import EpsilonSweep
from pipeline.gradcheck.numerical import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_epsilon_sweep(sweep: EpsilonSweep) -> "Figure":
    """Draw the error against ε, log-log, with lines of slope 1 and 2, and below it the share left out at kinks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6.5), layout="constrained")
    errors, shares = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    for name, marker in zip(METHODS, "osd", strict=True):
        slope = sweep.slopes[name]
        label = METHODS[name].label + (f", slope {slope:.2f}" if np.isfinite(slope) else "")
        errors.loglog(sweep.epsilons, np.maximum(sweep.errors[name], 1e-18), marker=marker, markersize=4, label=label)
        shares.semilogx(sweep.epsilons, sweep.kink_shares[name], marker=marker, markersize=3)
    _draw_order(errors, sweep, "one_sided", 1, "O(ε)")
    _draw_order(errors, sweep, "two_sided", 2, "O(ε²)")
    errors.axhline(1e-7, color="grey", linewidth=0.8, linestyle=":")
    errors.annotate("good below", (sweep.epsilons[0], 1e-7), va="bottom", color="grey", fontsize=8)
    errors.set_ylabel("relative error of ∂J/∂θ")
    errors.set_title("Rounding rules on the left, truncation on the right")
    errors.legend()
    shares.set_ylabel("at kinks")
    shares.set_xlabel("ε")
    return figure


def _draw_order(axes: Any, sweep: EpsilonSweep, method: str, order: int, label: str) -> None:
    """Draw a thin line of the given slope through the largest ε up to 1e-2 that has an error."""
    errors, epsilons = sweep.errors[method], sweep.epsilons
    usable = np.flatnonzero((errors > 0) & (epsilons <= 1e-2))
    if usable.size == 0:
        return
    anchor = usable[-1]
    reach = epsilons[(epsilons >= 1e-6) & (epsilons <= 0.1)]
    line = errors[anchor] * (reach / epsilons[anchor]) ** order
    axes.loglog(reach, line, color="black", linewidth=0.8, linestyle="--")
    axes.annotate(label, (reach[0], line[0]), va="top", fontsize=9)


def save_epsilon_sweep(sweep: EpsilonSweep, path: Path) -> Path:
    """Write the figure as the kind of file that the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_epsilon_sweep(sweep).savefig(path, dpi=150)
    return path
