"""`make train`: one run, or a grid of them that ends with a table."""

from pathlib import Path

import pytest

from pipeline import __main__


def test_a_grid_of_runs_ends_with_one_table_of_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data=circles", "data.examples=100", "model.hidden_units=[2]", "training.num_epochs=2"]
    arguments += ["gradcheck.enabled=false", "tracking.code_diff=false", f"tracking.store={tmp_path}"]
    assert __main__.main(["train", "--multirun", *arguments, "regularization.lambd=0,1"]) == 0
    *_, heading, first, second, beside = capsys.readouterr().out.splitlines()
    assert heading.split()[:5] == ["values", "dev", "cost", "dev", "error"]
    assert first.split()[0] == "regularization.lambd=0"
    assert second.split()[0] == "regularization.lambd=1"
    assert "completed" in first
    assert beside == "For comparison, always answering 0: dev error 50.00%."
