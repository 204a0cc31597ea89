"""Measures of predictions besides cost and error: precision, recall, and for two classes ROC AUC and AP.

Workers call it, so it needs NumPy alone; the definitions are scikit-learn's.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def measures(Z: Array, y: Array) -> dict[str, float]:
    """Return the measures of the logits Z, (C, m) or (1, m) for two classes, on the labels y, (m,).

    Precision and recall are those of the second of two classes, and means over all classes if there are more; a
    measure with a denominator of 0 counts as 0. Without an example of each of two classes, ROC AUC and AP are left out.
    """
    if len(Z) == 1:
        precision, recall = _precision_and_recall(y == 1, Z[0] > 0)
        return {"dev_precision": precision, "dev_recall": recall} | of_ranking(Z[0], y == 1)
    answers = np.argmax(Z, axis=0)
    classes = np.union1d(y, answers)
    pairs = [_precision_and_recall(y == k, answers == k) for k in classes]
    precision, recall = (float(np.mean(values)) for values in zip(*pairs, strict=True))
    return {"dev_precision": precision, "dev_recall": recall}


def _precision_and_recall(true: Array, found: Array) -> tuple[float, float]:
    both, in_true, in_found = (int(np.count_nonzero(each)) for each in (true & found, true, found))
    return both / max(1, in_found), both / max(1, in_true)


def of_ranking(z: Array, positive: Array) -> dict[str, float]:
    """Return the ROC AUC and the average precision of scores z (m,).

    AUC is the probability that a positive example has a higher score than a negative one, equal scores counting half.
    AP = Σ_n (R_n - R_{n-1}) P_n over the thresholds n from the highest score down (no interpolation).
    """
    m_pos = np.count_nonzero(positive)
    if not 0 < m_pos < len(positive) or not np.isfinite(z).all():
        return {}
    _, place, count = np.unique(-z, return_inverse=True, return_counts=True)
    found = np.bincount(place, weights=positive)  # positive examples at each score, the highest first
    tp, taken = np.cumsum(found), np.cumsum(count)
    negatives_below = (len(z) - taken) - (m_pos - tp) + (count - found) / 2
    auc = float(found @ negatives_below) / (m_pos * (len(z) - m_pos))
    return {"dev_roc_auc": auc, "dev_average_precision": float(found @ (tp / taken)) / m_pos}
