"""The checks before a sweep, in the order of the course's notes, as one table.

1. Gradients: dropout off, then with its masks frozen; at the initial values, then at random W and b, because at b = 0 a
   mistake that is proportional to b does not show; each by the two-sided difference and by the complex step.
2. Dropout off (keep_prob = 1): J, its penalty included, falls in every step of full-batch gradient descent at a small
   rate. If dθ is the gradient of J, such a rate exists; if J rises at every small rate, dθ is wrong.
3. The network memorises ten examples without regularisation. If it cannot, no hyperparameter will help.
4. Only then dropout on, where J is random in every step and need not fall.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.trial import TrialConfig
from pipeline.data.arrays import TrialArrays
from pipeline.gradcheck.check import GradientReport
from pipeline.gradcheck.epsilon_sweep import EpsilonSweep, sweep_epsilon
from pipeline.gradcheck.numerical import METHODS
from pipeline.gradcheck.problem import Problem
from pipeline.nn.architecture import Architecture, Regularization
from pipeline.nn.network import Masks, Network
from pipeline.nn.parameters import Parameters
from pipeline.training.optimizers import Optimizer
from pipeline.training.streams import Streams, streams
from pipeline.trials.gradients import check_as_configured, training_sample
from pipeline.trials.parts import architecture_of, class_weights_of, initial_parameters, regularization_of
from pipeline.trials.threads import one_thread

Array = NDArray[Any]

PASSING = ("pass", "good", "look_again")
KEEP_PROB = 0.8
"""keep_prob of the hidden layers in the checks of dropout if the configuration has none."""
MOST_EXAMPLES = 1_000
"""Most training examples on which the cost is followed; a larger training part is sampled by class."""
DESCENT_STEPS = 50
DESCENT_RATES = (1e-2, 1e-3, 1e-4, 1e-5)
MEMORIZED = 10
MEMORIZE_STEPS = 2_000
MEMORIZED_COST = 0.1
DROPOUT_STEPS = 100
ADAM = Optimizer("adam", learning_rate=0.01)


@dataclass(frozen=True)
class Row:
    """One line of the table: the check, its verdict, and the number or reason behind it.

    The verdict is "pass" or "fail", or a gradient check's own word.
    """

    check: str
    verdict: str
    detail: str

    @property
    def passed(self) -> bool:
        """Whether a sweep may start; an inconclusive gradient check does not pass."""
        return self.verdict in PASSING


@dataclass
class PreflightReport:
    """All rows, the gradient reports behind the first of them, and the ε sweep if it was asked for."""

    rows: list[Row] = field(default_factory=list)
    gradients: dict[str, GradientReport] = field(default_factory=dict)
    epsilon_sweep: EpsilonSweep | None = None

    @property
    def passed(self) -> bool:
        """Whether every row did."""
        return all(row.passed for row in self.rows)

    def table(self) -> str:
        """Return the rows as text, then the full table of every gradient check that is not good."""
        width = max(len(row.check) for row in self.rows) + 2
        lines = [f"{row.check:{width}}{row.verdict.replace('_', ' '):14}{row.detail}" for row in self.rows]
        for name, report in self.gradients.items():
            if report.verdict != "good":
                lines += ["", f"-- {name} --", report.table()]
        return "\n".join(lines)


def run_checks(config: TrialConfig, arrays: TrialArrays, *, sweep_epsilon: bool = False) -> PreflightReport:
    """Run every check on one configuration, without writing anything or drawing from the run's random streams."""
    case = Case(config, arrays)
    report = PreflightReport()
    with one_thread(), np.errstate(all="ignore"):
        for name, gradients in case.gradient_reports():
            report.gradients[name] = gradients
            report.rows.append(Row(name, gradients.verdict, _gradient_detail(gradients)))
        report.rows += [case.descent(), case.memory(), case.dropout()]
        if sweep_epsilon:
            report.epsilon_sweep = case.epsilon_sweep()
    return report


