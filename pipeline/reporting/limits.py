"""What limits the model family on this data, and what to try next: each claim argued from the sweep's trials.

Bias comes first and variance once bias is low (deeplearning.ai, course 2, week 1, "Basic recipe for machine learning").
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from pipeline.reporting.results import TOP, Sweep, label
from pipeline.search.space import Leaf
from pipeline.training.diagnosis import BIAS_REMEDIES, VARIANCE_REMEDIES, Diagnosis, diagnose, lowest_train_error

NEAR_EDGE = 0.05
"""A value within this share of its range from an end lies at the edge."""

AROUND, LUCKY = 5, 0.75
"""The best dev cost is a dip if it is below this share of the median within so many epochs."""

STRENGTHS = {
    "regularization.lambd": (+1, "L2"),
    "regularization.lambd_l1": (+1, "L1"),
    "regularization.keep_prob": (-1, "dropout"),
    "regularization.keep_prob_input": (-1, "dropout of inputs"),
}
"""Searched values that regularise: in which direction they do it more, and what it is called."""

MOSTLY = 0.9
"""A value of which so much of the range does as well makes no difference; a wider range would show the same."""

NO_LAMBD = 0.01
"""A λ up to this does what none does."""

NATURAL_ENDS = {"regularization.keep_prob": 1.0, "regularization.keep_prob_input": 1.0, "regularization.lambd": 0.0}
"""Ends beyond which there is nothing to search."""


@dataclass(frozen=True)
class Finding:
    """One thing the trials show.

    Attributes
    ----------
    claim : what holds, in a sentence.
    evidence : the trials that show it.
    advice : what to try; empty when nothing follows.
    """

    claim: str
    evidence: str
    advice: str = ""


Look = Callable[["Sweep"], "Finding | Sequence[Finding] | None"]
"""One question to the sweep, and what it shows on it."""


def find_limits(sweep: Sweep) -> list[Finding]:
    """Everything the trials show on what limits them, the main limit first; empty before the first trial has ended."""
    if not sweep.ranked:
        return []
    by_trials: tuple[Look, ...] = (_main_limit, _regularisation, _edges, _epochs, _divergence, _dip, _resolution)
    by_conclusion: tuple[Look, ...] = (_main_limit, _reached_ends, _epochs, _divergence)
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
    """Bias, variance or neither, by the best trial; for bias, whether the network or its regularisation is why."""
    d, best = diagnose_best(sweep), sweep.leader
    errors = f"{best.name} has train error {_percent(d.train_error)} and dev error {_percent(d.dev_error)}"
    optimal = f"the optimal error (data.optimal_error) is {_percent(d.optimal_error)}"
    if d.high_bias:
        return _bias(sweep, d, f"{errors}; {optimal}")
    if d.high_variance:
        return Finding(
            "Variance limits it: the training part is learnt, and what is learnt there does not all carry over.",
            f"{errors}, a gap of {_points(d.variance)}, above the threshold of {_points(d.threshold)}; {optimal}.",
            f"In this order: {', '.join(VARIANCE_REMEDIES)}.",
        )
    return Finding(
        f"Neither bias nor variance is high: both are below {_points(d.threshold)}.",
        f"{errors}; {optimal}.",
        "Look at the dev examples that are still wrong, or set diagnosis.threshold lower if these errors matter.",
    )


def _bias(sweep: Sweep, d: Diagnosis, errors: str) -> Finding:
    best = sweep.ranked[0]
    runs = [t for t in [*sweep.trials, sweep.baseline] if t is not None and math.isfinite(t["best_train_error"])]
    closest = min(runs, key=lambda trial: trial["best_train_error"])
    lowest = closest["best_train_error"]
    if lowest - d.optimal_error > d.threshold:
        return Finding(
            "Bias limits it: train error itself is the floor, and no trial gets below it.",
            f"{errors}; the lowest train error of all {len(runs)} runs is {_percent(lowest)} ({closest.name}).",
            f"In this order: {', '.join(BIAS_REMEDIES)}; less regularisation alone cannot help.",
        )
    if closest["best_dev_error"] < d.dev_error:
        return Finding(
            "Bias limits the best trial, not the network: another trial fits the training part, and errs less on dev.",
            f"{errors}; {closest.name} has train error {_percent(lowest)} and dev error "
            f"{_percent(closest['best_dev_error'])}, though a {_objective(sweep)} of {closest[sweep.metric]:.3g} "
            f"against {best[sweep.metric]:.3g}.",
            "Train longer, or search for study.objective=dev_error if errors are what counts.",
        )
    return Finding(
        "It trades bias for variance: the network could learn the training part, but does best on dev when held back.",
        f"{errors}; {closest.name} reaches train error {_percent(lowest)}, but dev error "
        f"{_percent(closest['best_dev_error'])}.",
        "More data or another architecture (augmentation, for images); regularisation alone has reached its optimum.",
    )


def _regularisation(sweep: Sweep) -> list[Finding]:
    """Whether regularisation helped, and for each searched strength whether more of it still would."""
    found, best, baseline = [], sweep.ranked[0], sweep.baseline
    if baseline is not None and baseline[sweep.metric] > 0:
        before, after = baseline[sweep.metric], best[sweep.metric]
        change = (before - after) / before
        gap = "the gap dev − train cost goes from {:.3g} to {:.3g}".format(
            *(run["best_dev_cost"] - run["best_train_cost"] for run in (baseline, best))
        )
        verb = (
            f"lowers the {_objective(sweep)} by {change:.0%}"
            if change > 0
            else f"does not lower the {_objective(sweep)}"
        )
        evidence = f"{before:.3g} without it, {after:.3g} in {best.name}; {gap}."
        found.append(Finding(f"The best configuration found {verb} against no regularisation.", evidence))
    for leaf in sweep.space.leaves:
        if not isinstance(leaf.distribution, CategoricalDistribution) and leaf.path in best.values:
            found += _strength(sweep, leaf)
    return found


def _strength(sweep: Sweep, leaf: Leaf) -> list[Finding]:
    """Does more of it still help? The best objective among trials with more, and with less, than the best trial has."""
    name, best = label(leaf.path), sweep.ranked[0]
    sign, what = _strength_of(leaf)
    value = best.values[leaf.path]
    others = [trial for trial in sweep.ranked[1:] if leaf.path in trial.values]
    stronger = [trial for trial in others if sign * (trial.values[leaf.path] - value) > 0]
    weaker = [trial for trial in others if sign * (trial.values[leaf.path] - value) < 0]
    if not sign or len(stronger) < 2 or _at_edge(leaf, value) == sign:
        return []  # nothing to say, or the edge of the range says it
    pruned = [
        trial
        for trial in sweep.trials
        if trial.outcome == "pruned" and leaf.path in trial.values and sign * (trial.values[leaf.path] - value) > 0
    ]
    if len(pruned) > len(stronger):
        return []  # most of those with more of it were not trained to their end
    word = "Larger" if sign > 0 else "Smaller"
    unfinished = f", {len(pruned)} more were pruned" if pruned else ""
    sides = [f"{len(stronger)} trials have more, at best {stronger[0][sweep.metric]:.3g}{unfinished}"]
    sides += [f"{len(weaker)} have less, at best {weaker[0][sweep.metric]:.3g}"] if weaker else []
    claim = f"More {what} no longer helps: the best is inside its range, at {name} = {value:.3g}."
    return [Finding(claim, f"{word} {name} is more: {'; '.join(sides)}; the best itself {best[sweep.metric]:.3g}.")]


def _edges(sweep: Sweep) -> list[Finding]:
    """Searched ranges at whose edge the best trial lies."""
    found, best = [], sweep.ranked[0]
    for leaf in sweep.leaves(best):
        if isinstance(leaf.distribution, CategoricalDistribution):
            continue
        side = _at_edge(leaf, best.values[leaf.path])
        if not side:
            continue
        distribution: Any = leaf.distribution
        end = distribution.high if side > 0 else distribution.low
        name, value = label(leaf.path), best.values[leaf.path]
        if any(_is_at(leaf.path, path) and end == natural for path, natural in NATURAL_ENDS.items()):
            found.append(
                Finding(f"{name} is not needed here.", f"The best trial has {name} = {value:.3g}, nearly {end:g}.")
            )
        else:
            word, key = ("upper", "high") if side > 0 else ("lower", "low")
            found.append(
                Finding(
                    f"{_hope(leaf, side)}: the best trial lies at the {word} edge of {name}.",
                    f"{name} = {value:.3g} in {best.name}; the range is {_range(leaf)}.",
                    _widen(sweep, leaf.path, key),
                )
            )
    return found


def _reached_ends(sweep: Sweep) -> list[Finding]:
    """Ends of searched ranges that do as well as what is recommended, so that beyond them it may be better still."""
    found = []
    assert sweep.conclusion is not None
    leaves = {leaf.path: leaf for leaf in sweep.space.leaves}
    for each in sweep.conclusion.ranges:
        for reached, end, key in zip((each.at_low, each.at_high), each.searched, ("low", "high"), strict=False):
            if not reached or _is_natural(each.path, end) or each.share > MOSTLY:
                continue
            side = "upper" if key == "high" else "lower"
            found.append(
                Finding(
                    f"{_hope(leaves[each.path], 1 if key == 'high' else -1)}: {label(each.path)} does as well up to "
                    f"the {side} end of its range.",
                    f"{each.low:.2g} to {each.high:.2g} do as well as {each.value:.3g}; the range is "
                    f"{_range(leaves[each.path])}.",
                    _widen(sweep, each.path, key),
                )
            )
    return found


def _widen(sweep: Sweep, path: str, key: str) -> str:
    """Advice to move an end of a range, in a study that need not train the trials of this one again."""
    study = sweep.parent.study
    return f"Widen it: search.space.{path}.{key}=… study.from={study} (which trains none of its trials again)"


def _is_natural(path: str, end: float) -> bool:
    """Whether there is nothing to search beyond this end: no dropout, or λ so small that it is none."""
    nothing = _is_at(path, "regularization.lambd") or _is_at(path, "regularization.lambd_l1")
    return (nothing and end <= NO_LAMBD) or any(_is_at(path, known) and end == at for known, at in NATURAL_ENDS.items())


def _strength_of(leaf: Leaf) -> tuple[int, str]:
    """In which direction a searched value regularises more, and what it is called; 0 when it does not."""
    return next((known for path, known in STRENGTHS.items() if _is_at(leaf.path, path)), (0, ""))


def _hope(leaf: Leaf, side: int) -> str:
    """What may still help when the best value lies at the edge on this side."""
    sign, what = _strength_of(leaf)
    if not sign:
        return "The optimum may be beyond the range"
    return f"{'More' if side == sign else 'Less'} {what} may still help"


def _epochs(sweep: Sweep) -> Finding | None:
    """Whether the best trials were still improving when their epochs ran out."""
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
    """Whether much of the search space cannot be trained at all."""
    diverged = [trial for trial in sweep.trials if trial.outcome == "diverged"]
    if len(diverged) < 0.1 * len(sweep.trials):
        return None
    return Finding(
        f"{len(diverged)} of {len(sweep.trials)} trials diverged: their cost became infinite or NaN.",
        f"The first: {', '.join(trial.name for trial in diverged[:3])}.",
        "Lower training.learning_rate, or the upper end of the init scale.",
    )


def _dip(sweep: Sweep) -> Finding | None:
    """Whether the best trial's dev cost is one lucky epoch of a restless curve."""
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
    """Whether the best trials can be told apart at all on a dev part of this size."""
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
        f"With {m:,} dev examples its standard error is {_points(error)}, and they lie within that of {best.name}; "
        "the best of many trials is also partly the luckiest.",
        f"make confirm STUDY={sweep.name}",
    )


def _dev_size(sweep: Sweep) -> int:
    examples = sweep.data.get("examples")
    size = examples.get("dev", 0) if isinstance(examples, dict) else 0
    return size if isinstance(size, int) else 0


def _at_edge(leaf: Leaf, value: Any) -> int:
    """+1 at the upper end of the leaf's range, −1 at the lower, 0 inside."""
    d: Any = leaf.distribution
    if d.high <= d.low:
        return 0
    low, high, at = (math.log(number) if d.log else float(number) for number in (d.low, d.high, value))
    place = (at - low) / (high - low)
    return 1 if place > 1 - NEAR_EDGE else -1 if place < NEAR_EDGE else 0


def _is_at(path: str, known: str) -> bool:
    """Whether a searched path is `known`, or one layer's value of it."""
    return path == known or (path.startswith(f"{known}.") and path.rsplit(".", 1)[1].isdigit())


def _range(leaf: Leaf) -> str:
    d: Any = leaf.distribution
    return f"{d.low:g} to {d.high:g}" + (", log" if d.log else "")


def _objective(sweep: Sweep) -> str:
    return sweep.objectives[0].replace("_", " ")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2g} points"
