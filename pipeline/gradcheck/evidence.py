"""The two sides of a gradient check: derivatives by backpropagation, and difference quotients of the cost.

A sample chooses the coordinates of θ to compare; the evidence has both derivatives there, and the verdict.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from pipeline.gradcheck.numerical import Floats, difference, relative_error
from pipeline.gradcheck.problem import Problem
from pipeline.gradcheck.report import threshold_verdict, worst_verdict
from pipeline.nn.parameters import Parameters

Integers = NDArray[np.intp]

LOST = "lost in rounding"


@dataclass(frozen=True)
class Sample:
    """The compared part of θ: coordinates in ascending order, and directions of length 1, (d, n)."""

    indices: Integers
    directions: Floats


def draw_sample(problem: Problem, max_coordinates: int, directions: int, *, rng: np.random.Generator) -> Sample:
    """Return all coordinates if they are few enough; otherwise a sample of every tensor, and random directions.

    Small tensors are taken whole, the large ones share the rest evenly: so biases, where a wrong sum would hide, are
    nearly always complete.
    """
    size = problem.parameters.theta.size
    if size <= max_coordinates:
        return Sample(np.arange(size), np.empty((0, size)))
    left, chosen = max_coordinates, []
    by_size = sorted(problem.parameters.slices.values(), key=lambda part: part.stop - part.start)
    for tensors_left, part in zip(range(len(by_size), 0, -1), by_size, strict=True):
        count = min(part.stop - part.start, max(1, left // tensors_left))
        chosen.append(part.start + rng.choice(part.stop - part.start, count, replace=False))
        left -= count
    vectors = rng.standard_normal((directions, size))
    return Sample(np.sort(np.concatenate(chosen)), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@dataclass(frozen=True)
class Evidence:
    """Derivatives by backpropagation and by one difference formula, at the coordinates of a sample.

    Attributes
    ----------
    analytic, numeric, kinks : (k,) one entry per coordinate of the sample
    analytic_directions, numeric_directions, direction_kinks : (d,) one entry per direction
    """

    problem: Problem
    sample: Sample
    method: str
    epsilon: float
    analytic: Floats
    numeric: Floats
    kinks: NDArray[np.bool_]
    analytic_directions: Floats
    numeric_directions: Floats
    direction_kinks: NDArray[np.bool_]

    @property
    def kink_share(self) -> float:
        """The share of the coordinates that are left out."""
        return float(self.kinks.mean()) if self.kinks.size else 0.0

    @cached_property
    def relative_error(self) -> float:
        """Of all coordinates compared."""
        return relative_error(self.numeric[~self.kinks], self.analytic[~self.kinks])

    @cached_property
    def directional_error(self) -> float | None:
        """Of the vector of directional derivatives; None without directions."""
        kept = ~self.direction_kinks
        return relative_error(self.numeric_directions[kept], self.analytic_directions[kept]) if kept.any() else None

    def span(self, name: str) -> slice:
        """The place in the sample of a tensor's coordinates."""
        part = self.problem.parameters.slices[name]
        start, end = np.searchsorted(self.sample.indices, (part.start, part.stop))
        return slice(int(start), int(end))

    def within(self, name: str) -> Integers:
        """The places in the sample of a tensor's coordinates, kinks left out."""
        span = self.span(name)
        places: Integers = np.flatnonzero(~self.kinks[span]) + span.start
        return places

    @cached_property
    def tensor_verdicts(self) -> dict[str, str]:
        """The verdict on every tensor alone: by threshold, "inconclusive" if all is at kinks, or LOST."""
        return {name: self._judge(self.within(name)) for name in self.problem.parameters.names}

    @cached_property
    def verdict(self) -> str:
        """The worst of: θ as a whole, each tensor, the directions.

        A tensor that is lost in rounding is ignored; if θ as a whole is lost, nothing was checked.
        """
        tensors = [verdict for verdict in self.tensor_verdicts.values() if verdict != LOST]
        verdicts = [self._judge(np.flatnonzero(~self.kinks)), *tensors]
        kept = ~self.direction_kinks
        if kept.any():
            analytic, numeric, v = (
                a[kept] for a in (self.analytic_directions, self.numeric_directions, self.sample.directions)
            )
            verdicts += [_judge(analytic, numeric, lambda: np.abs(v) @ self.problem.rounding_floor)]
        return worst_verdict(["inconclusive" if verdict == LOST else verdict for verdict in verdicts])

    def _judge(self, places: Integers) -> str:
        return _judge(self.analytic[places], self.numeric[places], partial(self._floor, places))

    def _floor(self, places: Integers) -> Floats:
        floor: Floats = self.problem.rounding_floor[self.sample.indices[places]]
        return floor


def _judge(analytic: Floats, numeric: Floats, floor: Callable[[], Floats]) -> str:
    """Return the verdict by threshold; a difference within rounding is good if both sides are zero, otherwise lost."""
    if analytic.size == 0:
        return "inconclusive"
    verdict = threshold_verdict(relative_error(numeric, analytic))
    if verdict == "good":
        return verdict
    resolution = float(np.linalg.norm(floor()))
    if not np.linalg.norm(numeric - analytic) <= resolution:
        return verdict
    return "good" if max(np.linalg.norm(analytic), np.linalg.norm(numeric)) <= resolution else LOST


def gather_evidence(problem: Problem, gradients: Parameters, sample: Sample, method: str, epsilon: float) -> Evidence:
    """Compute the difference quotients of the sample, and pair them with backpropagation's derivatives."""
    formula = difference(method)
    quotients = problem.quotients(sample.indices, formula, epsilon)
    along = [problem.directional(v, formula, epsilon) for v in sample.directions]
    return Evidence(
        problem=problem,
        sample=sample,
        method=method,
        epsilon=epsilon,
        analytic=gradients.theta[sample.indices],
        numeric=quotients.values,
        kinks=quotients.kinks,
        analytic_directions=sample.directions @ gradients.theta,
        numeric_directions=np.array([value for value, _ in along]),
        direction_kinks=np.array([straddles for _, straddles in along], np.bool_),
    )
