"""How well the answer does on rows that no search saw, beside Optuna by hand and scikit-learn's halving search.

`python -m benchmarks.unseen [--data digits breast_cancer moons wide] [--seeds 10]`

For each seed some rows are set aside before everything, and the rest goes, as a CSV, to

- a sweep, searched and raced by the code that `make sweep` uses, with the defaults of conf/ (no gradient checks);
- Optuna by hand: the best of 50 trials of TPE with one seed and one division, as many scripts have it;
- scikit-learn's HalvingRandomSearchCV over an MLPClassifier of the same layers (penalty and learning rate, early
  stopping), with as many candidates as take about the CPU time of the sweep.

The error is that of one network each, the one that its user would take home. CPU seconds are those of the trainings.
"""

import argparse
import math
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from scipy import stats
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.answer import Study, Trainings, open_study, wide_rows
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.models.inference import Classifier
from pipeline.trials.parts import architecture_of
from pipeline.trials.trial import run_trial

Rows = tuple[pd.DataFrame, "pd.Series[str]"]

FIRST_CANDIDATES = 6
"""Candidates of the halving search whose time decides how many it gets."""


def rows_of(name: str, seed: int) -> tuple[Rows, Rows]:
    """The rows to search on, and those that no search sees."""
    if name == "moons":
        X, y = datasets.make_moons(3_000, noise=0.3, random_state=seed)
        X, searched = pd.DataFrame(X, columns=["x1", "x2"]), 500
    elif name == "wide":
        X, y = wide_rows(2_400, seed)
        searched = 400
    else:
        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        X, y = bunch.data, bunch.target
        searched = round(len(y) * 2 / 3)
    labels = pd.Series(y, name="target").map("c{}".format)
    own, unseen, own_y, unseen_y = train_test_split(X, labels, train_size=searched, stratify=labels, random_state=seed)
    return (own, own_y), (unseen, unseen_y)


def sweep(study: Study) -> tuple[Classifier, float]:
    """What the sweep recommends, as the network of its repeat 0, and the CPU seconds of its trainings."""
    values = study.conclude().values
    return network(study, parse(TrialConfig, study.space.apply(values))), study.seconds


def by_hand(study: Study) -> tuple[Classifier, float]:
    """The best of 50 single trainings, and their CPU seconds."""
    entry, _, seconds = study.by_hand()
    return network(study, study.config_of(entry)), seconds


def network(study: Study, config: TrialConfig) -> Classifier:
    """The network of a configuration's repeat 0."""
    config.repeats = 1
    record = run_trial(config, study.arrays)
    architecture = architecture_of(config, study.arrays)
    return Classifier(study.prepared.recipe, study.arrays.folds[0].normalization, architecture, record.parameters)


def halving(
    X: pd.DataFrame, y: "pd.Series[str]", layers: Sequence[int], seed: int, seconds: float
) -> tuple[HalvingRandomSearchCV, float]:
    """The halving search, fitted in about the given CPU seconds, and those that it took."""
    model = MLPClassifier(tuple(layers), max_iter=500, early_stopping=True, n_iter_no_change=20, random_state=seed)
    space = {
        "mlpclassifier__alpha": stats.loguniform(1e-6, 10.0),
        "mlpclassifier__learning_rate_init": stats.loguniform(1e-4, 1e-1),
    }

    def fit(candidates: int) -> tuple[HalvingRandomSearchCV, float]:
        began = time.process_time()
        search = HalvingRandomSearchCV(
            make_pipeline(StandardScaler(), model), space, n_candidates=candidates, random_state=seed
        )
        return search.fit(X, y), time.process_time() - began

    _, first = fit(FIRST_CANDIDATES)
    return fit(max(FIRST_CANDIDATES, round(FIRST_CANDIDATES * seconds / first)))


def measure(name: str, seed: int, chosen: argparse.Namespace, trainings: Trainings) -> dict[str, tuple[float, float]]:
    """Error on the unseen rows and CPU seconds of each."""
    (X, y), (unseen, truth) = rows_of(name, seed)
    path = chosen.store / f"{name}-{seed}.csv"
    X.assign(target=y).to_csv(path, index=False)
    study = open_study(str(path), seed, chosen, trainings)
    layers = study.config.trial.model.hidden_units
    (ours, ours_s), (hand, hand_s) = sweep(study), by_hand(study)
    theirs, theirs_s = halving(X, y, layers, seed, ours_s)
    answers = {
        "sweep": ours.predict(unseen).label,
        "by hand": hand.predict(unseen).label,
        "halving": theirs.predict(unseen),
    }
    times = {"sweep": ours_s, "by hand": hand_s, "halving": theirs_s}
    return {
        who: (float(np.mean(np.asarray(answer) != truth.to_numpy())), times[who]) for who, answer in answers.items()
    }


def main() -> None:
    """Print the mean errors, their differences from the sweep's with standard errors, and the CPU times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits", "breast_cancer", "moons", "wide"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=Path("mlruns/answer/unseen.jsonl"))
    parser.add_argument("--store", type=Path, default=Path("mlruns/answer"))
    chosen = parser.parse_args()
    chosen.split, chosen.overrides = None, ["data.test=none"]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", ConvergenceWarning)
    chosen.cache.parent.mkdir(parents=True, exist_ok=True)
    trainings = Trainings(chosen.cache)
    with threadpool_limits(1):
        for name in chosen.data:
            report(name, [measure(name, seed, chosen, trainings) for seed in range(chosen.seeds)])


def report(name: str, rows: Sequence[dict[str, tuple[float, float]]]) -> None:
    """Print what each came to on one data set."""
    print(f"{name}: error on unseen rows, {len(rows)} seeds")
    own = np.array([row["sweep"][0] for row in rows])
    for who in rows[0]:
        errors, seconds = np.array([row[who] for row in rows]).T
        behind = errors - own
        spread = behind.std(ddof=1) / math.sqrt(len(rows))
        print(
            f"  {who:<8} {errors.mean():7.2%}   behind the sweep {100 * behind.mean():+.2f} ± {100 * spread:.2f} points"
            f"   {seconds.mean():5.1f} CPU s",
            flush=True,
        )


if __name__ == "__main__":
    main()
