"""The conclusion of a sweep in words: the terminal, the run's description and the report print these and no others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config.text import joined
from pipeline.reporting.results import label
from pipeline.selection.parts import NEUTRAL, base_path, ingredients, part_of
from pipeline.selection.recommendation import Compared, Effect, Estimate, Range, Recommendation, uses

NO_DIFFERENCE = 0.5
"""A neutral value makes no difference if so much of its range does as well."""


def sentences(found: Recommendation, *, one_division: bool = False) -> list[str]:
    """Return sentences on the values to use, what to expect, the effect of each part, and a simpler choice.

    Parameters
    ----------
    one_division : whether the repeats differ in their seeds only.
    """
    said = [_use(found), _expect(found), _parts(found), _simplest(found), _repeated(found, one_division)]
    return [sentence for sentence in said if sentence]


def _use(found: Recommendation) -> str:
    """Use λ = 2.5 (0.9 to 6 do as well) and keep_prob = 0.85; init scale makes no difference between 0.2 and 1.5."""
    indifferent = [each for each in found.ranges if makes_no_difference(each)]
    needed = [each for each in found.ranges if each not in indifferent and not _is_neutral(each.path, each.value)]
    left_out = [each for each in found.ranges if each not in indifferent and each not in needed]
    if _costs(found):
        tried = joined([f"{label(each.path)} = {number(each.value)}" for each in found.ranges])
        return f"Use no regularisation: the best configuration that was tried, with {tried}, does worse."
    used = [f"{label(each.path)} = {number(each.value)}{_as_well(each)}" for each in needed]
    clauses = [f"Use {joined(used)}" if used else "Use no regularisation"]
    clauses += [f"leave {label(each.path)} at {number(each.value)}{_as_well(each)}" for each in left_out]
    clauses += [f"{label(each.path)} makes no difference {_between(each)}" for each in indifferent]
    return "; ".join(clauses) + "."


def _costs(found: Recommendation) -> bool:
    """Return whether the recommended values are clearly worse than no regularisation: the gain is negative."""
    return found.gain is not None and found.gain.high is not None and found.gain.high < 0


def makes_no_difference(each: Range) -> bool:
    """Return whether the neutral value does as well as the recommended one, and most of the range too."""
    part = part_of(each.path)
    if part is None or each.low is None or each.high is None or each.share < NO_DIFFERENCE:
        return False
    neutral = NEUTRAL[part][base_path(each.path)]
    return each.low <= neutral <= each.high or (neutral <= each.low and each.at_low)


def _as_well(each: Range) -> str:
    if each.choices:
        others = [str(choice) for choice in each.choices if choice != each.value]
        return f" ({joined(others)} {'does' if len(others) == 1 else 'do'} as well)" if others else ""
    if each.low is None or each.high is None or number(each.low) == number(each.high):
        return ""
    return f" ({number(each.low)} to {number(each.high)} do as well)"


def _between(each: Range) -> str:
    assert each.low is not None
    assert each.high is not None
    return f"between {number(each.low)} and {number(each.high)}"


def _expect(found: Recommendation) -> str:
    """Expect dev cost 0.068 (0.064 to 0.072), against 0.163 (0.145 to 0.181) without regularisation: 58 % lower."""
    if found.expected.mean is None:
        return f"{found.name} diverged on a further repeat, so nothing can be promised of it."
    of_it = "From it expect" if _costs(found) else "Expect"
    sentence = f"{of_it} {words(found.measure)} {_estimate(found.expected, found.measure)}"
    if found.baseline is None or found.baseline.mean is None:
        return f"{sentence}."
    sentence += f", against {_estimate(found.baseline, found.measure)} without regularisation"
    return sentence + (f": {_gain(found.gain)}." if found.gain is not None and found.gain.mean is not None else ".")


def _gain(gain: Estimate) -> str:
    """58 % lower (52 % to 64 %); or that the interval contains 0."""
    assert gain.mean is not None
    said = f"{_share(abs(gain.mean))} {'lower' if gain.mean >= 0 else 'higher'}"
    if gain.low is None or gain.high is None:
        return said
    if gain.low <= 0 <= gain.high:
        ends = [f"{_share(abs(end))} {'higher' if end < 0 else 'lower'}" for end in (gain.low, gain.high)]
        return f"{said}, but the interval ({ends[0]} to {ends[1]}) leaves open whether it helps"
    ends = [_share(end) for end in sorted(abs(end) for end in (gain.low, gain.high))]
    return f"{said} ({ends[0]} to {ends[1]})"


def _parts(found: Recommendation) -> str:
    """By part: λ alone 51.0 ± 4.3 % lower and …. Beside the recommended: without λ 0.048 ± 0.007 more and …."""
    if not found.alone:
        return ""
    lowered = {f"{part} alone": (effect, _lowered(effect)) for part, effect in found.alone.items()}
    raised = {f"without {part}": (effect, _raised(effect, found.measure)) for part, effect in found.without.items()}
    alone = f"By part (± one standard error), each choice tuned for itself: {_effects(lowered, 'from ')}."
    pairs = len(found.alone) == 2  # each alone is the other left out
    return alone if pairs or not raised else f"{alone} Beside the recommended: {_effects(raised)}."


def _effects(shown: Mapping[str, tuple[Effect, str]], preposition: str = "") -> str:
    """λ alone 51.0 ± 4.3 % lower; no clear difference from dropout alone (4 ± 19 % lower) or init scale alone (…)."""
    clear = [f"{name} {text}" for name, (effect, text) in shown.items() if _is_clear(effect)]
    unclear = [f"{name} ({text})" for name, (effect, text) in shown.items() if not _is_clear(effect)]
    groups = [joined(clear), f"no clear difference {preposition}{joined(unclear, 'or')}" if unclear else ""]
    return "; ".join(group for group in groups if group)


def _is_clear(effect: Effect) -> bool:
    """Return whether an effect is further from zero than its standard error, if that is known."""
    return abs(effect.mean) > (effect.error or 0.0)


def _lowered(effect: Effect) -> str:
    """51.0 ± 4.3 % lower."""
    error = 100 * effect.error if effect.error else None
    mean = 100 * effect.mean if error else float(f"{100 * effect.mean:.2g}")
    return _directed(mean, error, " %", "lower", "higher")


def _raised(effect: Effect, measure: str) -> str:
    """0.0310 ± 0.0060 more; of errors 1.2 ± 0.4 points more."""
    scale, unit = (100.0, " points") if measure.endswith("error") else (1.0, "")
    error = None if effect.error is None else scale * effect.error
    return _directed(scale * effect.mean, error, unit, "more", "less")


def _directed(mean: float, error: float | None, unit: str, positive: str, negative: str) -> str:
    """51.0 ± 4.3 % lower; 0 ± 14 % has no direction."""
    shown = float(_as_exact(mean, error))
    direction = f" {positive}" if shown > 0 else f" {negative}" if shown < 0 else ""
    return f"{plus_minus(abs(mean), error)}{unit}{direction}"


def _share(share: float) -> str:
    """A share in per cent: 35 %."""
    return f"{round(100 * share)} %"


def _simplest(found: Recommendation) -> str:
    """Name the configuration with fewer parts that does as well, or say that it is the recommended one."""
    simplest, best = found.simplest, found.best
    if ingredients(simplest.values) == ingredients(best.values):
        return ""
    if found.values == simplest.values:
        return f"It is the simplest that does as well as the best, {best.name}: {_values(best)}."
    return f"Simpler, and within one standard error of it: {_values(simplest)}, with {uses(simplest.values)} alone."


def _values(compared: Compared) -> str:
    """The values that are not neutral: λ = 2.5 and keep_prob = 0.85."""
    shown = {path: value for path, value in compared.values.items() if not _is_neutral(path, value)}
    return joined([f"{label(path)} = {number(value)}" for path, value in shown.items()]) or "everything neutral"


def _is_neutral(path: str, value: Any) -> bool:
    part = part_of(path)
    return part is not None and value == NEUTRAL[part][base_path(path)]


def _repeated(found: Recommendation, one_division: bool) -> str:
    count = found.expected.repeats
    what = "seeds (one division of the data)" if one_division else "divisions of the data, each with its own seed"
    return (
        f"What to expect is from {count} {what} that had no part in the choice; {found.trials} trials were compared on "
        f"{found.trial_repeats} repeats each, the leaders on more. Intervals are 95 %."
    )


def table(found: Recommendation) -> tuple[list[str], list[list[str]]]:
    """Return column names and rows of text: the recommended and those that raced with it, with standard errors."""
    paths = list(found.compared[0].values)
    names = ["", words(found.measure), "repeats", "behind it", "gain", *(label(path) for path in paths)]
    return names, [_row(each, paths) for each in found.compared]


def _row(each: Compared, paths: Sequence[str]) -> list[str]:
    behind = "" if each.behind is None else plus_minus(each.behind, each.behind_error)
    mean = plus_minus(each.mean, each.error) if each.behind is None else _as_exact(each.mean, each.behind_error)
    gain = "" if each.gain is None else _share(each.gain)
    shown = [number(each.values[path]) if path in each.values else "" for path in paths]
    return [each.name, mean, str(each.repeats), behind, gain, *shown]


def plus_minus(mean: float | None, error: float | None) -> str:
    """Return a mean with its standard error, in as many digits as the error justifies: 0.0683 ± 0.0021."""
    shown = _as_exact(mean, error)
    return f"{shown} ± {_as_exact(error, error)}" if mean is not None and error else shown


def _as_exact(value: float | None, error: float | None) -> str:
    """Return a value with as many digits as its error has when shown with two: 0.0683 for an error of 0.0021."""
    if value is None:
        return "–"
    if not error or not math.isfinite(error):
        return f"{value:.4g}"
    return f"{value:.{max(0, 1 - math.floor(math.log10(error)))}f}"


def _estimate(estimate: Estimate, measure: str) -> str:
    """0.068 (0.064 to 0.072); errors in per cent."""
    if estimate.mean is None:
        return "that is infinite"
    if measure.endswith("error"):
        shown = [None if x is None else f"{100 * x:.2f} %" for x in (estimate.mean, estimate.low, estimate.high)]
    else:
        width = (estimate.high - estimate.mean) if estimate.high is not None else estimate.mean
        decimals = min(6, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 4
        shown = [None if x is None else f"{x:.{decimals}f}" for x in (estimate.mean, estimate.low, estimate.high)]
    return f"{shown[0]}" if None in shown else f"{shown[0]} ({shown[1]} to {shown[2]})"


def number(value: Any) -> str:
    """A configuration value for people: two digits."""
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def words(measure: str) -> str:
    """The measure in words: dev cost."""
    return measure.replace("_", " ")
