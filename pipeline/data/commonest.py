"""The error of always predicting the commonest training class, the reference for every error."""

from collections.abc import Mapping
from typing import Any

import numpy as np

UNEQUAL = 0.1
"""If the commonest class's error is below this, the error says little about the other classes."""


def always_commonest(description: Mapping[str, Any], part: str = "dev") -> tuple[str, float] | None:
    """Return the class and its error on a part; None if the data's description lacks them or the part.

    With folds, every row is a dev row once.
    """
    counts, classes = description.get("class_counts") or {}, description.get("classes") or []
    trained = counts.get("train") or counts.get("folds")
    judged = counts.get(part) or (counts.get("folds") if part == "dev" else None)
    if not trained or not judged or not sum(judged):
        return None
    commonest = int(np.argmax(trained))
    return str(classes[commonest]), 1 - judged[commonest] / sum(judged)


def in_words(description: Mapping[str, Any], measure: str = "dev_error") -> str:
    """Return "always answering no: dev error 3.00%", with another objective's value beside it; "" where it is unknown.

    Parameters
    ----------
    measure : "balanced_error" adds that of C classes, 1 - 1/C.
    """
    found = always_commonest(description)
    if found is None:
        return ""
    balanced = f", balanced error {1 - 1 / len(description['classes']):.2%}" if measure == "balanced_error" else ""
    return f"always answering {found[0]}: dev error {found[1]:.2%}{balanced}"


def sentence(description: Mapping[str, Any], measure: str = "dev_error") -> str:
    """Return the same as a sentence for a table of errors."""
    words = in_words(description, measure)
    return f"For comparison, {words}." if words else ""
