"""Pictures of the search: its history, which searched values matter, and the Pareto front."""

import math
import warnings
from pathlib import Path

import numpy as np
import optuna

from pipeline.reporting.axes import AXES, log_if_wide, mark_baseline
from pipeline.reporting.results import Sweep
from pipeline.reporting.style import BLUE, INK, OUTCOMES, canvas, foreign, save, save_foreign, tidy


def draw_history(sweep: Sweep, path: Path) -> Path | None:
    """Draw the objective trial by trial, with the best so far and the run without regularisation."""
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
        mark_baseline(axes, sweep)
        axes.set(xlabel="trial (number)", ylabel=AXES[sweep.objectives[0]], title="History of the search")
        log_if_wide(axes, [trial[sweep.metric] for trial in shown])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return save(figure, path)


def draw_importance(sweep: Sweep, path: Path) -> Path | None:
    """Draw how much the objective depends on each searched value."""
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
    """With two or three objectives, draw the Pareto front."""
    study = sweep.study
    if not 2 <= len(sweep.objectives) <= 3 or not study.trials:
        return None
    with foreign(), warnings.catch_warnings(action="ignore"):
        names = [AXES[name] for name in sweep.objectives]
        axes = optuna.visualization.matplotlib.plot_pareto_front(study, target_names=names)
        tidy(axes)
        axes.set_title("Pareto front", loc="left", fontsize=12, color=INK)
        return save_foreign(axes, 8.0, 4.6, path)
