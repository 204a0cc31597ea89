"""The objective as a function of each searched value: the process through all means, the others held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.reporting.results import Sweep
from pipeline.search.space import Leaf
from pipeline.selection import race, surrogate
from pipeline.training.means import MEASURES

Vector = NDArray[np.float64]

WIDTH = 1.96
"""Half the width of a 95 % band in standard deviations of the process."""

POINTS = 61


@dataclass(frozen=True)
class Curve:
    """What is predicted along one searched value, the others held: (n,) each.

    Attributes
    ----------
    values : places along the range, or the choices.
    low, high : a 95 % band for the mean over all repeats.
    well : whether the value is among those that do as well.
    """

    values: Sequence[Any]
    mean: Vector
    low: Vector
    high: Vector
    well: NDArray[np.bool_]


@dataclass(frozen=True)
class Response:
    """The process, the configuration through which curves are drawn, and the means that it was fitted to.

    Attributes
    ----------
    held : the recommended values; without a recommendation the best trial's.
    means, errors : of each configuration as if each had been trained on the same repeats, with standard errors.
    level : the factor that brings predictions to the repeats that the conclusion's expectation is from.
    footing : how much higher `means` are than those over the trials' own repeats, as a factor.
    """

    sweep: Sweep
    process: surrogate.Fitted
    held: Mapping[str, Any]
    configurations: Sequence[Mapping[str, Any]]
    means: Vector
    errors: Vector
    level: float
    footing: float

    def along(self, leaf: Leaf) -> Curve | None:
        """Return the curve along one searched value; None if the held configuration lacks that value."""
        if leaf.path not in self.held:
            return None
        values = _places(leaf)
        points = surrogate.encode(self.process.leaves, [{**self.held, leaf.path: value} for value in values])
        mean, sd = self.process.process.predict(points, return_std=True)
        well = self._does_as_well(leaf)
        if leaf.is_choice:
            as_well = np.array([value in well for value in values])
        else:
            as_well = np.array([well[0] <= value <= well[1] for value in values])
        middle, low, high = (self.level * np.exp(mean + width * sd) for width in (0.0, -WIDTH, WIDTH))
        return Curve(values, middle, low, high, as_well)

    def range_of(self, leaf: Leaf) -> tuple[float, float] | None:
        """Return the two ends of what does as well; None for a choice."""
        if leaf.path not in self.held or leaf.is_choice:
            return None
        low, high = self._does_as_well(leaf)
        return low, high

    def _does_as_well(self, leaf: Leaf) -> list[Any]:
        """Return what does as well by the sweep's conclusion, so that picture and sentences agree."""
        for each in self.sweep.conclusion.ranges if self.sweep.conclusion else ():
            if each.path == leaf.path and each.low is not None and each.high is not None:
                return [each.low, each.high]
            if each.path == leaf.path and each.choices:
                return list(each.choices)
        return surrogate.does_as_well(self.process, leaf, self.held)


def response(sweep: Sweep) -> Response | None:
    """Fit the process through everything that was trained to its end; return None if that is too little.

    It is the one that the sweep drew its conclusion from.
    """
    measure = sweep.objectives[0]
    if measure not in MEASURES or not sweep.ranked:
        return None
    known: dict[str, dict[int, float]] = {}
    entries: dict[str, race.Entry] = {}
    for run in sweep.measured:
        entry = race.Entry(run.name, run.values)
        entries.setdefault(entry.key, entry)
        known.setdefault(entry.key, {}).update(run.by_repeat)
    entries.pop(race.BASELINE, None)
    process = race.process_of(sweep.space.leaves, list(entries.values()), known)
    if process is None:
        return None
    means, relative = surrogate.adjusted_means([known[key] for key in entries])
    held = sweep.leader.values if sweep.conclusion is None else sweep.conclusion.values
    level = _level(sweep, float(np.exp(process.expected([held])[0])))
    own = {race.Entry(trial.name, trial.values).key: trial[sweep.metric] for trial in sweep.ranked}
    of = dict(zip(entries, level * means, strict=True))
    footing = sum(of[key] for key in own) / (sum(own.values()) or 1.0)
    configurations = [entry.values for entry in entries.values()]
    return Response(sweep, process, held, configurations, level * means, level * means * relative, level, footing)


def _level(sweep: Sweep, predicted: float) -> float:
    """Return the factor from the process to the repeats behind the conclusion's expectation, so that both agree."""
    if sweep.conclusion is None or sweep.conclusion.measure != sweep.objectives[0]:
        return 1.0
    return (sweep.conclusion.expected.mean or predicted) / predicted


def _places(leaf: Leaf) -> list[Any]:
    """Return values along a range, evenly on its own scale, or all choices."""
    if leaf.is_choice:
        return leaf.choices
    return [surrogate.value_at(leaf, u) for u in np.linspace(0, 1, POINTS)]
