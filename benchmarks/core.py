"""How fast the NumPy core trains, as ratios to others measured in the same run, in turns, on one thread.

`python -m benchmarks.core` prints one table. An epoch is shuffling, batches, forward, cost, backward and the
optimiser's step; no evaluation. "bound" is the time of the matrix products alone. Run it on a quiet machine; only
ratios are meant to be compared, and of those the medians over the turns. Time is CPU time, of a single thread.
"""

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.course_style import CourseStyle
from pipeline.data.arrays import Normalization
from pipeline.data.batches import Examples
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.nn.parameters import Parameters
from pipeline.nn.workspace import Workspace
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.fit import Fit
from pipeline.training.optimizers import Optimizer
from pipeline.training.streams import streams

Array = NDArray[Any]
Epoch = Callable[[], object]
LAMBD = 0.0  # the table compares training without a penalty
REPEAT_UNTIL = 2e8


@dataclass(frozen=True)
class Case:
    """One network with one way of training it, and the ratios wanted of it in float32."""

    layer_sizes: tuple[int, ...]
    m: int
    batch_size: int
    optimizer: str = "momentum"
    keep_prob: float = 1.0
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """Sizes, batch and what is switched on."""
        sizes = "-".join(map(str, self.layer_sizes))
        dropout = " dropout" if self.keep_prob < 1 else ""
        return f"{sizes} batch {self.batch_size} {self.dtype} {self.optimizer}{dropout}"


NETWORKS = (((64, 64, 32, 10), 1078, 64), ((784, 128, 64, 10), 10_000, 128), ((784, 512, 256, 10), 10_000, 512))
WANTED = {  # × bound at most, × course style at least, × PyTorch at least; without and with dropout
    (64, 64, 32, 10): ((2.5, 2.6, 6.0), (2.7, 3.2, 7.0)),
    (784, 128, 64, 10): ((1.3, 1.8, 1.5), (1.35, 2.0, 1.8)),
    (784, 512, 256, 10): ((1.12, 1.3, 1.1), (1.15, 1.4, 1.3)),
}


def cases() -> Iterator[Case]:
    """Every network in float32 and float64, with and without dropout, with momentum and Adam."""
    for sizes, m, batch_size in NETWORKS:
        for dtype in ("float32", "float64"):
            for optimizer in ("momentum", "adam"):
                for keep_prob in (1.0, 0.8):
                    yield Case(sizes, m, batch_size, optimizer, keep_prob, dtype)


@dataclass
class Problem:
    """The data and initial weights that every implementation gets: rows (m, n_x), y (m,)."""

    case: Case
    rows: Array
    y: Array
    parameters: dict[str, Array]


def make_problem(case: Case) -> Problem:
    """Draw data that can be learned a little, so that no cost runs away."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, case.layer_sizes[-1], case.m)
    centres = rng.standard_normal((case.layer_sizes[-1], case.layer_sizes[0]))
    rows = (0.3 * centres[y] + rng.standard_normal((case.m, case.layer_sizes[0]))).astype(case.dtype)
    parameters = initialize(architecture(case), rng=rng, dtype=case.dtype)
    return Problem(case, rows, y, {name: value.copy() for name, value in parameters.as_dict().items()})


def architecture(case: Case) -> Architecture:
    """ReLU throughout, softmax at the end."""
    return Architecture(case.layer_sizes, ("relu",) * (len(case.layer_sizes) - 2), "softmax")


def learning_rate(case: Case) -> float:
    """Small enough that nothing diverges."""
    return 1e-3 if case.optimizer == "adam" else 0.01


def core_epoch(problem: Problem) -> Epoch:
    """The core, through the same fit that trials use."""
    case = problem.case
    plain = Normalization(np.zeros(case.layer_sizes[0]), np.zeros(case.layer_sizes[0]), np.ones(case.layer_sizes[0]))
    examples = Examples(problem.rows, problem.y, np.arange(case.m), plain, case.dtype)
    keep_prob = (case.keep_prob,) * (len(case.layer_sizes) - 2)
    regularization = Regularization(m=case.m, lambd=LAMBD, keep_prob=keep_prob)
    network = Network(architecture(case), regularization, dtype=case.dtype, max_batch=case.batch_size)
    optimizer = Optimizer(case.optimizer, learning_rate(case))
    fit = Fit(
        network,
        examples,
        None,
        optimizer,
        batch_size=case.batch_size,
        num_epochs=10**6,
        stopper=EarlyStopping(patience=None),
    )
    random = streams(0)
    state = fit.begin(initialize(network.architecture, rng=random.init, dtype=case.dtype), random)
    return lambda: fit.train_epoch(state, random)


def bound_epoch(problem: Problem) -> Epoch:
    """The matrix products of an epoch and nothing else, on memory that lies as the core's does."""
    case = problem.case
    parameters, gradients = (Parameters(case.layer_sizes, case.dtype) for _ in range(2))
    for name, value in parameters.as_dict().items():
        value[...] = problem.parameters[name]
    W, dW, last = parameters.W, gradients.W, len(case.layer_sizes) - 1
    X = [problem.rows[i : i + case.batch_size].T for i in range(0, case.m, case.batch_size)]
    arrays = {}
    for x in X:
        memory = Workspace(case.layer_sizes, (1.0,) * last, np.dtype(case.dtype), x.shape[1]).views(x.shape[1])
        for array in (*memory.Z.values(), *memory.dZ.values()):
            array[...] = np.random.default_rng(0).random(array.shape)
        arrays[x.shape[1]] = memory.Z, memory.dZ

    def epoch() -> None:
        for x in X:
            Z, dZ = arrays[x.shape[1]]
            for layer in W:
                A = Z[layer - 1] if layer > 1 else x
                if layer < last:
                    np.dot(A.T, W[layer].T, out=Z[layer].T)
                else:
                    np.dot(W[layer], A, out=Z[layer])
            for layer in reversed(W):
                np.dot(Z[layer - 1] if layer > 1 else x, dZ[layer].T, out=dW[layer].T)
                if layer > 1:
                    np.dot(dZ[layer].T, W[layer], out=dZ[layer - 1].T)

    return epoch


