"""The configuration of a record, refused where training it would take absurd amounts of memory."""

import itertools
import re

from pipeline.config.errors import ConfigError, RecordError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.trials.record import TrialRecord

MAX_UNITS = 100_000
MAX_LAYERS = 1_000
MAX_WEIGHTS = 200_000_000
MAX_EXAMPLES = 10_000_000
MAX_FITS = 1_000


def config_of(record: TrialRecord) -> TrialConfig:
    """Return the record's configuration, validated and checked by `check_sizes`.

    Raises
    ------
    RecordError
        A value is refused.
    """
    try:
        config = parse(TrialConfig, record.config)
    except (ConfigError, TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"The recorded configuration is refused: {error}") from None
    check_sizes(config, record)
    return config


def check_sizes(config: TrialConfig, record: TrialRecord) -> None:
    """Refuse a recorded configuration of absurd sizes.

    Raises
    ------
    RecordError
        Training it would take absurd amounts of memory, or it contradicts the recorded parameters.
    """
    units = config.model.hidden_units
    weights = sum(before * after for before, after in itertools.pairwise(units))
    for name, value, limit in (
        ("the sum of model.hidden_units", sum(units), MAX_UNITS),
        ("the number of hidden layers", len(units), MAX_LAYERS),
        ("the number of weights between hidden layers", weights, MAX_WEIGHTS),
        ("data.examples", config.data.examples or 0, MAX_EXAMPLES),
        ("repeats times data.folds", config.repeats * (config.data.folds or 1), MAX_FITS),
    ):
        if value > limit:
            raise RecordError(
                f"The recorded configuration is refused: {name} must be at most {limit:,}, but is {value}."
            )
    recorded = [len(values) for name, values in record.parameters.items() if re.fullmatch(r"W\d+", name)]
    if recorded and recorded[:-1] != units:
        raise RecordError(f"The recorded parameters are of a network with hidden units {recorded[:-1]}, not {units}.")
