"""Pictures of the search: its history, which searched values matter, and the objective over them."""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution

from pipeline.reporting.response import Curve, Response, response
from pipeline.reporting.results import ENOUGH, Sweep, Trial, label
from pipeline.reporting.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    OUTCOMES,
    RED,
    canvas,
    foreign,
    save,
    save_foreign,
    tidy,
)
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


def draw_history(sweep: Sweep, path: Path) -> Path | None:
    """The objective trial by trial, with the best so far and the run without regularisation."""
    shown = [trial for trial in sweep.trials if math.isfinite(trial[sweep.metric])]
    if not shown:
        return None
    with canvas() as (figure, axes):
        for outcome, (colour, marker) in OUTCOMES.items():
            points = [(t.number, t[sweep.metric]) for t in shown if t.outcome == outcome]
            if points:
                x, y = zip(*points, strict=True)
                text = outcome.replace("_", " ")
                axes.scatter(x, y, s=34, color=colour, marker=marker, label=f"{text} ({len(points)})", zorder=3)
        ranked = sorted(sweep.ranked, key=lambda trial: trial.number)
        best = np.minimum.accumulate([trial[sweep.metric] for trial in ranked])
        axes.step([t.number for t in ranked], best, where="post", color=INK, linewidth=1.4, label="best so far")
        _mark_baseline(axes, sweep)
        axes.set(xlabel="trial (number)", ylabel=AXES[sweep.objectives[0]], title="History of the search")
        _log_if_wide(axes, [trial[sweep.metric] for trial in shown])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return save(figure, path)


def _mark_baseline(axes: "Axes", sweep: Sweep) -> None:
    if sweep.baseline is not None and math.isfinite(sweep.baseline[sweep.metric]):
        value = sweep.baseline[sweep.metric]
        axes.axhline(value, color=RED, linestyle="--", linewidth=1.2, label=f"no regularisation ({value:.3g})")


def _log_if_wide(axes: "Axes", values: Sequence[float], span: float = 10.0) -> None:
    """A logarithmic axis where the values span more than this factor, with readable numbers on it."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > span * min(finite):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


# Importance and the Pareto front, by Optuna's own plots --------------------------------------------------------------


def draw_importance(sweep: Sweep, path: Path) -> Path | None:
    """Which searched values the objective depends on."""
    if not sweep.importances:
        return None
    study, name = sweep.study, AXES[sweep.objectives[0]].split(" (")[0]
    with foreign(), warnings.catch_warnings(action="ignore"):
        axes = optuna.visualization.matplotlib.plot_param_importances(
            study, target=lambda trial: trial.values[0], target_name=name
        )
        tidy(axes)
        axes.set_title("Which searched values matter", loc="left", fontsize=12, color=INK)
        axes.set(xlabel=f"importance for the {name} (share, PED-ANOVA)", ylabel="")
        for bar in axes.patches:
            bar.set_color(BLUE)
        if (legend := axes.get_legend()) is not None:
            legend.remove()
        return save_foreign(axes, 8.0, 1.2 + 0.5 * len(axes.patches), path)


def draw_front(sweep: Sweep, path: Path) -> Path | None:
    """With two or three objectives: the trials that no other beats in all of them."""
    study = sweep.study
    if not 2 <= len(sweep.objectives) <= 3 or not study.trials:
        return None
    with foreign(), warnings.catch_warnings(action="ignore"):
        names = [AXES[name] for name in sweep.objectives]
        axes = optuna.visualization.matplotlib.plot_pareto_front(study, target_names=names)
        tidy(axes)
        axes.set_title("Pareto front", loc="left", fontsize=12, color=INK)
        return save_foreign(axes, 8.0, 4.6, path)


# The objective over the searched values ------------------------------------------------------------------------------


def _shown_leaves(sweep: Sweep) -> list[Leaf]:
    """The leaves to show: all, or the most important ones."""
    weight = sweep.importances
    leaves = sorted(sweep.space.leaves, key=lambda leaf: -weight.get(label(leaf.path), 0.0))
    kept = leaves[:MOST]
    return [leaf for leaf in sweep.space.leaves if leaf in kept]


def draw_slices(sweep: Sweep, path: Path) -> Path | None:
    """The objective against each searched value: the process with its band, what does as well, and the trials."""
    leaves = _shown_leaves(sweep)
    shown = [trial for trial in sweep.trials if math.isfinite(trial[sweep.metric])]
    if not shown:
        return None
    found = response(sweep)
    with canvas(max(8.0, 3.3 * len(leaves) + 0.8), 4.6, ncols=len(leaves), sharey=True, squeeze=False) as (
        figure,
        grid,
    ):
        for leaf, axes in zip(leaves, grid[0], strict=True):
            position = _scale(axes.xaxis, leaf)
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
    """A logarithmic axis where the trials span a factor of four; bands and bars do not count."""
    heights = [trial[sweep.metric] for trial in shown]
    if found is not None:
        cut = [trial[sweep.metric] for trial in shown if not trial.trained]
        heights = [*found.means, *(found.footing * height for height in cut)]
    if min(heights) > 0 and max(heights) > SPAN * min(heights):
        _log_if_wide(axes, heights, SPAN)
        axes.set_ylim(0.6 * min(heights), 1.5 * max(heights))


def _curve(axes: "Axes", curve: Curve, position: Any, well: tuple[float, float] | None) -> None:
    """The predicted mean with its band, and behind them the values that do as well."""
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
    """What ran to its end, with standard errors; what was pruned, hollow with an arrow; what diverged."""
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
    d: Any = leaf.distribution
    return value if isinstance(d, CategoricalDistribution) else min(max(value, d.low), d.high)


def _baseline_band(axes: "Axes", sweep: Sweep) -> None:
    """The run without regularisation: the mean that the conclusion expects, with its 95 % interval."""
    expected = sweep.conclusion.baseline if _has_expectations(sweep) and sweep.conclusion else None
    if expected is None or expected.mean is None:
        _mark_baseline(axes, sweep)
        return
    axes.axhline(expected.mean, color=RED, linestyle="--", linewidth=1.2, label="no regularisation, 95 %", zorder=1)
    if expected.low is not None and expected.high is not None:
        axes.axhspan(expected.low, expected.high, color=RED, alpha=0.08, linewidth=0, zorder=0)


def _has_expectations(sweep: Sweep) -> bool:
    return sweep.conclusion is not None and sweep.conclusion.measure == sweep.objectives[0]


def _best(axes: "Axes", sweep: Sweep, leaf: Leaf, position: Any) -> None:
    """A star at the recommended value and what to expect of it, with the interval; without one at the best trial."""
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


def _scale(axis: Any, leaf: Leaf) -> Any:
    """Label and scale an axis for a searched value; returns the function from a value to its place on it."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    log = bool(getattr(leaf.distribution, "log", False))
    axis.set_label_text(label(leaf.path) + (" (log scale)" if log else ""))
    if isinstance(leaf.distribution, CategoricalDistribution):
        names = [str(choice) for choice in leaf.distribution.choices]
        values = [leaf.value(choice) for choice in leaf.distribution.choices]
        axis.set_ticks(range(len(names)), names, rotation=20)
        return values.index
    if log:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    return lambda value: value


