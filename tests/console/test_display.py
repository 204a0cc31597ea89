"""Tables, numbers and lines for the terminal."""

import io
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import create_trial
from rich.console import Console

from pipeline.console.display import Counting, SweepProgress, short_name, table
from pipeline.search.coordinator import Progress

CODE = """
from pipeline.console.display import console
for n in range(20_000):
    console.print(n)
import pathlib; pathlib.Path({path!r}).write_text("went on")
"""


def test_a_reader_that_goes_away_ends_neither_the_command_nor_its_exit_code(tmp_path: Path) -> None:
    path = f"{tmp_path}/done"
    command = [sys.executable, "-c", CODE.format(path=path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert Path(path).read_text() == "went on"


def a_terminal(width: int, *, is_one: bool = True) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=is_one, highlight=False, markup=False)


def written(output: Console) -> str:
    assert isinstance(output.file, io.StringIO)
    return output.file.getvalue()


COLUMNS = ["trial", "dev cost", "dev error", "lambd", "keep_prob", "scale", "epochs", "run id"]
ROW = ["trial-0007", 0.05123456, 0.01671, 2.512345, 0.8511111, 0.3412345, 131, "0123456789abcdef" * 2]


@pytest.mark.parametrize(("width", "has_ids"), [(80, False), (119, False), (120, True)])
def test_a_table_keeps_its_columns_and_leaves_run_ids_to_wide_terminals(width: int, has_ids: bool) -> None:
    output = a_terminal(width, is_one=False)
    table(COLUMNS, [ROW], output=output)
    heading, row = written(output).splitlines()
    assert heading.split() == " ".join(COLUMNS if has_ids else COLUMNS[:-1]).split()
    assert row.split()[:7] == ["trial-0007", "0.05123", "0.01671", "2.512", "0.8511", "0.3412", "131"]
    assert (ROW[-1] in row) == has_ids


def test_a_cell_that_does_not_fit_is_folded_and_not_cut() -> None:
    output = a_terminal(30, is_one=False)
    table(["trial", "hidden_units"], [["trial-0007", "abcdefghijklmnopqrstuvwxyz"]], output=output)
    assert "".join(written(output).split()).endswith("trial-0007abcdefghijklmnopqrstuvwxyz")


def test_the_number_of_a_layer_keeps_the_word_before_it() -> None:
    names = ["model.init.scale", "regularization.keep_prob.0", "seed"]
    assert [short_name(name) for name in names] == ["scale", "keep_prob.0", "seed"]


class Clock:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def standing(done: int, best: int | None = None, pruned: int = 0) -> Progress:
    trial = None
    if best is not None:
        space = {"regularization.lambd": optuna.distributions.FloatDistribution(0, 9)}
        trial = create_trial(params={"regularization.lambd": 2.5}, distributions=space, value=0.0512345)
        trial.number = best
    return Progress(done=done, pruned=pruned, wanted=50, best=trial)


def test_a_file_gets_a_line_at_each_new_best_and_every_ten_seconds() -> None:
    output, clock = a_terminal(200, is_one=False), Clock()
    with SweepProgress(50, output=output, clock=clock) as progress:
        for seconds, now in [
            (0, standing(10)),
            (2, standing(11)),
            (4, standing(12, best=11)),
            (5, standing(13, best=11)),
            (13, standing(14, best=11)),
            (14, standing(15, best=11, pruned=3)),
        ]:
            clock.now = seconds
            progress.update(now)
    assert written(output).splitlines() == [
        "12/50 trials, 0:01:16 left, best 0.05123: lambd 2.5",
        "15/50 trials, 0:01:38 left, best 0.05123: lambd 2.5; 3 pruned",
    ]


def test_trainings_after_the_trials_give_a_file_a_line_every_ten_seconds_too() -> None:
    output, clock = a_terminal(200, is_one=False), Clock()
    with Counting("further repeats", output=output, clock=clock) as progress:
        for seconds, done in [(1, 1), (9, 8), (11, 10), (20, 19), (21, 20)]:
            clock.now = seconds
            progress.update(done, 36)
    assert written(output).splitlines() == ["10/36 further repeats", "20/36 further repeats"]


def test_a_narrow_terminal_shows_count_time_left_and_bar_before_the_values() -> None:
    output, clock = a_terminal(60), Clock()
    with SweepProgress(50, output=output, clock=clock) as progress:
        progress.update(standing(10))
        clock.now = 5
        progress.update(standing(20, best=3))
    line = next(line for line in written(output).splitlines() if "left" in line)
    assert "20/50" in line
    assert "0:00:15 left" in line
    assert "━" in line
    assert line.index("20/50") < line.index("left") < line.index("━") < line.index("best")


@pytest.mark.parametrize(("width", "shown"), [(40, ["a", "b", "c"]), (22, ["a", "c"]), (14, ["a"])])
def test_optional_columns_go_one_by_one_until_the_table_fits(width: int, shown: list[str]) -> None:
    text = io.StringIO()
    output = Console(file=text, width=width)
    table(["a", "b", "c"], [["x" * 10] * 3], output=output, optional=("b", "c"))
    assert text.getvalue().splitlines()[0].split() == shown
