"""The presets under conf/experiment do what the course says, through the ordinary pipeline."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.commands import TrainConfig
from pipeline.console.compose import run
from pipeline.data.arrays import load_arrays
from pipeline.data.prepare import prepare
from pipeline.reporting.layers_picture import draw_layers
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import run_trial

PUBLISHED_HE = [
    0.883053746341976,
    0.6879825919728063,
    0.6751286264523371,
    0.6526117768893807,
    0.6082958970572937,
    0.5304944491717495,
    0.4138645817071794,
    0.3117803464844441,
    0.23696215330322562,
    0.1859728720920684,
    0.15015556280371808,
    0.12325079292273551,
    0.09917746546525937,
    0.08457055954024283,
    0.07357895962677366,
]
"""Costs of the course's "Initialization" exercise every 1,000 iterations."""


def trained(experiment: str, store: Path, *overrides: str) -> TrialRecord:
    configs: list[TrainConfig] = []
    run("train", TrainConfig, configs.append, [f"experiment={experiment}", *overrides])
    config = configs[0].trial
    return run_trial(config, load_arrays(prepare(config.data, store).path))


def accuracies(record: TrialRecord) -> tuple[float, float]:
    """Accuracy on train and dev after the last iteration."""
    return tuple(round(1 - record.curves[name][-1], 12) for name in ("train_error", "dev_error"))  # type: ignore[return-value]


def test_he_initialisation_follows_the_published_costs_from_the_start(tmp_path: Path) -> None:
    record = trained("initialization", tmp_path, "training.num_epochs=2001")
    np.testing.assert_allclose(record.curves["train_cost"][:2001:1000], PUBLISHED_HE[:3], rtol=1e-9)


@pytest.mark.slow
def test_he_initialisation_follows_the_published_costs_to_the_end(tmp_path: Path) -> None:
    record = trained("initialization", tmp_path)
    np.testing.assert_allclose(record.curves["train_cost"][:15_000:1000], PUBLISHED_HE, rtol=1e-9)
    assert accuracies(record) == (round(298 / 300, 12), 0.96)


@pytest.mark.slow
def test_large_random_initialisation_ends_where_published(tmp_path: Path) -> None:
    record = trained("initialization_large", tmp_path)
    assert np.isfinite(record.curves["train_cost"]).all()
    # rounding alone decides its last digits: the exercise's own code, its first weights changed by 1e-15 of themselves,
    # ends between 0.38276 and 0.38281
    assert record.curves["train_cost"][14_000] == pytest.approx(0.3827, abs=1.5e-4)
    assert accuracies(record) == (0.83, 0.86)


def test_zero_initialisation_never_learns(tmp_path: Path) -> None:
    record = trained("initialization_zeros", tmp_path, "training.num_epochs=500")
    np.testing.assert_allclose(record.curves["train_cost"], np.log(2), rtol=1e-9)
    assert accuracies(record) == (0.5, 0.5)


@pytest.mark.parametrize(("experiment", "factor"), [("exploding", 1.5), ("vanishing", 0.5)])
def test_signals_grow_or_vanish_by_the_same_factor_in_each_linear_layer(
    experiment: str, factor: float, tmp_path: Path
) -> None:
    record = trained(experiment, tmp_path)
    norms = np.array([record.curves[f"activation_norm_{layer}"][0] for layer in range(1, 21)])
    np.testing.assert_allclose(norms[1:] / norms[:-1], factor, rtol=1e-12)
    assert norms[-1] / norms[0] == pytest.approx(factor**19)
    assert draw_layers(record, tmp_path / "layers.png") == tmp_path / "layers.png"


def test_early_stopping_ends_with_smaller_weights_than_longer_training_and_l2_with_even_smaller_ones(
    tmp_path: Path,
) -> None:
    stopped = trained("early_stopping", tmp_path)
    on = trained("early_stopping", tmp_path, "training.patience=null", "training.num_epochs=150")
    decayed = trained("l2_trained_long", tmp_path, "training.num_epochs=150")
    norms = [record.curves["weight_norm_1"][-1] for record in (stopped, on, decayed)]
    assert norms[2] < norms[0] < norms[1]
    assert decayed.summary["best_dev_cost"] < stopped.summary["best_dev_cost"]
