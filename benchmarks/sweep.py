"""What a sweep costs as a whole: its trials beside a textbook stack, the coordinator, its workers, start and pruning.

`python -m benchmarks.sweep [part…]` prints a line for each figure. Ratios are of wall time, measured in turns in one
run, so that what else the machine does falls on both sides. Parts: trial, coordinator, workers, start, pruning.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.sweeps import Inline, Sweep, Watched, configure, run
from pipeline.config.commands import SweepConfig
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.arrays import load_arrays
from pipeline.data.divisions import ensure
from pipeline.data.prepare import prepare
from pipeline.search.space import Space
from pipeline.trials.trial import run_trial, work

WHOLE = ("training.num_epochs=100", "training.patience=null", "pruner.startup_trials=1000000")
"""Every trial has 100 epochs and reports at every rung, and none is pruned."""

REPEATS = 4
"""Repeats of a trial; each is a training as the textbook stacks have one."""

BARE = "import mlflow, optuna, hydra"


def show(name: str, value: float, unit: str = "", *, least: float | None = None, most: float | None = None) -> None:
    """Print one figure beside what is wanted of it."""
    line = f"{name:<74}{value:>9.3g} {unit:<5}"
    if least is not None or most is not None:
        reached = (least is None or value >= least) and (most is None or value <= most)
        wanted = f"≥ {least:g}" if least is not None else f"≤ {most:g}"
        line += f"{'ok' if reached else 'missed'}, wanted {wanted}"
    print(line, flush=True)


def seconds(task: Callable[[], object]) -> float:
    """The wall time of one call."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def cpu_seconds(task: Callable[[], object]) -> float:
    """The CPU time of one call, in this process and in those that it started and that have ended."""
    before = os.times()
    task()
    return sum(os.times()[:4]) - sum(before[:4])


def trial(folder: Path, turns: int) -> None:
    """Tracked trainings of 100 epochs, in trials of 4 repeats, with two workers and with one, beside textbook stacks.

    The stacks train once for each trial. With one worker its CPU time is compared too, which the machine's other work
    changes less: of the worker and the coordinator, with their start and the import of NumPy in the worker.
    """
    from benchmarks.textbook import Textbook

    arrays = load_arrays(prepare(TrialConfig().data, folder).path)
    books = [Textbook(folder / kind, arrays, epochs=100) for kind in ("numpy", "torch")]

    def tracked(workers: int, turn: int) -> tuple[float, float]:
        trials = 6 * workers
        overrides = (f"study.name=whole-{workers}-{turn}", f"study.trials={trials}", f"workers.count={workers}")
        sweeps: list[Sweep] = []
        cpu = cpu_seconds(lambda: sweeps.append(run(folder, *WHOLE, f"repeats={REPEATS}", *overrides)))
        return sweeps[0].seconds / (trials * REPEATS), cpu / (trials * REPEATS)

    def stack(task: Callable[[], object]) -> tuple[float, float]:
        wall: list[float] = []
        cpu = cpu_seconds(lambda: wall.append(seconds(task)))
        return wall[0], cpu

    times = []
    with threadpool_limits(1):
        for turn in range(turns + 1):
            ours = [tracked(workers, turn) for workers in (2, 1)]
            times.append([*ours, stack(books[0].numpy_trial), stack(books[1].torch_trial)])
    (two, one, *stacks), (_, one_cpu, *stacks_cpu) = np.moveaxis(np.array(times[1:]), (0, 1, 2), (2, 1, 0))
    show(
        f"a tracked training of 100 epochs, in trials of {REPEATS}, two gradient checks a trial",
        1e3 * median(two),
        "ms",
    )
    show("the same with one worker", 1e3 * median(one), "ms")
    for name, wall, cpu, wanted in zip(("NumPy", "PyTorch"), stacks, stacks_cpu, (12, 10), strict=True):
        show(f"the textbook stack with {name}", 1e3 * median(wall), "ms")
        show(f"the textbook stack with {name} / two workers", median(wall / two), "×", least=wanted)
        show(f"the textbook stack with {name} / one worker", median(wall / one), "×", least=wanted)
        show(f"the same in CPU time of all processes, {name}", median(cpu / one_cpu), "×")