def draw_contours(sweep: Sweep, path: Path) -> Path | None:
    """The objective over each pair of searched values, interpolated between the trials."""
    leaves = [leaf for leaf in _shown_leaves(sweep) if not isinstance(leaf.distribution, CategoricalDistribution)]
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
        _scale(axis, leaf)
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


def _surface(points: np.ndarray, pair: tuple[Leaf, Leaf], side: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smoothing spline through the objective's logarithm, over the ranges brought to [0, 1]."""
    from scipy.interpolate import RBFInterpolator

    d = [leaf.distribution for leaf in pair]
    unit = np.column_stack([_to_unit(points[:, i], d[i]) for i in (0, 1)])
    u = np.linspace(0, 1, side)
    grid = np.stack(np.meshgrid(u, u), axis=-1).reshape(-1, 2)
    # A thin-plate spline needs points that do not lie on one line; nothing is drawn beyond the trials' own values.
    flat = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)[-1] < 0.1
    positive = bool((points[:, 2] > 0).all())
    target = np.log(points[:, 2]) if positive else points[:, 2]
    spline = RBFInterpolator(unit, target, kernel="linear" if flat else "thin_plate_spline", smoothing=0.05)
    z = np.clip(spline(grid), target.min(), target.max())
    z = np.exp(z) if positive else z
    return _from_unit(u, d[0]), _from_unit(u, d[1]), z.reshape(side, side)


def _to_unit(values: np.ndarray, distribution: Any) -> np.ndarray:
    if distribution.log:
        values, low, high = np.log(values), math.log(distribution.low), math.log(distribution.high)
    else:
        low, high = distribution.low, distribution.high
    return np.asarray((values - low) / ((high - low) or 1.0))


def _from_unit(u: np.ndarray, distribution: Any) -> np.ndarray:
    if distribution.log:
        return np.geomspace(distribution.low, distribution.high, len(u))
    return np.asarray(distribution.low + u * (distribution.high - distribution.low))
