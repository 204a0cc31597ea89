"""What limits a sweep is argued from its trials."""

import math
from dataclasses import replace

import pytest

from pipeline.reporting.findings import Finding
from pipeline.reporting.limits import find_limits
from pipeline.reporting.sentences import sentences, table
from pipeline.selection.recommendation import Compared, Effect, Estimate, Range, Recommendation
from tests.reporting.sweeps import THREE, a_sweep, a_trial

PATH = "regularization.lambd"


def spread(best: float, dev_cost: float = 0.05, **of_best: object) -> list:
    """The best trial at λ = `best`, and worse ones over the whole range."""
    others = [a_trial(n, {PATH: lambd}, 0.2 + 0.01 * n) for n, lambd in enumerate((0.02, 0.2, 2.0, 15.0), start=1)]
    return [a_trial(0, {PATH: best}, dev_cost, **of_best), *others]


def claims(findings: list[Finding]) -> str:
    return " | ".join(finding.claim for finding in findings)


@pytest.mark.parametrize(
    ("train", "dev", "optimal", "claim"),
    [
        (0.01, 0.11, 0.0, "Variance limits it"),
        (0.15, 0.16, 0.0, "Bias limits it"),
        (0.15, 0.30, 0.0, "Bias limits it"),
        (0.005, 0.01, 0.0, "Neither bias nor variance"),
        (0.15, 0.16, 0.15, "Neither bias nor variance"),
    ],
)
def test_the_main_limit_follows_the_recipe_of_the_course(train, dev, optimal, claim):
    trials = [a_trial(n, {PATH: 1.0 + n}, 0.5, train=train, dev=dev) for n in range(3)]
    findings = find_limits(a_sweep(trials, data={"optimal_error": optimal}))
    assert findings[0].claim.startswith(claim)


def test_high_bias_with_a_trial_that_fits_is_blamed_on_regularisation_and_not_on_the_network():
    held_back = a_trial(0, {PATH: 5.0}, 0.4, train=0.1, dev=0.13)
    overfitted = a_trial(1, {PATH: 0.1}, 0.9, train=0.0, dev=0.25)
    finding = find_limits(a_sweep([held_back, overfitted]))[0]
    assert finding.claim.startswith("It trades bias for variance")
    assert "trial-0001 reaches train error 0 %" in finding.evidence


def test_high_bias_of_a_trial_whose_rival_has_lower_errors_is_due_to_the_objective():
    best = a_trial(0, {PATH: 5.0}, 0.4, train=0.1, dev=0.13)
    rival = a_trial(1, {PATH: 0.1}, 0.5, train=0.02, dev=0.05)
    finding = find_limits(a_sweep([best, rival]))[0]
    assert finding.claim.startswith("Bias limits the best trial, not the network")
    assert "dev cost of 0.5 against 0.4" in finding.evidence


def test_of_a_study_of_the_balanced_error_the_diagnosis_says_that_it_is_about_plain_errors() -> None:
    best = a_trial(0, {PATH: 5.0}, 0.4, train=0.1, dev=0.13)
    rival = a_trial(1, {PATH: 0.1}, 0.5, train=0.02, dev=0.05)
    for trial, error in ((best, 0.2), (rival, 0.3)):
        trial.run.metrics["best_balanced_error"] = error
    said = "(plain errors, since the balanced error is recorded for the dev part only)"
    finding = find_limits(a_sweep([best, rival], study={"objective": "balanced_error"}))[0]
    assert f"trial-0000 has train error 10 % and dev error 13 % {said}" in finding.evidence
    assert finding.advice == "Train longer."  # that plain errors count is not what the study was asked
    by_cost = find_limits(a_sweep([best, rival]))[0]
    assert said not in by_cost.evidence
    assert "study.objective=dev_error" in by_cost.advice


def test_bias_that_no_run_escapes_names_the_lowest_train_error_of_all():
    trials = [a_trial(n, {PATH: 1.0 + n}, 0.4, train=0.1 + 0.01 * n, dev=0.13) for n in range(3)]
    baseline = a_trial(-1, {PATH: 0.0}, 0.5, train=0.08, dev=0.2)
    finding = find_limits(a_sweep(trials, baseline=baseline))[0]
    assert "the lowest train error of all 4 runs is 8 % (baseline)" in finding.evidence
    assert finding.advice.startswith("In this order: a bigger network, training longer, another architecture")


