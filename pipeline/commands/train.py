"""`make train`: train one configuration, and track it as a run of its own."""

import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config.commands import TrainConfig
from pipeline.config.errors import UserError
from pipeline.config.text import short
from pipeline.config.trial import TrialConfig
from pipeline.console import compose
from pipeline.console.data import say_data
from pipeline.console.display import console, table
from pipeline.console.interruption import terminable
from pipeline.console.next_steps import print_next, same_store
from pipeline.data.arrays import load_arrays
from pipeline.data.commonest import UNEQUAL, always_commonest, sentence
from pipeline.data.divisions import ensure
from pipeline.data.prepare import PreparedData, prepare
from pipeline.gradcheck.report import distrust
from pipeline.reporting.layers_picture import draw_layers
from pipeline.tracking.points import Span
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.store import check, resolve
from pipeline.training.diagnosis import basis
from pipeline.trials.environment import code_version
from pipeline.trials.kernels import choose
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import Segment, WrongGradient, advance

SHOWN = ("best_dev_cost", "best_dev_error", "best_train_error", "best_epoch")
REPORT_S = 2.0
"""Seconds between two updates of a long run's curves in the UI."""


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline train`; a grid of runs ends with one table that compares them."""
    rows: list[tuple[list[str], list[Any]]] = []
    said: list[str] = []

    def one(config: TrainConfig) -> int:
        given = compose.overrides()
        record, run_id = train(config)
        rows.append((given, [*(record.summary[name] for name in SHOWN), record.outcome, run_id]))
        said.append(sentence(record.data))
        return 0

    try:
        with terminable():
            return compose.run("train", TrainConfig, one, arguments)
    finally:
        if len(rows) > 1:
            print_comparison(rows)
            console.print("\n".join(dict.fromkeys(filter(None, said))))


def print_comparison(runs: Sequence[tuple[list[str], list[Any]]]) -> None:
    """Print the runs of a grid side by side, each named by the command-line values in which they differ."""
    common = set[str].intersection(*(set(given) for given, _ in runs))
    rows = [[" ".join(text for text in given if text not in common), *results] for given, results in runs]
    console.print()
    table(["values", *(name.removeprefix("best_").replace("_", " ") for name in SHOWN), "outcome", "run id"], rows)


def train(config: TrainConfig) -> tuple[TrialRecord, str]:
    """Train and track one configuration; return its record and the id of its run.

    Raises
    ------
    UserError
        The data or the store cannot be used, or the gradients are wrong.
    """
    choose(config.kernels)
    tracking = config.tracking
    check(resolve(tracking))
    prepared = prepare(config.data, Path(tracking.store))
    ensure(prepared, config.data, config.repeat_numbers)
    recorder = Recorder(tracking)  # after the data: a mistake in them leaves no empty store behind
    say_data(config, prepared)
    trial = config.trial
    name = f"{trial.data.name} λ={short(trial.regularization.lambd)} seed={trial.seed}"
    key = uuid.uuid4().hex
    run_id = recorder.open_run("train", name, {"record_key": key}, asdict(trial))
    status = "FAILED"
    try:
        record = _carry_out(trial, prepared, recorder, run_id)
        record.add_origin(prepared, code_version(diff=tracking.code_diff))
        recorder.write(record, kind="train", name=name, key=key)
        with tempfile.TemporaryDirectory() as folder:
            if picture := draw_layers(record, Path(folder) / "layers.png"):
                recorder.write_file(run_id, picture)
        status = ""
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except (WrongGradient, ValueError) as error:
        raise UserError(f"run {run_id} failed: {error}") from None
    finally:
        if status:
            recorder.close(run_id, status)
    _print(record, run_id)
    return record, run_id


def _carry_out(trial: TrialConfig, prepared: PreparedData, recorder: Recorder, run_id: str) -> TrialRecord:
    arrays = load_arrays(prepared.path)
    segment: Segment | None = None
    while True:
        segment = advance(trial, arrays, segment, seconds=REPORT_S)
        if segment.record is not None:
            return segment.record
        curves = segment.curves
        recorder.progress(run_id, curves, Span.of(curves, segment.started_at, segment.total_s))


def _is_unequal(record: TrialRecord) -> bool:
    """Return whether some class is so rare that the dev error says little about it."""
    found = always_commonest(record.data)
    return found is not None and found[1] < UNEQUAL and "best_balanced_error" in record.summary


def _print(record: TrialRecord, run_id: str) -> None:
    s: dict[str, Any] = record.summary
    console.print(f"{record.outcome}: {record.reason}")
    balanced = f", balanced error {short(s['best_balanced_error'])}" if _is_unequal(record) else ""
    console.print(
        f"dev cost {short(s['best_dev_cost'])}, dev error {short(s['best_dev_error'])}{balanced}, "
        f"train error {short(s['best_train_error'])} at epoch {s['best_epoch']:.0f}"
    )
    if beside := sentence(record.data, "balanced_error" if balanced else "dev_error"):
        console.print(beside)
    checks = [f"{moment} {report['verdict']}" for moment, report in record.gradient_checks.items()]
    if checks:
        console.print(f"gradient check: {', '.join(checks)}")
    if doubt := distrust(record.gradient_checks):
        console.print(doubt)
    if record.diagnosis:
        plain = basis(record.config["training"]["monitor"])
        console.print(f"diagnosis: {record.diagnosis['verdict']}" + (f" ({plain})" if plain else ""))
    console.print(f"\nrun {run_id}")
    where = same_store()
    print_next([("see it", f"make ui{where}"), ("prove that it repeats", f"make rerun RUN={run_id}{where}")])
