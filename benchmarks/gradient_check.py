"""How fast gradients are checked, beside the plain loop and beside training, in turns in one run, on one thread.

`python -m benchmarks.gradient_check` prints two tables. The first: difference quotients of all 6,570 parameters of
64-64-32-10 by the restart scheme and by the plain loop over the network's own cost, at 4, 8, 16 and 64 examples; wanted
at 16 examples is 15 times, at a relative error between the two of at most 1e-9. The second: both checks of a trial
(initial and trained values) beside 100 epochs of its training; wanted is a third. Only ratios are meant to be compared.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.core import Case, core_epoch, make_problem
from pipeline.gradcheck.check import check_gradients
from pipeline.gradcheck.numerical import METHODS, Floats, relative_error
from pipeline.gradcheck.problem import Problem
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization

SIZES = (64, 64, 32, 10)
EPSILON = 1e-5
WANTED_RATIO, WANTED_ERROR, WANTED_SHARE = 15, 1e-9, 1 / 3
EPOCHS = 100


def make_check(examples: int, activation: str = "relu", seed: int = 0) -> Problem:
    """A network at its initial values on random examples, with L2."""
    rng = np.random.default_rng(seed)
    architecture = Architecture(SIZES, (activation,) * 2, "softmax")
    network = Network(architecture, Regularization(m=1078, lambd=1.0), dtype=np.float64, max_batch=examples)
    parameters = initialize(architecture, rng=rng, dtype=np.float64)
    X, y = rng.standard_normal((SIZES[0], examples)), rng.integers(0, SIZES[-1], examples)
    return Problem.of(network, parameters, X, y)


def plain_loop(problem: Problem) -> Floats:
    """(J(θ + ε e_i) - J(θ - ε e_i)) / 2ε for every i, all of J each time, as the course's notes write it."""
    network, parameters, X, y = problem.network, problem.parameters.copy(), problem.X, problem.y
    theta, approximate = parameters.theta, np.empty(parameters.theta.size)
    for i, value in enumerate(theta.copy()):
        theta[i] = value + EPSILON
        above = network.cost(X, y, parameters)
        theta[i] = value - EPSILON
        below = network.cost(X, y, parameters)
        theta[i] = value
        approximate[i] = (above - below) / (2 * EPSILON)
    return approximate


def restart(problem: Problem) -> Floats:
    """The same by restarting from the layer that is moved; a new problem, so that nothing is kept from before."""
    again = Problem.of(problem.network, problem.parameters, problem.X, problem.y)
    return again.quotients(np.arange(again.parameters.theta.size), METHODS["two_sided"], EPSILON).values


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The time of one call, the mean of `repeats`."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def compare_with_the_plain_loop(turns: int) -> bool:
    """Print the first table; say whether the wanted figures are reached."""
    print(f"{'64-64-32-10, float64':24}{'plain ms':>10}{'restart ms':>12}{'ratio':>8}{'relative error':>16}")
    reached = True
    for activation, examples in (("relu", 4), ("relu", 8), ("relu", 16), ("relu", 64), ("tanh", 16)):
        problem = make_check(examples, activation)
        error = relative_error(restart(problem), plain_loop(problem))
        pairs = [
            (seconds(lambda p=problem: plain_loop(p), 1), seconds(lambda p=problem: restart(p), 5))
            for _ in range(turns)
        ]
        plain, fast = np.median(pairs, axis=0)
        ratio = float(np.median([a / b for a, b in pairs]))
        name = f"{activation}, {examples} examples"
        line = f"{name:24}{plain * 1e3:>10.1f}{fast * 1e3:>12.2f}{ratio:>8.1f}{error:>16.1e}"
        if (activation, examples) == ("relu", 16):
            reached = ratio >= WANTED_RATIO and error <= WANTED_ERROR
            line += "  ok" if reached else f"  wanted ≥ {WANTED_RATIO} and ≤ {WANTED_ERROR:g}"
        print(line, flush=True)
    return reached


def compare_with_training(turns: int) -> bool:
    """Print the second table; say whether two checks cost at most a third of 100 epochs."""
    epoch = core_epoch(make_problem(Case(SIZES, 1078, 64)))
    reached = True
    print(f"\n{'both checks of a trial':24}{'checks ms':>10}{f'{EPOCHS} epochs':>12}{'share':>8}")
    for examples in (8, 16):
        problem = make_check(examples)
        arguments = (problem.network, problem.parameters, problem.X, problem.y)

        def both(arguments: tuple = arguments) -> None:
            for seed in (0, 1):
                check_gradients(*arguments, rng=np.random.default_rng(seed))

        both()
        pairs = [(seconds(both, 3), EPOCHS * seconds(epoch, EPOCHS // 2)) for _ in range(turns)]
        checks, training = np.median(pairs, axis=0)
        share = float(np.median([a / b for a, b in pairs]))
        verdict = "ok" if share <= WANTED_SHARE else f"wanted ≤ {WANTED_SHARE:.0%}"
        reached &= share <= WANTED_SHARE
        print(
            f"{f'{examples} examples':24}{checks * 1e3:>10.1f}{training * 1e3:>12.1f}{share:>8.0%}  {verdict}",
            flush=True,
        )
    return reached


def main() -> int:
    """Print both tables; 0 if all that is wanted is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5, help="how often each has its turn")
    turns = parser.parse_args().turns
    with threadpool_limits(1):
        reached = [compare_with_the_plain_loop(turns), compare_with_training(turns)]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
