import optuna
import pytest
from optuna.trial import TrialState

from pipeline.config.commands import SweepConfig
from pipeline.console.closing import print_end
from pipeline.console.display import console, table


def test_trials_whose_trained_gradients_are_wrong_are_named_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    study = optuna.create_study()
    for summary in ({}, {"distrusted": True}, {}):
        trial = study.ask()
        trial.set_user_attr("summary", summary)
        study.tell(trial, 1.0)
    print_end(SweepConfig(), "s", study, run_id=lambda number: "")
    assert "The gradient check calls the trained gradients wrong in trial 1." in " ".join(
        capsys.readouterr().out.split()
    )


def test_no_name_or_value_can_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("trial \x1b[2J", end="\n")
    table(["class\x1b]0;x\x07"], [["\x9b31m"]])
    shown = capsys.readouterr().out
    assert not [c for c in shown if not c.isprintable() and c != "\n"]


def test_a_study_whose_trials_all_diverged_says_so_and_names_no_command_that_would_refuse(
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = optuna.create_study()
    for _ in range(2):
        trial = study.ask()
        trial.set_user_attr("summary", {"outcome": "diverged"})
        study.tell(trial, state=TrialState.PRUNED)
    print_end(SweepConfig(), "s", study, run_id=lambda number: "")
    shown = " ".join(capsys.readouterr().out.split())
    assert "No trial has been trained to its end: 2 diverged. A smaller training.learning_rate" in shown
    assert not [command for command in ("make confirm", "make rerun") if command in shown]
