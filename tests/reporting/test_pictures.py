"""Pictures are drawn of whatever a sweep has, and leave nothing behind."""

import math
import struct
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.markers import CARETDOWNBASE

from pipeline.reporting import contours, layers_picture, search_pictures, slices, style, training_pictures
from pipeline.reporting.contours import draw_contours
from pipeline.reporting.layers_picture import draw_layers
from pipeline.reporting.pictures import CAPTIONS, draw_all
from pipeline.reporting.results import Measured
from pipeline.reporting.search_pictures import draw_front, draw_importance
from pipeline.reporting.slices import draw_slices
from pipeline.reporting.training_pictures import draw_curves, draw_errors, draw_pruning, saved_share
from pipeline.selection.recommendation import Compared, Estimate, Range, Recommendation
from pipeline.trials.record import TrialRecord
from tests.reporting.sweeps import THREE, a_sweep, a_trial

PATHS = ("regularization.lambd", "regularization.keep_prob", "model.init.scale")


def three_values(number: int) -> dict[str, float]:
    return dict(zip(PATHS, (0.05 * 2**number, 0.55 + 0.05 * number, 0.2 + 0.15 * number), strict=True))


def size(path: Path) -> tuple[int, int]:
    """Width and height from a PNG's header."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, as they were when they were to be written."""
    kept = []

    def keep(figure, path):
        kept.append(figure)
        return path

    for module in (contours, layers_picture, search_pictures, slices, style, training_pictures):
        monkeypatch.setattr(module, "save", keep)
    return kept


@pytest.fixture(scope="module")
def default_sweep():
    outcomes = ("early_stopped", "completed", "pruned", "diverged", "early_stopped", "early_stopped", "completed")
    trials = [
        a_trial(n, three_values(n), 0.05 + 0.1 * abs(n - 4), outcome=outcome, train=0.01 * n, dev=0.03 + 0.01 * n)
        for n, outcome in enumerate(outcomes)
    ]
    return a_sweep(trials, baseline=a_trial(-1, dict.fromkeys(PATHS, 1.0), 0.4, dev=0.05), space=THREE)


def test_the_default_sweep_gets_every_picture_but_the_pareto_front_and_nothing_global_is_changed(
    default_sweep, tmp_path
):
    before, open_before = dict(mpl.rcParams), plt.get_fignums()
    drawn = draw_all(default_sweep, tmp_path)
    assert set(drawn) == set(CAPTIONS) - {"pareto-front"}
    for path in drawn.values():
        width, height = size(path)
        assert 600 <= width <= 2000
        assert 200 <= height <= 1500
        assert path.stat().st_size < 300_000
    assert plt.get_fignums() == open_before
    assert {key for key, value in mpl.rcParams.items() if before[key] != value} <= {"backend", "backend_fallback"}


def test_the_history_shows_every_trial_by_outcome_the_best_so_far_and_the_run_without_regularisation(
    default_sweep, figures, tmp_path
):
    search_pictures.draw_history(default_sweep, tmp_path / "history.png")
    axes = figures[0].axes[0]
    shown = {group.get_label(): group.get_offsets().tolist() for group in axes.collections}
    assert shown["pruned (1)"] == [pytest.approx([2, 0.25])]
    assert sorted(number for points in shown.values() for number, _ in points) == list(range(7))
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines["best so far"]) == pytest.approx([0.45, 0.35, 0.05, 0.05, 0.05])
    assert list(lines["no regularisation (0.4)"]) == [0.4, 0.4]


def test_a_sweep_without_a_trial_has_no_pictures(tmp_path):
    assert draw_all(a_sweep([]), tmp_path) == {}


def test_a_single_pruned_trial_is_enough_for_the_pictures_that_can_show_it(tmp_path):
    drawn = draw_all(a_sweep([a_trial(0, {PATHS[0]: 1.0}, 0.3, outcome="pruned")]), tmp_path)
    assert set(drawn) == {"history", "slices", "bias-variance", "pruning"}


def ended(axes):
    """Where the marks of trials that ran to their end are."""
    return labelled(axes, "ran to its end").lines[0].get_xdata().tolist()


