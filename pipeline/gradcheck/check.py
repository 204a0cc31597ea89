"""Gradient checking: whether what backpropagation computes is the derivative of the cost that is minimised.

Backpropagation gives dθ = ∂J/∂θ from formulas that a person derived and wrote down; J itself is far easier to get
right. So J is evaluated a little to both sides of θ, coordinate by coordinate, and the slope found there is compared:

    dθ_approx[i] = (J(θ + ε e_i) − J(θ − ε e_i)) / 2ε            derivations: `pipeline.gradcheck.numerical`
    error        = ‖dθ_approx − dθ‖₂ / (‖dθ_approx‖₂ + ‖dθ‖₂)    thresholds: `pipeline.gradcheck.report`

All of W[1], …, W[L], b[1], …, b[L] are one vector θ; J has its L2 and L1 terms; everything is float64, because
float32 leaves a difference quotient three or four digits. Five things can falsify such a check; each is handled here:

Kinks. ReLU, leaky ReLU and L1 have corners. If ±ε straddles one, the quotient mixes two slopes and differs from a
correct dθ. Those coordinates are found, named and left out; if their share exceeds `max_kink_share` the verdict is
"inconclusive".

Dropout. A new mask for every evaluation makes J another function each time. Check with keep_prob = 1
(masks=None), as the course says, and then with one mask frozen for all evaluations, so that dropout's own code is
checked as well.

Rounding. A saturated network has gradients so small that the difference of two costs is mostly rounding. Whatever the
difference quotient does not call good is checked again by the complex step, which subtracts nothing: if that agrees
with backpropagation, the deviation was numerical, and its numbers are reported with a note; if not, the gradient is
wrong. And no method can resolve less than the rounding of the gradient itself (`rounding_floor`): differences below
it count as agreement where the gradient is zero, and as "inconclusive" where it is not.

Stale values. A network that keeps its first batch, or its first slopes, is right when called once. So a backward pass
at another θ, on another batch with other masks, precedes the one that is compared.

A wrong cost. J and dθ can agree and both be off, a penalty divided by the wrong m for instance. The
cost is therefore computed twice, by the network and from its definition (`pipeline.gradcheck.restart`), at θ and at
a random point, and must be the same number.

Above `max_coordinates` a seeded sample of every tensor is compared, and `directions` random directions v through all
of θ, whose derivative must be v · dθ: a mistake in any coordinate shows in all of them. The report says what was
covered.

References
----------
deeplearning.ai, Improving Deep Neural Networks, week 1: "Gradient checking" and the "implementation notes" after it.
Rumelhart, Hinton & Williams (1986), Learning representations by back-propagating errors, Nature 323, 533-536.
Bottou (2012), Stochastic gradient descent tricks, in Neural Networks: Tricks of the Trade, 2nd ed., 430-445.
Karpathy, CS231n course notes, "Gradient checks" (kinks, dropout, regularisation, thresholds).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.gradcheck.evidence import LOST, Evidence, Sample, draw_sample, gather_evidence
from pipeline.gradcheck.numerical import COMPLEX_STEP, METHODS, Floats, difference, relative_error
from pipeline.gradcheck.problem import Problem
from pipeline.gradcheck.report import GradientReport, error_pattern
from pipeline.nn.network import Masks, Network
from pipeline.nn.parameters import Parameters

__all__ = ["GradientReport", "check_gradients"]

Array = NDArray[Any]

LISTED = 10
"""Number of the worst coordinates in a report."""
KINKS_LISTED = 50


def check_gradients(
    network: Network,
    parameters: Parameters,
    X: Array,
    y: Array,
    *,
    rng: np.random.Generator,
    masks: Masks | None = None,
    method: str = "two_sided",
    epsilon: float = 1e-5,
    max_coordinates: int = 20_000,
    directions: int = 8,
    max_kink_share: float = 0.1,
) -> GradientReport:
    """Compare backpropagation with difference quotients of J, in float64, and say where they disagree.

    Parameters
    ----------
    network : of any dtype; a float64 twin of it is what is checked
    parameters : θ, the initial or the trained values; they are not changed
    X, y : (n_x, m), and (m,) integer labels
    rng : for the sample of coordinates, the directions, and the random point where J is computed twice
    masks : dropout masks, held fixed throughout; None is keep_prob = 1
    method : "two_sided", "one_sided" or "complex_step"
    epsilon : ε of the differences; the complex step has its own
    max_coordinates : up to here all of θ is compared; above it a sample, and `directions` random directions besides
    max_kink_share : more kinks than this share of the coordinates, and the verdict is "inconclusive"
    """
    difference(method)  # refuses an unknown name before any work
    problem = Problem.of(network, parameters, X, y, masks)
    sample = draw_sample(problem, max_coordinates, directions, rng=rng)
    with np.errstate(all="ignore"):
        return _examine(problem, sample, method, epsilon, max_kink_share, rng)


def _examine(
    problem: Problem, sample: Sample, method: str, epsilon: float, max_kink_share: float, rng: np.random.Generator
) -> GradientReport:
    """Check the cost, then the gradient by the given formula, and by the complex step if that leaves a doubt."""
    cost, gradients = problem.backpropagation()
    asked = gather_evidence(problem, gradients, sample, method, epsilon)
    if not (np.isfinite(cost) and np.isfinite(problem.parameters.theta).all()):
        note = "J or θ is not finite here, so there is nothing to compare."
        return _report("inconclusive", asked, asked, [note], cost)
    second = None
    if method != "complex_step" and (asked.verdict != "good" or asked.kink_share > max_kink_share):
        second = gather_evidence(problem, gradients, sample, "complex_step", COMPLEX_STEP)
    verdict, evidence, notes = _decide(asked, second, max_kink_share)
    disagreement = problem.cost_disagreement(rng=rng)
    if disagreement is not None:
        verdict, notes = "wrong", [disagreement, *notes]
    return _report(verdict, asked, evidence, notes, cost)


def _decide(asked: Evidence, second: Evidence | None, max_kink_share: float) -> tuple[str, Evidence, list[str]]:
    """Return the verdict, its evidence, and the reasons."""
    if second is None:
        return asked.verdict, asked, _remarks(asked)
    opinion = (
        f"the complex step, which crosses no kink and loses nothing to rounding, gives {second.relative_error:.1e}"
    )
    verdict = second.verdict.replace("_", " ")
    if asked.kink_share > max_kink_share and second.verdict not in ("suspect", "wrong"):
        share = f"{asked.kink_share:.1%} of the coordinates straddle a kink within ±{asked.epsilon:g}"
        return "inconclusive", asked, [f"{share}, more than {max_kink_share:.1%}; {opinion} ({verdict})."]
    name, error = max(_tensor_errors(asked).items(), key=lambda item: item[1])
    was = (
        f"The {METHODS[asked.method].label} gave {asked.relative_error:.1e}, for {name} alone {error:.1e} "
        f"({asked.verdict.replace('_', ' ')}); {opinion}"
    )
    if second.verdict == "good":
        return "good", second, [f"{was}: the trouble was numerical and the gradient is right.", *_remarks(second)]
    return second.verdict, second, [f"{was} ({verdict}).", *_remarks(second)]


def _remarks(evidence: Evidence) -> list[str]:
    """Return notes on where the gradient is zero, lost in rounding, or wrong."""
    remarks, verdicts = [], evidence.tensor_verdicts
    gradients = {name: evidence.analytic[evidence.within(name)] for name in verdicts}
    if zero := [name for name, gradient in gradients.items() if gradient.size and not gradient.any()]:
        remarks.append(f"The gradient of {', '.join(zero)} is zero here, so agreement shows little there.")
    if lost := [name for name, verdict in verdicts.items() if verdict == LOST]:
        remarks.append(f"The gradient of {', '.join(lost)} is so small that rounding hides its last digits.")
    if wrong := [name for name, verdict in verdicts.items() if verdict in ("look_again", "suspect", "wrong")]:
        remarks.append(f"Disagree: {', '.join(wrong)}. {_where_to_look(wrong)}")
        remarks += [f"{name}: {pattern}." for name in wrong if (pattern := _pattern(evidence, name))]
    return remarks


def _where_to_look(wrong: list[str]) -> str:
    """Return a sentence on the layer where a mistake is likely, given the tensors whose gradients are wrong."""
    top = max(int(name[1:]) for name in wrong)
    at_top = [name for name in wrong if int(name[1:]) == top]
    place = f"d{at_top[0]} itself, for dZ[{top}] serves the other"
    if len(at_top) == 2:
        place = f"dZ[{top}] or both of its uses"
    return f"Backpropagation runs from the output down, so look at layer {top} first: at {place}."


def _pattern(evidence: Evidence, name: str) -> str | None:
    """Return what the error of one tensor looks like, if it is a common mistake."""
    places = evidence.within(name)
    values = evidence.problem.parameters.theta[evidence.sample.indices[places]]
    return error_pattern(name, evidence.analytic[places], evidence.numeric[places], values, evidence.problem.y.size)


def _report(verdict: str, asked: Evidence, evidence: Evidence, notes: list[str], cost: float) -> GradientReport:
    """Return the report, in plain values."""
    problem, sample = evidence.problem, evidence.sample
    kept = np.flatnonzero(~evidence.kinks)
    differences = np.nan_to_num(np.abs(evidence.analytic - evidence.numeric)[kept], nan=np.inf)
    worst = kept[np.argsort(-differences, kind="stable")[:LISTED]]
    coordinate = problem.parameters.coordinate
    places = {name: evidence.within(name) for name in problem.parameters.names}
    return GradientReport(
        verdict=verdict,
        relative_error=evidence.relative_error,
        tensors=_tensor_errors(evidence),
        norms={name: (_norm(evidence.analytic[at]), _norm(evidence.numeric[at])) for name, at in places.items()},
        worst=[
            (coordinate(int(sample.indices[i])), float(evidence.analytic[i]), float(evidence.numeric[i])) for i in worst
        ],
        kinks=[coordinate(int(i)) for i in sample.indices[evidence.kinks][:KINKS_LISTED]],
        coverage=_coverage(evidence),
        directional_error=evidence.directional_error,
        cost=cost,
        method=evidence.method,
        epsilon=evidence.epsilon,
        examples=int(problem.y.size),
        dropout="off" if problem.masks is None else "masks frozen",
        notes=notes,
        first=None if asked is evidence else _summary(asked),
    )


def _coverage(evidence: Evidence) -> dict[str, Any]:
    """Return how much of θ was compared, in total and by tensor: [compared, size, left out at kinks]."""
    tensors = {}
    for name, part in evidence.problem.parameters.slices.items():
        kinks = int(evidence.kinks[evidence.span(name)].sum())
        tensors[name] = [len(evidence.within(name)), part.stop - part.start, kinks]
    return {
        "coordinates": int(evidence.problem.parameters.theta.size),
        "compared": int((~evidence.kinks).sum()),
        "kinks": int(evidence.kinks.sum()),
        "tensors": tensors,
        "directions": int((~evidence.direction_kinks).sum()),
        "directions_at_kinks": int(evidence.direction_kinks.sum()),
    }


def _summary(evidence: Evidence) -> dict[str, Any]:
    return {
        "method": evidence.method,
        "epsilon": evidence.epsilon,
        "verdict": evidence.verdict,
        "relative_error": evidence.relative_error,
        "kink_share": evidence.kink_share,
        "tensors": _tensor_errors(evidence),
    }


def _tensor_errors(evidence: Evidence) -> dict[str, float]:
    places = {name: evidence.within(name) for name in evidence.problem.parameters.names}
    return {name: relative_error(evidence.numeric[at], evidence.analytic[at]) for name, at in places.items()}


def _norm(values: Floats) -> float:
    return float(np.linalg.norm(values))
