import math

import numpy as np

from pipeline.selection import race
from pipeline.selection.parts import ingredients, neutral_values, subsets
from pipeline.selection.race import BASELINE, Entry, Rule, run
from pipeline.selection.recommendation import recommend
from tests.selection.worlds import KEEP, LAMBD, LAMBD_ALONE, LEAVES, SCALE, World, bowl, drawn, settle


def test_without_noise_the_lowest_is_recommended() -> None:
    trials = drawn(20)
    outcome = settle(World(bowl), trials)
    lowest = min(bowl(entry.values) for entry in outcome.entries)
    assert bowl(outcome.recommended.values) == lowest <= min(bowl(trial.values) for trial in trials)


def test_subsets_of_the_parts_are_proposed_with_the_others_neutral() -> None:
    outcome = settle(World(bowl), drawn(20))
    assert [entry.parts for entry in outcome.proposals] == subsets(["λ", "dropout", "init scale"])
    for entry in outcome.proposals:
        assert entry.parts is not None
        assert set(ingredients(entry.values)) <= set(entry.parts)
        assert neutral_values(LEAVES, entry.parts).items() <= entry.values.items()
    alone = next(entry for entry in outcome.proposals if entry.parts == ("λ",))
    assert 1 <= alone.values[LAMBD] <= 9  # the bowl is lowest at 3


def test_two_trials_more_than_searched_values_are_needed_for_proposals() -> None:
    assert settle(World(bowl), drawn(4)).proposals == ()
    assert settle(World(bowl), drawn(5)).proposals != ()


def test_no_fit_is_asked_for_twice() -> None:
    world = World(bowl, noise=0.2)
    settle(world, drawn(20))
    assert len(world.asked) == len(set(world.asked))


def test_six_leaders_get_two_further_repeats_and_three_of_them_four_more() -> None:
    world = World(bowl, noise=0.2)
    settle(world, drawn(20))
    trained = {repeat: [key for key, number in world.asked if number == repeat] for repeat in range(2, 8)}
    assert [len(keys) for keys in trained.values()] == [6, 6, 3, 3, 3, 3]
    assert set(trained[4]) < set(trained[2])


def test_an_extended_study_comes_to_what_the_longer_one_comes_to() -> None:
    trials, known = drawn(30), dict[str, dict[int, float]]()
    world = World(bowl, noise=0.2)
    settle(world, trials[:15], known)
    extended, anew = settle(world, trials, known), settle(World(bowl, noise=0.2), trials)
    assert extended.recommended == anew.recommended
    assert extended.known == anew.known
    assert recommend(extended, LEAVES, "dev_cost", trial_repeats=2) == recommend(
        anew, LEAVES, "dev_cost", trial_repeats=2
    )


def test_the_repeats_that_a_claim_is_made_from_have_no_part_in_the_choice() -> None:
    trials, known = drawn(20), dict[str, dict[int, float]]()
    before = settle(World(bowl, noise=0.2), trials, known)
    for by_repeat in known.values():
        for repeat in before.fresh:
            if repeat in by_repeat:
                by_repeat[repeat] *= 7
    after = settle(World(bowl, noise=0.2), trials, known)
    assert after.recommended == before.recommended
    assert after.fresh == before.fresh == tuple(range(8, 16))  # 2 of the trials, 2 and 4 of the stages
    assert all(set(before.fresh) <= known[key].keys() for key in (before.recommended.key, BASELINE))


def test_leaders_are_compared_on_the_repeats_that_all_of_them_have() -> None:
    # Hand-worked: a leads after two repeats by luck, b is better on the next two, so b is recommended.
    a, b, c = (Entry(f"trial-{k}", {LAMBD: value}) for k, value in enumerate((1.0, 2.0, 3.0)))
    known = {
        a.key: {0: 1.0, 1: 1.0, 2: 5.0, 3: 5.0, 4: 5.0, 5: 5.0},
        b.key: {0: 2.0, 1: 2.0, 2: 2.0, 3: 2.0, 4: 2.0, 5: 2.0},
        c.key: {0: 3.0, 1: 3.0},
    }
    rule = Rule(stages=((2, 2),), fresh=2, for_parts=0, rounds=0)
    outcome = race.settle(run(LAMBD_ALONE, [a, b, c], known, repeats=2, baseline=False, rule=rule), _nothing_left)
    assert outcome is not None
    assert (outcome.recommended, outcome.fresh) == (b, (4, 5))


def test_a_trial_that_diverges_once_is_not_recommended_and_a_pruned_one_is_passed_over() -> None:
    trials = drawn(12)
    best = min(trials, key=lambda trial: bowl(trial.values))
    world = World(lambda values: math.inf if values == best.values else bowl(values))
    assert settle(world, trials).recommended != best
    known = {trial.key: {r: world.fit(trial, r) for r in range(2)} for trial in trials}
    del known[trials[3].key][1]  # pruned: not all its repeats were trained
    outcome = race.settle(
        run(LEAVES, trials, known, repeats=2, baseline=False),
        lambda wanted: [known.setdefault(f.entry.key, {}).update({f.repeat: 1.0}) for f in wanted] and None,
    )
    assert outcome is not None
    assert trials[3] not in outcome.entries


