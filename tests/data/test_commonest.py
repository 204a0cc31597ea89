"""The error of always answering the commonest class, from the description of the data."""

import pytest

from pipeline.data.commonest import always_commonest, in_words, sentence

COUNTS = {"train": [30, 60], "dev": [10, 15], "test": [20, 5]}
DATA = {"classes": ["no", "yes"], "class_counts": COUNTS}


def test_the_class_is_the_commonest_of_the_training_part_whatever_the_other_parts_have() -> None:
    assert always_commonest(DATA) == ("yes", pytest.approx(0.4))
    assert always_commonest(DATA, "test") == ("yes", pytest.approx(0.8))


def test_with_folds_every_row_is_a_dev_row_once() -> None:
    folds = DATA | {"class_counts": {"folds": [30, 10], "test": [1, 3]}}
    assert always_commonest(folds) == ("no", pytest.approx(0.25))
    assert always_commonest(folds, "test") == ("no", pytest.approx(0.75))


@pytest.mark.parametrize("counts", [{"train": [3, 4], "dev": [0, 0]}, {"train": [3, 4]}, {}])
def test_without_a_dev_part_there_is_nothing_to_compare_with(counts: dict[str, list[int]]) -> None:
    assert always_commonest(DATA | {"class_counts": counts}) is None
    assert sentence(DATA | {"class_counts": counts}) == ""


def test_records_of_before_there_were_counts_say_nothing() -> None:
    assert in_words({"name": "digits"}) == ""


def test_beside_a_balanced_error_stands_that_of_one_answer_for_all() -> None:
    assert sentence(DATA) == "For comparison, always answering yes: dev error 40.00%."
    assert sentence(DATA, "balanced_error") == (
        "For comparison, always answering yes: dev error 40.00%, balanced error 50.00%."
    )
