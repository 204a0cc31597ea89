import json
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from pipeline.selection.evaluation import evaluate, gap_sentence
from pipeline.selection.pictures import confusion, draw_confusion
from pipeline.selection.statistics import proportion


class Oracle:
    """Answers with the numbers in the first feature."""

    classes = ("cat", "dog", "owl")

    def classify(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return X[:, 0].astype(np.intp), np.full((len(X), 3), 1 / 3)

    def cost(self, X: np.ndarray, y: np.ndarray) -> float:
        return math.log(3)


@pytest.fixture
def result():
    y = np.array([0, 0, 0, 0, 1, 1])
    answers = np.array([0, 0, 0, 1, 1, 0])
    return evaluate(Oracle(), answers[:, None], y, unseen={"colour": 2})


def test_confusion_counts_true_classes_in_rows(result) -> None:
    assert result.confusion.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert result.error.count == 2
    assert result.error.n == 6


def test_precision_and_recall_by_hand(result) -> None:
    cat, dog, owl = result.per_class
    assert (cat["precision"], cat["recall"], cat["examples"]) == (0.75, 0.75, 4)
    assert (dog["precision"], dog["recall"], dog["examples"]) == (0.5, 0.5, 2)
    assert math.isnan(owl["precision"])
    assert math.isnan(owl["recall"])


def test_precision_and_recall_of_each_class_have_wilsons_intervals(result) -> None:
    cat = result.per_class[0]
    limits = proportion(3, 4)
    assert (cat["precision_low"], cat["precision_high"]) == (limits.low, limits.high)
    assert (cat["recall_low"], cat["recall_high"]) == (limits.low, limits.high)
    assert result.class_table()[1][0][:3] == ["cat", "0.750 (0.301 to 0.954)", "0.750 (0.301 to 0.954)"]


def test_precision_is_of_those_taken_for_the_class_and_recall_of_those_that_are_of_it() -> None:
    y, answers = np.array([0] * 10 + [1] * 10), np.array([0] * 8 + [1] * 12)
    dog = evaluate(Oracle(), answers[:, None], y).per_class[1]
    assert (dog["precision_low"], dog["recall_low"]) == (proportion(10, 12).low, proportion(10, 10).low)


def test_the_gap_is_the_test_error_less_the_dev_error(result) -> None:
    assert result.beside(dev_cost=0.5, dev_error=0.25)["dev_test_gap"] == pytest.approx(2 / 6 - 0.25)


def test_a_division_by_zero_is_a_dash_for_people_and_null_for_programs(result) -> None:
    assert result.class_table()[1][2] == ["owl", "–", "–", "–", "0"]
    assert json.loads(json.dumps(result.as_dict(), allow_nan=False))["per_class"][2]["precision"] is None


def test_the_classes_most_often_confused_are_named(result) -> None:
    assert result.confused() == "Most often taken, the true class first: dog for cat (1), cat for dog (1)."


def test_without_errors_nothing_is_confused() -> None:
    y = np.array([0, 1, 2])
    assert evaluate(Oracle(), y[:, None], y).confused() == ""


@pytest.mark.parametrize(
    ("dev", "test", "words"),
    [
        ((8, 359), (13, 359), "no sign that the search has overfitted the dev part"),
        ((10, 1000), (60, 1000), "the choice has overfitted the dev part"),
        ((60, 1000), (10, 1000), "Test is better than chance explains"),
    ],
)
def test_a_gap_is_told_with_what_it_means(dev: tuple[int, int], test: tuple[int, int], words: str) -> None:
    assert words in gap_sentence(proportion(*dev), proportion(*test))


def test_classes_with_signs_of_mathematics_in_their_names_are_drawn_as_they_are(result, tmp_path) -> None:
    classes = tuple(f"$1_$ to ${number}_" for number in range(len(result.classes)))
    signs = replace(result, classes=classes)
    draw_confusion(signs, tmp_path / "picture.png")  # as mathematics they would be an error here
    axes = confusion(signs).axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert tuple(label.get_text() for label in labels) == classes
        assert not any(label.get_parse_math() for label in labels)


def test_the_confusion_matrix_has_true_classes_in_rows_as_shares_with_their_counts(result) -> None:
    axes = confusion(result).axes[0]
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(
        np.array([[3 / 4, 1 / 4, 0], [1 / 2, 1 / 2, 0], [0, 0, 0]])
    )
    counts = {text.get_position(): text.get_text() for text in axes.texts}  # by (column, row); none where there is none
    assert counts == {(0, 0): "3", (1, 0): "1", (0, 1): "1", (1, 1): "1"}
    colors = {text.get_position(): text.get_color() for text in axes.texts}  # white on dark blue
    assert colors == {(0, 0): "white", (1, 0): "black", (0, 1): "black", (1, 1): "black"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_names_of_more_than_three_letters_are_slanted(result) -> None:
    def slant(*classes: str) -> float:
        return confusion(replace(result, classes=classes)).axes[0].get_xticklabels()[0].get_rotation()

    assert (slant("cat", "dog", "owl"), slant("cat", "dog", "lion")) == (0, 45)


def test_only_up_to_twenty_classes_have_room_for_names_and_numbers(result) -> None:
    def numbers(count: int) -> int:
        matrix = replace(result, classes=tuple(map(str, range(count))), confusion=np.eye(count, dtype=int))
        return len(confusion(matrix).axes[0].texts)

    assert (numbers(20), numbers(21)) == (20, 0)


def test_the_picture_of_the_confusion_matrix_is_small(result, tmp_path) -> None:
    draw_confusion(result, tmp_path / "picture.png")
    pixels = imread(tmp_path / "picture.png")
    assert 200 < min(pixels.shape[:2]) < max(pixels.shape[:2]) < 1500
    assert np.ptp(pixels) > 0.5
    assert (tmp_path / "picture.png").stat().st_size < 100_000


def test_the_balanced_error_stands_beside_the_error_with_its_interval(result) -> None:
    assert result.balanced_error.value == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert result.unequal().startswith("With 95% intervals: balanced error 0.375 (")
    assert result.metrics()["test_balanced_error_low"] < 0.375 < result.metrics()["test_balanced_error_high"]


def test_the_second_of_two_classes_is_ranked_and_none_of_three(result) -> None:
    class Sure(Oracle):
        classes = ("no", "yes")

        def classify(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return (X[:, 0] > 0.5).astype(np.intp), np.column_stack([1 - X[:, 0], X[:, 0]])

    scores, y = np.array([0.1, 0.4, 0.6, 0.3, 0.8, 0.9]), np.array([0, 0, 0, 1, 1, 1])
    found = evaluate(Sure(), scores[:, None], y)
    assert found.rankings["roc_auc"].value == pytest.approx(7 / 9)  # of 9 pairs, 0.3 lies below 0.4 and 0.6
    assert found.rankings["roc_auc"].low < 7 / 9 < found.rankings["roc_auc"].high
    assert "ROC AUC 0.778" in found.unequal()
    assert result.rankings == {}
