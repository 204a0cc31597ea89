"""`make preflight`: check gradients, descent, capacity and dropout before a sweep, and track the result."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.config.commands import TrainConfig
from pipeline.config.errors import UserError
from pipeline.config.trial import AugmentationConfig
from pipeline.console import compose
from pipeline.console.data import say_data
from pipeline.console.display import console
from pipeline.data.arrays import load_arrays
from pipeline.data.prepare import prepare
from pipeline.data.remarks import of_pixels
from pipeline.reporting.epsilon_picture import save_epsilon_sweep
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.store import check as check_store
from pipeline.tracking.store import resolve
from pipeline.trials.checklist import PreflightReport, run_checks


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline preflight`."""
    return compose.run("preflight", TrainConfig, preflight, arguments)


def preflight(config: TrainConfig) -> int:
    """Run every check on the configuration; return 0 if all passed.

    Raises
    ------
    UserError
        The data or the store cannot be used, or the configuration does not fit the data.
    """
    tracking = config.tracking
    check_store(resolve(tracking))
    prepared = prepare(config.data, Path(tracking.store))
    recorder = Recorder(tracking)  # after the data: a mistake in them leaves no empty store behind
    trial, arrays = config.trial, load_arrays(prepared.path)
    augmented = asdict(config.augmentation) != asdict(AugmentationConfig())
    say_data(config, prepared)
    for line in of_pixels(arrays, config.data.standardize, augmented=augmented):
        console.print(line)
    try:
        report = run_checks(trial, arrays, sweep_epsilon=config.gradcheck.sweep_epsilon)
    except ValueError as error:
        raise UserError(f"this configuration cannot be checked: {error}") from None
    console.print(report.table())
    tags = {"outcome": "passed" if report.passed else "failed"}
    run_id = recorder.open_run("preflight", f"preflight {trial.data.name}", tags, asdict(trial))
    with tempfile.TemporaryDirectory() as folder:
        for path in write(report, Path(folder)):
            recorder.write_file(run_id, path)
    recorder.close(run_id, "FINISHED" if report.passed else "FAILED")
    console.print(f"\n{'Ready for a sweep.' if report.passed else 'Not ready for a sweep.'} run {run_id}")
    return 0 if report.passed else 1


def write(report: PreflightReport, folder: Path) -> list[Path]:
    """Write the table, and the figure of error against ε if the configuration asks for it; return the files."""
    table = folder / "preflight.txt"
    table.write_text(report.table(), encoding="utf-8")
    if report.epsilon_sweep is None:
        return [table]
    return [table, save_epsilon_sweep(report.epsilon_sweep, folder / "error-against-epsilon.png")]
