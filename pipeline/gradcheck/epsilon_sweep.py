"""How the error of each difference formula depends on ε: truncation on the right, rounding on the left.

Going down from large ε, the one-sided error falls like ε and the two-sided one like ε² (slopes 1 and 2 in a log-log
picture); then rounding, which grows like u |J| / ε, turns both up again. The complex step falls like ε² and stays down.
"""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.gradcheck.evidence import draw_sample
from pipeline.gradcheck.numerical import METHODS, Difference, Floats, relative_error
from pipeline.gradcheck.problem import Problem

EPSILONS = np.logspace(-12, -1, 23)
COORDINATES = 1_000
"""So many coordinates of θ are compared, a sample of every tensor."""
FEWEST = 10
"""With fewer coordinates off the kinks than this, the error is NaN."""
LARGEST_FITTED = 1e-2
"""Above this ε the higher terms of Taylor's series bend the lines."""


@dataclass(frozen=True)
class EpsilonSweep:
    """Errors against ε.

    Attributes
    ----------
    epsilons : (n,)
    errors : method -> (n,) relative error of ∂J/∂θ off the kinks, NaN where nearly everything is at a kink
    kink_shares : method -> (n,) share of coordinates left out
    slopes : method -> slope of log error over log ε where truncation rules, NaN if it never does
    """

    epsilons: Floats
    errors: dict[str, Floats]
    kink_shares: dict[str, Floats]
    slopes: dict[str, float]


def sweep_epsilon(problem: Problem, *, rng: np.random.Generator) -> EpsilonSweep:
    """Compare backpropagation with every formula at every ε, the complex step too, whose ε is otherwise fixed."""
    indices = draw_sample(problem, COORDINATES, 0, rng=rng).indices
    gradient = problem.backpropagation()[1].theta[indices]
    errors, shares = {}, {}
    with np.errstate(all="ignore"):
        for name, formula in METHODS.items():
            found = [_error(problem, indices, gradient, replace(formula, fixed_step=None), e) for e in EPSILONS]
            errors[name], shares[name] = (np.array(column) for column in zip(*found, strict=True))
    slopes = {name: fitted_slope(EPSILONS, values) for name, values in errors.items()}
    return EpsilonSweep(EPSILONS, errors, shares, slopes)


def fitted_slope(epsilons: Floats, errors: Floats) -> float:
    """Fit log error = slope · log ε + constant from a little above the smallest error up to `LARGEST_FITTED`."""
    if np.isnan(errors).all():
        return float("nan")
    lowest = np.nanmin(np.where(errors > 0, errors, np.nan))
    ruled = np.isfinite(errors) & (errors > 10 * lowest) & (epsilons <= LARGEST_FITTED)
    ruled &= epsilons > epsilons[int(np.nanargmin(errors))]
    if np.count_nonzero(ruled) < 2:
        return float("nan")
    return float(np.polyfit(np.log(epsilons[ruled]), np.log(errors[ruled]), 1)[0])


def _error(
    problem: Problem, indices: Floats, gradient: Floats, formula: Difference, epsilon: float
) -> tuple[float, float]:
    quotients = problem.quotients(indices, formula, float(epsilon))
    kept = ~quotients.kinks
    error = relative_error(quotients.values[kept], gradient[kept]) if kept.sum() >= FEWEST else np.nan
    return error, float(quotients.kinks.mean())
