"""Draws the objective over each pair of searched values, interpolated between the trials."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.reporting.axes import AXES, scale_axis, shown_leaves
from pipeline.reporting.results import ENOUGH, Sweep
from pipeline.reporting.style import INK, ORANGE, canvas, save
from pipeline.search.space import Leaf
from pipeline.selection.surrogate import place, value_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 80
"""Points along each side of an interpolated surface."""


def draw_contours(sweep: Sweep, path: Path) -> Path | None:
    """Draw the objective over each pair of searched values, interpolated between the trials."""
    leaves = [leaf for leaf in shown_leaves(sweep) if not leaf.is_choice]
    pairs = [(a, b) for a, b in itertools.combinations(leaves, 2) if len(_points(sweep, a, b)) >= ENOUGH]
    if not pairs:
        return None
    from matplotlib.colors import LogNorm, Normalize

    values = np.concatenate([_points(sweep, a, b)[:, 2] for a, b in pairs])
    low, high = float(values.min()), float(np.quantile(values, 0.9))
    norm = LogNorm if low > 0 else Normalize
    levels = np.geomspace(low, high, 13) if low > 0 else np.linspace(low, high, 13)
    if not high > low:
        return None
    columns = min(len(pairs), 3)
    rows = -(-len(pairs) // columns)
    with canvas(3.9 * columns + 1.0, 3.7 * rows + 0.3, nrows=rows, ncols=columns, squeeze=False) as (figure, grid):
        for axes, (a, b) in zip(grid.flat, pairs, strict=False):
            surface = _contour(axes, sweep, (a, b), levels, norm(low, high))
        for axes in grid.flat[len(pairs) :]:
            axes.set_visible(False)
        bar = figure.colorbar(surface, ax=grid, label=AXES[sweep.objectives[0]], format="%.3g", ticks=levels[::3])
        bar.ax.minorticks_off()
        star = "the best" if sweep.conclusion is None else "what is recommended"
        title = f"The objective over pairs of searched values, interpolated between trials (dots; the star is {star})"
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        return save(figure, path)


def _points(sweep: Sweep, a: Leaf, b: Leaf) -> np.ndarray:
    """(trials, 3): the two values and the objective, of every trial that has them and reached a finite objective."""
    rows = [
        (trial.values[a.path], trial.values[b.path], trial[sweep.metric])
        for trial in sweep.trials
        if {a.path, b.path} <= trial.values.keys() and math.isfinite(trial[sweep.metric])
    ]
    return np.array(rows, dtype=float).reshape(len(rows), 3)


def _contour(axes: "Axes", sweep: Sweep, pair: tuple[Leaf, Leaf], levels: np.ndarray, norm: Any) -> Any:
    points = _points(sweep, *pair)
    for axis, leaf in zip((axes.xaxis, axes.yaxis), pair, strict=True):
        scale_axis(axis, leaf)
    x, y, z = _surface(points, pair)
    surface = axes.contourf(x, y, z, levels=levels, norm=norm, cmap="viridis_r", extend="both")
    axes.scatter(points[:, 0], points[:, 1], s=9, color=INK, linewidths=0, alpha=0.7, zorder=3)
    best = _starred(sweep)
    if {leaf.path for leaf in pair} <= best.keys():
        x_best, y_best = (best[leaf.path] for leaf in pair)
        axes.scatter(x_best, y_best, marker="*", s=200, color=ORANGE, edgecolors="white", zorder=4)
    axes.grid(visible=False)
    return surface


def _starred(sweep: Sweep) -> Mapping[str, Any]:
    """The values that are recommended, or without a recommendation those of the best trial."""
    if sweep.conclusion is not None:
        return sweep.conclusion.values
    return sweep.ranked[0].values if sweep.ranked else {}


def _surface(points: np.ndarray, pair: tuple[Leaf, Leaf]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evaluate a smoothing spline through the objective's logarithm, over the ranges scaled to [0, 1]."""
    from scipy.interpolate import RBFInterpolator

    unit = np.array([[place(leaf, value) for leaf, value in zip(pair, row, strict=False)] for row in points])
    u = np.linspace(0, 1, SIDE)
    grid = np.stack(np.meshgrid(u, u), axis=-1).reshape(-1, 2)
    # A thin-plate spline needs points that do not lie on one line; nothing is drawn beyond the trials' own values.
    flat = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)[-1] < 0.1
    positive = bool((points[:, 2] > 0).all())
    target = np.log(points[:, 2]) if positive else points[:, 2]
    spline = RBFInterpolator(unit, target, kernel="linear" if flat else "thin_plate_spline", smoothing=0.05)
    z = np.clip(spline(grid), target.min(), target.max())
    z = np.exp(z) if positive else z
    x, y = (np.array([value_at(leaf, each) for each in u]) for leaf in pair)
    return x, y, z.reshape(SIDE, SIDE)
