"""`make predict`: apply a registered model to a table of raw feature columns."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.commands import PredictConfig
from pipeline.config.errors import ConfigError, UserError
from pipeline.console import compose
from pipeline.data.encoding import some
from pipeline.data.fingerprint import local_path

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
    write(answer, target)
    if target != STDOUT:
        print(f"{len(answer):,} predictions of {model} are in {target}.", file=sys.stderr)
    return 0


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
    """Write the table in one step, so that a crash leaves no half of it.

    Raises
    ------
    UserError
        The place cannot be written.
    """
    if target == STDOUT:
        answer.to_csv(sys.stdout, index=False)
        return
    path = Path(target).expanduser()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix.lower() == ".parquet":
            answer.to_parquet(draft, index=False)
        else:
            answer.to_csv(draft, index=False)
        draft.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"output must be a file that can be written, but {target} is not: {reason}.") from None
    finally:
        draft.unlink(missing_ok=True)
