"""What a study stores about a record: outcomes as Optuna's states, and values by measure and repeat."""

import math
from typing import Any

import pytest
from optuna.trial import TrialState

from pipeline.search.told import end_of, summary_of, values_of
from pipeline.trials.record import TrialRecord

SUMMARY = {"best_dev_cost": 0.5, "best_dev_error": 0.25, "best_balanced_error": 0.125}


def a_record(**changes: Any) -> TrialRecord:
    return TrialRecord(**{"config": {"repeats": 2}, "summary": dict(SUMMARY), "stop_epoch": 7, **changes})


@pytest.mark.parametrize(
    ("outcome", "state", "values"),
    [
        ("completed", TrialState.COMPLETE, [0.5, 0.25]),
        ("early_stopped", TrialState.COMPLETE, [0.5, 0.25]),
        ("pruned", TrialState.PRUNED, None),
        ("diverged", TrialState.PRUNED, None),
        ("failed", TrialState.FAIL, None),
    ],
)
def test_only_a_trial_trained_to_its_end_has_values_and_only_a_failed_one_is_failed(
    outcome: str, state: TrialState, values: list[float] | None
) -> None:
    assert end_of(a_record(outcome=outcome), ["dev_cost", "dev_error"]) == (state, values)


def test_the_values_of_each_repeat_are_told_by_measure() -> None:
    fits = [
        {
            "repeat": repeat,
            "fold": None,
            "outcome": "completed",
            "summary": {name: value * scale for name, value in SUMMARY.items()},
        }
        for repeat, scale in enumerate((1, 2))
    ]
    assert values_of(a_record(fits=fits)) == {
        "dev_cost": [0.5, 1.0],
        "dev_error": [0.25, 0.5],
        "balanced_error": [0.125, 0.25],
    }


def test_a_record_of_format_1_has_no_balanced_error() -> None:
    old = a_record(format=1, config={}, summary={"best_dev_cost": 0.5, "best_dev_error": 0.25})
    assert values_of(old) == {"dev_cost": [0.5], "dev_error": [0.25]}


def test_a_summary_leaves_out_what_is_not_finite() -> None:
    record = a_record(outcome="diverged", summary={"best_dev_cost": math.inf, "best_epoch": 3.0})
    assert summary_of(record) == {"outcome": "diverged", "epochs": 7, "best_epoch": 3.0}
