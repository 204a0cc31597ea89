"""Pictures of the training: curves of the best trials, bias against variance, and what pruning saved."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.reporting.axes import number_log_axis
from pipeline.reporting.results import Sweep, Trial
from pipeline.reporting.style import GREY, INK, OUTCOMES, PALE, RED, SERIES, canvas, save
from pipeline.trials.record import TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_curves(sweep: Sweep, path: Path) -> Path | None:
    """Draw train and dev curves of the best trials and of the run without regularisation, the kept epoch marked.

    The first of them and the run without regularisation have bands: the spread over their repeats or folds.
    """
    if not sweep.ranked:
        return None
    names = dict.fromkeys(trial.name for trial in [sweep.leader, *sweep.ranked])
    best = [(name, sweep.records[name]) for name in names if name in sweep.records]
    if not best:
        return None
    with canvas(9.5, 5.6, ncols=2, sharex=True) as (figure, (costs, errors)):
        if baseline := sweep.records.get("baseline"):
            _curve(costs, errors, baseline, "no regularisation", GREY, 1.0)
            _bands(costs, errors, baseline, GREY)
        for (name, record), colour in zip(best, SERIES, strict=False):
            _curve(costs, errors, record, name, colour, 1.6)
        has_bands = _bands(costs, errors, best[0][1], SERIES[0])
        costs.set(xlabel="epoch", ylabel="cost (nats per example)", yscale="log", title="Cost")
        errors.set(xlabel="epoch", ylabel="error (% of the examples)", title="Error")
        _limit_costs(costs, [record for _, record in best])
        _fit_errors(errors, [record for _, record in best])
        number_log_axis(costs.yaxis)
        handles, names = costs.get_legend_handles_labels()
        mean = f", means over {_fits(sweep)}" if has_bands or sweep.folds else ""
        shaded = f"; shaded: ± a standard deviation of dev ({best[0][0]}, no regularisation)" if has_bands else ""
        figure.suptitle(
            f"Learning curves of the best trials{mean}\ndev solid, train dotted, ● the kept epoch{shaded}",
            x=0.01,
            ha="left",
            fontsize=12,
        )
        figure.legend(handles, names, loc="outside lower center", ncols=2)
        return save(figure, path)


def _fits(sweep: Sweep) -> str:
    """Name the fits of a trial: folds, repeats, or both."""
    if not sweep.folds:
        return "repeats"
    return "fits" if sweep.config.get("repeats", 1) > 1 else "folds"


def _curve(costs: "Axes", errors: "Axes", record: TrialRecord, name: str, colour: str, width: float) -> None:
    s = record.summary
    why = {"early_stopped": "stopped early", "completed": "ran to the end"}.get(record.outcome, record.outcome)
    text = f"{name}: dev cost {s['best_dev_cost']:.3g} at epoch {s['best_epoch']:.0f}, {why}"
    for axes, measure, factor in ((costs, "cost", 1.0), (errors, "error", 100.0)):
        dev, train = (factor * np.asarray(record.curves[f"{part}_{measure}"]) for part in ("dev", "train"))
        (line,) = axes.plot(dev, color=colour, linewidth=width, label=text if measure == "cost" else None, zorder=2)
        axes.plot(train, color=colour, linewidth=width * 0.8, linestyle=(0, (1, 1.2)), zorder=2)
        epoch = min(round(s["best_epoch"]), len(dev) - 1)
        axes.plot(epoch, dev[epoch], "o", color=colour, markersize=7, markeredgecolor="white", zorder=4)
        axes.axvline(epoch, color=line.get_color(), linewidth=0.6, alpha=0.5, zorder=1)


def _bands(costs: "Axes", errors: "Axes", record: TrialRecord, colour: str) -> bool:
    """Shade a standard deviation over the fits on both sides of the dev curves; return whether there is one."""
    if "dev_cost_sd" not in record.curves:
        return False
    for axes, measure, factor in ((costs, "cost", 1.0), (errors, "error", 100.0)):
        mean, sd = (factor * np.asarray(record.curves[f"dev_{measure}{part}"]) for part in ("", "_sd"))
        low = np.maximum(mean - sd, 0.05 * mean)  # a logarithmic axis has no place for 0
        axes.fill_between(np.arange(len(mean)), low, mean + sd, color=colour, alpha=0.16, linewidth=0, zorder=1)
    return True


def _limit_costs(axes: "Axes", records: list[TrialRecord]) -> None:
    """Let the curves and not the bands' lower ends set the axis."""
    shown = [np.asarray(record.curves[name]) for record in records for name in ("dev_cost", "train_cost")]
    finite = np.concatenate([curve[np.isfinite(curve) & (curve > 0)] for curve in shown])
    if finite.size:
        axes.set_ylim(0.7 * finite.min(), 1.3 * finite.max())


