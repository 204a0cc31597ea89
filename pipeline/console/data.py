"""Describes the data before a command trains on them."""

from pipeline.config.commands import TrainConfig
from pipeline.console.display import console
from pipeline.data.divisions import is_fixed
from pipeline.data.prepare import PreparedData
from pipeline.data.summary import summary


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
