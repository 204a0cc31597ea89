"""Findings on what limits the network on this data, and what to try next, each with evidence from the trials.

Bias comes first and variance once bias is low (deeplearning.ai, course 2, week 1, "Basic recipe for machine learning").
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from pipeline.reporting.edges import edges, reached_ends, strength
from pipeline.reporting.findings import Finding, objective_words, percent, points
from pipeline.reporting.results import TOP, Sweep, Trial
from pipeline.training.diagnosis import BIAS_REMEDIES, VARIANCE_REMEDIES, Diagnosis, basis, diagnose, lowest_train_error

AROUND, LUCKY = 5, 0.75
"""The best dev cost is a dip if it is below this share of the median within so many epochs."""


Look = Callable[["Sweep"], "Finding | Sequence[Finding] | None"]
"""A function that examines the sweep on one question."""


def find_limits(sweep: Sweep) -> list[Finding]:
    """Return all findings on what limits the trials, the main limit first; empty before the first trial has ended."""
    if not sweep.ranked:
        return []
    by_trials: tuple[Look, ...] = (_main_limit, _regularisation, edges, _epochs, _divergence, _dip, _resolution)
    by_conclusion: tuple[Look, ...] = (_main_limit, reached_ends, _epochs, _divergence)
    looks = by_trials if sweep.conclusion is None else by_conclusion  # single trials must not contradict many repeats
    found: list[Finding] = []
    for look in looks:
        result = look(sweep)
        found += [result] if isinstance(result, Finding) else result or []
    return found


def diagnose_best(sweep: Sweep) -> Diagnosis:
    """Bias and variance of the recommended trial, or of the best."""
    best = sweep.leader
    record = sweep.records[best.name]
    return diagnose(
        lowest_train_error(record.fit_curves or [record.curves]),
        best["best_dev_error"],
        optimal_error=float(sweep.config["data"]["optimal_error"]),
        threshold=float(sweep.config["diagnosis"]["threshold"]),
    )


def _main_limit(sweep: Sweep) -> Finding:
    """Bias, variance or neither, by the best trial; for bias, whether the network or its regularisation causes it."""
    d, best = diagnose_best(sweep), sweep.leader
    errors = f"{best.name} has train error {percent(d.train_error)} and dev error {percent(d.dev_error)}"
    plain = basis(sweep.objectives[0])
    errors += f" ({plain})" if plain else ""
    optimal = f"the optimal error (data.optimal_error) is {percent(d.optimal_error)}"
    if d.high_bias:
        return _bias(sweep, d, f"{errors}; {optimal}")
    if d.high_variance:
        return Finding(
            "Variance limits it: the training part is learnt, and what is learnt there does not all carry over.",
            f"{errors}, a gap of {points(d.variance)}, above the threshold of {points(d.threshold)}; {optimal}.",
            f"In this order: {', '.join(VARIANCE_REMEDIES)}.",
        )
    return Finding(
        f"Neither bias nor variance is high: both are below {points(d.threshold)}.",
        f"{errors}; {optimal}.",
        "Look at the dev examples that are still wrong, or set diagnosis.threshold lower if these errors matter.",
    )


def _bias(sweep: Sweep, d: Diagnosis, errors: str) -> Finding:
    best, balanced = sweep.ranked[0], sweep.objectives[0] == "balanced_error"
    runs = [t for t in [*sweep.trials, sweep.baseline] if t is not None and math.isfinite(t["best_train_error"])]
    closest = min(runs, key=lambda trial: _train_error(trial, d))
    lowest = _train_error(closest, d)
    if lowest - d.optimal_error > d.threshold:
        return Finding(
            "Bias limits it: train error itself is the floor, and no trial gets below it.",
            f"{errors}; the lowest train error of all {len(runs)} runs is {percent(lowest)} ({closest.name}).",
            f"In this order: {', '.join(BIAS_REMEDIES)}; less regularisation alone cannot help.",
        )
    if closest["best_dev_error"] < d.dev_error:
        return Finding(
            "Bias limits the best trial, not the network: another trial fits the training part, and errs less on dev.",
            f"{errors}; {closest.name} has train error {percent(lowest)} and dev error "
            f"{percent(closest['best_dev_error'])}, though a {objective_words(sweep)} of {closest[sweep.metric]:.3g} "
            f"against {best[sweep.metric]:.3g}.",
            "Train longer"
            + ("." if balanced else ", or search for study.objective=dev_error if errors are what counts."),
        )
    return Finding(
        "It trades bias for variance: the network could learn the training part, but does best on dev when held back.",
        f"{errors}; {closest.name} reaches train error {percent(lowest)}, but dev error "
        f"{percent(closest['best_dev_error'])}.",
        "More data or another architecture (augmentation, for images); regularisation alone has reached its optimum.",
    )


def _train_error(trial: Trial, d: Diagnosis) -> float:
    """The lowest train error over the epochs, which gives a trial's bias; in older records that of the kept epoch."""
    bias = trial["avoidable_bias"]
    return bias + d.optimal_error if math.isfinite(bias) else trial["best_train_error"]