class Case:
    """One configuration on its arrays, in float64, with the batch and the parameters that the checks share."""

    def __init__(self, config: TrialConfig, arrays: TrialArrays) -> None:
        self.config, self.arrays, self.fold = config, arrays, arrays.folds[0]
        self.architecture = architecture_of(config, arrays)
        self.regularization = regularization_of(config, len(self.fold.train))
        self.drawn = streams(config.seed)
        self.initial = initial_parameters(config, self.architecture, self.drawn).copy(np.float64)
        self.X, self.y = self._batch(config.gradcheck.examples)

    def gradient_reports(self) -> Iterator[tuple[str, GradientReport]]:
        """Yield each gradient check with its name: two points, masks off and frozen, two methods."""
        regularization, source = with_dropout(self.regularization, self.architecture)
        network = self._network(regularization, len(self.y))
        drawn = network.draw_masks(len(self.y), self.drawn.gradcheck)
        frozen = [None if D is None else D.copy() for D in drawn]
        points = {"initial values": self.initial, "random W and b": random_parameters(self.architecture, self.drawn)}
        for point, parameters in points.items():
            for dropout, masks in {"dropout off": None, f"masks frozen, keep_prob {source}": frozen}.items():
                for method in ("two_sided", "complex_step"):
                    name = f"gradients: {point}, {dropout}, {METHODS[method].label}"
                    yield name, self._check(network, parameters, masks, method)

    def descent(self) -> Row:
        """Check that J falls in every step of full-batch gradient descent, dropout off, at one of a few rates."""
        X, y = self._batch(MOST_EXAMPLES)
        network = self._network(without_dropout(self.regularization), len(y))
        for rate in DESCENT_RATES:
            optimizer = Optimizer("gradient_descent", learning_rate=rate)
            costs = list(self._steps(network, X, y, self.initial.copy(), optimizer, DESCENT_STEPS))
            rises = np.flatnonzero(~(np.diff(costs) < 0))
            if rises.size == 0:
                break
        name = "J falls in every step of gradient descent, dropout off"
        trip = f"from {costs[0]:.6g} to {costs[-1]:.6g} in {DESCENT_STEPS} steps at rate {rate:g}"
        if rises.size == 0:
            return Row(name, "pass", f"{trip}, {len(y):,} examples")
        return Row(
            name,
            "fail",
            f"{trip}, but not in step {rises[0] + 1}: {costs[rises[0]]:.10g} to {costs[rises[0] + 1]:.10g}",
        )

    def memory(self) -> Row:
        """Check that training on ten examples without regularisation classifies each correctly at a small cost."""
        X, y = self._batch(MEMORIZED)
        network = Network(self.architecture, Regularization(m=len(y)), dtype=np.float64, max_batch=len(y))
        parameters = self.initial.copy()

        def memorized(cost: float) -> bool:
            return cost < MEMORIZED_COST and network.evaluate(X, y, parameters)[1] == 0

        costs = enumerate(self._steps(network, X, y, parameters, ADAM, MEMORIZE_STEPS))
        steps = next((step for step, cost in costs if memorized(cost)), MEMORIZE_STEPS)
        cost, error = network.evaluate(X, y, parameters)
        done = cost < MEMORIZED_COST and error == 0
        detail = f"cost {cost:.3g}, {error:.0%} wrong after {steps} steps of Adam at rate {ADAM.learning_rate:g}"
        return Row(f"memorises {len(y)} examples", "pass" if done else "fail", detail)

    def dropout(self) -> Row:
        """Check that training with a new mask in every step lowers J, measured with dropout off."""
        X, y = self._batch(MOST_EXAMPLES)
        regularization, source = with_dropout(self.regularization, self.architecture)
        network, parameters = self._network(regularization, len(y)), self.initial.copy()
        before = float(network.cost(X, y, parameters))
        for _ in self._steps(network, X, y, parameters, ADAM, DROPOUT_STEPS, masked=True):
            pass
        after = float(network.cost(X, y, parameters))
        detail = f"J from {before:.6g} to {after:.6g} in {DROPOUT_STEPS} steps of Adam, keep_prob {source}"
        return Row("learns with dropout on", "pass" if after < before else "fail", detail)

    def epsilon_sweep(self) -> EpsilonSweep:
        """Return the error of each difference formula against ε at the initial values, dropout off."""
        problem = Problem.of(self._network(self.regularization, len(self.y)), self.initial, self.X, self.y)
        return sweep_epsilon(problem, rng=self.drawn.gradcheck)

    def _check(self, network: Network, parameters: Parameters, masks: Masks | None, method: str) -> GradientReport:
        batch, rng = (self.X, self.y), self.drawn.gradcheck
        return check_as_configured(self.config.gradcheck, network, parameters, batch, masks, rng=rng, method=method)

    def _steps(
        self,
        network: Network,
        X: Array,
        y: Array,
        parameters: Parameters,
        optimizer: Optimizer,
        steps: int,
        *,
        masked: bool = False,
    ) -> Iterator[float]:
        """Update `parameters` by full-batch steps; yield J before each step and after the last."""
        gradients, slots = parameters.like(), optimizer.slots(parameters.theta)
        scratch = np.empty_like(parameters.theta)
        for step in range(1, steps + 2):
            masks = network.draw_masks(len(y), self.drawn.dropout) if masked else None
            yield network.cost_and_gradients(X, y, parameters, gradients, masks)
            if step <= steps:
                optimizer.update(parameters.theta, gradients.theta, slots, step, optimizer.learning_rate, scratch)

    def _network(self, regularization: Regularization, max_batch: int) -> Network:
        return Network(
            self.architecture,
            regularization,
            dtype=np.float64,
            max_batch=max_batch,
            class_weights=class_weights_of(self.config, self.arrays, self.fold),
        )

    def _batch(self, count: int) -> tuple[Array, Array]:
        return training_sample(self.arrays, self.fold, count, rng=self.drawn.gradcheck)


