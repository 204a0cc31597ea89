"""Times of metric points: evenly spread, never decreasing, and those that are stored already stay."""

import numpy as np

from pipeline.tracking.points import Span


def test_steps_are_spread_evenly_over_the_time_that_they_took() -> None:
    span = Span.of({"dev_cost": np.zeros(5), "short": np.zeros(2)}, 10.0, 2.0)
    assert span == Span(10.0, 12.0, 4)
    assert span.times({}) == {0: 10_000, 1: 10_500, 2: 11_000, 3: 11_500, 4: 12_000}


def test_stored_times_stay_and_the_others_lie_between_them() -> None:
    assert Span(10.0, 12.0, 4).times({1: 10_100, 2: 11_900}) == {0: 10_000, 1: 10_100, 2: 11_900, 3: 11_950, 4: 12_000}
    assert Span(10.0, 12.0, 2).times({3: 13_000}) == {0: 10_000, 1: 11_000, 2: 12_000, 3: 13_000}


def test_no_time_lies_before_the_run_or_before_an_earlier_step() -> None:
    assert Span(10.0, 12.0, 2).times({}, not_before=11_500) == {0: 11_500, 1: 11_750, 2: 12_000}
    assert Span(10.0, 9.0, 2).times({}) == {0: 10_000, 1: 10_000, 2: 10_000}


def test_a_trial_that_has_nothing_to_show_has_step_zero_alone() -> None:
    assert Span.of({}, 10.0, 2.0).steps == 0
    assert list(Span.of({}, 10.0, 2.0).times({})) == [0]
