import json
import math

import pytest

from pipeline.config.errors import RecordError
from pipeline.selection.race import BASELINE, Entry, Outcome
from pipeline.selection.recommendation import Effect, Estimate, Recommendation, recommend, uses
from pipeline.selection.statistics import Mean
from tests.selection.worlds import KEEP, LAMBD, LEAVES, SCALE, World, bowl, drawn, settle


@pytest.fixture(scope="module")
def conclusion() -> Recommendation:
    return recommend(settle(World(bowl, noise=0.1), drawn(24)), LEAVES, "dev_cost", trial_repeats=2)


def test_expected_cost_baseline_and_gain_by_hand() -> None:
    # On repeats 2 and 3: means 2 and 4, so half is gained; the repeats that made the choice count for nothing.
    chosen, base = Entry("trial-0001", {LAMBD: 1.0}), Entry(BASELINE, {})
    known = {chosen.key: {0: 0.1, 1: 0.1, 2: 1.0, 3: 3.0}, base.key: {0: 9.0, 1: 9.0, 2: 3.0, 3: 5.0}}
    outcome = Outcome(chosen, chosen, chosen, base, (chosen,), (), (), known, (2, 3))
    found = recommend(outcome, LEAVES[:1], "dev_cost", trial_repeats=2)
    assert found.baseline is not None
    assert found.gain is not None
    assert (found.expected.mean, found.baseline.mean, found.gain.mean) == (2.0, 4.0, 0.5)
    assert found.expected.low == 0.0  # a cost is not below 0, however wide the interval
    assert found.expected.high == pytest.approx(2 + 12.7062, abs=1e-4)
    assert found.metrics()["baseline_dev_cost"] == 4.0


def test_others_are_compared_with_the_recommended_on_the_repeats_that_both_have() -> None:
    # b is behind a by 1, 2 and 3 on repeats 0 to 2; a has a mean of 1.5 on the fresh ones, where the baseline has 5.
    a, b, base = Entry("trial-0000", {LAMBD: 1.0}), Entry("trial-0001", {LAMBD: 2.0}), Entry(BASELINE, {})
    known = {
        a.key: {0: 1.0, 1: 2.0, 2: 3.0, 3: 1.0, 4: 2.0},
        b.key: {0: 2.0, 1: 4.0, 2: 6.0},
        base.key: {0: 6.0, 1: 6.0, 2: 6.0, 3: 6.0, 4: 4.0},
    }
    outcome = Outcome(a, a, b, base, (b, a), (), (), known, (3, 4))
    found = recommend(outcome, LEAVES[:1], "dev_cost", trial_repeats=2)
    first, second = found.compared
    assert (first.name, first.repeats, first.behind, first.behind_error) == ("trial-0000", 2, None, None)
    assert (first.mean, first.error, first.gain) == (1.5, pytest.approx(0.5), pytest.approx(0.7))
    assert (second.name, second.repeats, second.mean, second.behind) == ("trial-0001", 3, 3.5, 2.0)
    assert second.error is None
    assert second.behind_error == pytest.approx(1 / math.sqrt(3))
    assert second.gain == pytest.approx(0.3)
    assert found.simplest == second
    assert (found.luckiest, found.trials) == ("trial-0000", 2)
    assert [each.value for each in found.ranges] == [1.0]


def test_a_baseline_that_diverged_gives_no_gain() -> None:
    a, base = Entry("trial-0000", {LAMBD: 1.0}), Entry(BASELINE, {})
    known = {a.key: {0: 1.0, 1: 1.0}, base.key: {0: 2.0, 1: math.inf}}
    found = recommend(Outcome(a, a, a, base, (a,), (), (), known, (0, 1)), LEAVES[:1], "dev_cost", trial_repeats=1)
    assert (found.compared[0].gain, found.gain) == (None, Estimate(None, None, None, 2))