def course_epoch(problem: Problem) -> Epoch:
    """The course-style implementation."""
    case = problem.case
    dtype = np.dtype(case.dtype)
    network = CourseStyle(
        problem.parameters,
        optimizer=case.optimizer,
        learning_rate=learning_rate(case),
        keep_prob=case.keep_prob,
        lambd=LAMBD,
        m=case.m,
    )
    X, Y = np.ascontiguousarray(problem.rows.T), np.eye(case.layer_sizes[-1], dtype=dtype)[problem.y].T
    rng = np.random.default_rng(0)
    return lambda: network.epoch(X, Y, case.batch_size, rng.permutation(case.m))


def sklearn_epoch(problem: Problem) -> Epoch | None:
    """scikit-learn's MLPClassifier; it has no dropout."""
    from sklearn.neural_network import MLPClassifier

    case = problem.case
    if case.keep_prob < 1:
        return None
    model = MLPClassifier(
        case.layer_sizes[1:-1],
        solver="adam" if case.optimizer == "adam" else "sgd",
        alpha=LAMBD * case.batch_size / case.m,
        batch_size=case.batch_size,
        learning_rate_init=learning_rate(case),
        nesterovs_momentum=False,
        random_state=0,
    )
    classes = np.arange(case.layer_sizes[-1])
    return lambda: model.partial_fit(problem.rows, problem.y, classes=classes)


def torch_epoch(problem: Problem) -> Epoch:
    """PyTorch, eager, as its tutorials write a training loop."""
    import torch

    case = problem.case
    torch.set_num_threads(1)
    dtype = getattr(torch, case.dtype)
    layers: list[torch.nn.Module] = []
    for n_in, n_out in zip(case.layer_sizes[:-2], case.layer_sizes[1:-1], strict=True):
        layers += [torch.nn.Linear(n_in, n_out, dtype=dtype), torch.nn.ReLU()]
        layers += [torch.nn.Dropout(1 - case.keep_prob)] * (case.keep_prob < 1)
    model = torch.nn.Sequential(*layers, torch.nn.Linear(*case.layer_sizes[-2:], dtype=dtype))
    weights = [p for p in model.parameters() if p.ndim == 2]
    biases = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": LAMBD / case.m}, {"params": biases}]
    rate = learning_rate(case)
    optimizer = (
        torch.optim.Adam(groups, lr=rate)
        if case.optimizer == "adam"
        else torch.optim.SGD(groups, lr=rate, momentum=0.9)
    )
    X, y, loss = torch.from_numpy(problem.rows), torch.from_numpy(problem.y), torch.nn.CrossEntropyLoss()

    def epoch() -> None:
        order = torch.randperm(case.m)
        for i in range(0, case.m, case.batch_size):
            batch = order[i : i + case.batch_size]
            optimizer.zero_grad()
            J = loss(model(X[batch]), y[batch])
            J.backward()
            optimizer.step()

    return epoch


