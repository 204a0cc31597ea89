"""What the data side costs: preparing a 70,000 × 784 set, the memory of a worker that trains on it, and augmentation.

`python -m benchmarks.data` prints one table. Memory is the peak of a fresh process; augmentation is an epoch with it
over the same epoch without, in turns on one thread.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.core import architecture
from pipeline.config.trial import DataConfig
from pipeline.data.arrays import Normalization, load_arrays
from pipeline.data.augment import make_augment
from pipeline.data.batches import Examples
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Network, Regularization
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.fit import Fit
from pipeline.training.optimizers import Optimizer
from pipeline.training.streams import streams

SIZES = (784, 128, 64, 10)
STRENGTHS = {
    "flip": {"flip": 0.5},
    "shift, rotation, zoom": {"shift": 0.1, "rotation": 10.0, "zoom": 0.1},
    "all with distortion": {"flip": 0.5, "shift": 0.1, "rotation": 10.0, "zoom": 0.1, "distortion": 0.5},
}
NETWORKS = (
    ((8, 8), (64, 64, 32, 10), 1_079, 64),
    ((28, 28), (784, 128, 64, 10), 10_000, 128),
    ((28, 28), (784, 512, 256, 10), 10_000, 512),
)


def write_images(path: Path, m: int) -> None:
    """A set of the size and sparsity of MNIST."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (m, 28, 28), dtype=np.uint8)
    X *= rng.random(X.shape, dtype=np.float32) < 0.2
    np.savez(path, X=X, y=rng.integers(0, 10, m))


def config(path: Path) -> DataConfig:
    return DataConfig(name="images", source="file", path=str(path), target="y")


def prepare_again(path: Path, store: Path) -> str:
    """Prepare, or find what was prepared."""
    from pipeline.data.prepare import prepare

    return str(prepare(config(path), store).path)


def train(arrays: str, epochs: int) -> None:
    """What a worker does: map the arrays, keep blocks of them, train and evaluate."""
    data = load_arrays(Path(arrays))
    fold = data.folds[0]
    examples, dev = (Examples(data.X, data.y, rows, fold.normalization) for rows in (fold.train, fold.dev))
    with threadpool_limits(1):
        advance = epoch_of(SIZES, examples, 128, None, dev)
        for _ in range(epochs):
            advance()


def epoch_of(
    sizes: tuple[int, ...], examples: Any, batch_size: int, augment: Any, dev: Any = None
) -> Callable[[], Any]:
    """One epoch of the core's fit."""
    from benchmarks.core import Case

    regularization = Regularization(m=examples.m, keep_prob=(1.0,) * (len(sizes) - 2))
    design = architecture(Case(sizes, examples.m, batch_size))
    network = Network(design, regularization, dtype="float32", max_batch=batch_size)
    stopper, optimizer = EarlyStopping(patience=None), Optimizer("momentum", 0.01)
    settings: dict[str, Any] = {"batch_size": batch_size, "num_epochs": 10**6, "stopper": stopper, "augment": augment}
    fit = Fit(network, examples, dev, optimizer, **settings)
    random = streams(0)
    state = fit.begin(initialize(design, rng=random.init, dtype="float32"), random)
    return lambda: fit.train_epoch(state, random)


def fresh_process(task: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """Run a task in a process of its own: its result, seconds, and peak memory in MiB."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_measured, args=(queue, task, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{task.__name__} ended with exit code {process.exitcode}")
    result, seconds, peak = queue.get()
    return result, seconds, peak


def _measured(queue: Any, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    start = time.perf_counter()
    result = task(*arguments)
    queue.put((result, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def memory(m: int) -> None:
    """Time and peak memory of preparing the set, of finding it again, and of one training worker."""
    with tempfile.TemporaryDirectory() as folder:
        path, store = Path(folder) / "images.npz", Path(folder) / "store"
        fresh_process(write_images, path, m)
        print(f"{'':34}{'seconds':>9}{'peak MiB':>10}")
        arrays, *figures = fresh_process(prepare_again, path, store)
        print(f"{f'prepare {m:,} × 784':<34}{figures[0]:>9.2f}{figures[1]:>10.0f}")
        _, *figures = fresh_process(prepare_again, path, store)
        print(f"{'find it again':<34}{figures[0]:>9.2f}{figures[1]:>10.0f}")
        _, *figures = fresh_process(train, arrays, 1)
        print(f"{'a worker, one epoch 784-128-64-10':<34}{figures[0]:>9.2f}{figures[1]:>10.0f}")
        shared = (Path(arrays) / "X.npy").stat().st_size / 2**20
        print(f"of which the mapped rows, {shared:.0f} MiB, are one copy for all workers\n")


def augmentation(turns: int) -> None:
    """An epoch with augmentation over one without."""
    print(f"{'an epoch with augmentation / without':<42}" + "".join(f"{name:>24}" for name in STRENGTHS))
    with threadpool_limits(1):
        for image_shape, sizes, m, batch_size in NETWORKS:
            rng = np.random.default_rng(0)
            X, y = rng.integers(0, 256, (m, sizes[0]), dtype=np.uint8), rng.integers(0, 10, m)
            normalization = Normalization(np.zeros(sizes[0]), np.full(sizes[0], 128.0), np.full(sizes[0], 1 / 74))
            examples = Examples(X, y, np.arange(m), normalization)
            changes = [None] + [make_augment(image_shape=image_shape, **kind) for kind in STRENGTHS.values()]
            epochs = [epoch_of(sizes, examples, batch_size, change) for change in changes]
            times = np.array([[_seconds(epoch) for epoch in epochs] for _ in range(turns + 1)])[1:]
            ratios = [median(column / times[:, 0]) for column in times.T[1:]]
            name = f"{'-'.join(map(str, sizes))} batch {batch_size}, {m:,} images"
            print(f"{name:<42}" + "".join(f"{ratio:>24.2f}" for ratio in ratios), flush=True)


def _seconds(epoch: Callable[[], object]) -> float:
    start = time.perf_counter()
    epoch()
    return time.perf_counter() - start


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=70_000, help="images in the set whose memory is measured")
    parser.add_argument("--turns", type=int, default=9, help="how often each augmentation has its turn")
    arguments = parser.parse_args()
    memory(arguments.rows)
    augmentation(arguments.turns)


if __name__ == "__main__":
    main()
