"""The report of a gradient check: numbers, verdict, where to look; it computes no derivative.

The verdict follows the course's thresholds for the relative error ‖dθ_approx − dθ‖₂ / (‖dθ_approx‖₂ + ‖dθ‖₂): up to
1e-7 good, up to 1e-5 look again, from 1e-3 wrong, suspect between. It is the worst of the error of θ as a whole, of
every W[l] and b[l] on its own, and of the directional derivatives, so that a wrong db1 cannot hide behind a large
dW3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.gradcheck.numerical import METHODS, Floats, relative_error

GOOD, LOOK_AGAIN, WRONG = 1e-7, 1e-5, 1e-3
VERDICTS = ("good", "look_again", "suspect", "wrong", "inconclusive")
PROPORTIONAL = 1e-4
"""When matching patterns of errors, a remainder below this share of the whole counts as 0."""


@dataclass
class GradientReport:
    """The outcome of one gradient check, in plain values.

    Attributes
    ----------
    verdict : "good", "look_again", "suspect", "wrong" or "inconclusive"
    relative_error : of all coordinates compared, by `method`
    tensors : name -> relative error of W1, b1, ... alone
    norms : name -> (‖analytic‖, ‖numeric‖) of the coordinates compared
    worst : (coordinate, analytic, numeric) of the largest differences, the largest first
    kinks : names of coordinates left out because ±ε straddles a kink (the first of them; `coverage` has their number)
    coverage : coordinates in all, compared, left out, by tensor; directions compared and left out
    directional_error : relative error of the vector of directional derivatives; None if none were taken
    cost : J on the batch, penalty included
    method, epsilon : of the numbers above, which are the complex step's if it was needed
    examples, dropout : size of the batch; "off" or "masks frozen"
    notes : sentences for the reader: why the verdict, and where to look
    first : the same numbers by the configured method, if the complex step was needed
    """

    verdict: str
    relative_error: float
    tensors: dict[str, float]
    norms: dict[str, tuple[float, float]]
    worst: list[tuple[str, float, float]]
    kinks: list[str]
    coverage: dict[str, Any]
    directional_error: float | None
    cost: float
    method: str
    epsilon: float
    examples: int
    dropout: str
    notes: list[str] = field(default_factory=list)
    first: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON; `GradientReport(**plain)` is the way back."""
        return asdict(self)

    def headline(self) -> str:
        """One line: verdict, relative error, how it was measured."""
        return (
            f"Gradient check: {self.verdict.replace('_', ' ')}. Relative error {self.relative_error:.1e} "
            f"({METHODS[self.method].label}, ε = {self.epsilon:g}, {self.examples} examples, dropout {self.dropout})."
        )

    def table(self) -> str:
        """Return the report as text: headline, notes, one line per tensor, the worst coordinates."""
        coverage = self.coverage
        lines = [self.headline()]
        lines += self.notes
        lines += [
            f"Compared {coverage['compared']:,} of {coverage['coordinates']:,} coordinates "
            f"({coverage['kinks']:,} left out at kinks), J = {self.cost:.6g}.",
        ]
        if self.directional_error is not None:
            lines += [
                f"Along {coverage['directions']} random directions through all of θ "
                f"({coverage['directions_at_kinks']} left out at kinks): relative error {self.directional_error:.1e}."
            ]
        lines += [
            "",
            f"{'tensor':8}{'error':>10}{'‖analytic‖':>14}{'‖numeric‖':>14}{'compared':>10}{'of':>10}{'kinks':>8}",
        ]
        for name, error in self.tensors.items():
            compared, size, kinks = coverage["tensors"][name]
            analytic, numeric = self.norms[name]
            lines += [f"{name:8}{error:>10.1e}{analytic:>14.4e}{numeric:>14.4e}{compared:>10,}{size:>10,}{kinks:>8,}"]
        if self.kinks:
            more = coverage["kinks"] - len(self.kinks)
            lines += ["", f"at kinks: {', '.join(self.kinks)}{f' and {more:,} more' if more else ''}"]
        lines += ["", f"{'largest differences':20}{'analytic':>18}{'numeric':>18}{'difference':>12}"]
        lines += [f"{name:20}{a:>18.10e}{n:>18.10e}{a - n:>12.1e}" for name, a, n in self.worst]
        return "\n".join(lines)


def threshold_verdict(error: float) -> str:
    """Return the course's word for a relative error: good, look again, suspect, wrong; NaN is wrong."""
    if error <= GOOD:
        return "good"
    if error <= LOOK_AGAIN:
        return "look_again"
    return "suspect" if error < WRONG else "wrong"


def distrust(checks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a sentence if a trial's gradients were wrong, so that its training cannot be trusted; otherwise empty.

    Parameters
    ----------
    checks
        Reports as plain values, by moment: "init" and "trained".
    """
    places = {"init": "initial", "trained": "trained"}
    wrong = [places[moment] for moment in places if checks.get(moment, {}).get("verdict") == "wrong"]
    if not wrong:
        return ""
    return f"The gradients are wrong at the {' and the '.join(wrong)} parameters, so this training shows nothing."


def worst_verdict(verdicts: Sequence[str]) -> str:
    """Return the worst of several; inconclusive is worse than all but wrong, because unchecked is not good."""
    order = ("good", "look_again", "suspect", "inconclusive", "wrong")
    return max(verdicts, key=order.index, default="good")


def error_pattern(name: str, analytic: Floats, numeric: Floats, values: Floats, m: int) -> str | None:
    """Return notes if a wrong gradient matches a common mistake: a factor, or a superfluous or missing penalty term.

    Parameters
    ----------
    name : of the tensor, "W2" or "b2".
    analytic, numeric, values : (n,)
        ∂J/∂w by backpropagation and by differences, and w itself.
    m : int
        Examples in the batch.
    """
    factor = _multiple(analytic, numeric)
    if factor is not None and relative_error(analytic, numeric) > LOOK_AGAIN:
        meaning = {
            1.0: "",
            -1.0: ", a sign",
            float(m): ", m: a division by m is missing",
            1 / m: ", 1/m: divided by m twice",
        }
        known = [text for value, text in meaning.items() if np.isclose(factor, value, rtol=PROPORTIONAL)]
        return f"the analytic gradient is {factor:.6g} times the numeric one{known[0] if known else ''}"
    advice = "which is on weights alone" if name.startswith("b") else ""
    for term, text, penalty in ((values, name, "L2"), (np.sign(values), f"sign({name})", "L1")):
        share = _multiple(analytic - numeric, term)
        if share is not None:
            where = ", ".join(filter(None, (f"look at the {penalty} penalty", advice)))
            return f"the analytic gradient is the numeric one {share:+.6g} · {text}: {where}"
    return None


def _multiple(a: Floats, b: Floats) -> float | None:
    """Return the c with a = c·b, or None if there is none."""
    square = float(np.dot(b, b))
    if a.size < 2 or square == 0 or not np.any(a):
        return None
    c = float(np.dot(a, b)) / square
    return c if np.linalg.norm(a - c * b) <= PROPORTIONAL * np.linalg.norm(a) else None