def _fit_errors(axes: "Axes", records: list[TrialRecord]) -> None:
    """Leave the first epochs, where every error is large, above the picture."""
    late = [100 * float(np.nanquantile(record.curves["dev_error"], 0.85)) for record in records]
    axes.set_ylim(0, min(100.0, max(1.0, 2 * max(late))))


def draw_errors(sweep: Sweep, path: Path) -> Path | None:
    """Draw train against dev error of every trial, with the lines beyond which bias and variance count as high.

    The train error is the lowest over the epochs, as in the diagnosis; the dev error is that of the kept epoch.
    """
    shown = [t for t in sweep.trials if math.isfinite(sum(_errors(sweep, t)))]
    if not shown:
        return None
    optimal = 100 * float(sweep.config["data"]["optimal_error"])
    threshold = 100 * float(sweep.config["diagnosis"]["threshold"])
    ended = [max(_errors(sweep, t)) for t in shown if t.trained]
    high = max(optimal + 3 * threshold, 1.2 * max(ended, default=100.0))
    beyond = sum(max(_errors(sweep, t)) > high for t in shown)
    with canvas(7.4, 6.0) as (figure, axes):
        for outcome, (colour, marker) in OUTCOMES.items():
            points = [_errors(sweep, t) for t in shown if t.outcome == outcome]
            if points:
                text = f"{outcome.replace('_', ' ')} ({len(points)})"
                axes.scatter(*zip(*points, strict=True), s=36, color=colour, marker=marker, label=text, alpha=0.8)
        if sweep.baseline is not None:
            x, y = _errors(sweep, sweep.baseline)
            axes.scatter(x, y, s=90, marker="D", color="white", edgecolors=RED, linewidths=2, label="no regularisation")
        if sweep.ranked:
            x, y = _errors(sweep, sweep.leader)
            axes.scatter(x, y, s=230, marker="*", color=SERIES[1], edgecolors=INK, label=sweep.leader.name, zorder=4)
        _limits(axes, optimal, threshold, high)
        axes.set(
            xlabel="lowest train error over the epochs (% of the examples)",
            ylabel="dev error at the kept epoch (% of the examples)",
            title="Bias and variance of every trial" + (f" ({beyond} with larger errors not shown)" if beyond else ""),
        )
        axes.legend(loc="lower right")
        return save(figure, path)


def _errors(sweep: Sweep, trial: Trial) -> tuple[float, float]:
    """The lowest train error over the epochs and the dev error at the kept one, in per cent.

    A trial without a diagnosis, such as one that was stopped at once, has its train error at the kept epoch.
    """
    lowest = trial["avoidable_bias"] + float(sweep.config["data"]["optimal_error"])
    train = trial["best_train_error"] if math.isnan(lowest) else max(0.0, lowest)
    return 100 * train, 100 * trial["best_dev_error"]


