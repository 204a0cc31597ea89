"""What a command says of its data before it trains on them."""

from pipeline.config.commands import TrainConfig
from pipeline.console.display import console
from pipeline.data.divisions import is_fixed
from pipeline.data.prepare import PreparedData
from pipeline.data.summary import summary


def say_data(config: TrainConfig, prepared: PreparedData) -> None:
    """Print what is about to be trained on, and warn where augmentation and normalisation do not fit together."""
    console.print(summary(prepared.description))
    if config.repeats > 1 and is_fixed(config.data):
        console.print(
            f"the {config.repeats} repeats differ in their seeds only: one division, since the dev examples are given"
        )
    a = config.augmentation
    if (a.shift or a.rotation or a.zoom or a.distortion) and config.data.standardize is True:
        console.print(
            "warning: augmentation moves things into pixels that hardly vary; data.standardize=true blows those up, "
            "data.standardize=pixels treats all pixels alike"
        )
