"""The only caller of the reader of test rows; `make final` uses it after recording the opening."""

from pathlib import Path

from pipeline.data.heldout import open_heldout
from pipeline.models.inference import Classifier
from pipeline.selection.evaluation import Evaluation, evaluate


def evaluate_on_test(classifier: Classifier, heldout: Path) -> Evaluation:
    """Evaluate the classifier on every test row."""
    test = open_heldout(heldout)
    return evaluate(classifier, test.X, test.y, unseen=test.unseen)
