"""The one place from which test rows are read; only `make final` calls it, after the opening has been recorded."""

from pathlib import Path

from pipeline.data.heldout import open_heldout
from pipeline.models.inference import Classifier
from pipeline.selection.evaluation import Evaluation, evaluate


def evaluate_on_test(classifier: Classifier, heldout: Path) -> Evaluation:
    """Ask the classifier about every test row."""
    test = open_heldout(heldout)
    return evaluate(classifier, test.X, test.y, unseen=test.unseen)
