import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from pipeline.selection.confirmation import Confirmation, conclude
from pipeline.selection.further import at_epochs_of_others, of_repeats, of_seeds
from pipeline.tracking.found import Found
from pipeline.trials.record import TrialRecord


def a_run(name: str, cost: float, outcome: str = "completed") -> Found:
    metrics = {"best_dev_cost": cost, "best_dev_error": cost / 10}
    return Found(f"id of {name}", name, "trial", "s", "FINISHED", outcome, 0.0, {}, metrics, {}, "")


def confirmed(sweep: dict[str, float], repeated: dict[str, list[float]], **outcomes: str) -> Confirmation:
    """The conclusion from the sweep's costs and those of each trial's repetitions."""
    trials = [a_run(name, cost) for name, cost in sweep.items()]
    runs = [
        a_run(f"{name}-seed-{seed}", cost, outcomes.get(f"{name}_{seed}".replace("-", "_"), "completed"))
        for name, costs in repeated.items()
        for seed, cost in enumerate(costs, start=1)
    ]
    seeds = range(1, len(next(iter(repeated.values()))) + 1)
    found = {name: of_seeds([run for run in runs if run.name.startswith(f"{name}-")], "dev_cost") for name in repeated}
    return conclude("s", "dev_cost", list(seeds), trials, found)


def test_each_repeat_counts_with_the_epoch_that_the_others_choose() -> None:
    # Best epochs 1, 2 and 1; without itself the medians are 1 (of 1.5), 1 and 1 (of 1.5).
    curves = [np.array([3.0, 1.0, 2.0]), np.array([3.0, 2.0, 1.0]), np.array([3.0, 0.5])]
    assert at_epochs_of_others(curves, [1, 2, 1]) == [1.0, 2.0, 0.5]
    assert at_epochs_of_others([curves[0], curves[1], curves[2]], [2, 2, 2]) == [2.0, 1.0, 0.5]  # the last it has
    assert at_epochs_of_others([curves[1]], [2]) == [1.0]


