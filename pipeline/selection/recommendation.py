"""The conclusion of a sweep: recommended values, ranges that do as well, what to expect, the effect of each part."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.config.text import joined
from pipeline.config.validation import read_as
from pipeline.search.space import Leaf
from pipeline.selection import parts, surrogate
from pipeline.selection.blocks import Block
from pipeline.selection.race import Entry, Outcome, process_of
from pipeline.selection.statistics import Gain, Mean, gain_interval, mean_interval, standard_error
from pipeline.tracking.archive import CONCLUSION

EDGE = 0.02
"""A range that ends within this share of the searched range's end counts as reaching it."""

SHOWN = 5


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; None for infinite or unknown values."""

    mean: float | None
    low: float | None
    high: float | None
    repeats: int

    @classmethod
    def of(cls, mean: Mean | Gain, *, least: float = -math.inf) -> "Estimate":
        """Make an estimate from a mean; the interval is cut at `least`, such as 0 for a cost."""
        low = max(mean.low, least) if math.isfinite(mean.low) else None
        return cls(_finite(mean.mean), low, _finite(mean.high), mean.n)


@dataclass(frozen=True)
class Range:
    """The recommended value of one leaf, and the values predicted to do as well, the others fixed.

    Attributes
    ----------
    low, high : the ends of the values that do as well; None for a choice.
    choices : the choices that do as well; empty for a range.
    searched : the two ends of the searched range; empty for a choice.
    at_low, at_high : whether the range that does as well reaches the end of the searched range.
    share : the share of the searched range that does as well, on its own scale (linear or logarithmic).
    """

    path: str
    value: Any
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    searched: tuple[float, ...] = ()
    at_low: bool = False
    at_high: bool = False
    share: float = 0.0


@dataclass(frozen=True)
class Compared:
    """A configuration compared with the recommended one.

    Attributes
    ----------
    mean : for the recommended, what is expected of it; for others that plus `behind`, so that all means are of the same
        repeats.
    error : the standard error of the recommended's mean; None for others.
    repeats : those behind `mean` or `behind`.
    behind, behind_error : the mean paired difference from the recommended, over the repeats both have, with its
        standard error.
    gain : the fraction by which `mean` is lower than the baseline.
    """

    name: str
    values: dict[str, Any]
    mean: float | None
    error: float | None
    repeats: int
    behind: float | None
    behind_error: float | None
    gain: float | None


@dataclass(frozen=True)
class Effect:
    """What a part does, with its standard error."""

    mean: float
    error: float | None


@dataclass(frozen=True)
class Recommendation:
    """The one conclusion of a sweep, as plain values.

    Attributes
    ----------
    measure : dev_cost or another objective.
    name : the trial, or the parts of the proposal, that is recommended.
    values : its searched values by dotted path.
    expected, baseline : the measure to expect, with and without regularisation, from repeats that no choice used.
    gain : the fraction by which `expected` is lower than `baseline`.
    ranges : the values that do as well, by leaf.
    alone : by part, the fraction by which it lowers the baseline by itself, over the repeats both have.
    without : by part, how much the measure is higher than the recommended's without it, over the repeats both have.
    simplest : the configuration with the fewest parts that does as well as the best.
    best : the configuration with the lowest mean.
    compared : those that raced, the best first.
    run : the run that has repeat 0 of the recommended.
    luckiest : the trial with the lowest mean over its own first repeats.
    trials, trial_repeats : how many trials were compared, and the repeats of each.
    fresh : the numbers of the repeats behind `expected`.
    """

    measure: str
    name: str
    values: dict[str, Any]
    expected: Estimate
    baseline: Estimate | None
    gain: Estimate | None
    ranges: tuple[Range, ...]
    alone: dict[str, Effect]
    without: dict[str, Effect]
    simplest: Compared
    best: Compared
    compared: tuple[Compared, ...]
    luckiest: str
    trials: int
    trial_repeats: int
    fresh: tuple[int, ...] = ()
    run: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `conclusion.json` has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Recommendation":
        """Make the recommendation from the plain values of `as_dict`.

        Raises
        ------
        RecordError
            A value is missing or of another kind.
        """
        return read_as(cls, plain, file=CONCLUSION, what="a sweep's conclusion")

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the sweep's run, without unknown ones."""
        found: dict[str, float | None] = {}
        for name, estimate in ((f"recommended_{self.measure}", self.expected), ("gain", self.gain)):
            if estimate is not None:
                found |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        if self.baseline is not None:
            found[f"baseline_{self.measure}"] = self.baseline.mean
        return {name: value for name, value in found.items() if value is not None}


def recommend(outcome: Outcome, leaves: Sequence[Leaf], measure: str, *, trial_repeats: int) -> Recommendation:
    """Draw the conclusion from a finished race."""
    chosen, known = outcome.recommended, outcome.known
    own = [known[chosen.key][repeat] for repeat in outcome.fresh]
    base = [known[outcome.baseline.key][repeat] for repeat in outcome.fresh] if outcome.baseline else None
    trials = [entry for entry in outcome.entries if entry.parts is None]
    first = range(trial_repeats)
    luckiest = min(trials, key=lambda entry: math.fsum(known[entry.key][repeat] for repeat in first))
    alone, without = _parts(outcome)
    return Recommendation(
        measure=measure,
        name=chosen.name,
        values=dict(chosen.values),
        expected=Estimate.of(mean_interval(own), least=0.0),
        baseline=None if base is None else Estimate.of(mean_interval(base), least=0.0),
        gain=None if base is None else Estimate.of(gain_interval(base, own)),
        ranges=_ranges(outcome, leaves),
        alone=alone,
        without=without,
        simplest=_compare(outcome, outcome.simplest),
        best=_compare(outcome, outcome.best),
        compared=_compared(outcome),
        luckiest=luckiest.name,
        trials=len(trials),
        trial_repeats=trial_repeats,
        fresh=outcome.fresh,
    )


