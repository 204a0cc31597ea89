"""The same search as books and tutorials write it: one process, a study in SQLite, MLflow called after each epoch.

Course-style NumPy logs value by value, PyTorch logs all values of an epoch in one call; both report each epoch to the
study. Neither checks a gradient.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import mlflow
import numpy as np
import optuna

from benchmarks.course_style import CourseStyle, forward
from pipeline.config.trial import TrialConfig
from pipeline.data.arrays import TrialArrays
from pipeline.data.batches import Examples
from pipeline.nn.initializers import initialize
from pipeline.nn.parameters import Parameters
from pipeline.trials.parts import architecture_of

Measures = dict[str, float]
RATE, BATCH = 0.05, 64


class Textbook:
    """A study and a tracking store of its own in `folder`, on the digits as `arrays` hold them."""

    def __init__(self, folder: Path, arrays: TrialArrays, epochs: int):
        folder.mkdir(parents=True)
        self.epochs, self.design = epochs, architecture_of(TrialConfig(), arrays)
        fold = arrays.folds[0]
        self.train, self.dev = (
            Examples(arrays.X, arrays.y, rows, fold.normalization, "float32").head(len(rows))
            for rows in (fold.train, fold.dev)
        )
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        self.uri, self.experiment = mlflow.get_tracking_uri(), mlflow.create_experiment("textbook", f"file://{folder}")
        self.study = optuna.create_study(
            storage=f"sqlite:///{folder}/study.db", sampler=optuna.samplers.TPESampler(seed=0)
        )

    def numpy_trial(self) -> None:
        """One trial of course-style NumPy, `mlflow.log_metric` for each value."""
        self._trial(numpy_epochs, lambda measures, epoch: [mlflow.log_metric(*m, epoch) for m in measures.items()])

    def torch_trial(self) -> None:
        """One trial of eager PyTorch, `mlflow.log_metrics` once an epoch."""
        self._trial(torch_epochs, lambda measures, epoch: mlflow.log_metrics(measures, epoch))

    def _trial(self, train: Callable[..., Iterator[Measures]], log: Callable[[Measures, int], object]) -> None:
        def objective(trial: optuna.Trial) -> float:
            lambd = trial.suggest_float("lambd", 0.01, 30, log=True)
            keep_prob = trial.suggest_float("keep_prob", 0.5, 1.0)
            scale = trial.suggest_float("scale", 0.1, 3.0, log=True)
            rng = np.random.default_rng(trial.number)
            initial = initialize(self.design, "auto", scale, rng=rng, dtype="float32")
            best = np.inf
            with mlflow.start_run(run_name=f"trial-{trial.number}"):
                mlflow.log_params(trial.params)
                for epoch, measures in enumerate(train(self, initial, lambd, keep_prob)):
                    log(measures, epoch)
                    best = min(best, measures["dev_cost"])
                    trial.report(measures["dev_cost"], epoch)
            return best

        mlflow.set_tracking_uri(self.uri)
        mlflow.set_experiment(experiment_id=self.experiment)
        with np.errstate(all="ignore"):  # some configurations overflow on their way
            self.study.optimize(objective, n_trials=1)


def numpy_epochs(book: Textbook, initial: Parameters, lambd: float, keep_prob: float) -> Iterator[Measures]:
    """Train as the course does, and measure after each epoch."""
    X, y = book.train
    Y = np.eye(book.design.layer_sizes[-1], dtype=X.dtype)[y].T
    rng = np.random.default_rng(0)
    options = {"learning_rate": RATE, "keep_prob": keep_prob, "lambd": lambd, "m": len(y)}
    network = CourseStyle(initial.as_dict(), optimizer="momentum", **options)
    for _ in range(book.epochs):
        network.epoch(X, Y, BATCH, rng.permutation(len(y)))
        measures = {}
        for part, (X_part, y_part) in (("train", book.train), ("dev", book.dev)):
            A = forward(X_part, network.parameters, network.num_layers, 1.0, None)[f"A{network.num_layers}"]
            measures[f"{part}_cost"] = float(-np.mean(np.log(A[y_part, np.arange(len(y_part))] + 1e-30)))
            measures[f"{part}_error"] = float(np.mean(A.argmax(axis=0) != y_part))
        yield measures


def torch_epochs(book: Textbook, initial: Parameters, lambd: float, keep_prob: float) -> Iterator[Measures]:
    """Train with an eager PyTorch loop, and measure after each epoch."""
    import torch

    torch.set_num_threads(1)
    parts = {
        name: (torch.from_numpy(np.ascontiguousarray(X.T)), torch.from_numpy(np.asarray(y, dtype=np.int64)))
        for name, (X, y) in (("train", book.train), ("dev", book.dev))
    }
    X, y = parts["train"]
    sizes, layers = book.design.layer_sizes, list[torch.nn.Module]()
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU(), torch.nn.Dropout(1 - keep_prob)]
    model, loss = torch.nn.Sequential(*layers, torch.nn.Linear(*sizes[-2:])), torch.nn.CrossEntropyLoss()
    with torch.no_grad():
        start = initial.as_dict()
        for number, values in enumerate(model.parameters()):
            name = f"{'Wb'[number % 2]}{number // 2 + 1}"
            values.copy_(torch.from_numpy(start[name]).reshape(values.shape))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=lambd / len(y))
    for _ in range(book.epochs):
        model.train()
        for batch in torch.randperm(len(y)).split(BATCH):
            optimizer.zero_grad()
            loss(model(X[batch]), y[batch]).backward()
            optimizer.step()
        model.eval()
        measures = {}
        with torch.no_grad():
            for part, (X_part, y_part) in parts.items():
                logits = model(X_part)
                measures[f"{part}_cost"] = float(loss(logits, y_part))
                measures[f"{part}_error"] = float((logits.argmax(1) != y_part).float().mean())
        yield measures