def test_without_a_trial_there_is_no_outcome() -> None:
    trial = drawn(1)[0]
    broken = {trial.key: {0: math.inf, 1: math.inf}}
    assert race.settle(run(LEAVES, [], {}, repeats=2), _nothing_left) is None
    assert race.settle(run(LEAVES, [trial], broken, repeats=2), _nothing_left) is None


def _nothing_left(wanted: list[race.Wanted]) -> None:
    raise AssertionError(f"{wanted} should not be wanted")


def test_the_simplest_that_does_as_well_leaves_out_what_buys_nothing() -> None:
    outcome = settle(World(bowl, noise=0.1), drawn(24))
    assert ingredients(outcome.simplest.values) == ("λ",)
    assert outcome.simplest.values[KEEP] == outcome.simplest.values[SCALE] == 1.0


def test_a_much_better_value_is_not_left_out() -> None:
    outcome = settle(World(lambda v: bowl(v) * (1 + 3 * (v.get(KEEP, 1.0) - 0.7) ** 2), noise=0.01), drawn(24))
    assert "λ" in ingredients(outcome.simplest.values)
    assert "dropout" in ingredients(outcome.simplest.values)


def test_only_what_has_raced_and_never_diverged_can_be_the_simplest() -> None:
    # Hand-worked: b and c have no dropout; b has only the two repeats of a trial, c diverges in the race.
    a, b, c = (Entry(f"trial-{k}", {LAMBD: 1.0 + k, KEEP: keep_prob}) for k, keep_prob in enumerate((0.8, 1.0, 1.0)))
    known = {
        a.key: {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0},
        b.key: {0: 2.0, 1: 2.0},
        c.key: {0: 1.5, 1: 1.5, 2: 1.0, 3: math.inf},
    }
    rule = Rule(stages=((2, 2),), fresh=2, for_parts=1)
    outcome = race.settle(run(LEAVES, [a, b, c], known, repeats=2, baseline=False, rule=rule), _nothing_left)
    assert outcome is not None
    assert outcome.simplest == outcome.best == a
    known[c.key] = {0: 1.1, 1: 1.1, 2: 0.9, 3: 1.0}  # behind by 0.025 with a standard error of 0.048: as well
    outcome = race.settle(run(LEAVES, [a, b, c], known, repeats=2, baseline=False, rule=rule), _nothing_left)
    assert outcome is not None
    assert (outcome.best, outcome.simplest) == (a, c)


def test_the_simplest_is_claimed_from_repeats_that_did_not_choose_it() -> None:
    trials = drawn(24)
    best = settle(World(bowl, noise=0.1), trials)
    simplest = settle(World(bowl, noise=0.1), trials, prefer="simplest")
    assert simplest.recommended == simplest.simplest == best.simplest
    assert not set(simplest.fresh) & set(best.fresh)


def test_claims_hold_as_often_as_they_say() -> None:
    inside = []
    for seed in range(60):
        world = World(bowl, noise=0.15, seed=seed)
        outcome = settle(world, drawn(10, seed=seed, alone=True), leaves=LAMBD_ALONE, rule=Rule(rounds=0))
        conclusion = recommend(outcome, [], "dev_cost", trial_repeats=2)
        truth = bowl(outcome.recommended.values) * math.exp(0.15**2)  # mean of a lognormal with variance 2 · 0.15²
        gain = 1 - bowl(outcome.recommended.values) / 0.15
        assert conclusion.gain is not None
        for estimate, true in ((conclusion.expected, truth), (conclusion.gain, gain)):
            assert estimate.low is not None
            assert estimate.high is not None
            inside.append(estimate.low < true < estimate.high)
    assert np.mean(inside) > 0.9


def test_the_ends_of_the_ranges_are_trained_on_fresh_repeats_and_take_no_part_in_the_choice() -> None:
    outcome = settle(World(bowl, noise=0.1), drawn(20))
    assert outcome.probes
    for probe in outcome.probes:
        moved = {path for path, value in probe.values.items() if value != outcome.recommended.values[path]}
        assert len(moved) == 1
        assert set(outcome.known[probe.key]) == set(outcome.fresh[:4])
        assert probe not in outcome.entries


def test_both_ends_of_a_range_are_trained_and_trained_again_where_they_have_moved() -> None:
    outcome = settle(World(bowl, noise=0.15), drawn(10, alone=True), leaves=LAMBD_ALONE)
    assert len(outcome.probes) == 2 * 2


def test_a_range_ends_where_trained_values_cost_more() -> None:
    # Without trainings at its ends the process lets λ reach to 30 in this world, which costs 1.23 times as much.
    outcome = settle(World(bowl, noise=0.15, seed=2), drawn(24, seed=2))
    found = recommend(outcome, LEAVES, "dev_cost", trial_repeats=2)
    values, lambd = outcome.recommended.values, next(each for each in found.ranges if each.path == LAMBD)
    assert max(bowl({**values, LAMBD: end}) / bowl(values) for end in (lambd.low, lambd.high)) < 1.1
