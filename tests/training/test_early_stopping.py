import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.early_stopping import EarlyStopping, Memory


def watch(stopper: EarlyStopping, values: list[float]) -> tuple[int | None, Memory]:
    """Return the epoch in which it stops, or None, and what it remembers then."""
    memory = Memory()
    for epoch, value in enumerate(values):
        memory = stopper.update(memory, epoch, value)
        if stopper.reason_to_stop(memory, epoch) is not None:
            return epoch, memory
    return None, memory


def test_it_stops_after_patience_epochs_without_improvement() -> None:
    assert watch(EarlyStopping(patience=2), [3, 2, 1, 1.5, 1.2, 0.5])[0] == 4
    assert watch(EarlyStopping(patience=3), [3, 2, 1, 1.5, 1.2, 0.5])[0] is None


def test_patience_counts_from_epoch_0_where_nothing_ever_improves() -> None:
    assert watch(EarlyStopping(patience=2), [math.nan] * 5) == (2, Memory())
    assert Memory().best_epoch == 0


def test_patience_none_never_stops() -> None:
    assert watch(EarlyStopping(patience=None), [1.0] * 1000)[0] is None


def test_improvements_within_min_delta_do_not_renew_patience_but_are_still_the_best() -> None:
    stopped, memory = watch(EarlyStopping(patience=2, min_delta=0.5), [3, 2.9, 2.8, 1])
    assert stopped == 2
    assert (memory.best, memory.best_epoch) == (2.8, 2)


def test_small_improvements_add_up() -> None:
    assert watch(EarlyStopping(patience=3, min_delta=0.5), [3, 2.7, 2.4, 2.1, 1.8, 1.5, 1.2])[0] is None


def test_the_first_of_equal_values_is_the_best() -> None:
    assert watch(EarlyStopping(), [2, 1, 1, 1])[1].best_epoch == 1


def test_nan_is_never_an_improvement() -> None:
    assert watch(EarlyStopping(), [2, math.nan, 3])[1].best_epoch == 0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50), st.integers(1, 10), st.floats(0, 1))
def test_the_best_epoch_is_the_first_minimum_of_what_was_seen(
    values: list[float], patience: int, min_delta: float
) -> None:
    stopped, memory = watch(EarlyStopping(patience=patience, min_delta=min_delta), values)
    seen = values if stopped is None else values[: stopped + 1]
    assert memory.best_epoch == seen.index(min(seen))
    assert memory.best == min(seen)


def test_the_reason_is_a_sentence_with_the_figures() -> None:
    stopper = EarlyStopping("dev_error", patience=2, min_delta=0.01)
    memory = stopper.update(stopper.update(Memory(), 0, 0.5), 1, 0.4)
    assert stopper.reason_to_stop(memory, 3) == (
        "dev_error has not improved by more than 0.01 for 2 epochs, since 0.4 in epoch 1;"
        " the parameters of epoch 1 are kept"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"monitor": "train_cost"}, "monitor must be one of dev_cost, dev_error, balanced_error, got 'train_cost'"),
        ({"patience": 0}, "patience must be at least 1 or None, got 0"),
        ({"min_delta": -1.0}, "min_delta must be finite and not negative, got -1.0"),
    ],
)
def test_values_out_of_range_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**values)  # type: ignore[arg-type]