def test_the_lowest_train_error_of_all_is_over_the_epochs_as_the_diagnosis_has_it():
    trials = [a_trial(n, {PATH: 1.0 + n}, 0.4, train=0.1 + 0.01 * n, dev=0.13) for n in range(3)]
    trials[1].run.metrics["avoidable_bias"] = 0.05  # an epoch after the kept one fitted the training part better
    evidence = find_limits(a_sweep(trials))[0].evidence
    assert "the lowest train error of all 3 runs is 5 % (trial-0001)" in evidence


def test_an_optimum_inside_the_range_says_that_more_regularisation_no_longer_helps():
    findings = find_limits(a_sweep(spread(1.0)))
    assert "More L2 no longer helps: the best is inside its range, at λ = 1." in claims(findings)
    assert "may still help" not in claims(findings)


def test_a_best_trial_at_the_upper_edge_of_lambd_says_that_more_may_help_and_how_to_search_it():
    findings = find_limits(a_sweep(spread(29.0)))
    finding = next(f for f in findings if "edge" in f.claim)
    assert finding.claim == "More L2 may still help: the best trial lies at the upper edge of λ."
    assert finding.advice.startswith("Widen it: search.space.regularization.lambd.high=… study.from=made-up (")


def test_the_lower_edge_of_keep_prob_is_more_dropout():
    space = {"regularization": {"keep_prob": {"low": 0.5, "high": 1.0}}}
    trials = [a_trial(n, {"regularization.keep_prob": keep}, 0.1 + n) for n, keep in enumerate((0.51, 0.7, 0.9))]
    assert "More dropout may still help" in claims(find_limits(a_sweep(trials, space=space)))


def test_keep_prob_at_its_natural_end_need_not_be_widened():
    space = {"regularization": {"keep_prob": {"low": 0.5, "high": 1.0}}}
    trials = [a_trial(n, {"regularization.keep_prob": keep}, 0.1 + n) for n, keep in enumerate((0.99, 0.7, 0.6))]
    findings = find_limits(a_sweep(trials, space=space))
    assert "keep_prob is not needed here." in claims(findings)
    assert not any("Widen" in finding.advice for finding in findings)


def test_the_gain_over_no_regularisation_is_given_with_both_values():
    baseline = a_trial(-1, {PATH: 0.0}, 0.2, dev=0.04)
    finding = next(f for f in find_limits(a_sweep(spread(1.0), baseline=baseline)) if "no regularisation" in f.claim)
    assert "lowers the dev cost by 75%" in finding.claim
    assert finding.evidence.startswith("0.2 without it, 0.05 in trial-0000")


def test_a_best_trial_that_improved_to_its_last_epoch_asks_for_more_epochs():
    trials = spread(1.0, outcome="completed", best_epoch=150, epochs=150)
    finding = next(f for f in find_limits(a_sweep(trials)) if "epochs ran out" in f.claim)
    assert finding.advice == "Train longer: training.num_epochs=300"


def test_many_diverged_trials_are_reported():
    broken = [a_trial(n, {PATH: 3.0}, math.nan, outcome="diverged") for n in (7, 8)]
    assert "2 of 7 trials diverged" in claims(find_limits(a_sweep([*spread(1.0), *broken])))


def test_a_lucky_dip_of_a_restless_curve_is_told_with_the_usual_cost_around_it():
    costs = [0.2] * 41
    costs[20] = 0.05
    finding = next(f for f in find_limits(a_sweep(spread(1.0), dev_costs=costs)) if "dip" in f.claim)
    assert "has 0.05 at epoch 20, but 0.2 is the median" in finding.evidence


def test_trials_within_the_noise_of_the_dev_part_are_not_ranked_by_it():
    findings = find_limits(a_sweep([a_trial(n, {PATH: 1.0 + n}, 0.05 + 0.001 * n, dev=0.02) for n in range(4)]))
    finding = next(f for f in findings if "told apart" in f.claim)
    assert finding.claim.startswith("4 of the best 4")
    assert "With 359 dev examples its standard error is 0.74 points" in finding.evidence  # sqrt(0.02 · 0.98 / 359)


def test_a_sweep_without_an_ended_trial_has_no_findings():
    assert find_limits(a_sweep([])) == []
    assert find_limits(a_sweep([a_trial(0, {PATH: 1.0}, 0.3, outcome="pruned")])) == []


def test_every_finding_has_a_claim_and_evidence():
    values = {PATH: 1.0, "regularization.keep_prob": 0.8, "model.init.scale": 1.0}
    sweep = a_sweep([a_trial(n, {k: v + n / 100 for k, v in values.items()}, 0.1 + n) for n in range(6)], space=THREE)
    assert all(finding.claim.endswith(".") and finding.evidence for finding in find_limits(sweep))


