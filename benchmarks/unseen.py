"""How well the answer does on rows that no search saw, beside Optuna by hand and scikit-learn's halving search.

`python -m benchmarks.unseen [--data digits breast_cancer moons wide] [--seeds 10] [--confirm 10] [--no-peers]`

For each seed some rows are set aside before everything, and the rest goes, as a CSV, to

- a sweep, searched and raced by the code that `make sweep` uses, with the defaults of conf/ (no gradient checks);
- Optuna by hand: the best of 50 trials of TPE with one seed and one division, as many scripts have it;
- scikit-learn's HalvingRandomSearchCV over an MLPClassifier of the same layers (penalty and learning rate, early
  stopping), with as many candidates as take about the CPU time of the sweep.

The error is that of one network each, the one that its user would take home. CPU seconds are those of the trainings.
`--confirm` trains what the sweep recommends on so many further repeats, as `make confirm` does, and tells how often its
interval holds the cost of these networks on the unseen rows; `--no-peers` leaves the other two out.
"""

import argparse
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

from benchmarks.answer import FRESH, Study, Trainings, open_study, wide_rows
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.data.divisions import ensure
from pipeline.data.encoding import encode
from pipeline.models.inference import Classifier
from pipeline.selection.confirmation import at_epochs_of_others
from pipeline.selection.statistics import Mean, mean_interval
from pipeline.trials.parts import architecture_of
from pipeline.trials.record import TrialRecord
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


def sweep(study: Study) -> tuple[TrialConfig, float]:
    """What the sweep recommends, and the CPU seconds of its trainings."""
    values = study.conclude().values
    return parse(TrialConfig, study.space.apply(values)), study.seconds


def by_hand(study: Study) -> tuple[Classifier, float]:
    """The best of 50 single trainings, and their CPU seconds."""
    entry, _, seconds = study.by_hand()
    return network(study, study.config_of(entry)), seconds


def network(study: Study, config: TrialConfig) -> Classifier:
    """The network of a configuration's repeat 0."""
    return trained(study, config, 0)[0]


def trained(study: Study, config: TrialConfig, repeat: int) -> tuple[Classifier, TrialRecord]:
    """The network of one repeat of a configuration, and its record."""
    ensure(study.prepared, config.data, [repeat])
    record = run_trial(replace(config, repeats=1, first_repeat=repeat), study.arrays)
    normalization = study.arrays.division(repeat)[0].normalization
    architecture = architecture_of(config, study.arrays)
    return Classifier(study.prepared.recipe, normalization, architecture, record.parameters), record


@dataclass(frozen=True)
class Confirmed:
    """A confirmation, and what it is about.

    Attributes
    ----------
    claimed : mean dev cost with its interval for new rows.
    truth, error : mean cost of the same networks on the unseen rows, and its standard error, over rows.
    """

    claimed: Mean
    truth: float
    error: float

    @property
    def inside(self) -> bool:
        """Whether the interval holds the truth; it is widened by the truth's own error."""
        half_width = math.hypot(self.claimed.half_width, 1.96 * self.error)
        return abs(self.claimed.mean - self.truth) <= half_width


def confirmed(study: Study, config: TrialConfig, repeats: int, unseen: Rows) -> Confirmed:
    """Train a configuration on repeats that no choice has used, as `make confirm` does."""
    X, labels = unseen
    models, records = zip(*(trained(study, config, FRESH + number) for number in range(repeats)), strict=True)
    numbers = labels.map({name: number for number, name in enumerate(models[0].classes)}).to_numpy()
    X = encode(study.prepared.recipe, X)
    losses = [-np.log(model.classify(X)[1][np.arange(len(numbers)), numbers]) for model in models]
    by_row = np.mean(losses, axis=0)
    fold = study.arrays.division(0)[0]
    curves, best = [each.curves["dev_cost"] for each in records], [int(each.summary["best_epoch"]) for each in records]
    claimed = mean_interval(at_epochs_of_others(curves, best), overlap=len(fold.dev) / len(fold.train))
    return Confirmed(claimed, float(by_row.mean()), float(by_row.std(ddof=1) / math.sqrt(len(by_row))))


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


@dataclass(frozen=True)
class Measured:
    """What one seed came to: error on the unseen rows and CPU seconds of each search, and the confirmation."""

    searches: dict[str, tuple[float, float]]
    confirmed: Confirmed | None


def measure(name: str, seed: int, chosen: argparse.Namespace, trainings: Trainings) -> Measured:
    """Search and measure with one seed."""
    (X, y), unseen = rows_of(name, seed)
    path = chosen.store / f"{name}-{seed}.csv"
    X.assign(target=y).to_csv(path, index=False)
    study = open_study(str(path), seed, chosen, trainings)
    config, seconds = sweep(study)
    searches = {"sweep": (error_of(network(study, config), unseen), seconds)}
    if chosen.peers:
        hand, hand_s = by_hand(study)
        halved, halved_s = halving(X, y, config.model.hidden_units, seed, seconds)
        searches["by hand"] = error_of(hand, unseen), hand_s
        searches["halving"] = float(np.mean(halved.predict(unseen[0]) != unseen[1].to_numpy())), halved_s
    return Measured(searches, confirmed(study, config, chosen.confirm, unseen) if chosen.confirm else None)


def error_of(model: Classifier, unseen: Rows) -> float:
    """The share of the unseen rows that a network gets wrong."""
    return float(np.mean(model.predict(unseen[0]).label.to_numpy() != unseen[1].to_numpy()))


def main() -> None:
    """Print the mean errors, their differences from the sweep's with standard errors, and the CPU times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits", "breast_cancer", "moons", "wide"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--confirm", type=int, default=0, help="further repeats of the recommended configuration")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
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


def report(name: str, found: Sequence[Measured]) -> None:
    """Print what each search came to on one data set, and how often the confirmation's interval holds."""
    print(f"{name}: error on unseen rows, {len(found)} seeds")
    own = np.array([each.searches["sweep"][0] for each in found])
    for who in found[0].searches:
        errors, seconds = np.array([each.searches[who] for each in found]).T
        behind = errors - own
        spread = behind.std(ddof=1) / math.sqrt(len(found))
        print(
            f"  {who:<8} {errors.mean():7.2%}   behind the sweep {100 * behind.mean():+.2f} ± {100 * spread:.2f} points"
            f"   {seconds.mean():5.1f} CPU s",
            flush=True,
        )
    confirmations = [each.confirmed for each in found if each.confirmed]
    if confirmations:
        share = float(np.mean([each.inside for each in confirmations]))
        error = math.sqrt(share * (1 - share) / len(confirmations))
        logs = np.log([each.claimed.mean / each.truth for each in confirmations])
        ratio, spread = math.exp(logs.mean()), logs.std(ddof=1) / math.sqrt(len(logs))
        print(f"  cost on unseen rows within the confirmation's interval: {share:.0%} ± {error:.0%}")
        print(f"  confirmed / unseen cost {ratio:.3f} ± {ratio * spread:.3f}", flush=True)


if __name__ == "__main__":
    main()
