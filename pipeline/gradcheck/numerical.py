"""Derivatives of any function from its values alone: two-sided, one-sided and complex-step; it knows no network.

All three come from one Taylor series. With J', J'', J''' the derivatives along the coordinate that is moved,

    J(θ + ε) = J + ε J' + ε²/2 J'' + ε³/6 J''' + …
    J(θ − ε) = J − ε J' + ε²/2 J'' − ε³/6 J''' + …

one-sided     (J(θ + ε) − J(θ)) / ε          = J' + ε/2 J''  + …      truncation O(ε)
two-sided     (J(θ + ε) − J(θ − ε)) / 2ε     = J' + ε²/6 J''' + …     truncation O(ε²): the even terms cancel
complex step  Im J(θ + iε) / ε               = J' − ε²/6 J''' + …     truncation O(ε²), and no subtraction

Why not make ε tiny? Each value of J carries a rounding error of about u |J|, u = 2⁻⁵³ ≈ 1.1e-16, and a difference of
two of them is divided by ε: rounding costs u |J| / ε, growing as ε shrinks. The sum of both errors is smallest at ε ≈
(3 u |J/J'''|)^(1/3), about 1e-5, for the two-sided difference (error about 1e-10), and at ε ≈ 2 (u |J/J''|)^(1/2),
about 1e-8, for the one-sided one (error about 1e-8): halving ε from there makes the answer worse. The complex step
subtracts nothing, so nothing is lost: ε = 1e-100 makes ε² vanish, and the derivative is as exact as J itself.
It asks that J be written with operations that are analytic (no abs, no conjugate, comparisons on the real part only).

References
----------
Press, Teukolsky, Vetterling & Flannery (2007), Numerical Recipes, 3rd ed., section 5.7, eqs. 5.7.1-5.7.8 (choice of ε).
Squire & Trapp (1998), Using complex variables to estimate derivatives of real functions, SIAM Review 40(1), 110-112.
Martins, Sturdza & Alonso (2003), The complex-step derivative approximation, ACM TOMS 29(3), 245-262.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]

COMPLEX_STEP = 1e-100
"""ε of the complex step, small enough for layers whose slopes multiply to 1e90 (beyond a phase of π, log wraps round),
and large enough that a slope of 1e-200 does not underflow."""


@dataclass(frozen=True)
class Difference:
    """A difference formula: the points it needs, in units of ε, and the derivative it makes of the values there."""

    label: str
    offsets: tuple[complex, ...]
    combine: Callable[[NDArray[Any], float], NDArray[Any]]
    fixed_step: float | None = None

    def step(self, epsilon: float) -> float:
        """The ε that is really used."""
        return self.fixed_step or epsilon

    def displacements(self, epsilon: float) -> NDArray[Any]:
        """The offsets times ε: float64, or complex128 for the complex step; shape (number of points,)."""
        return self.step(epsilon) * np.array(self.offsets)

    def derivative(self, values: NDArray[Any], epsilon: float) -> Floats:
        """The derivative from `values` (number of points, …), one row for each displacement."""
        return self.combine(values, self.step(epsilon))


METHODS: dict[str, Difference] = {
    "two_sided": Difference("two-sided difference", (1.0, -1.0), lambda J, ε: (J[0] - J[1]) / (2 * ε)),
    "one_sided": Difference("one-sided difference", (1.0, 0.0), lambda J, ε: (J[0] - J[1]) / ε),
    "complex_step": Difference("complex step", (1j,), lambda J, ε: J[0].imag / ε, fixed_step=COMPLEX_STEP),
}


def difference(method: str) -> Difference:
    """The formula called `method`; an unknown name lists the known ones."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)} but got {method!r}.")
    return METHODS[method]


def numerical_derivative(
    f: Callable[[Any], Any], x: float, *, epsilon: float = 1e-5, method: str = "two_sided"
) -> float:
    """f'(x) of a scalar function.

    For f(θ) = θ³ at θ = 1 with ε = 0.01 the true derivative is 3; the two-sided difference gives 3 + ε² = 3.0001 and
    the one-sided one 3 + 3ε + ε² = 3.0301 (deeplearning.ai, course 2, week 1).
    """
    formula = difference(method)
    values = np.array([f(x + h) for h in formula.displacements(epsilon)])
    return float(formula.derivative(values, epsilon))


def numerical_gradient(
    J: Callable[[NDArray[Any]], Any], theta: Floats, *, epsilon: float = 1e-5, method: str = "two_sided"
) -> Floats:
    """∂J/∂θ by the plain loop: move one coordinate, evaluate all of J, move it back.

    Two evaluations of J for each of n coordinates. Nothing about J is assumed, which makes this the reference that
    the fast scheme in `pipeline.gradcheck.restart` is tested and timed against.

    Parameters
    ----------
    J : (n,) -> scalar
    theta : (n,)
    """
    formula = difference(method)
    displacements = formula.displacements(epsilon)
    moved = theta.astype(displacements.dtype)
    values = np.empty((displacements.size, theta.size), displacements.dtype)
    for i, value in enumerate(theta):
        for point, h in enumerate(displacements):
            moved[i] = value + h
            values[point, i] = J(moved)
        moved[i] = value
    return formula.derivative(values, epsilon)


def relative_error(approximate: Floats, exact: Floats) -> float:
    """‖dθ_approx − dθ‖₂ / (‖dθ_approx‖₂ + ‖dθ‖₂), a number from 0 (equal) to 1 (opposite, or one of them zero).

    The sum below makes it symmetric and keeps it finite when one side is zero (deeplearning.ai, course 2, week 1,
    "Gradient checking"). Two zero vectors agree, so 0/0 counts as 0; NaN and infinity agree with nothing: 1.
    """
    size = float(np.linalg.norm(approximate) + np.linalg.norm(exact))
    if size == 0:
        return 0.0
    return float(np.linalg.norm(approximate - exact)) / size if np.isfinite(size) else 1.0