def coordinator(folder: Path, turns: int) -> None:
    """CPU time of the coordinator's process per trial: real trials, and trials that are ready at once."""
    real = [run(folder, f"study.name=default-{turn}").cost_ms for turn in range(turns)]
    show("coordinator per trial, default sweep, median", float(np.median(np.concatenate(real))), "ms", most=75)
    whole = [run(folder, *WHOLE, f"study.name=hundred-{turn}", "study.trials=20").cost_ms for turn in range(turns)]
    show("coordinator per trial, trials of 100 epochs, median", float(np.median(np.concatenate(whole))), "ms", most=75)
    config = TrialConfig()
    config.training.num_epochs = 30
    record = run_trial(config, load_arrays(prepare(config.data, folder).path))
    trials = 1000 if turns > 1 else 300
    grown = {}
    for sampler in ("random", "tpe"):
        arguments = (f"study.name=grown-{sampler}", f"sampler={sampler}", f"study.trials={trials}")
        grown[sampler] = run(folder, *arguments, executor=Inline(record))
    early, late = (around(grown["random"], number) for number in (100, trials))
    show(f"coordinator at trial {trials:,} / at trial 100, random search", late / early, "×", most=1.5)
    early, late = (around(grown["tpe"], n) - around(grown["random"], n) for n in (100, trials))
    show("TPE itself at trial 100, above random search", early, "ms")
    show(f"TPE itself at trial {trials:,}, above random search", late, "ms")
    show("trials that one coordinator serves, random search", trials / grown["random"].seconds, "/s")
    show("trials that one coordinator serves, TPE", trials / grown["tpe"].seconds, "/s")


def around(sweep: Sweep, number: int) -> float:
    """The mean cost of the 50 trials up to and about one, in ms; a mean, since the sender works in its own rhythm."""
    costs = sweep.cost_ms
    last = min(number + 25, len(costs))
    return float(np.mean(costs[last - 50 : last]))


def workers(folder: Path, turns: int) -> None:
    """How long workers have a task in hand, and two of them beside one."""
    sweeps = [run(folder, f"study.name=hands-{turn}") for turn in range(turns)]
    show("two workers have a task in hand, default sweep", median(s.in_hand for s in sweeps), "", least=0.9)
    images = write_images(folder / "images.npz")
    large = (*images, "model.hidden_units=[128,64]", "training.batch_size=128", "training.num_epochs=8", "pruner=none")
    for name, wanted, arguments in (
        ("784-128-64-10, 8 trials of 8 epochs", 1.8, (*large, "study.trials=8")),
        ("the default network, 24 trials of 100 epochs", 1.3, (*WHOLE, "study.trials=24")),
    ):
        ratios = []
        for turn in range(turns):
            one, two = (
                run(folder, *arguments, f"study.name={wanted}-{turn}-{count}", f"workers.count={count}").train_s
                for count in (1, 2)
            )
            ratios.append((one / two, bare(folder, 1, *arguments) / bare(folder, 2, *arguments)))
        show(f"one worker / two workers, {name}", median(ratio for ratio, _ in ratios), "×", least=wanted)
        show("the same trials with no coordinator: what this machine gives", median(r for _, r in ratios), "×")


def bare(folder: Path, count: int, *arguments: str) -> float:
    """Seconds for the same number of equal trials by `count` worker processes, with no study and no tracking."""
    config = configure(folder, *arguments)
    prepared = prepare(config.data, folder)
    ensure(prepared, config.data, config.repeat_numbers)
    arrays, executor = prepared.path.resolve(), Watched(count)
    began = time.perf_counter()
    wait([executor.submit(work, arrays, config.trial, None) for _ in range(config.study.trials)])
    taken = time.perf_counter() - began
    executor.shutdown()
    return taken


