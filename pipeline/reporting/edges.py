"""Findings on ranges: whether a wider one may be better, and which strengths no longer help."""

from typing import Any

from pipeline.reporting.findings import Finding
from pipeline.reporting.results import Sweep, label
from pipeline.reporting.sentences import makes_no_difference
from pipeline.search.space import Leaf
from pipeline.selection.parts import STRONGER, base_path
from pipeline.selection.surrogate import place

NEAR_EDGE = 0.05
"""A value within this share of its range from an end lies at the edge."""


STRENGTHS = {
    "regularization.lambd": "L2",
    "regularization.lambd_l1": "L1",
    "regularization.keep_prob": "dropout",
    "regularization.keep_prob_input": "dropout of inputs",
}
"""What regularises by a searched value."""


MOSTLY = 0.9
"""If this share of a range does as well, the value makes no difference, and a wider range is no use."""


NO_LAMBD = 0.01
"""A λ up to this has no effect."""


NATURAL_ENDS = {"regularization.keep_prob": 1.0, "regularization.keep_prob_input": 1.0, "regularization.lambd": 0.0}
"""Ends beyond which there is nothing to search."""


def strength(sweep: Sweep, leaf: Leaf) -> list[Finding]:
    """Find whether more of it still helps: compare the trials that have more, and less, of it than the best trial."""
    name, best = label(leaf.path), sweep.ranked[0]
    sign, what = _strength_of(leaf)
    value = best.values[leaf.path]
    others = [trial for trial in sweep.ranked[1:] if leaf.path in trial.values]
    stronger = [trial for trial in others if sign * (trial.values[leaf.path] - value) > 0]
    weaker = [trial for trial in others if sign * (trial.values[leaf.path] - value) < 0]
    if not sign or len(stronger) < 2 or _at_edge(leaf, value) == sign:
        return []  # no finding, or the finding on the edge covers it
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


def edges(sweep: Sweep) -> list[Finding]:
    """Find the searched ranges at whose edge the best trial lies."""
    found, best = [], sweep.ranked[0]
    for leaf in sweep.leaves(best):
        side = 0 if leaf.is_choice else _at_edge(leaf, best.values[leaf.path])
        if not side:
            continue
        end = leaf.range.high if side > 0 else leaf.range.low
        name, value = label(leaf.path), best.values[leaf.path]
        if end == NATURAL_ENDS.get(base_path(leaf.path)):
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


def reached_ends(sweep: Sweep) -> list[Finding]:
    """Return ends of searched ranges that do as well as the recommended value, beyond which may be better ones."""
    found = []
    assert sweep.conclusion is not None
    leaves = {leaf.path: leaf for leaf in sweep.space.leaves}
    for each in sweep.conclusion.ranges:
        for reached, end, key in zip((each.at_low, each.at_high), each.searched, ("low", "high"), strict=False):
            if not reached or _is_natural(each.path, end) or each.share > MOSTLY or makes_no_difference(each):
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
    """Return advice to move an end of a range in a new study, which reuses the trials of this one."""
    study = sweep.parent.study
    return f"Widen it: search.space.{path}.{key}=… study.from={study} (which trains none of its trials again)"


def _is_natural(path: str, end: float) -> bool:
    """Return whether nothing lies beyond this end: no dropout, or a λ without effect."""
    path = base_path(path)
    is_penalty = path in ("regularization.lambd", "regularization.lambd_l1")
    return (is_penalty and end <= NO_LAMBD) or end == NATURAL_ENDS.get(path)


def _strength_of(leaf: Leaf) -> tuple[int, str]:
    """Return in which direction a searched value regularises more, and its name; 0 if it does not regularise."""
    path = base_path(leaf.path)
    return STRONGER.get(path, 0), STRENGTHS.get(path, "")


def _hope(leaf: Leaf, side: int) -> str:
    """Return what may still help if the best value is at the edge on this side."""
    sign, what = _strength_of(leaf)
    if not sign:
        return "The optimum may be beyond the range"
    return f"{'More' if side == sign else 'Less'} {what} may still help"


def _at_edge(leaf: Leaf, value: Any) -> int:
    """Return +1 at the upper end of the leaf's range, −1 at the lower, 0 inside."""
    at = place(leaf, value)
    if at > 1 - NEAR_EDGE:
        return 1
    return -1 if at < NEAR_EDGE else 0


def _range(leaf: Leaf) -> str:
    d = leaf.range
    return f"{d.low:g} to {d.high:g}" + (", log" if d.log else "")