def test_choices_stand_by_name_and_a_conditional_value_has_only_the_trials_that_have_it(figures, tmp_path):
    space = {
        "training": {
            "optimizer": {"choices": ["momentum", "adam"]},
            "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
            "momentum": {"low": 0.5, "high": 0.99, "when": {"training.optimizer": "momentum"}},
        },
        "model": {"hidden_units": {"choices": {"small": [32], "default": [64, 32]}}},
    }
    trials = []
    for n in range(8):
        values = {
            "training.optimizer": ["momentum", "adam"][n % 2],
            "training.learning_rate": 0.002 * (n + 1),
            "model.hidden_units": [[32], [64, 32]][n // 4],
        }
        values |= {"training.momentum": 0.9 - 0.01 * n} if n % 2 == 0 else {}
        trials.append(a_trial(n, values, 0.1 + 0.01 * n))
    draw_slices(a_sweep(trials, space=space), tmp_path / "slices.png")
    shown = {axes.get_xlabel(): axes for axes in figures[0].axes}
    assert [text.get_text() for text in shown["optimizer"].get_xticklabels()] == ["momentum", "adam"]
    assert [text.get_text() for text in shown["hidden_units"].get_xticklabels()] == ["small", "default"]
    assert ended(shown["optimizer"]) == [0, 1] * 4
    assert ended(shown["hidden_units"]) == [0] * 4 + [1] * 4
    assert ended(shown["momentum"]) == pytest.approx([0.9, 0.88, 0.86, 0.84])
    assert shown["learning_rate (log scale)"].get_xscale() == "log"


def test_the_importance_has_a_bar_for_each_value_and_the_longest_for_the_one_that_decides(figures, tmp_path):
    rng = np.random.default_rng(0)
    trials = [
        a_trial(n, dict(zip(PATHS, (0.01 * 2**n, *rng.uniform(0.5, 1, 2)), strict=True)), 0.1 + 0.05 * n)
        for n in range(11)
    ]
    sweep = a_sweep(trials, space=THREE)
    draw_importance(sweep, tmp_path / "importance.png")
    (axes,) = figures[0].axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    widths = dict(zip(names, (bar.get_width() for bar in axes.patches), strict=True))
    assert widths == pytest.approx(sweep.importances)
    assert max(widths, key=widths.get) == "λ"
    assert sum(widths.values()) == pytest.approx(1)


def test_the_pareto_front_has_the_trials_that_no_other_beats(figures, tmp_path):
    costs = [0.1, 0.3, 0.2, 0.15]  # with 100, 101, 102 and 103 parameters
    trials = [a_trial(n, three_values(n), cost) for n, cost in enumerate(reversed(costs))]
    draw_front(a_sweep(trials, space=THREE, study={"objective": ["dev_cost", "parameters"]}), tmp_path / "front.png")
    (axes,) = figures[0].axes
    shown = {group.get_label(): group.get_offsets().tolist() for group in axes.collections}
    assert shown["Trial"] == [pytest.approx([0.2, 101]), pytest.approx([0.3, 102])]
    assert shown["Best Trial"] == [pytest.approx([0.1, 103]), pytest.approx([0.15, 100])]


def test_a_study_of_one_objective_has_no_pareto_front(tmp_path):
    trials = [a_trial(n, three_values(n), 0.1 + 0.01 * n) for n in range(6)]
    assert draw_front(a_sweep(trials, space=THREE), tmp_path / "none.png") is None


def test_trials_that_are_all_alike_have_one_place_and_no_contours(figures, tmp_path):
    trials = [a_trial(n, dict.fromkeys(PATHS, 1.0), 0.1) for n in range(6)]
    sweep = a_sweep(trials, space=THREE)
    draw_slices(sweep, tmp_path / "slices.png")
    assert [set(ended(axes)) for axes in figures[0].axes] == [{1.0}] * 3
    assert draw_contours(sweep, tmp_path / "contours.png") is None


def test_contours_have_a_panel_for_each_pair_with_the_trials_as_dots_and_a_star_at_the_best(figures, tmp_path):
    trials = [a_trial(n, three_values(n), 0.1 + 0.01 * abs(n - 2)) for n in range(6)]  # they lie on one line
    draw_contours(a_sweep(trials, space=THREE), tmp_path / "contours.png")
    panels = [axes for axes in figures[0].axes if axes.get_xlabel()]
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert len(panels) == len(pairs)
    for axes, (a, b) in zip(panels, pairs, strict=True):
        *_, dots, star = axes.collections
        places = [[list(t.values.values())[i] for i in (a, b)] for t in trials]
        assert dots.get_offsets().tolist() == [pytest.approx(place) for place in places]
        assert star.get_offsets().tolist() == [pytest.approx(places[2])]


def test_the_pruning_has_a_bar_for_each_trial_as_high_as_its_epochs(figures, tmp_path):
    ends = [("completed", 150), ("pruned", 15), ("early_stopped", 60)]
    trials = [
        a_trial(n, {PATHS[0]: 1.0 + n}, 0.1, outcome=outcome, epochs=epochs) for n, (outcome, epochs) in enumerate(ends)
    ]
    draw_pruning(a_sweep(trials), tmp_path / "pruning.png")
    (axes,) = figures[0].axes
    corners = {group.get_label(): [path.vertices for path in group.get_paths()] for group in axes.collections}
    bars = {
        text: [((v[:, 0].min() + v[:, 0].max()) / 2, v[:, 1].max()) for v in all_] for text, all_ in corners.items()
    }
    assert bars == {"completed (1)": [(0, 150)], "pruned (1)": [(1, 15)], "early stopped (1)": [(2, 60)]}
    assert axes.get_title(loc="left").startswith("50% of 450 epochs saved")


def test_the_layers_are_drawn_at_the_initial_values_and_at_the_best_epoch(figures, tmp_path):
    curves = {
        f"{name}_norm_{layer}": np.array([1.0, 10.0, 100.0]) * factor * layer
        for factor, name in enumerate(("weight", "activation", "gradient"), start=1)
        for layer in (1, 2)
    }
    draw_layers(TrialRecord({}, curves=curves, summary={"best_epoch": 1.0}), tmp_path / "layers.png")
    for factor, axes in enumerate(figures[0].axes, start=1):
        lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        assert lines == {"initial values": [factor, 2 * factor], "best epoch, 1": [10 * factor, 20 * factor]}
        assert axes.get_yscale() == "log"


def test_layers_whose_weights_are_all_zero_are_drawn_on_a_linear_scale(figures, tmp_path):
    curves = {f"{name}_norm_1": np.zeros(2) for name in ("weight", "activation", "gradient")}
    draw_layers(TrialRecord({}, curves=curves, summary={"best_epoch": 0.0}), tmp_path / "layers.png")
    assert [axes.get_yscale() for axes in figures[0].axes] == ["linear"] * 3


def test_the_saved_share_counts_epochs_not_trained_against_the_longest_training():
    trials = [a_trial(0, {PATHS[0]: 1.0}, 0.1, epochs=150), a_trial(1, {PATHS[0]: 2.0}, 0.2, epochs=75)]
    assert saved_share(a_sweep(trials)) == pytest.approx(0.25)


def test_the_saved_share_counts_folds_where_older_records_do():
    trials = [a_trial(0, {PATHS[0]: 1.0}, 0.1, epochs=5), a_trial(1, {PATHS[0]: 2.0}, 0.2, epochs=1)]
    for trial in trials:
        trial.run.tags["record_format"] = "1"
    assert saved_share(a_sweep(trials, data={"folds": 5})) == pytest.approx(0.4)


def test_learning_curves_of_repeats_have_a_band_that_contains_their_mean(figures, tmp_path):
    baseline = a_trial(-1, dict.fromkeys(PATHS, 1.0), 0.4)
    sweep = a_sweep([a_trial(0, three_values(0), 0.1), a_trial(1, three_values(1), 0.2)], baseline=baseline)
    for record in sweep.records.values():
        record.curves |= {f"dev_{name}_sd": 0.3 * record.curves[f"dev_{name}"] for name in ("cost", "error")}
    draw_curves(sweep, tmp_path / "curves.png")
    costs, errors = figures[0].axes
    for axes, measure, factor in ((costs, "cost", 1), (errors, "error", 100)):
        assert len(axes.collections) == 2  # the best, and no regularisation
        for band, name in zip(axes.collections, ("baseline", "trial-0000"), strict=True):
            outline = band.get_paths()[0].vertices
            for epoch, mean in enumerate(factor * sweep.records[name].curves[f"dev_{measure}"]):
                low, high = min(outline[outline[:, 0] == epoch, 1]), max(outline[outline[:, 0] == epoch, 1])
                assert (low, high) == pytest.approx((0.7 * mean, 1.3 * mean))


def test_learning_curves_of_single_fits_have_no_band(figures, tmp_path):
    draw_curves(a_sweep([a_trial(0, three_values(0), 0.1)]), tmp_path / "curves.png")
    assert [len(axes.collections) for axes in figures[0].axes] == [0, 0]


def test_bias_is_taken_from_the_lowest_train_error_as_in_the_diagnosis(figures, tmp_path):
    trial = a_trial(0, three_values(0), 0.1, train=0.05, dev=0.06)
    trial.run.metrics["avoidable_bias"] = 0.02  # the kept epoch came before the lowest train error
    draw_errors(a_sweep([trial], data={"optimal_error": 0.01}), tmp_path / "errors.png")
    (points,) = (c for c in figures[0].axes[0].collections if c.get_label() == "early stopped (1)")
    assert points.get_offsets().tolist() == [pytest.approx([3.0, 6.0])]


@pytest.fixture
def concluded():
    """Eight trials of two repeats with a valley in λ at 1, one more that was pruned, and a conclusion."""
    lambds = [0.01 * 3.13**n for n in range(8)]
    costs = [0.1 + 0.03 * math.log10(lambd) ** 2 for lambd in lambds]
    trials = [a_trial(n, {PATHS[0]: lambd}, cost) for n, (lambd, cost) in enumerate(zip(lambds, costs, strict=True))]
    trials.append(a_trial(8, {PATHS[0]: 20.0}, 0.3, outcome="pruned"))
    measured = [Measured(t.name, t.values, {0: t["best_dev_cost"] - 0.002, 1: t["best_dev_cost"]}) for t in trials[:8]]
    best = trials[4]
    own = Compared(best.name, dict(best.values), 0.1, 0.001, 2, None, None, 0.5)
    conclusion = Recommendation(
        measure="dev_cost",
        name=best.name,
        values=dict(best.values),
        expected=Estimate(0.12, 0.11, 0.13, 8),
        baseline=Estimate(0.24, 0.21, 0.27, 8),
        gain=None,
        ranges=(Range(PATHS[0], best.values[PATHS[0]], 0.5, 2.0, searched=(0.01, 30.0)),),
        alone={},
        without={},
        simplest=own,
        best=own,
        compared=(own,),
        luckiest=best.name,
        trials=8,
        trial_repeats=2,
    )
    return replace(a_sweep(trials), measured=measured, conclusion=conclusion)


def test_the_star_between_pairs_of_values_is_what_is_recommended_not_the_luckiest_trial(
    figures, default_sweep, concluded, tmp_path
):
    recommended = dict(zip(PATHS, (0.5, 0.9, 0.2), strict=True))
    draw_contours(default_sweep, tmp_path / "best.png")
    found = replace(concluded.conclusion, values=recommended)
    draw_contours(replace(default_sweep, conclusion=found), tmp_path / "recommended.png")
    for figure, values in zip(figures, (default_sweep.ranked[0].values, recommended), strict=True):
        star = figure.axes[0].collections[-1]
        assert star.get_offsets()[0].tolist() == pytest.approx([values[PATHS[0]], values[PATHS[1]]])


def labelled(axes, text):
    """The artist of the legend whose label begins with the text."""
    handles, texts = axes.get_legend_handles_labels()
    return next(handle for handle, shown in zip(handles, texts, strict=True) if shown.startswith(text))


def test_the_curve_passes_through_what_to_expect_and_its_band_contains_it(figures, concluded, tmp_path):
    draw_slices(concluded, tmp_path / "slices.png")
    (axes,) = figures[0].axes
    x, y = labelled(axes, "predicted").get_data()
    recommended = concluded.conclusion.values[PATHS[0]]
    assert np.interp(recommended, x, y) == pytest.approx(0.12, rel=0.01)
    assert abs(math.log10(x[np.argmin(y)])) < 0.3  # the valley
    outline = labelled(axes, "its 95 % band").get_paths()[0].vertices
    for place, mean in zip(x, y, strict=True):
        heights = outline[np.isclose(outline[:, 0], place), 1]
        assert heights.min() < mean < heights.max()


def test_what_does_as_well_and_the_baselines_interval_are_those_of_the_conclusion(figures, concluded, tmp_path):
    draw_slices(concluded, tmp_path / "slices.png")
    (axes,) = figures[0].axes
    well = labelled(axes, "does as well").get_extents().transformed(axes.transData.inverted())
    assert (well.x0, well.x1) == pytest.approx((0.5, 2.0))
    assert labelled(axes, "no regularisation").get_ydata() == pytest.approx([0.24, 0.24])
    spans = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
    assert any((span.y0, span.y1) == pytest.approx((0.21, 0.27)) for span in spans)


def test_a_pruned_trial_is_a_hollow_mark_with_an_arrow_down(figures, concluded, tmp_path):
    draw_slices(concluded, tmp_path / "slices.png")
    marks, arrows, _ = labelled(figures[0].axes[0], "pruned").lines
    assert marks.get_markerfacecolor() == "white"
    assert marks.get_xdata().tolist() == [20.0]
    assert [arrow.get_marker() for arrow in arrows] == [CARETDOWNBASE]
    ended = labelled(figures[0].axes[0], "ran to its end").lines[0]
    assert len(ended.get_xdata()) == 8


def test_nothing_is_predicted_from_too_few_trials(figures, tmp_path):
    draw_slices(a_sweep([a_trial(0, {PATHS[0]: 1.0}, 0.1)]), tmp_path / "slices.png")
    assert "predicted" not in figures[0].axes[0].get_legend_handles_labels()[1]