def _regularisation(sweep: Sweep) -> list[Finding]:
    """Find whether regularisation helped, and for each searched strength whether more of it still would."""
    found, best, baseline = [], sweep.ranked[0], sweep.baseline
    if baseline is not None and baseline[sweep.metric] > 0:
        before, after = baseline[sweep.metric], best[sweep.metric]
        change = (before - after) / before
        gap = "the gap dev − train cost goes from {:.3g} to {:.3g}".format(
            *(run["best_dev_cost"] - run["best_train_cost"] for run in (baseline, best))
        )
        verb = (
            f"lowers the {objective_words(sweep)} by {change:.0%}"
            if change > 0
            else f"does not lower the {objective_words(sweep)}"
        )
        evidence = f"{before:.3g} without it, {after:.3g} in {best.name}; {gap}."
        found.append(Finding(f"The best configuration found {verb} against no regularisation.", evidence))
    for leaf in sweep.space.leaves:
        if not leaf.is_choice and leaf.path in best.values:
            found += strength(sweep, leaf)
    return found


def _epochs(sweep: Sweep) -> Finding | None:
    """Find whether the best trials were still improving when their epochs ran out."""
    late = [t for t in sweep.ranked[:TOP] if t.outcome == "completed" and t["best_epoch"] >= 0.95 * t.epochs > 0]
    if sweep.counts_folds or not late or sweep.ranked[0] not in late:
        return None
    return Finding(
        "The best trial was still improving when its epochs ran out.",
        f"{late[0].name} was best at epoch {late[0]['best_epoch']:.0f} of {late[0].epochs}; "
        f"so were {len(late)} of the best {min(TOP, len(sweep.ranked))}.",
        f"Train longer: training.num_epochs={2 * late[0].epochs}",
    )


def _divergence(sweep: Sweep) -> Finding | None:
    """Find whether much of the search space diverges."""
    diverged = [trial for trial in sweep.trials if trial.outcome == "diverged"]
    if len(diverged) < 0.1 * len(sweep.trials):
        return None
    return Finding(
        f"{len(diverged)} of {len(sweep.trials)} trials diverged: their cost became infinite or NaN.",
        f"The first: {', '.join(trial.name for trial in diverged[:3])}.",
        "Lower training.learning_rate, or the upper end of the init scale.",
    )


def _dip(sweep: Sweep) -> Finding | None:
    """Find whether the best trial's dev cost is one lucky epoch of a noisy curve."""
    best = sweep.ranked[0]
    record = sweep.records[best.name]
    if record.fit_curves:  # the mean over fits has no epoch that was kept
        return None
    costs, epoch = record.curves["dev_cost"], int(best["best_epoch"])
    around = costs[max(0, epoch - AROUND) : epoch + AROUND + 1]
    usual = float(np.median(around[np.isfinite(around)]))
    lowest = best["best_dev_cost"]
    if lowest > LUCKY * usual:
        return None
    return Finding(
        "The best dev cost owes much to the epoch: the curve is restless, and early stopping kept its deepest dip.",
        f"{best.name} has {lowest:.3g} at epoch {epoch}, but {usual:.3g} is the median within {AROUND} epochs of it.",
        f"training.decay=cosine or a lower training.learning_rate, and in any case make confirm STUDY={sweep.name}",
    )


def _resolution(sweep: Sweep) -> Finding | None:
    """Find whether the best trials are distinguishable on a dev part of this size."""
    m, best = _dev_size(sweep), sweep.ranked[0]
    rivals = sweep.ranked[1:TOP]
    p = best["best_dev_error"]
    if not m or not rivals or not 0 <= p <= 1:
        return None
    error = math.sqrt(max(p * (1 - p), 1 / m) / m)
    close = [trial for trial in rivals if abs(trial["best_dev_error"] - p) <= error]
    if not close:
        return None
    return Finding(
        f"{len(close) + 1} of the best {len(rivals) + 1} cannot be told apart by dev error.",
        f"With {m:,} dev examples its standard error is {points(error)}, and they lie within that of {best.name}; "
        "the best of many trials is also partly the luckiest.",
        f"make confirm STUDY={sweep.name}",
    )


def _dev_size(sweep: Sweep) -> int:
    examples = sweep.data.get("examples")
    size = examples.get("dev", 0) if isinstance(examples, dict) else 0
    return size if isinstance(size, int) else 0
