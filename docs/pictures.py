"""The pictures of the course beside the code; `make pictures` draws them anew into docs/.

Each function trains or computes what it shows with the code of the project.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from pipeline.config.commands import TrainConfig
from pipeline.console.compose import run
from pipeline.data.arrays import load_arrays
from pipeline.data.prepare import prepare
from pipeline.gradcheck.epsilon_sweep import sweep_epsilon
from pipeline.gradcheck.problem import Problem
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.nn.parameters import Parameters
from pipeline.reporting.style import BLUE, GREEN, GREY, ORANGE, PINK, canvas, save
from pipeline.training.optimizers import Optimizer
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import run_trial

FOLDER = Path(__file__).parent
TEACHER = Architecture((5, 8, 6, 3), ("tanh", "tanh"), "softmax")


def trained(*overrides: str) -> TrialRecord:
    """Train one configuration as `make train` would, without tracking it."""
    configs: list[TrainConfig] = []
    run("train", TrainConfig, configs.append, list(overrides))
    config = configs[0].trial
    with tempfile.TemporaryDirectory() as store:
        return run_trial(config, load_arrays(prepare(config.data, Path(store)).path))


def signals() -> Path:
    """How activations and gradients grow or vanish from layer to layer, in 20 linear layers of 1.5·I and of 0.5·I."""
    panels = {"activation_norm": "‖A[l]‖ per example", "gradient_norm": "‖∂J/∂W[l]‖"}
    with canvas(9.0, 3.8, ncols=2) as (figure, both):
        for experiment, colour, text in (("exploding", ORANGE, "W = 1.5 · I"), ("vanishing", BLUE, "W = 0.5 · I")):
            record = trained(f"experiment={experiment}")
            for axes, name in zip(both, panels, strict=True):
                values = [record.curves[f"{name}_{layer}"][0] for layer in range(1, 21)]
                axes.semilogy(range(1, 21), values, color=colour, marker="o", markersize=4, label=text)
        for axes, title in zip(both, panels.values(), strict=True):
            axes.set(title=title, xlabel="layer l", xticks=range(2, 21, 3))
        both[0].legend()
        return save(figure, FOLDER / "signals.png")


def initial_scales() -> Path:
    """The spread of activations from layer to layer for four ways to start ten layers of ReLUs."""
    architecture = Architecture((100,) * 11 + (10,), ("relu",) * 10, "softmax")
    network = Network(architecture, Regularization(m=500), dtype=np.float64, max_batch=500)
    X = np.random.default_rng(0).standard_normal((100, 500))
    ways = {"He, Var = 2/n": ("he", BLUE), "Xavier, Var = 1/n": ("xavier", GREEN), "std 0.01": ("fixed", ORANGE)}
    with canvas(5.6, 3.8) as (figure, axes):
        for text, (scheme, colour) in ways.items():
            _draw_spread(axes, network, X, scheme, 1.0, colour, text)
        _draw_spread(axes, network, X, "he", 2.0, PINK, "He, doubled (init.scale=2)")
        axes.set(title="Root mean square of A[l], ten layers of ReLUs", xlabel="layer l", yscale="log")
        axes.legend()
        return save(figure, FOLDER / "initial-scales.png")


def _draw_spread(
    axes: Axes, network: Network, X: np.ndarray, scheme: str, scale: float, colour: str, text: str
) -> None:
    parameters = initialize(network.architecture, scheme, scale, rng=np.random.default_rng(1), dtype=np.float64)
    _, inputs = network.trace(X, parameters)
    spreads = [np.sqrt(np.mean(A**2)) for A in inputs]
    axes.plot(range(len(spreads)), spreads, color=colour, marker="o", markersize=4, label=text)


def dropout_scaling() -> Path:
    """What a unit of the next layer receives on average over masks, with and without the division by keep_prob."""
    rng, share = np.random.default_rng(0), np.linspace(0.1, 1.0, 10)
    A = np.abs(rng.standard_normal((200, 1)))
    w = np.abs(rng.standard_normal((1, 200))) / 200
    whole = float((w @ A)[0, 0])
    inverted, plain = [], []
    for keep_prob in share:
        network = Network(
            Architecture((200, 1), (), "sigmoid"),
            Regularization(m=1, keep_prob_input=float(keep_prob)),
            dtype=np.float64,
            max_batch=2000,
        )
        masks = network.draw_masks(2000, np.random.Generator(np.random.SFC64(1)))
        D = np.ones((200, 2000)) if masks[0] is None else masks[0]
        inverted.append((w @ (A * D)).ravel() / whole)
        plain.append((w @ (A * (D > 0))).ravel() / whole)
    with canvas(5.6, 3.8) as (figure, axes):
        for values, colour, text in ((inverted, BLUE, "inverted: A · mask / keep_prob"), (plain, ORANGE, "A · mask")):
            means, spreads = np.array([(v.mean(), v.std()) for v in values]).T
            axes.errorbar(share, means, spreads, color=colour, marker="o", markersize=4, capsize=2, label=text)
        axes.axhline(1.0, color=GREY, linewidth=1, linestyle="--", label="at test time: A")
        axes.set(title="Z with dropout, as a multiple of Z without", xlabel="keep_prob", ylim=(0, None))
        axes.legend(loc="lower right")
        return save(figure, FOLDER / "dropout-scaling.png")


def epsilon() -> Path:
    """The error of three difference formulas against ε: truncation on the right, rounding on the left."""
    rng = np.random.default_rng(0)
    network = Network(TEACHER, Regularization(m=20, lambd=1.0), dtype=np.float64, max_batch=20)
    parameters = initialize(TEACHER, rng=rng, dtype=np.float64)
    problem = Problem.of(network, parameters, rng.standard_normal((5, 20)), rng.integers(0, 3, 20))
    sweep = sweep_epsilon(problem, np.logspace(-13, -1, 49), rng=rng)
    words = {
        "one_sided": ("one-sided", ORANGE),
        "two_sided": ("two-sided", BLUE),
        "complex_step": ("complex step", GREEN),
    }
    with canvas(5.6, 3.8) as (figure, axes):
        for method, (text, colour) in words.items():
            slope = sweep.slopes[method]
            label = f"{text}, slope {slope:.2f}" if np.isfinite(slope) else text
            axes.loglog(sweep.epsilons, np.maximum(sweep.errors[method], 1e-17), color=colour, label=label)
        axes.axhline(1e-7, color=GREY, linewidth=1, linestyle="--")
        axes.set(title="Relative error of the numerical gradient", xlabel="ε")
        axes.legend()
        return save(figure, FOLDER / "epsilon.png")


def early_stopping_and_l2() -> Path:
    """Cost of train and dev and the size of the weights, stopped early and with L2 trained long."""
    runs = {
        "no regularisation": (
            trained("experiment=early_stopping", "training.patience=null", "training.num_epochs=200"),
            GREY,
        ),
        "early stopping": (trained("experiment=early_stopping"), ORANGE),
        "L2, λ = 3": (trained("experiment=l2_trained_long", "training.num_epochs=200"), BLUE),
    }
    with canvas(11.0, 3.8, ncols=3) as (figure, panels):
        for text, (record, colour) in runs.items():
            best = int(record.summary["best_epoch"])
            for axes, name in zip(panels, ("train_cost", "dev_cost", "weight_norm_1"), strict=True):
                axes.plot(record.curves[name], color=colour, label=text)
                axes.plot(best, record.curves[name][best], color=colour, marker="o", markersize=6)
        for axes, title in zip(panels, ("train cost", "dev cost", "‖W[1]‖, Frobenius norm"), strict=True):
            axes.set(title=title, xlabel="epoch")
        for axes in panels[:2]:
            axes.set_yscale("log")
        panels[0].legend()
        return save(figure, FOLDER / "early-stopping.png")


def symmetry() -> Path:
    """The weights of four hidden units while they are trained: begun alike they stay alike, begun apart they part."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((2, 200))
    y = (X[0] * X[1] > 0).astype(np.intp)
    architecture = Architecture((2, 4, 1), ("tanh",), "sigmoid")
    alike = Parameters(architecture.layer_sizes, np.float64)
    alike.weights[:] = 0.5
    starts = {"all weights 0.5": alike, "random": initialize(architecture, rng=rng, dtype=np.float64)}
    with canvas(9.0, 3.8, ncols=2, sharey=True) as (figure, both):
        for axes, (text, parameters) in zip(both, starts.items(), strict=True):
            path, cost = _descend(architecture, parameters, X, y)
            for unit, colour in enumerate((BLUE, ORANGE, GREEN, PINK)):
                width = 7 - 2 * unit if text != "random" else 1.5
                axes.plot(path[:, unit], color=colour, linewidth=width, label=f"unit {unit + 1}")
            axes.set(title=f"{text}: cost {cost:.2f} at the end", xlabel="step")
        both[0].set_ylabel("W[1][unit, 1]")
        both[1].legend()
        return save(figure, FOLDER / "symmetry.png")


def _descend(
    architecture: Architecture, parameters: Parameters, X: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, float]:
    """The first weight of each hidden unit in every step of Adam, (steps, n_1), and the last cost."""
    network = Network(architecture, Regularization(m=y.size), dtype=np.float64, max_batch=y.size)
    rule, gradients, scratch = Optimizer("adam", 0.03), parameters.like(), np.empty_like(parameters.theta)
    slots, path, cost = rule.slots(parameters.theta), [], 0.0
    for step in range(1, 301):
        cost = network.cost_and_gradients(X, y, parameters, gradients)
        rule.update(parameters.theta, gradients.theta, slots, step, rule.learning_rate, scratch)
        path.append(parameters.W[1][:, 0].copy())
    return np.array(path), cost


PICTURES: tuple[Callable[[], Path], ...] = (
    signals,
    initial_scales,
    dropout_scaling,
    epsilon,
    early_stopping_and_l2,
    symmetry,
)


if __name__ == "__main__":
    for draw in PICTURES:
        print(draw())
