"""`make predict`: apply a registered model to a table of raw feature columns."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.commands import PredictConfig
from pipeline.config.errors import ConfigError, UserError
from pipeline.config.text import printable
from pipeline.config.writing import replacing
from pipeline.console import compose
from pipeline.data.encoding import Recipe, by_column, some, unseen
from pipeline.data.fingerprint import local_path
from pipeline.models.inference import LABEL

if TYPE_CHECKING:
    import pandas as pd

STDOUT = "-"
FORMATS = (".csv", ".parquet")


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline predict`."""
    return compose.run("predict", PredictConfig, predict, arguments)


def predict(config: PredictConfig) -> int:
    """Write label and probabilities of each row of the input, in its order."""
    model, source, target = _given(config)
    from pipeline.data.files import read_columns
    from pipeline.tracking.registry import Registry

    tracking = config.tracking
    registry = Registry(tracking)
    classifier = registry.load(model)
    table = read_columns(source)
    answer = classifier.predict(table)
    known = {str(column["name"]) for column in classifier.recipe["columns"]}
    extra = [str(name) for name in table if str(name) not in known]
    if extra:
        print(f"Not used, because {model} was not trained on it: {some(extra)}.", file=sys.stderr)
    for line in remarks(classifier.recipe, table, model):
        print(line, file=sys.stderr)
    if formulas := [name for name in classifier.classes if is_formula(name)]:
        if config.escape:
            answer[LABEL] = [f"'{label}" if is_formula(label) else label for label in answer[LABEL]]
        elif target == STDOUT or Path(target).suffix.lower() == ".csv":
            print(
                f"A spreadsheet would run the label {formulas[0]!r} as a formula; escape=true puts an apostrophe "
                "before such labels.",
                file=sys.stderr,
            )
    write(answer, target)
    if target != STDOUT:
        print(f"{len(answer):,} predictions of {model} are in {target}.", file=sys.stderr)
    return 0


def remarks(recipe: Recipe, table: "pd.DataFrame", model: str) -> list[str]:
    """Return sentences on categories that the model never saw and on missing values that it filled in, by column."""
    said = []
    if unknown := unseen(recipe, table):
        said.append(f"Categories that {model} was not trained on, taken as none of its own: {by_column(unknown)}.")
    counts = {str(column["name"]): int(table[column["name"]].isna().sum()) for column in recipe["columns"]}
    if any(counts.values()):
        said.append(f"Missing values, filled as in training: {by_column(counts)}.")
    return said


def is_formula(label: str) -> bool:
    """Return whether a spreadsheet would read the text as a formula; numbers are harmless."""
    return label.startswith(("=", "+", "-", "@", "\t", "\r")) and not _is_number(label)


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _given(config: PredictConfig) -> tuple[str, Path, str]:
    for field, variable in (("model", "MODEL"), ("input", "IN"), ("output", "OUT")):
        if getattr(config, field) is None:
            raise ConfigError(
                f"{field} must be given, but is missing: "
                f"make predict MODEL=models:/<name>@champion IN=new.csv OUT=out.csv ({variable}=)."
            )
    assert config.model is not None
    assert config.input is not None
    assert config.output is not None
    if config.output != STDOUT and Path(config.output).suffix.lower() not in FORMATS:
        raise ConfigError(f"output must end in {' or '.join(FORMATS)}, or be -, but is {config.output}.")
    source = local_path(config.input, "input")
    if config.output != STDOUT and Path(config.output).resolve() == source.resolve():
        raise ConfigError(f"output must be another file than input, but both are {config.output}.")
    return config.model, source, config.output


def write(answer: "pd.DataFrame", target: str) -> None:
    """Write the table in one step, so that a crash leaves no partial file.

    Raises
    ------
    UserError
        The place cannot be written.
    """
    if target == STDOUT:
        text = answer.to_csv(index=False)
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)  # a terminal would obey a label's escapes
        return
    path = Path(target).expanduser()
    write_table = answer.to_parquet if path.suffix.lower() == ".parquet" else answer.to_csv
    try:
        with replacing(path) as file:
            write_table(file, index=False)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"output must be a file that can be written, but {target} is not: {reason}.") from None
