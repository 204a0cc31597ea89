"""A whole default study beside what a person would write instead: what each finds, and what that took.

`python -m benchmarks.peers [--seeds 3] [--fresh 20] [--budget 3]`

The peers search the same values of the same network on the same division of the digits: (a) Optuna with PyTorch, its
study in SQLite, MLflow called after each epoch; (b) the same with a journal and one `log_batch` a trial, the best a
careful person writes; both stop early as we do and keep the trial with the lowest dev cost; (c) scikit-learn's
HalvingRandomSearchCV over α of MLPClassifier, which has neither dropout nor an init scale, and tracks nothing.

What counts is the values found: those of all are trained by our code on the same fresh repeats ("fresh dev cost").
Each peer is a process of its own, imports included. Times are CPU time, ours of all its processes; (a) and (b) go on
until what they would answer is as good as ours, or for `--budget` times as long. Where a peer is ahead, it is said.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.sweep import cpu_seconds
from benchmarks.sweeps import configure
from pipeline.config.commands import SweepConfig
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.arrays import load_arrays
from pipeline.data.divisions import ensure
from pipeline.data.prepare import prepare
from pipeline.search.space import Space
from pipeline.trials.trial import run_trial

LAMBD, KEEP_PROB, SCALE = "regularization.lambd", "regularization.keep_prob", "model.init.scale"
FRESH = 1000
"""Number of the first fresh repeat."""

PEERS = {
    "by-epoch": "Optuna + PyTorch + MLflow, each epoch logged",
    "at-the-end": "the same with a journal and log_batch",
    "halving": "HalvingRandomSearchCV with MLPClassifier",
}


@dataclass(frozen=True)
class Answer:
    """The values that somebody would use, and the CPU seconds spent until they were known."""

    values: dict[str, Any]
    cpu_s: float


# The peers, each in a process of its own, which prints its answer after each trial ------------------------------------


def say(values: dict[str, Any]) -> None:
    """Print an answer."""
    print(json.dumps(asdict(Answer(values, time.process_time()))), flush=True)


def optuna_and_torch(folder: Path, seed: int, *, by_epoch: bool) -> None:
    """The loop that tutorials show, over our network; it ends when it is killed."""
    import mlflow
    import optuna
    import torch
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from benchmarks.textbook import RATE, Textbook, torch_epochs
    from pipeline.nn.initializers import initialize

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    training = TrialConfig().training
    config = study_config(folder, seed)
    book = Textbook(folder / "book", load_arrays(prepare(config.data, folder).path), epochs=training.num_epochs)
    patience = training.patience or training.num_epochs
    assert training.learning_rate == RATE, "the textbook's rate is ours"
    journal = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    storage = f"sqlite:///{folder}/study.db" if by_epoch else journal
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.TPESampler(seed=seed))

    def objective(trial: optuna.Trial) -> float:
        lambd = trial.suggest_float(LAMBD, 0.01, 30, log=True)
        keep_prob = trial.suggest_float(KEEP_PROB, 0.5, 1.0)
        scale = trial.suggest_float(SCALE, 0.1, 3.0, log=True)
        torch.manual_seed(trial.number)
        initial = initialize(book.design, "auto", scale, rng=np.random.default_rng(trial.number), dtype="float32")
        curves: list[dict[str, float]] = []
        with mlflow.start_run(run_name=f"trial-{trial.number}") as run:
            mlflow.log_params(trial.params)
            for epoch, measures in enumerate(torch_epochs(book, initial, lambd, keep_prob)):
                curves.append(measures)
                if by_epoch:
                    mlflow.log_metrics(measures, epoch)
                    trial.report(measures["dev_cost"], epoch)
                costs = [each["dev_cost"] for each in curves]
                if epoch - int(np.argmin(costs)) >= patience:
                    break
            if not by_epoch:
                log_at_once(run.info.run_id, curves)
        return min(costs)

    mlflow.set_experiment(experiment_id=book.experiment)
    while True:
        study.optimize(objective, n_trials=1)
        say(study.best_params)


def log_at_once(run_id: str, curves: Sequence[dict[str, float]]) -> None:
    """Log all values of a trial in as few calls as MLflow allows."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    now = round(time.time() * 1000)
    points = [
        Metric(key, value, now, epoch) for epoch, measures in enumerate(curves) for key, value in measures.items()
    ]
    for first in range(0, len(points), 1000):
        MlflowClient().log_batch(run_id, points[first : first + 1000])


def halving(folder: Path, seed: int) -> None:
    """What scikit-learn has for it, with its defaults: three folds of train and dev, α by halving over examples."""
    import warnings

    from scipy.stats import loguniform
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trial, config = TrialConfig(), study_config(folder, seed)
    arrays = load_arrays(prepare(config.data, folder).path)
    fold, training = arrays.folds[0], trial.training
    network = MLPClassifier(
        tuple(trial.model.hidden_units),
        solver="sgd",
        batch_size=training.batch_size,
        learning_rate_init=training.learning_rate,
        momentum=training.momentum,
        nesterovs_momentum=False,
        max_iter=training.num_epochs,
        random_state=seed,
    )
    m, batch = len(fold.train), int(training.batch_size)
    # scikit-learn divides its penalty by the size of the batch, we by that of the training part: α = λ batch / m.
    alphas = {"mlpclassifier__alpha": loguniform(0.01 * batch / m, 30 * batch / m)}
    search = HalvingRandomSearchCV(
        make_pipeline(StandardScaler(), network), alphas, scoring="neg_log_loss", cv=3, random_state=seed
    )
    rows = np.concatenate([fold.train, fold.dev])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is told how many epochs it has
        search.fit(np.asarray(arrays.X[rows]), np.asarray(arrays.y[rows]))
    alpha = float(search.best_params_["mlpclassifier__alpha"])
    say({LAMBD: alpha * m / batch, KEEP_PROB: 1.0, SCALE: 1.0, "model.init.scheme": "glorot"})