def test_the_names_of_its_metrics_follow_the_measure(conclusion: Recommendation) -> None:
    assert conclusion.metrics().keys() == {
        "recommended_dev_cost",
        "recommended_dev_cost_low",
        "recommended_dev_cost_high",
        "baseline_dev_cost",
        "gain",
        "gain_low",
        "gain_high",
    }


def test_it_survives_a_round_trip_through_json(conclusion: Recommendation) -> None:
    assert Recommendation.from_dict(json.loads(json.dumps(conclusion.as_dict(), allow_nan=False))) == conclusion
    with pytest.raises(RecordError, match=r"conclusion.json is not a sweep's conclusion: name: Field required."):
        Recommendation.from_dict({"measure": "dev_cost"})


def test_ranges_hold_what_does_as_well_and_not_what_does_worse(conclusion: Recommendation) -> None:
    ranges = {found.path: found for found in conclusion.ranges}
    lambd = ranges[LAMBD]
    assert lambd.low is not None
    assert lambd.high is not None
    assert lambd.low <= lambd.value <= lambd.high
    assert lambd.low > 0.03  # costs twice as much
    assert ranges[KEEP].share > 0.5  # makes no difference in this world
    assert ranges[SCALE].share > 0.5


def test_each_part_alone_and_without_it(conclusion: Recommendation) -> None:
    # In this world λ gains 60 %, the others nothing.
    assert conclusion.baseline is not None
    assert conclusion.baseline.mean is not None
    assert conclusion.expected.mean is not None
    assert conclusion.alone["λ"].mean == pytest.approx(0.6, abs=0.08)
    assert conclusion.alone["dropout"].mean == pytest.approx(0.0, abs=0.12)
    lost = conclusion.baseline.mean - conclusion.expected.mean
    assert conclusion.without["λ"].mean == pytest.approx(lost, rel=0.2)
    assert conclusion.without["dropout"].mean == pytest.approx(0.0, abs=0.1 * lost)


def test_the_effects_of_parts_by_hand() -> None:
    # On repeats 0 and 1 dropout alone has 3 and 5, the baseline 4 and 6, the recommended 2 and 2.
    chosen, base = Entry("trial-0000", {LAMBD: 1.0, KEEP: 0.8}), Entry(BASELINE, {})
    dropout = Entry("dropout", {LAMBD: 0.0, KEEP: 0.8}, ("dropout",))
    lambd = Entry("λ", {LAMBD: 1.0, KEEP: 1.0}, ("λ",))
    known = {
        chosen.key: {0: 2.0, 1: 2.0},
        base.key: {0: 4.0, 1: 6.0},
        dropout.key: {0: 3.0, 1: 5.0},
        lambd.key: {0: 2.0, 1: math.inf},
    }
    outcome = Outcome(chosen, chosen, chosen, base, (chosen,), (dropout, lambd), (), known, (0, 1))
    found = recommend(outcome, LEAVES[:2], "dev_cost", trial_repeats=2)
    assert found.alone == {"dropout": Effect(pytest.approx(0.2), pytest.approx(0.04))}  # of 3 - 3.2 and 5 - 4.8, over 5
    assert found.without == {"λ": Effect(2.0, 1.0)}  # λ alone diverged once, so nothing is said of it


def test_infinite_numbers_become_none() -> None:
    assert Estimate.of(Mean(math.inf, math.inf, 3)) == Estimate(None, None, None, 3)
    assert Estimate.of(Mean(0.5, math.inf, 1)) == Estimate(0.5, None, None, 1)


def test_ingredients_in_words() -> None:
    assert uses({LAMBD: 2.0, KEEP: 0.9, SCALE: 1.0}) == "λ and dropout"
    assert uses({LAMBD: 2.0, KEEP: 1.0, SCALE: 0.5}) == "λ and init scale"
    assert uses({LAMBD: 2.0, KEEP: 0.9, SCALE: 0.5}) == "λ, dropout and init scale"
    assert uses({KEEP: 0.9}) == "dropout"
    assert uses({LAMBD: 0.0, KEEP: 1.0, SCALE: 1.0}) == "no regularisation"
