"""Evaluates a classifier: its error with an interval, measures by class, and the meaning of the gap to dev."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.inference import Classifier
from pipeline.selection.statistics import LEVEL, Proportion, gap, proportion
from pipeline.selection.unequal import Measure, balanced_error, rankings

MOST_CONFUSED = 3
FINAL = "final.json"
"""File of an opening's run that holds its result."""


@dataclass(frozen=True)
class Evaluation:
    """Predictions compared with labels.

    Attributes
    ----------
    confusion : (C, C)
        Row: the true class; column: the predicted one.
    per_class
        Precision and recall of each class with limits (`precision_low` and so on), F1 and the number of examples; NaN
        for a division by zero.
    balanced_error
        The mean of the errors of the classes present.
    rankings
        ROC AUC and average precision of the second of two classes.
    unseen
        How many rows have a category that no training row had, by column.
    """

    classes: list[str]
    cost: float
    error: Proportion
    confusion: NDArray[np.int64]
    per_class: list[dict[str, float]]
    balanced_error: Measure
    rankings: dict[str, Measure] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)

    def unequal(self) -> str:
        """The measures for unequal classes with their intervals, as a sentence."""
        named = {"balanced error": self.balanced_error, "ROC AUC": self.rankings.get("roc_auc")}
        named["average precision"] = self.rankings.get("average_precision")
        shown = ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
        return f"With {LEVEL:.0%} intervals: {shown}."

    def metrics(self) -> dict[str, float]:
        """Return every measure with an interval, and its limits, by the names of the tracked metrics."""
        measured: dict[str, Proportion | Measure] = {
            "error": self.error,
            "balanced_error": self.balanced_error,
            **self.rankings,
        }
        values = {f"test_{name}": each.value for name, each in measured.items()}
        values |= {f"test_{name}_low": each.low for name, each in measured.items()}
        return values | {f"test_{name}_high": each.high for name, each in measured.items()}

    def beside(self, dev_cost: float, dev_error: float) -> dict[str, float]:
        """Return every tracked metric, those of the dev part included."""
        return {
            **self.metrics(),
            "test_accuracy": 1 - self.error.value,
            "test_cost": self.cost,
            "best_dev_error": dev_error,
            "best_dev_cost": dev_cost,
            "dev_test_gap": self.error.value - dev_error,
        }

    def class_table(self) -> tuple[list[str], list[list[str]]]:
        """Column names and rows of text."""
        rows = [
            [name, _with_limits(of, "precision"), _with_limits(of, "recall"), _share(of["f1"]), str(of["examples"])]
            for name, of in zip(self.classes, self.per_class, strict=True)
        ]
        return ["class", "precision", "recall", "F1", "examples"], rows

    def confusion_table(self) -> tuple[list[str], list[list[str]]]:
        """Column names and rows of text; zeros are left out."""
        rows = [
            [name, *(str(n) if n else "·" for n in counts)]
            for name, counts in zip(self.classes, self.confusion, strict=True)
        ]
        return ["true \\ predicted", *self.classes], rows

    def confused(self) -> str:
        """Return a sentence on the most frequent confusions of classes; empty without errors."""
        off = self.confusion * (1 - np.eye(len(self.classes), dtype=np.int64))
        order = np.argsort(off, axis=None, kind="stable")[::-1][:MOST_CONFUSED]
        pairs = [(i, j) for i, j in zip(*np.unravel_index(order, off.shape), strict=True) if off[i, j]]
        shown = ", ".join(f"{self.classes[i]} for {self.classes[j]} ({off[i, j]})" for i, j in pairs)
        return f"Most often taken, the true class first: {shown}." if shown else ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values; NaN becomes null."""
        return {
            "classes": self.classes,
            "test_cost": self.cost,
            "test_error": self.error.value,
            "test_error_interval": [self.error.low, self.error.high],
            "accuracy": 1 - self.error.value,
            "examples": self.error.n,
            "confusion_matrix": self.confusion.tolist(),
            "per_class": [{key: None if math.isnan(v) else v for key, v in of.items()} for of in self.per_class],
            "unseen_categories": self.unseen,
            **self.metrics(),
        }


def evaluate(
    classifier: Classifier, X: NDArray[Any], y: NDArray[np.int64], *, unseen: Mapping[str, int] | None = None
) -> Evaluation:
    """Compare the predictions for raw rows X (m, n_x) with their class numbers y (m,)."""
    from sklearn.metrics import confusion_matrix

    answers, P = classifier.classify(X)
    return counted(
        classifier.classes,
        confusion_matrix(y, answers, labels=np.arange(len(classifier.classes))),
        cost=classifier.cost(X, y),
        rankings=rankings(P[:, 1], y == 1) if P.shape[1] == 2 else {},
        unseen=dict(unseen or {}),
    )


def counted(
    classes: list[str],
    confusion: NDArray[np.int64],
    *,
    cost: float,
    rankings: dict[str, Measure],
    unseen: dict[str, int],
) -> Evaluation:
    """Return everything that follows from counts: confusion (C, C), row the true class, column the predicted one."""
    from sklearn.metrics import precision_recall_fscore_support

    numbers = np.arange(len(classes))
    y, answers = np.divmod(np.repeat(np.arange(confusion.size), confusion.ravel()), len(classes))
    measured = precision_recall_fscore_support(y, answers, labels=numbers, zero_division=np.nan)
    names = ("precision", "recall", "f1")
    per_class = [
        {
            **{name: float(values[k]) for name, values in zip(names, measured, strict=False)},
            **_limits("precision", confusion[k, k], confusion[:, k].sum()),
            **_limits("recall", confusion[k, k], confusion[k].sum()),
            "examples": int(measured[3][k]),
        }
        for k in numbers
    ]
    return Evaluation(
        classes=classes,
        cost=cost,
        error=proportion(int(np.count_nonzero(answers != y)), len(y)),
        confusion=confusion,
        per_class=per_class,
        balanced_error=balanced_error(_errors_by_class(y, answers)),
        rankings=rankings,
        unseen=unseen,
    )


def _errors_by_class(y: NDArray[np.int64], answers: NDArray[np.intp]) -> list[Proportion]:
    return [
        proportion(int(np.count_nonzero(answers[y == k] != k)), int(np.count_nonzero(y == k))) for k in np.unique(y)
    ]


def gap_sentence(dev: Proportion, test: Proportion) -> str:
    """Describe the gap from dev to test with its interval (two independent proportions), and its meaning."""
    between = gap(dev, test)
    size = (
        f"Dev → test: {dev.value:.2%} of {dev.n:,} → {test.value:.2%} of {test.n:,} examples, a gap of "
        f"{100 * between.difference:+.2f} percentage points ({LEVEL:.0%} interval {100 * between.low:+.2f} to "
        f"{100 * between.high:+.2f})."
    )
    if not between.is_real:
        meaning = (
            "That is within chance for so many examples: no sign that the search has overfitted the dev part, "
            f"though a true gap of {100 * between.high:+.1f} points would be compatible with it."
        )
    elif between.difference > 0:
        meaning = (
            "That is more than chance: the choice has overfitted the dev part, or dev and test differ; believe the "
            "test error, and next time search less or use a larger dev part or cross-validation."
        )
    else:
        meaning = (
            "Test is better than chance explains: dev and test are perhaps not from the same distribution, or the dev "
            "part is the harder one; believe neither alone."
        )
    return f"{size} {meaning}"


def _limits(name: str, right: int, of: int) -> dict[str, float]:
    """Wilson's limits of a share: of the examples that are of a class, or of those that were taken for it."""
    if not of:
        return {f"{name}_low": math.nan, f"{name}_high": math.nan}
    share = proportion(int(right), int(of))
    return {f"{name}_low": share.low, f"{name}_high": share.high}


def _with_limits(of: Mapping[str, float], measure: str) -> str:
    """0.750 (0.301 to 0.954)."""
    if math.isnan(of[measure]):
        return _share(of[measure])
    return f"{_share(of[measure])} ({_share(of[f'{measure}_low'])} to {_share(of[f'{measure}_high'])})"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
