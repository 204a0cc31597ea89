import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.selection.statistics import (
    Gap,
    compare_all,
    gain_interval,
    gap,
    holm,
    mean_interval,
    p_of_mean,
    paired_test,
    proportion,
)


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


def test_differences_that_are_all_zero_give_p_one() -> None:
    found = paired_test([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert (found.p, found.difference.mean) == (1.0, 0.0)


def test_differences_that_are_all_alike_are_too_few_to_tell() -> None:
    # Dev errors on the same dev part move in whole examples, so two or three differences are often equal by chance.
    for other in ([0.2, 0.3, 0.4], [0.0, 0.1, 0.2]):
        found = paired_test([0.1, 0.2, 0.3], other)
        assert math.isnan(found.p)
        assert found.difference.half_width == math.inf
    assert math.isnan(paired_test([0.1], [0.2]).p)
    assert math.isnan(paired_test([0.1, 0.2], [0.1, math.inf]).p)


def test_two_equal_configurations_judged_by_error_counts_hardly_ever_differ() -> None:
    rng = np.random.default_rng(4)
    for repeats in (2, 3):
        errors = rng.binomial(60, 0.02, (2000, 2, repeats)) / 60
        alarms = [paired_test(first, other).p < 0.05 for first, other in errors]
        assert np.mean(alarms) < 0.065


def test_without_a_difference_one_test_in_twenty_rejects() -> None:
    d = np.random.default_rng(5).normal(0, 1, (2000, 8))
    assert abs(np.mean(p_of_mean(d) < 0.05) - 0.05) < 0.015


def test_repeats_that_share_training_rows_reject_as_often_as_they_should() -> None:
    # Nadeau & Bengio 2003: differences correlate by dev / (dev + train) rows, which a t-test mistakes for evidence.
    rng, dev, train, repeats = np.random.default_rng(6), 60, 180, 8
    correlation = dev / (dev + train)
    common, own = rng.normal(0, 1, (2000, 1)), rng.normal(0, 1, (2000, repeats))
    d = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
    assert np.mean(p_of_mean(d) < 0.05) > 0.2
    assert abs(np.mean(p_of_mean(d, overlap=dev / train) < 0.05) - 0.05) < 0.015


def test_corrected_test_by_hand() -> None:
    # d = 1, 2, 3: s = 1, so t = 2 / √(1/3 + 1/3) = 2.449490 with 2 degrees of freedom
    found = paired_test([1.0, 5.0, 2.0], [2.0, 7.0, 5.0], overlap=1 / 3)
    assert found.p == pytest.approx(2 * stats.t.sf(2.449490, 2), abs=1e-6)
    assert found.difference.half_width == pytest.approx(4.302653 * math.sqrt(2 / 3), abs=1e-5)


def test_corrected_interval_is_wider_by_the_rows_that_repeats_share() -> None:
    # √(1 + 8/3) = 1.915 times as wide with 8 repeats and a third as many dev rows as training rows
    x = np.random.default_rng(7).normal(0, 1, 8)
    assert mean_interval(x, overlap=1 / 3).half_width / mean_interval(x).half_width == pytest.approx(1.9149, abs=1e-4)


def test_intervals_that_hold_together_are_those_of_bonferroni() -> None:
    # t(1 - 0.05 / (2 · 10), 2) = 14.0890, by tables
    assert mean_interval([1.0, 2.0, 3.0], comparisons=10).half_width == pytest.approx(14.0890 / math.sqrt(3), abs=1e-3)


def test_gain_by_hand() -> None:
    # Means 4 and 2, variances 2 and 0: (2 - 4 R)² = t² · 2 R² / 2 with t(0.975, 1) = 12.7062 > 4, so without bounds.
    found = gain_interval([3.0, 5.0], [2.0, 2.0])
    assert (found.mean, found.low, found.high) == (0.5, -math.inf, math.inf)
    # The same with means 40 and 20: (20 - 40 R)² = 161.4476 R², so 20 - 40 R = ± 12.7062 R.
    found = gain_interval([39.0, 41.0], [20.0, 20.0])
    assert (found.low, found.high) == pytest.approx((1 - 20 / (40 - 12.7062), 1 - 20 / (40 + 12.7062)), abs=1e-5)
    assert math.isnan(gain_interval([0.0, 0.0], [1.0, 1.0]).mean)
    assert math.isnan(gain_interval([1.0, math.inf], [1.0, 1.0]).mean)


@pytest.mark.parametrize(("division", "seed", "least"), [(0.3, 0.19, 0.93), (0.8, 0.4, 0.93)])
def test_gain_covers_the_truth_as_often_as_it_says_also_of_skewed_costs(
    division: float, seed: float, least: float
) -> None:
    rng = np.random.default_rng(8)
    shared = rng.normal(0, division, (1000, 8))  # what a division does to both alike
    baseline, values = (mean * np.exp(shared + rng.normal(0, seed, (1000, 8))) for mean in (0.12, 0.07))
    found = [gain_interval(a, b) for a, b in zip(baseline, values, strict=True)]
    assert least < np.mean([f.low < 1 - 0.07 / 0.12 < f.high for f in found]) < 0.985


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


def test_one_of_several_equal_configurations_hardly_ever_stands_out() -> None:
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


def test_no_error_in_a_hundred_reaches_down_to_zero_exactly() -> None:
    assert proportion(0, 100).low == 0.0
    assert proportion(100, 100).high == 1.0


def test_interval_of_a_broken_count_lies_between_those_of_its_neighbours() -> None:
    ends = [proportion(count, 100) for count in (3, 3.5, 4)]
    assert ends[0].low < ends[1].low < ends[2].low
    assert ends[0].high < ends[1].high < ends[2].high


def test_interval_of_a_gap_as_newcombe_published_it() -> None:
    # Newcombe 1998, table II: 56/70 - 48/80, method 10: 0.0524 to 0.3339
    found = gap(proportion(48, 80), proportion(56, 70))
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.is_real
    assert not gap(proportion(8, 359), proportion(13, 359)).is_real


def test_a_gap_whose_interval_ends_at_zero_is_not_real() -> None:
    assert not Gap(0.1, 0.0, 0.2).is_real
    assert not Gap(-0.1, -0.2, 0.0).is_real
    assert Gap(-0.1, -0.2, -0.01).is_real