def run_of(entry: Entry, first: Sequence[Block]) -> str:
    """The run of the study that has an entry's repeat 0: the trial's, or the one of its first repeats.

    A trial that was taken over is named with its study, and has no run in this one until it is trained here.
    """
    return entry.name if entry.parts is None and "/" not in entry.name else first[0].name


def _compared(outcome: Outcome) -> tuple[Compared, ...]:
    """Return the recommended first, then the others by number of repeats, the least behind first."""
    known = outcome.known
    others = [entry for entry in outcome.entries if entry is not outcome.recommended]
    others.sort(key=lambda entry: (-len(known[entry.key]), _mean(_differences(outcome, entry))))
    return tuple(_compare(outcome, entry) for entry in [outcome.recommended, *others][:SHOWN])


def _compare(outcome: Outcome, entry: Entry) -> Compared:
    """Compare one configuration with the recommended, at the level of the fresh repeats."""
    known = outcome.known
    own = [known[outcome.recommended.key][repeat] for repeat in outcome.fresh]
    mean, error, repeats, behind, behind_error = _mean(own), _error(own), len(own), None, None
    if entry is not outcome.recommended:
        difference = _differences(outcome, entry)
        behind, behind_error, error, repeats = _finite(_mean(difference)), _error(difference), None, len(difference)
        mean += math.inf if behind is None else behind
    base = _mean([known[outcome.baseline.key][repeat] for repeat in outcome.fresh]) if outcome.baseline else math.nan
    gain = 1 - mean / base if 0 < base < math.inf else math.nan
    return Compared(entry.name, dict(entry.values), _finite(mean), error, repeats, behind, behind_error, _finite(gain))


def _differences(outcome: Outcome, entry: Entry) -> list[float]:
    """Return by how much an entry's measure is higher than the recommended's, for each repeat that both have."""
    own, chosen = outcome.known[entry.key], outcome.known[outcome.recommended.key]
    return [own[r] - chosen[r] for r in sorted(own.keys() & chosen.keys()) if math.isfinite(chosen[r])]


def _parts(outcome: Outcome) -> tuple[dict[str, Effect], dict[str, Effect]]:
    """Return the effect of each part alone, and of leaving it out; each with the values proposed for those parts."""
    proposals = {entry.parts: entry for entry in outcome.proposals if entry.parts}
    names = list(dict.fromkeys(part for kept in proposals for part in kept))
    alone = {part: _lowered(outcome, proposals[part,]) for part in names if (part,) in proposals}
    others = {part: tuple(each for each in names if each != part) for part in names}
    without = {part: _raised(outcome, proposals[kept]) for part, kept in others.items() if kept in proposals}
    return _known(alone), _known(without)


def _lowered(outcome: Outcome, entry: Entry) -> Effect | None:
    """Return the fraction by which an entry is lower than the baseline; its error is that of v - R b over mean(b)."""
    if outcome.baseline is None:
        return None
    own, base = outcome.known[entry.key], outcome.known[outcome.baseline.key]
    both = sorted(own.keys() & base.keys())
    values, bases = [own[r] for r in both], [base[r] for r in both]
    gain = gain_interval(bases, values).mean if both else math.nan
    if not math.isfinite(gain):
        return None
    error = _error([v - (1 - gain) * b for v, b in zip(values, bases, strict=True)])
    return Effect(gain, None if error is None else error / _mean(bases))


def _raised(outcome: Outcome, entry: Entry) -> Effect | None:
    """Return by how much an entry is higher than the recommended."""
    difference = _differences(outcome, entry)
    mean = _mean(difference)
    return Effect(mean, _error(difference)) if math.isfinite(mean) else None


def _known(effects: Mapping[str, Effect | None]) -> dict[str, Effect]:
    return {part: effect for part, effect in effects.items() if effect is not None}


def _ranges(outcome: Outcome, leaves: Sequence[Leaf]) -> tuple[Range, ...]:
    values = outcome.recommended.values
    searched = [leaf for leaf in leaves if leaf.path in values]
    process = process_of(leaves, [*outcome.entries, *outcome.probes], outcome.known) if searched else None
    if process is None:
        return tuple(Range(leaf.path, values[leaf.path]) for leaf in searched)
    return tuple(_range(process, leaf, values) for leaf in searched)


def _range(process: surrogate.Fitted, leaf: Leaf, values: Mapping[str, Any]) -> Range:
    well = surrogate.does_as_well(process, leaf, values)
    if leaf.is_choice:
        return Range(leaf.path, values[leaf.path], choices=tuple(well))
    low, high = well
    at = [surrogate.place(leaf, end) for end in well]
    return Range(
        leaf.path,
        values[leaf.path],
        low,
        high,
        searched=(float(leaf.range.low), float(leaf.range.high)),
        at_low=at[0] <= EDGE,
        at_high=at[1] >= 1 - EDGE,
        share=at[1] - at[0],
    )


def uses(values: Mapping[str, Any]) -> str:
    """Return the parts of a configuration in words: "λ and dropout", or "no regularisation"."""
    return joined(parts.ingredients(values)) or "no regularisation"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.inf


def _error(values: Sequence[float]) -> float | None:
    return _finite(float(standard_error(values))) if len(values) > 1 and all(map(math.isfinite, values)) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
