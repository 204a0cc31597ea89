"""Describes the data before a command trains on them."""

from typing import Any

from pipeline.config.commands import TrainConfig
from pipeline.console.display import console
from pipeline.data.divisions import is_fixed
from pipeline.data.prepare import PreparedData
from pipeline.data.remarks import of_the_dev_part


def say_data(config: TrainConfig, prepared: PreparedData) -> None:
    """Print a description of the data, and warn if augmentation and normalisation do not fit together."""
    console.print(summary(prepared.description))
    if config.repeats > 1 and is_fixed(config.data):
        console.print(
            f"the {config.repeats} repeats differ in their seeds only: one division, since the dev examples are given"
        )
    monitor = config.trial.training.monitor
    if config.training.class_weight == "balanced" and monitor != "balanced_error":
        console.print(
            f"training.class_weight=balanced, but the kept epoch is judged by {monitor}, which counts rows: "
            "study.objective=balanced_error (train: training.monitor=balanced_error) judges classes alike"
        )
    a = config.augmentation
    if (a.shift or a.rotation or a.zoom or a.distortion) and config.data.standardize is True:
        console.print(
            "warning: augmentation moves strokes into pixels that hardly vary, and data.standardize=true magnifies "
            "those; data.standardize=pixels treats all pixels alike"
        )


def summary(description: dict[str, Any]) -> str:
    """Return a line of sizes and classes, then one for each remark."""
    d = description
    classes = ", ".join(d["classes"][:10]) + (f", … ({len(d['classes'])})" if len(d["classes"]) > 10 else "")
    examples = ", ".join(f"{part} {count:,}" for part, count in d["examples"].items())
    folds = f" ({d['folds']} folds)" if d["folds"] else ""
    columns = len(d["columns"])
    as_features = "" if columns == d["features"] else f" as {d['features']:,} features"
    of = "column" if columns == 1 else "columns"
    lines = [
        f"{d['name']}: {d['rows']:,} rows, {columns:,} {of}{as_features}; {d['task']}: {classes}; {examples}{folds}"
    ]
    lines += of_the_dev_part(d)
    lines += _counts("missing values, filled from the training part", d["missing"])
    lines += _counts("dev examples with a category that the training part lacks", d["unseen_in_dev"])
    return "\n".join(lines + d["notes"])


def _counts(what: str, counts: dict[str, int]) -> list[str]:
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:8])
    more = f" and {len(counts) - 8} more columns" if len(counts) > 8 else ""
    return [f"{what}: {shown}{more}"] if counts else []