def a_fit(cost: float, curve: list[float], epoch: int, **where: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    summary = {"best_dev_cost": cost, "best_dev_error": cost / 10, "best_epoch": epoch}
    return {**where, "outcome": "completed", "summary": summary}, {"dev_cost": np.array(curve)}


def test_what_new_rows_cost_is_not_judged_by_the_rows_that_chose_the_epoch() -> None:
    records = []
    for epoch in (0, 1, 2):
        fit, curves = a_fit(0.1, list(np.roll([0.1, 0.4, 0.7], epoch)), epoch)
        records.append(TrialRecord(config={}, summary=fit["summary"], curves=curves))
    found = {"trial-1": of_repeats(records, "dev_cost")}
    result = conclude("s", "dev_cost", [1, 2, 3], [a_run("trial-1", 0.1)], found, overlap=0.25)
    assert result.first.means["dev_cost"].mean == pytest.approx(0.1)
    assert result.first.new_rows is not None
    assert result.first.new_rows.mean == pytest.approx((0.4 + 0.1 + 0.4) / 3)  # at epochs 1, 1 and 0
    assert result.footnote.startswith("On new rows expect dev cost 0.30 ± ")
    assert result.as_dict()["rows"][0]["new_rows"]["mean"] == pytest.approx(0.3)


def test_with_folds_every_fold_of_every_repeat_is_a_training() -> None:
    """The interval is that of the corrected repeated k-fold test: t √((1/kr + 1/(k-1)) s²), k r - 1 degrees."""
    from scipy import stats

    costs = [[0.10, 0.16], [0.12, 0.20], [0.11, 0.19]]
    records: list[TrialRecord | None] = []
    for repeat, folds in enumerate(costs):
        fits = [a_fit(cost, [1.0, cost, 0.9], 1, repeat=repeat, fold=k + 1) for k, cost in enumerate(folds)]
        records.append(TrialRecord(config={}, fits=[fit for fit, _ in fits], fit_curves=[curves for _, curves in fits]))
    found = of_repeats(records, "dev_cost")
    result = conclude("s", "dev_cost", [7, 8, 9], [a_run("trial-1", 0.1)], {"trial-1": found}, overlap=1.0)
    x = np.ravel(costs)
    half = stats.t.ppf(0.975, 5) * np.sqrt((1 / 6 + 1) * x.var(ddof=1))
    mean = result.first.means["dev_cost"]
    assert (mean.mean, mean.half_width, mean.n) == (pytest.approx(x.mean()), pytest.approx(half), 6)
    assert result.first.new_rows == mean  # all fits chose the same epoch
    assert "over 3 repeats of 2 folds that no choice had used" in result.footnote
    assert "Bouckaert & Frank 2004" in result.footnote

    broken = of_repeats([*records[:2], None], "dev_cost")
    assert broken.broken == 1
    assert broken.values["dev_cost"] == [*x[:4], math.inf, math.inf]
    assert list(broken.new_rows) == [*x[:4], math.inf, math.inf]


def test_a_study_of_the_balanced_error_is_judged_by_it() -> None:
    trials, found = [a_run("trial-1", 0.2), a_run("trial-2", 0.1)], {}
    for trial in trials:
        runs = [a_run(f"{trial.name}-seed-{seed}", trial.metrics["best_dev_cost"]) for seed in (1, 2)]
        for run in runs:
            run.metrics["best_balanced_error"] = 0.3 - trial.metrics["best_dev_cost"]  # the other order
        found[trial.name] = of_seeds(runs, "balanced_error")
        trial.metrics["best_balanced_error"] = 0.1
    result = conclude("s", "balanced_error", [1, 2], trials, found)
    names, rows = result.table()
    assert names[1:5] == ["sweep's balanced error", "dev cost", "dev error", "balanced error"]
    assert [row[0] for row in rows] == ["trial-1", "trial-2"]
    assert result.metrics()["mean_balanced_error"] == pytest.approx(0.1)


def noisy(mean: float, seed: int) -> list[float]:
    return list(np.random.default_rng(seed).normal(mean, 0.005, 10))


def test_a_lucky_trial_is_not_crowned() -> None:
    result = confirmed({"trial-1": 0.05, "trial-2": 0.08}, {"trial-1": noisy(0.12, 1), "trial-2": noisy(0.08, 2)})
    assert result.first.trial == "trial-2"
    assert result.ties == []
    assert "trial-2 is confirmed" in result.verdict
    assert "The sweep had trial-1 in front, with 0.05" in result.verdict


def test_a_first_that_cannot_be_told_from_another_is_not_called_better() -> None:
    result = confirmed({"trial-1": 0.05, "trial-2": 0.08}, {"trial-1": noisy(0.08, 1), "trial-2": noisy(0.0801, 2)})
    assert [row.trial for row in result.ties] == [result.rows[1].trial]
    assert "; more seeds may tell." in result.verdict
    assert "; more repeats may tell." in dataclasses.replace(result, overlap=0.25).verdict


def test_the_difference_to_the_first_is_taken_seed_by_seed() -> None:
    first = noisy(0.08, 1)
    behind = [x + 0.001 + 1e-5 * (-1) ** k for k, x in enumerate(first)]
    result = confirmed({"trial-1": 0.1, "trial-2": 0.1}, {"trial-1": first, "trial-2": behind})
    difference = result.rows[1].difference
    assert difference is not None
    assert abs(difference.mean - 0.001) < 1e-12
    assert difference.half_width < 1e-5
    assert result.ties == []


def test_equal_differences_are_too_few_to_tell() -> None:
    first = noisy(0.08, 1)[:2]
    result = confirmed({"trial-1": 0.1, "trial-2": 0.1}, {"trial-1": first, "trial-2": [x + 0.001 for x in first]})
    assert result.table()[1][1][-1] == "too few to tell"
    assert [row.trial for row in result.ties] == ["trial-2"]


def test_an_interval_behind_the_first_leaves_out_zero_exactly_when_the_adjusted_p_is_small() -> None:
    rng = np.random.default_rng(3)
    told = set()
    for _ in range(40):
        values = {f"trial-{k}": list(rng.normal(0.08 + 0.002 * k, 0.005, 10)) for k in range(4)}
        for row in confirmed(dict.fromkeys(values, 0.1), values).rows[1:]:
            assert row.difference is not None
            assert row.p is not None
            assert (row.difference.low > 0) == (row.p < 0.05)
            told.add(row.p < 0.05)
    assert told == {True, False}


def test_a_configuration_that_diverges_once_comes_behind_all_that_never_do() -> None:
    repeated = {"trial-1": noisy(0.05, 1), "trial-2": noisy(0.2, 2)}
    result = confirmed({"trial-1": 0.05, "trial-2": 0.2}, repeated, trial_1_3="diverged")
    assert [row.trial for row in result.rows] == ["trial-2", "trial-1"]
    assert result.rows[1].broken == 1
    assert result.ties == []
    assert "trial-2 is confirmed" in result.verdict
    assert "(1 of 10 diverged or failed)" in result.table()[1][1][2]


def test_when_every_configuration_breaks_none_is_confirmed() -> None:
    repeated = {"trial-1": noisy(0.05, 1), "trial-2": noisy(0.2, 2)}
    outcomes = {"trial_1_3": "diverged", "trial_2_1": "failed"}
    assert "none is confirmed" in confirmed({"trial-1": 0.05, "trial-2": 0.2}, repeated, **outcomes).verdict


def test_one_configuration_alone_is_compared_with_nothing() -> None:
    result = confirmed({"trial-1": 0.05}, {"trial-1": noisy(0.08, 1)})
    assert "compared with nothing" in result.verdict


def test_configurations_without_chance_are_said_to_have_none() -> None:
    result = confirmed({"trial-1": 0.1, "trial-2": 0.2}, {"trial-1": [0.1] * 4, "trial-2": [0.2] * 4})
    assert "The seed makes no difference" in result.verdict


def test_the_result_is_plain_json_without_infinities() -> None:
    repeated = {"trial-1": noisy(0.05, 1), "trial-2": noisy(0.2, 2)}
    result = confirmed({"trial-1": 0.05, "trial-2": 0.2}, repeated, trial_2_2="failed")
    plain = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert plain["rows"][1]["dev_cost"]["mean"] is None
    assert plain["seeds"] == list(range(1, 11))


def test_the_description_names_the_next_step_and_says_what_the_numbers_do_not() -> None:
    result = confirmed({"trial-1": 0.05, "trial-2": 0.2}, {"trial-1": noisy(0.05, 1), "trial-2": noisy(0.2, 2)})
    text = dataclasses.replace(result, study="digits-1").markdown()
    assert "make final STUDY=digits-1" in text
    assert "not how other examples would" in text


def test_a_second_look_is_said_to_be_one() -> None:
    result = confirmed({"trial-1": 0.05}, {"trial-1": noisy(0.05, 1)})
    assert "look" not in result.footnote
    assert "look 2" in dataclasses.replace(result, looks=2).footnote


def test_means_stand_with_two_digits_of_their_intervals() -> None:
    # 1, 2, 3 times a scale: half-width 2.484138 times it (t with 2 degrees of freedom)
    shown = {
        scale: confirmed({"trial-1": 0.05}, {"trial-1": [scale, 2 * scale, 3 * scale]}).table()[1][0][2]
        for scale in (0.001, 1.0, 100.0)
    }
    assert shown == {0.001: "0.0020 ± 0.0025", 1.0: "2.0 ± 2.5", 100.0: "200 ± 248"}
