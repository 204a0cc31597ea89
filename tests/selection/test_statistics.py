import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.selection.statistics import compare_all, gap, holm, mean_interval, paired_test, proportion


def test_interval_of_a_mean_by_hand() -> None:
    # s = 1, t(0.975, 2) = 4.302653, so the half-width is 4.302653 / √3
    found = mean_interval([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    assert found.half_width == pytest.approx(2.484138, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((-0.484138, 4.484138), abs=1e-6)


def test_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [mean_interval(x) for x in rng.normal(5.0, 2.0, (1000, 6))]
    assert 0.93 < np.mean([f.low < 5.0 < f.high for f in found]) < 0.97


def test_one_value_or_one_that_is_not_finite_tells_no_interval() -> None:
    assert mean_interval([0.5]).half_width == math.inf
    assert mean_interval([0.5, math.inf]).mean == math.inf


def test_paired_test_by_hand() -> None:
    # d = 1, 2, 3: t = 2 √3 = 3.4641 with 2 degrees of freedom, p = 0.0742
    found = paired_test([1.0, 5.0, 2.0], [2.0, 7.0, 5.0])
    assert found.difference.mean == 2.0
    assert found.p == pytest.approx(0.0742, abs=1e-4)


def test_pairing_sees_a_small_difference_under_large_common_variation() -> None:
    rng = np.random.default_rng(1)
    seeds = rng.normal(0.0, 1.0, 10)  # what a seed does to every configuration alike
    first, other = seeds + rng.normal(0, 0.01, 10), seeds + 0.05 + rng.normal(0, 0.01, 10)
    assert paired_test(first, other).p < 1e-4
    assert stats.ttest_ind(first, other).pvalue > 0.5


def test_differences_that_are_all_alike_need_no_test() -> None:
    assert paired_test([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]).p == 1.0
    assert paired_test([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]).p == 0.0
    assert math.isnan(paired_test([0.1, 0.2], [0.1, math.inf]).p)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.03, 0.04: 3 × 0.01, 2 × 0.03, and 1 × 0.04 raised to the one before it
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_only_raises_p_keeps_their_order_and_is_milder_than_bonferroni(p_values: list[float]) -> None:
    adjusted = np.array(holm(p_values))
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= np.minimum(1.0, len(p_values) * np.array(p_values))).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


def test_among_equal_configurations_hardly_ever_does_one_stand_out() -> None:
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(150):
        values = {f"trial-{k}": rng.normal(0.1, 0.02, 10) for k in range(5)}
        alarms += min(compare_all(values).values()) < 0.05
    assert alarms / 150 < 0.09  # 5 %, and three standard deviations; unadjusted it is about 30 %


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_of_a_proportion_is_wilsons(counts: tuple[int, int]) -> None:
    count, n = counts
    expected = stats.binomtest(count, n).proportion_ci(method="wilson")
    found = proportion(count, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_interval_of_a_gap_as_newcombe_published_it() -> None:
    # Newcombe 1998, table II: 56/70 - 48/80, method 10: 0.0524 to 0.3339
    found = gap(proportion(48, 80), proportion(56, 70))
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.is_real
    assert not gap(proportion(8, 359), proportion(13, 359)).is_real
