"""An empty tracking store, and records as a trial leaves them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.commands import TrackingConfig
from pipeline.config.trial import ModelConfig, TrialConfig
from pipeline.gradcheck.report import GradientReport
from pipeline.tracking import connection
from pipeline.tracking.archive import Archive
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.store import resolve
from pipeline.trials.record import TrialRecord

EXPERIMENT = "tests"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An `mlruns` folder with a store in it."""
    folder = tmp_path / "mlruns"
    folder.mkdir()
    connection._create(resolve(TrackingConfig(store=str(folder))))
    return folder


@pytest.fixture
def recorder(root: Path) -> Recorder:
    return Recorder(TrackingConfig(experiment=EXPERIMENT, store=str(root)))


@pytest.fixture
def archive(recorder: Recorder, root: Path) -> Archive:
    return Archive(TrackingConfig(experiment=EXPERIMENT, store=str(root)))


@pytest.fixture
def make_record() -> Callable[..., TrialRecord]:
    return a_record


def a_record(seed: int = 0, epochs: int = 6, **changes: object) -> TrialRecord:
    """A small record with every field filled."""
    rng = np.random.default_rng(seed)
    names = ("train_cost", "dev_cost", "train_error", "dev_error", "train_cost_penalized")
    names += ("weight_norm_1", "gradient_norm_1", "activation_norm_1")
    curves = {name: rng.random(epochs + 1) for name in names}
    curves["train_cost_penalized"][0] = np.nan
    record = TrialRecord(
        config=dataclasses.asdict(TrialConfig(seed=seed, model=ModelConfig(hidden_units=[3]))),
        data={"name": "digits", "digest": "ab" * 32, "source_digest": "cd" * 32, "classes": ["0", "1"]},
        outcome="completed",
        reason="All epochs were trained.",
        stop_epoch=epochs,
        curves=curves,
        parameters={
            "W1": rng.random((3, 4), dtype=np.float32),
            "b1": np.zeros((3, 1), np.float32),
            "W2": rng.random((2, 3), dtype=np.float32),
            "b2": np.zeros((2, 1), np.float32),
        },
        summary={"best_epoch": 4.0, "best_dev_cost": 0.5 + seed, "best_dev_error": 0.25},
        gradient_checks={"init": a_check("good", 1e-9), "trained": a_check("look_again", 3e-6)},
        diagnosis={"avoidable_bias": 0.01, "variance": 0.05, "verdict": "high variance", "remedies": ["more data"]},
        environment={"python": "3.11.7", "code": {"commit": "c0ffee", "dirty": True, "diff": "+ a line\n"}},
        started_at=1_700_000_000.0,
        duration_s=2.0,
    )
    return dataclasses.replace(record, **changes)


def a_check(verdict: str, error: float) -> dict[str, object]:
    """A gradient report of one tensor, as plain values."""
    report = GradientReport(
        verdict=verdict,
        relative_error=error,
        tensors={"W1": error},
        norms={"W1": [1.0, 1.0]},  # type: ignore[dict-item]
        worst=[["W1[0, 1]", 1.0, 1.0 + error]],  # type: ignore[list-item]
        kinks=[],
        coverage={"coordinates": 12, "compared": 12, "kinks": 0, "tensors": {"W1": [12, 12, 0]}},
        directional_error=None,
        cost=0.7,
        method="two_sided",
        epsilon=1e-5,
        examples=16,
        dropout="off",
    )
    return report.as_dict()
