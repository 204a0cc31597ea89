"""`make predict`: a table in, a table out, and one sentence for whatever is wrong with either."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from pipeline.commands import predict as command
from pipeline.commands.final import final
from pipeline.config.commands import PredictConfig, TrackingConfig
from pipeline.config.errors import ConfigError, DataError, RecordError, UserError
from pipeline.config.validation import parse
from pipeline.tracking.registry import Registry
from tests.commands.test_final import settings as final_settings

MODEL = "models:/circles-classifier@champion"


@pytest.fixture
def shipped(store: Path) -> Path:
    """The store with a champion in it."""
    final(final_settings(store, register=True, evaluate=False))
    return store


@pytest.fixture
def table(tmp_path: Path) -> Path:
    X = np.random.default_rng(0).normal(size=(9, 2))
    path = tmp_path / "new.csv"
    pd.DataFrame({"who": list("abcdefghi"), "x2": X[:, 1], "x1": X[:, 0]}).to_csv(path, index=False)
    return path


def settings(store: Path, source: Path | None, target: Path | str | None, model: str | None = MODEL) -> PredictConfig:
    given: dict[str, Any] = {"model": model, "input": source, "output": target}
    plain = {key: None if value is None else str(value) for key, value in given.items()}
    return parse(PredictConfig, plain | {"tracking": {"store": str(store)}})


def test_each_row_gets_its_label_and_probabilities_in_order(
    shipped: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = Registry(TrackingConfig(store=str(shipped))).load(MODEL).predict(pd.read_csv(table))
    for name, read in (("out.csv", pd.read_csv), ("out.parquet", pd.read_parquet)):
        assert command.predict(settings(shipped, table, tmp_path / name)) == 0
        answer = read(tmp_path / name).astype({"label": str})
        pd.testing.assert_frame_equal(answer, expected.astype({"label": str}), check_exact=True)
    told = capsys.readouterr().err
    assert "column 'who'" in told
    assert "9 predictions" in told


@pytest.mark.parametrize(("terminal", "written"), [(True, "\ufffd[31mred"), (False, "\x1b[31mred")])
def test_a_label_cannot_steer_the_terminal_and_reaches_a_pipe_as_it_is(
    terminal: bool, written: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    command.write(pd.DataFrame({"label": ["\x1b[31mred"]}), command.STDOUT)
    assert capsys.readouterr().out == f"label\n{written}\n"


def test_the_terminal_gets_the_table_alone(shipped: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.predict(settings(shipped, table, "-")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "label,probability_0,probability_1"
    assert len(lines) == 10


@pytest.mark.parametrize("missing", ["model", "input", "output"])
def test_a_missing_value_is_asked_for_with_an_example(store: Path, table: Path, missing: str) -> None:
    given = {"model": MODEL, "source": table, "target": "-"} | {
        {"model": "model", "input": "source", "output": "target"}[missing]: None
    }
    with pytest.raises(ConfigError, match=f"{missing} must be given.*make predict MODEL=models:/<name>@champion"):
        command.predict(settings(store, **given))


def test_a_place_that_cannot_be_written_is_refused(shipped: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output must end in .csv or .parquet, or be -, but is out.xlsx"):
        command.predict(settings(shipped, table, "out.xlsx"))
    with pytest.raises(ConfigError, match="output must be another file than input"):
        command.predict(settings(shipped, table, table))
    with pytest.raises(UserError, match="output must be a file that can be written"):
        command.predict(settings(shipped, table, tmp_path / "nowhere" / "out.csv"))
    assert list(tmp_path.glob(".out*")) == []


def test_a_table_with_missing_or_wrong_columns_is_refused(shipped: Path, table: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    pd.read_csv(table).drop(columns="x2").to_csv(path, index=False)
    with pytest.raises(DataError, match="The table lacks column 'x2', which the model was trained on"):
        command.predict(settings(shipped, path, "-"))
    pd.read_csv(table).assign(x2="far").to_csv(path, index=False)
    with pytest.raises(DataError, match="Column 'x2' holds numbers, but also something else"):
        command.predict(settings(shipped, path, "-"))


def test_a_missing_model_or_file_is_refused(shipped: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=f"has no model models:/x@champion; it has {MODEL}"):
        command.predict(settings(shipped, table, "-", "models:/x@champion"))
    with pytest.raises(DataError, match="There is no file"):
        command.predict(settings(shipped, tmp_path / "none.csv", "-"))


RECIPE = {
    "columns": [
        {"name": "age", "kind": "number"},
        {"name": "colour", "kind": "category", "categories": ["red", "blue"]},
    ],
    "missing": "median",
}


def test_unknown_categories_and_filled_values_are_counted_and_named() -> None:
    table = pd.DataFrame({"age": [1.0, None, None], "colour": ["red", "green", "pink"]})
    assert command.remarks(RECIPE, table, "models:/m@champion") == [
        "Categories that models:/m@champion was not trained on, taken as none of its own: column 'colour' (2).",
        "Missing values, filled as in training: column 'age' (2).",
    ]
    assert command.remarks(RECIPE, table[:1], "models:/m@champion") == []


@pytest.mark.parametrize(
    ("label", "runs"),
    [("=1+1", True), ("@SUM(A1)", True), ("-x", True), ("-1", False), ("+2.5", False), ("a=b", False)],
)
def test_labels_that_a_spreadsheet_would_run_are_known(label: str, runs: bool) -> None:
    assert command.is_formula(label) is runs


@pytest.mark.parametrize(("escape", "written"), [(False, "=1+1"), (True, "'=1+1")])
def test_labels_that_look_like_formulas_are_reported_or_escaped(
    tmp_path: Path,
    table: Path,
    escape: bool,
    written: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Shipped:
        classes = ("=1+1", "no")
        recipe: ClassVar = {"columns": [], "missing": "refuse"}

        def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
            return pd.DataFrame({"label": ["=1+1"] * len(rows)})

    monkeypatch.setattr(Registry, "__init__", lambda *_: None)
    monkeypatch.setattr(Registry, "load", lambda *_: Shipped())
    config = settings(tmp_path, table, tmp_path / "out.csv")
    config.escape = escape
    assert command.predict(config) == 0
    assert set(pd.read_csv(tmp_path / "out.csv").label) == {written}
    assert ("would run the label '=1+1' as a formula" in capsys.readouterr().err) is not escape


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"output must be a file that can be written, but .* is not: "):
        command.write(pd.DataFrame({"label": ["a"]}), str(tmp_path / "file" / "x.csv"))