def a_conclusion(*ranges: Range, **changes: object) -> Recommendation:
    values = {each.path: each.value for each in ranges}
    own = Compared("trial-0001", values, 0.07, 0.002, 16, None, None, 0.5)
    plain = {
        "measure": "dev_cost",
        "name": "trial-0001",
        "values": values,
        "expected": Estimate(0.068, 0.064, 0.072, 8),
        "baseline": Estimate(0.163, 0.145, 0.181, 8),
        "gain": Estimate(0.58, 0.52, 0.64, 8),
        "ranges": ranges,
        "alone": {},
        "without": {},
        "simplest": own,
        "best": own,
        "compared": (own,),
        "luckiest": "trial-0000",
        "trials": 24,
        "trial_repeats": 2,
    }
    return Recommendation(**(plain | changes))


INSIDE = Range(PATH, 2.5, 0.9, 6.0, (), (0.01, 30.0), False, False, 0.24)


def test_findings_do_not_contradict_what_is_recommended() -> None:
    # The luckiest trial lies at the upper edge and far below the baseline; the recommended does neither.
    trials = [a_trial(0, {PATH: 29.5}, 0.03, train=0.2, dev=0.2), a_trial(1, {PATH: 2.5}, 0.07, train=0.0, dev=0.01)]
    sweep = replace(a_sweep([*trials, a_trial(2, {PATH: 0.1}, 0.2)]), conclusion=a_conclusion(INSIDE))
    findings = find_limits(sweep)
    assert [finding.claim.split(":")[0] for finding in findings] == ["Neither bias nor variance is high"]
    assert "trial-0001" in findings[0].evidence


def test_widening_is_advised_only_if_the_end_does_as_well_and_something_lies_beyond() -> None:
    trials = spread(2.5)
    up = replace(INSIDE, high=30.0, at_high=True)
    down = replace(INSIDE, low=0.01, at_low=True)
    (finding,) = find_limits(replace(a_sweep(trials), conclusion=a_conclusion(up)))[1:]
    assert finding.claim.startswith("More L2 may still help")
    assert (
        finding.advice
        == f"Widen it: search.space.{PATH}.high=… study.from=made-up (which trains none of its trials again)"
    )
    assert find_limits(replace(a_sweep(trials), conclusion=a_conclusion(down)))[1:] == []  # λ = 0.01 is as good as none


def test_a_value_that_makes_no_difference_is_not_to_be_widened() -> None:
    scale = Range("model.init.scale", 0.18, 0.18, 3.0, (), (0.1, 3.0), False, True, 0.83)
    found = a_conclusion(INSIDE, scale)
    assert "init scale makes no difference between 0.18 and 3" in sentences(found)[0]
    assert find_limits(replace(a_sweep(spread(2.5)), conclusion=found))[1:] == []


def test_the_conclusion_in_words() -> None:
    keep = Range("regularization.keep_prob", 0.85, 0.7, 0.95, (), (0.5, 1.0), False, False, 0.5)
    scale = Range("model.init.scale", 0.6, 0.2, 1.5, (), (0.1, 3.0), False, False, 0.6)
    alone = {"λ": Effect(0.51, 0.043), "dropout": Effect(0.22, 0.051)}
    found = a_conclusion(INSIDE, keep, scale, alone=alone, without={"λ": Effect(0.06, 0.01), "dropout": Effect(0, 0)})
    said = sentences(found)
    assert said[0] == (
        "Use λ = 2.5 (0.9 to 6 do as well) and keep_prob = 0.85 (0.7 to 0.95 do as well); "
        "init scale makes no difference between 0.2 and 1.5."
    )
    assert said[1] == (
        "Expect dev cost 0.0680 (0.0640 to 0.0720), against 0.163 (0.145 to 0.181) without regularisation: "
        "58 % lower (52 % to 64 %)."
    )
    assert said[2] == (
        "By part (± one standard error), each choice tuned for itself: λ alone 51.0 ± 4.3 % lower and "
        "dropout alone 22.0 ± 5.1 % lower."
    )
    assert "8 divisions of the data" in said[-1]
    assert "8 seeds (one division of the data)" in sentences(found, one_division=True)[-1]
    assert table(found)[1][0][:3] == ["trial-0001", "0.0700 ± 0.0020", "16"]