def without_dropout(regularization: Regularization) -> Regularization:
    """Return the same penalties with keep_prob = 1 everywhere."""
    return replace(regularization, keep_prob=(), keep_prob_input=1.0)


def with_dropout(regularization: Regularization, architecture: Architecture) -> tuple[Regularization, str]:
    """Return the same with dropout on, and keep_prob as text: the configuration's, or `KEEP_PROB` if it has none."""
    given = (*regularization.keep_prob, regularization.keep_prob_input)
    if min(given) < 1:
        hidden = sorted(set(regularization.keep_prob)) or [regularization.keep_prob_input]
        return regularization, "/".join(f"{k:g}" for k in hidden)
    hidden_layers = architecture.num_layers - 1
    dropped = replace(
        regularization,
        keep_prob=(KEEP_PROB,) * hidden_layers,
        keep_prob_input=1.0 if hidden_layers else KEEP_PROB,
    )
    return dropped, f"{KEEP_PROB:g}"


def random_parameters(architecture: Architecture, drawn: Streams) -> Parameters:
    """Return generic parameters: W[l] ~ N(0, 1/n_{l-1}), b[l] ~ N(0, 1)."""
    parameters = Parameters(architecture.layer_sizes, np.float64)
    for W, b in zip(parameters.W.values(), parameters.b.values(), strict=True):
        W[...] = drawn.gradcheck.standard_normal(W.shape) / np.sqrt(W.shape[1])
        b[...] = drawn.gradcheck.standard_normal(b.shape)
    return parameters


def _gradient_detail(report: GradientReport) -> str:
    """Return the numbers of a good check, or the reason of another."""
    numbers = f"relative error {report.relative_error:.1e} of {report.coverage['compared']:,} coordinates"
    kinks = report.coverage["kinks"]
    numbers += f", {kinks:,} left out at kinks" if kinks else ""
    return f"{numbers}. {report.notes[0]}" if report.verdict != "good" and report.notes else numbers
