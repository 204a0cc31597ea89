"""Draws the objective against each searched value."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.reporting.axes import AXES, SPAN, log_if_wide, mark_baseline, scale_axis, shown_leaves
from pipeline.reporting.response import Curve, Response, response
from pipeline.reporting.results import Sweep, Trial
from pipeline.reporting.style import BLUE, GREEN, GREY, INK, ORANGE, RED, canvas, save
from pipeline.search.space import Leaf

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_slices(sweep: Sweep, path: Path) -> Path | None:
    """Draw the objective against each searched value: the process with its band, what does as well, and the trials."""
    leaves = shown_leaves(sweep)
    shown = [trial for trial in sweep.trials if math.isfinite(trial[sweep.metric])]
    if not shown:
        return None
    found = response(sweep)
    with canvas(max(8.0, 3.3 * len(leaves) + 0.8), 4.6, ncols=len(leaves), sharey=True, squeeze=False) as (
        figure,
        grid,
    ):
        for leaf, axes in zip(leaves, grid[0], strict=True):
            position = scale_axis(axes.xaxis, leaf)
            _baseline_band(axes, sweep)
            if found is not None and (curve := found.along(leaf)) is not None:
                _curve(axes, curve, position, found.range_of(leaf))
            _trials(axes, leaf, shown, found, position, sweep.metric)
            _best(axes, sweep, leaf, position)
        grid[0][0].set_ylabel(AXES[sweep.objectives[0]])
        _fit_heights(grid[0][0], sweep, shown, found)
        title = "The objective against each searched value"
        held = "" if found is None else f", the others held at the {'recommended' if sweep.conclusion else 'best'}"
        figure.suptitle(title + held, x=0.01, ha="left", fontsize=12)
        figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return save(figure, path)


def _fit_heights(axes: "Axes", sweep: Sweep, shown: Sequence[Trial], found: Response | None) -> None:
    """Make the axis logarithmic if the trials span a factor of four, regardless of bands and bars."""
    heights = [trial[sweep.metric] for trial in shown]
    if found is not None:
        cut = [trial[sweep.metric] for trial in shown if not trial.trained]
        heights = [*found.means, *(found.footing * height for height in cut)]
    if min(heights) > 0 and max(heights) > SPAN * min(heights):
        log_if_wide(axes, heights, SPAN)
        axes.set_ylim(0.6 * min(heights), 1.5 * max(heights))


def _curve(axes: "Axes", curve: Curve, position: Any, well: tuple[float, float] | None) -> None:
    """Draw the predicted mean with its band, and behind them the values that do as well."""
    places = [position(value) for value in curve.values]
    if well is None:
        error = np.array([curve.mean - curve.low, curve.high - curve.mean])
        axes.errorbar(places, curve.mean, error, color=BLUE, fmt="_", markersize=14, label="predicted, 95 %", zorder=2)
        for place, as_well in zip(places, curve.well, strict=True):
            if as_well:
                axes.axvspan(place - 0.4, place + 0.4, color=GREEN, alpha=0.1, linewidth=0, zorder=0)
        return
    axes.axvspan(*well, color=GREEN, alpha=0.1, linewidth=0, label="does as well as the best", zorder=0)
    axes.fill_between(
        places, curve.low, curve.high, color=BLUE, alpha=0.2, linewidth=0, label="its 95 % band", zorder=1
    )
    axes.plot(places, curve.mean, color=BLUE, linewidth=1.8, label="predicted", zorder=2)


def _trials(
    axes: "Axes", leaf: Leaf, shown: Sequence[Trial], found: Response | None, position: Any, metric: str
) -> None:
    """Draw the trials: ended ones with standard errors, pruned ones hollow with an arrow, and diverged ones."""
    ended: dict[str, Any] = {"color": INK, "fmt": "o", "markersize": 4, "elinewidth": 0.8, "alpha": 0.75, "zorder": 3}
    if found is None:
        x, y = _points_of([trial for trial in shown if trial.trained], leaf, position, metric)
        axes.errorbar(x, y, label="ran to its end", **ended)
    else:
        having = [i for i, values in enumerate(found.configurations) if leaf.path in values]
        x = [position(_within(leaf, found.configurations[i][leaf.path])) for i in having]
        text = "ran to its end, ± a standard error"
        axes.errorbar(x, found.means[having], found.errors[having], label=text, **ended)
    factor = 1.0 if found is None else found.footing
    x, y = _points_of([trial for trial in shown if trial.outcome == "pruned"], leaf, position, metric)
    if x:
        hollow: dict[str, Any] = {"fmt": "o", "markerfacecolor": "white", "color": GREY, "markersize": 6, "zorder": 3}
        height = factor * np.array(y)
        axes.errorbar(x, height, 0.15 * height, uplims=True, label="pruned: at most its best until then", **hollow)
    x, y = _points_of([trial for trial in shown if trial.outcome == "diverged"], leaf, position, metric)
    if x:
        axes.scatter(x, factor * np.array(y), color=RED, marker="X", s=34, label="diverged: best until then", zorder=3)


def _points_of(trials: Sequence[Trial], leaf: Leaf, position: Any, metric: str) -> tuple[list[float], list[float]]:
    """Places and heights of the trials that have the value."""
    having = [trial for trial in trials if leaf.path in trial.values]
    return [position(trial.values[leaf.path]) for trial in having], [trial[metric] for trial in having]


def _within(leaf: Leaf, value: Any) -> Any:
    """A value held to its range; a neutral one such as λ = 0 lies at the nearest end."""
    return value if leaf.is_choice else min(max(value, leaf.range.low), leaf.range.high)


def _baseline_band(axes: "Axes", sweep: Sweep) -> None:
    """Draw the run without regularisation: the mean that the conclusion expects, with its 95 % interval."""
    expected = sweep.conclusion.baseline if _has_expectations(sweep) and sweep.conclusion else None
    if expected is None or expected.mean is None:
        mark_baseline(axes, sweep)
        return
    axes.axhline(expected.mean, color=RED, linestyle="--", linewidth=1.2, label="no regularisation, 95 %", zorder=1)
    if expected.low is not None and expected.high is not None:
        axes.axhspan(expected.low, expected.high, color=RED, alpha=0.08, linewidth=0, zorder=0)


def _has_expectations(sweep: Sweep) -> bool:
    return sweep.conclusion is not None and sweep.conclusion.measure == sweep.objectives[0]


def _best(axes: "Axes", sweep: Sweep, leaf: Leaf, position: Any) -> None:
    """Draw a star at the recommended value and its expected measure, with the interval; else at the best trial."""
    style: dict[str, Any] = {
        "fmt": "*",
        "markersize": 15,
        "color": ORANGE,
        "markeredgecolor": INK,
        "ecolor": INK,
        "zorder": 5,
    }
    if not _has_expectations(sweep) or sweep.conclusion is None:
        x, y = _points_of(sweep.ranked[:1], leaf, position, sweep.metric)
        axes.errorbar(x, y, label="best", **style)
        return
    value, expected = sweep.conclusion.values.get(leaf.path), sweep.conclusion.expected
    if value is None or expected.mean is None:
        return
    at, mean = [position(_within(leaf, value))], [expected.mean]
    if expected.low is None or expected.high is None:
        axes.errorbar(at, mean, label="recommended", **style)
    else:
        ends = [[expected.mean - expected.low], [expected.high - expected.mean]]
        axes.errorbar(at, mean, ends, capsize=4, label="recommended, 95 %", **style)
