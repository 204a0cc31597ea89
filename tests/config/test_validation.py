"""Every invalid value is refused in one sentence that names the field, the rule and the value."""

from typing import Any

import pytest

from pipeline.config.commands import RerunConfig, SweepConfig
from pipeline.config.errors import ConfigError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import as_plain, parse


def at(path: str, value: Any) -> dict[str, Any]:
    plain: Any = value
    for key in reversed(path.split(".")):
        plain = {key: plain}
    return plain


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("regularization.keep_prob", 1.5, r"regularization\.keep_prob must be less than or equal to 1, but is 1\.5\."),
        ("regularization.keep_prob", 0, r"regularization\.keep_prob must be greater than 0, but is 0\."),
        ("regularization.keep_prob", [0.5, 0.0], r"regularization\.keep_prob\.1 must be greater than 0, but is 0\.0\."),
        (
            "regularization.keep_prob",
            [0.5] * 3,
            r"one for each of the 2 hidden layers, but has 3: \[0\.5, 0\.5, 0\.5\]",
        ),
        ("regularization.lambd", -1, r"regularization\.lambd must be greater than or equal to 0, but is -1\."),
        ("regularization.lambd", "0.7", r'regularization\.lambd must be a valid number, but is "0\.7"\.'),
        ("regularization.lambd", True, r"regularization\.lambd must be a valid number, but is true\."),
        ("model.hidden_units", [64, 0], r"model\.hidden_units\.1 must be greater than or equal to 1, but is 0\."),
        ("model.activation", "reluu", r"model\.activation must be 'relu', 'leaky_relu', .* but is \"reluu\"\."),
        ("model.activation", ["relu"], r"model\.activation must be one value or one for each of the 2 hidden layers"),
        ("training.batch_size", "ful", r"training\.batch_size must be 'full', but is \"ful\"\."),
        ("training.num_epochs", 1.5, r"training\.num_epochs must be a valid integer"),
        ("training.learning_rate", float("nan"), r"training\.learning_rate must be a finite number, but is NaN\."),
        (
            "training.lerning_rate",
            1.0,
            r"training\.lerning_rate is no configuration value .did you mean training\.learn",
        ),
        ("lambd", 1.0, r"lambd is no configuration value .did you mean regularization\.lambd"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(path: str, value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refusal:
        parse(TrialConfig, at(path, value))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("schema", [TrialConfig, SweepConfig, RerunConfig])
def test_plain_values_and_back_are_the_same_configuration(schema: Any) -> None:
    assert parse(schema, as_plain(schema())) == schema()