def _limits(axes: "Axes", optimal: float, threshold: float, high: float) -> None:
    """Shade where bias is high (right) and where variance is high (above), on axes from 0 to `high`.

    The axes have square-root scales, so that small errors can be told apart and large ones fit.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter

    x = np.linspace(0, high, 400)
    for scale, axis in ((axes.set_xscale, axes.xaxis), (axes.set_yscale, axes.yaxis)):
        scale("function", functions=(_root, _square))
        axis.set_major_locator(
            FixedLocator([t for t in (0, 0.2, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100) if t <= high])
        )
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.axvspan(optimal + threshold, high, color=PALE, alpha=0.55, zorder=0, linewidth=0)
    axes.fill_between(x, x + threshold, 2 * high, color="#cfe6f5", alpha=0.55, zorder=0, linewidth=0)
    axes.plot(x, x, color=INK, linewidth=0.8, linestyle=":", zorder=1, label="dev = train")
    axes.plot(x, x + threshold, color=GREY, linewidth=1.0, zorder=1)
    axes.axvline(optimal + threshold, color=GREY, linewidth=1.0, zorder=1)
    if optimal:
        axes.axvline(optimal, color=INK, linewidth=1.0, linestyle="--", label=f"optimal error {optimal:g} %")
    axes.set(xlim=(-high / 1200, high), ylim=(-high / 1200, high))
    for x_place, y_place, side, text in (
        (0.015, 0.93, "left", f"high variance:\ndev − train > {threshold:g} points"),
        (0.985, 0.55, "right", f"high bias:\ntrain − optimal > {threshold:g} points"),
    ):
        axes.text(x_place, y_place, text, ha=side, transform=axes.transAxes, fontsize=10, color="#444444")


def _root(values: Any) -> Any:
    return np.sign(values) * np.sqrt(np.abs(values))


def _square(values: Any) -> Any:
    return np.sign(values) * np.square(values)


def saved_share(sweep: Sweep) -> float:
    """The share of the epochs that the trials would have had at most, and that early stopping and pruning saved."""
    most = _longest(sweep) * len(sweep.trials)
    return 1 - sum(trial.epochs for trial in sweep.trials) / most if most else 0.0


def _longest(sweep: Sweep) -> int:
    """Epochs (of older records with folds: folds) of a trial that nothing stops."""
    return (sweep.counts_folds and sweep.folds) or sweep.space.most_epochs


def _bars(axes: "Axes", bars: Sequence[tuple[int, int]], **style: Any) -> None:
    """Draw bars of (place, height), 0.8 wide, as one artist; `axes.bar` makes one each, slow for thousands."""
    from matplotlib.collections import PolyCollection

    corners = [[(x - 0.4, 0), (x - 0.4, height), (x + 0.4, height), (x + 0.4, 0)] for x, height in bars]
    axes.add_collection(PolyCollection(corners, linewidth=0, zorder=3, **style))
    axes.autoscale_view()


def draw_pruning(sweep: Sweep, path: Path) -> Path | None:
    """Draw how long each trial was trained, why it ended, and what that saved."""
    if not sweep.trials:
        return None
    longest = _longest(sweep)
    with canvas(max(8.0, min(14.0, 0.1 * len(sweep.trials))), 4.2) as (figure, axes):
        for outcome, (colour, _) in OUTCOMES.items():
            bars = [(t.number, t.epochs) for t in sweep.trials if t.outcome == outcome]
            if bars:
                text = f"{outcome.replace('_', ' ')} ({len(bars)})"
                _bars(axes, bars, color=colour, label=text)
        axes.axhline(longest, color=INK, linewidth=1.0, linestyle="--")
        axes.set(
            xlabel="trial (number)",
            ylabel=f"trained {sweep.unit}",
            ylim=(0, 1.06 * longest),
            title=f"{saved_share(sweep):.0%} of {longest * len(sweep.trials):,} {sweep.unit} saved by "
            f"early stopping and pruning (pruner: {sweep.config['pruner']['name']})",
        )
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5)
        return save(figure, path)