def write_images(path: Path) -> tuple[str, ...]:
    """A table of 10,000 training images of 28 × 28, which can be learned; the overrides that name it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 16_700)
    X = (rng.integers(0, 200, (10, 784))[y] * rng.random((len(y), 784))).astype(np.uint8)
    np.savez(path, X=X, y=y)
    return "data=file", f"data.path={path}", "data.target=y"


def start(folder: Path, turns: int) -> None:
    """From the command to the first trial on a store that exists, beside the bare imports."""
    run(folder, "study.name=first", "study.trials=1")
    ratios, firsts = [], []
    for turn in range(turns + 1):
        bare = seconds(lambda: subprocess.run([sys.executable, "-c", BARE], check=True))
        firsts.append(command_to_trial(folder, f"start-{turn}"))
        ratios.append(firsts[-1] / bare)
    show("from the command to the first trial", median(firsts[1:]), "s")
    show("from the command to the first trial / bare imports", median(ratios[1:]), "×", most=1.3)


def command_to_trial(folder: Path, name: str) -> float:
    """Seconds from the start of `pipeline sweep` until a worker begins the first trial."""
    from pipeline.tracking.archive import Archive

    began = time.time()
    overrides = [f"tracking.store={folder}", "tracking.pictures=false", f"study.name={name}", "study.trials=1"]
    command = [sys.executable, "-m", "pipeline", "sweep", *overrides, "study.baseline=false"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    tracking = configure(folder).tracking
    archive = Archive(tracking)
    return archive.load(archive.find(f"{name}/trial-0000")).started_at - began


def pruning(folder: Path, turns: int) -> None:
    """Epochs with the default pruner beside none, and how good the configurations are that both find.

    The best dev cost of a search is partly luck, and of fewer whole trials there is less of it; so both configurations
    are trained again, on the same fresh seeds.
    """
    saved, ratios = [], []
    for seed in range(8 if turns > 1 else 3):
        epochs, costs = [], []
        for name in ("median", "none"):
            arguments = (f"pruner={name}", f"sampler.seed={seed}", f"seed={seed}")
            sweep = run(folder, *arguments, f"study.name=prune-{name}-{seed}")
            epochs.append(sweep.epochs)
            costs.append(fresh_cost(configure(folder, *arguments), sweep.study.best_params, folder))
        saved.append(1 - epochs[0] / epochs[1])
        ratios.append(costs[0] / costs[1])
        print(f"  seed {seed}: {saved[-1]:.0%} fewer epochs; the best's dev cost on fresh seeds {ratios[-1]:.2f} ×")
    show("epochs that pruning saves, default sweep", median(saved), "", least=1 / 3)
    logs = np.log(ratios)
    show("dev cost of the best with pruning / without, on fresh seeds", float(np.exp(logs.mean())), "×", most=1.05)
    show("  (a geometric mean, whose standard error is)", 100 * float(logs.std(ddof=1)) / len(logs) ** 0.5, "%")


def fresh_cost(config: SweepConfig, values: dict[str, Any], folder: Path) -> float:
    """The mean best dev cost of a configuration over seeds that no search has used."""
    found = parse(TrialConfig, Space(config.search.space, asdict(config.trial)).apply(values))
    found.gradcheck.enabled = False
    arrays = load_arrays(prepare(config.data, folder).path)
    costs = []
    for found.seed in range(1000, 1010):
        costs.append(run_trial(found, arrays).summary["best_dev_cost"])
    return float(np.mean(costs))


PARTS: dict[str, Callable[[Path, int], None]] = {
    "trial": trial,
    "coordinator": coordinator,
    "workers": workers,
    "start": start,
    "pruning": pruning,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of the parts that are named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--turns", type=int, default=3, help="how often each has its turn; 1: fewer trials, too")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.parts) - PARTS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    for name in ("optuna", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"  # for workers, as the command sets them
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name in chosen.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](Path(folder), chosen.turns)


if __name__ == "__main__":
    main()
