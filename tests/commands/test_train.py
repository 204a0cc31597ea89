"""`make train`: one run, or a grid of them that ends with a table."""

from pathlib import Path

import pytest

from pipeline import __main__

SMALL = ["data=circles", "data.examples=100", "model.hidden_units=[2]", "training.num_epochs=2"]


@pytest.mark.parametrize(
    ("monitor", "said"),
    [("dev_cost", "neither"), ("balanced_error", "neither (plain errors, since the balanced error")],
)
def test_the_diagnosis_says_of_which_errors_it_is_unless_the_run_is_judged_by_them(
    monitor: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*SMALL, "gradcheck.enabled=false", "tracking.code_diff=false", f"tracking.store={tmp_path}"]
    assert __main__.main(["train", *arguments, "diagnosis.threshold=0.9", f"training.monitor={monitor}"]) == 0
    shown = capsys.readouterr().out.split("diagnosis: ")[1].split(" is recorded")[0]
    assert shown.split("\n\n")[0] == said


def test_a_grid_of_runs_ends_with_one_table_of_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SMALL, "gradcheck.enabled=false", "tracking.code_diff=false", f"tracking.store={tmp_path}"]
    assert __main__.main(["train", "--multirun", *arguments, "regularization.lambd=0,1"]) == 0
    *_, heading, first, second, beside = capsys.readouterr().out.splitlines()
    assert heading.split()[:5] == ["values", "dev", "cost", "dev", "error"]
    assert first.split()[0] == "regularization.lambd=0"
    assert second.split()[0] == "regularization.lambd=1"
    assert "completed" in first
    assert beside == "For comparison, always answering 0: dev error 50.00%."