def jax_epoch(problem: Problem) -> Epoch | None:
    """JAX with one compiled step; its dropout and optimisers live in other packages, so gradient descent alone."""
    import jax
    import jax.numpy as jnp

    case = problem.case
    if case.keep_prob < 1 or case.optimizer != "momentum" or case.dtype != "float32":
        return None
    layers = range(1, len(case.layer_sizes))

    def cost(parameters: dict[str, Any], X: Any, y: Any) -> Any:
        A = X
        for layer in layers:
            Z = A @ parameters[f"W{layer}"].T + parameters[f"b{layer}"][:, 0]
            A = jax.nn.relu(Z)
        squares = sum(jnp.sum(parameters[f"W{layer}"] ** 2) for layer in layers)
        J = -jnp.mean(jax.nn.log_softmax(Z)[jnp.arange(len(y)), y])
        return J + LAMBD / (2 * case.m) * squares

    @jax.jit
    def step(parameters: dict[str, Any], v: dict[str, Any], X: Any, y: Any) -> Any:
        gradients = jax.grad(cost)(parameters, X, y)
        v = {name: 0.9 * v[name] + gradients[name] for name in v}
        return {name: parameters[name] - learning_rate(case) * v[name] for name in v}, v

    state = [problem.parameters, {name: np.zeros_like(value) for name, value in problem.parameters.items()}]
    rng = np.random.default_rng(0)

    def epoch() -> None:
        order = rng.permutation(case.m)
        for i in range(0, case.m, case.batch_size):
            batch = order[i : i + case.batch_size]
            state[:] = step(*state, problem.rows[batch], problem.y[batch])
        jax.block_until_ready(state[0])

    return epoch


IMPLEMENTATIONS: dict[str, tuple[str | None, Callable[[Problem], Epoch | None]]] = {
    "core": (None, core_epoch),
    "bound": (None, bound_epoch),
    "course": (None, course_epoch),
    "sklearn": ("sklearn", sklearn_epoch),
    "torch": ("torch", torch_epoch),
    "jax": ("jax", jax_epoch),
}


def measure(case: Case, turns: int, chosen: tuple[str, ...]) -> dict[str, float]:
    """Return the median over turns of each one's time / the core's time in the same turn, and "ms" of the core."""
    problem, epochs = make_problem(case), {}
    for name, (module, make) in IMPLEMENTATIONS.items():
        if name in chosen and (module is None or importlib.util.find_spec(module)):
            epoch = make(problem)
            if epoch is not None:
                epochs[name] = epoch
    products = case.m * sum(a * b for a, b in pairwise(case.layer_sizes))
    repeats = max(1, round(REPEAT_UNTIL / products))
    for epoch in epochs.values():
        epoch()
    times = {name: np.array([0.0] * turns) for name in epochs}
    for turn in range(turns):
        for name, epoch in epochs.items():
            start = time.process_time()
            for _ in range(repeats):
                epoch()
            times[name][turn] = (time.process_time() - start) / repeats
    ratios = {name: float(np.median(values / times["core"])) for name, values in times.items() if name != "core"}
    return {"ms": float(np.median(times["core"])) * 1e3, **ratios}


def verdict(case: Case, ratios: dict[str, float]) -> str:
    """Say which wanted ratio is missed, "ok" if none, nothing where none is wanted."""
    if case.dtype != "float32" or case.optimizer != "momentum":
        return ""
    bound, course, torch = WANTED[case.layer_sizes][case.keep_prob < 1]
    missed = [f"bound {bound}"] * (1 / ratios["bound"] > bound)
    missed += [f"course {course}"] * (ratios.get("course", np.inf) < course)
    missed += [f"torch {torch}"] * (ratios.get("torch", np.inf) < torch)
    return f"wanted {', '.join(missed)}" if missed else "ok"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9, help="how often each implementation has its turn")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--against", default=",".join(IMPLEMENTATIONS), help="implementations, with commas between")
    arguments = parser.parse_args()
    chosen = ("core", "bound", *arguments.against.split(","))
    others = [name for name in ("course", "sklearn", "torch", "jax") if name in chosen]
    print(f"{'':58}{'ms/epoch':>9}{'× bound':>9}" + "".join(f"{'× ' + name:>10}" for name in others))
    warnings.filterwarnings("ignore", category=UserWarning)
    with threadpool_limits(1):
        for case in cases():
            if arguments.only in case.name:
                ratios = measure(case, arguments.turns, chosen)
                row = "".join(f"{ratios[name]:>10.2f}" if name in ratios else f"{'-':>10}" for name in others)
                line = f"{case.name:<58}{ratios['ms']:>9.2f}{1 / ratios['bound']:>9.2f}{row}"
                print(f"{line}  {verdict(case, ratios)}", flush=True)


if __name__ == "__main__":
    main()