def study_config(folder: Path, seed: int) -> SweepConfig:
    """The default sweep with its own seeds and division."""
    return configure(folder, *seeds(seed))


def seeds(seed: int) -> tuple[str, ...]:
    """What tells the studies apart."""
    return f"seed={seed}", f"data.split_seed={seed}", f"sampler.seed={seed}"


# The comparison -------------------------------------------------------------------------------------------------------


def ours(folder: Path, seed: int) -> Answer:
    """The answer of `make sweep` with its defaults, pictures included."""
    from pipeline.tracking.archive import Archive

    overrides = (f"tracking.store={folder}", f"study.name=study-{seed}", *seeds(seed))
    command = [sys.executable, "-m", "pipeline", "sweep", *overrides]
    cpu = cpu_seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    parent = Archive(configure(folder).tracking).parent(f"study-{seed}")
    return Answer(json.loads(parent.tags["recommended"]), cpu)


def answers(peer: str, folder: Path, seed: int) -> Iterator[Answer]:
    """The answers of a peer after each trial; it is killed when no more are wanted."""
    command = [sys.executable, "-m", "benchmarks.peers", "--alone", peer, str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield Answer(**json.loads(line))
        finally:
            process.kill()


class Judge:
    """Trains anybody's values on repeats that no search has used."""

    def __init__(self, folder: Path, seed: int, fresh: int):
        self.config, self.repeats = study_config(folder, seed), range(FRESH, FRESH + fresh)
        prepared = prepare(self.config.data, folder)
        ensure(prepared, self.config.data, self.repeats)
        self.arrays = load_arrays(prepared.path)
        self.space = Space(self.config.search.space, asdict(self.config.trial))
        self.known: dict[str, float] = {}

    def cost(self, values: dict[str, Any]) -> float:
        """The mean dev cost over the fresh repeats."""
        key = json.dumps(values)
        if key not in self.known:
            self.known[key] = self._cost(values)
        return self.known[key]

    def _cost(self, values: dict[str, Any]) -> float:
        scheme = values.get("model.init.scheme", self.config.model.init.scheme)
        searched = {leaf.path: values[leaf.path] for leaf in self.space.leaves if leaf.path in values}
        found = parse(TrialConfig, self.space.apply(searched))
        found.gradcheck.enabled = False
        found.model.init.scheme = scheme
        record = run_trial(replace(found, first_repeat=FRESH, repeats=len(self.repeats)), self.arrays)
        return record.summary["best_dev_cost"]


def compare(seed: int, fresh: int, budget: float) -> dict[str, tuple[float, float, bool]]:
    """Of each, the last answer's fresh dev cost and CPU seconds, and whether that is as good as ours."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judge, found = Judge(folder, seed, fresh), ours(folder, seed)
        cost = judge.cost(found.values)
        rows = {"ours": (cost, found.cpu_s, True)}
        show(seed, "make sweep", rows["ours"])
        for peer, text in PEERS.items():
            (folder / peer).mkdir()
            for answer in answers(peer, folder / peer, seed):
                reached = judge.cost(answer.values)
                rows[peer] = (reached, answer.cpu_s, reached <= cost)
                if reached <= cost or answer.cpu_s > budget * found.cpu_s:
                    break
            show(seed, text, rows[peer])
        return rows


def show(seed: int, name: str, row: tuple[float, float, bool]) -> None:
    """Print one line."""
    cost, cpu_s, good = row
    print(
        f"seed {seed}  {name:<46} fresh dev cost {cost:.4f}{' ' if good else ' (worse)'} {cpu_s:8.1f} s of CPU",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each study of each, and ratios to ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fresh", type=int, default=20, help="fresh repeats behind each cost")
    parser.add_argument("--budget", type=float, default=3.0, help="CPU time of (a) and (b) at most, times ours")
    parser.add_argument("--alone", nargs=3, metavar=("PEER", "FOLDER", "SEED"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.alone:
        peer, folder, seed = chosen.alone[0], Path(chosen.alone[1]), int(chosen.alone[2])
        if peer == "halving":
            halving(folder, seed)
        else:
            optuna_and_torch(folder, seed, by_epoch=peer == "by-epoch")
        return
    studies = [compare(seed, chosen.fresh, chosen.budget) for seed in range(chosen.seeds)]
    for peer, text in PEERS.items():
        times = median(rows[peer][1] / rows["ours"][1] for rows in studies)
        costs = math.exp(float(np.mean([math.log(rows[peer][0] / rows["ours"][0]) for rows in studies])))
        good = sum(rows[peer][2] for rows in studies)
        ahead = "; the peer is ahead" if good == len(studies) and times < 1 else ""
        print(f"{text}: {times:.2f} × our CPU time, fresh dev cost {costs:.2f} ×", end="")
        print(f", as good in {good} of {len(studies)}{ahead}")


if __name__ == "__main__":
    main()