def test_what_each_of_three_parts_does_alone_and_what_is_lost_without_it() -> None:
    alone = {"λ": Effect(0.51, 0.043), "dropout": Effect(-0.02, None), "init scale": Effect(0.0, 0.03)}
    without = {"λ": Effect(0.0614, 0.0103), "dropout": Effect(-0.004, 0.0058), "init scale": Effect(0.012, None)}
    found = a_conclusion(INSIDE, alone=alone, without=without)
    assert sentences(found)[2] == (
        "By part (± one standard error), each choice tuned for itself: λ alone 51.0 ± 4.3 % lower and dropout alone "
        "2 % higher; no clear difference from init scale alone (0.0 ± 3.0 %). Beside the recommended: without λ "
        "0.061 ± 0.010 more and without init scale 0.012 more; no clear difference without dropout "
        "(0.0040 ± 0.0058 less)."
    )
    errors = replace(found, measure="dev_error")
    assert "without λ 6.1 ± 1.0 points more" in sentences(errors)[2]


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (Effect(0.16, 0.15), "λ alone 16 ± 15 % lower"),
        (Effect(-0.16, 0.15), "λ alone 16 ± 15 % higher"),
        (Effect(0.10, 0.16), "no clear difference from λ alone (10 ± 16 % lower)"),
        (Effect(-0.15, 0.15), "no clear difference from λ alone (15 ± 15 % higher)"),
        (Effect(-0.004, 0.14), "no clear difference from λ alone (0 ± 14 %)"),
        (Effect(0.0, 0.0), "no clear difference from λ alone (0 %)"),
        (Effect(0.0, None), "no clear difference from λ alone (0 %)"),
        (Effect(0.004, None), "λ alone 0.4 % lower"),
        (Effect(-120.0, 30.0), "λ alone 12000 ± 3000 % higher"),
        (Effect(math.nan, 0.1), "no clear difference from λ alone (nan ± 10 %)"),
        (Effect(0.2, math.nan), "no clear difference from λ alone (20 ± nan % lower)"),
    ],
)
def test_an_effect_within_one_standard_error_of_zero_is_no_clear_difference(effect: Effect, words: str) -> None:
    found = a_conclusion(INSIDE, alone={"λ": effect})
    assert sentences(found)[2] == f"By part (± one standard error), each choice tuned for itself: {words}."


def test_where_no_part_makes_a_clear_difference_none_is_called_lower_or_higher_by_itself() -> None:
    alone = {"λ": Effect(0.1, 0.16), "dropout": Effect(0.04, 0.19), "init scale": Effect(-0.001, 0.14)}
    assert sentences(a_conclusion(INSIDE, alone=alone))[2].endswith(
        "itself: no clear difference from λ alone (10 ± 16 % lower), dropout alone (4 ± 19 % lower) or "
        "init scale alone (0 ± 14 %)."
    )


def test_others_in_the_table_are_at_the_level_of_what_is_expected() -> None:
    other = Compared("trial-0002", {PATH: 5.0}, 0.0756, None, 8, 0.0056, 0.0027, 0.54)
    found = a_conclusion(INSIDE)
    names, (own, row) = table(replace(found, compared=(found.compared[0], other)))
    assert own[:5] == ["trial-0001", "0.0700 ± 0.0020", "16", "", own[4]]
    assert dict(zip(names[1:5], row[1:5], strict=True)) == {
        "dev cost": "0.0756",
        "repeats": "8",
        "behind it": "0.0056 ± 0.0027",
        "gain": "54 %",
    }


def test_a_gain_whose_interval_contains_zero_is_not_presented_as_one() -> None:
    found = a_conclusion(INSIDE, gain=Estimate(0.05, -0.1, 0.2, 8))
    assert "5 % lower, but the interval (10 % higher to 20 % lower) leaves open whether it helps" in sentences(found)[1]


def test_values_that_are_clearly_worse_than_no_regularisation_are_not_recommended() -> None:
    said = sentences(a_conclusion(INSIDE, gain=Estimate(-0.96, -1.19, -0.77, 8)))
    assert said[0].startswith("Use no regularisation: the best configuration that was tried, with λ = ")
    assert said[0].endswith(", does worse.")
    assert said[1].startswith("From it expect dev cost 0.0680")
    assert said[1].endswith("96 % higher (77 % to 119 %).")


def test_a_negligible_gain_has_no_sign() -> None:
    found = a_conclusion(INSIDE)
    own = replace(found.compared[0], gain=-0.004)
    names, (row,) = table(replace(found, compared=(own,)))
    assert row[names.index("gain")] == "0 %"
