"""A sweep on unequal classes that minimises the mean error over classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.commands import TrackingConfig
from pipeline.tracking.archive import Archive
from tests.end_to_end.conftest import Ended


def test_the_objective_is_the_mean_error_over_classes(
    sweep_of: Callable[..., Ended], shared_store: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(300, 2)), columns=["a", "b"])
    table.assign(y=np.where(table.a > 1.2, "yes", "no")).to_csv(tmp_path / "rare.csv", index=False)
    file = ["data=file", f"data.path={tmp_path}/rare.csv", "data.target=y", "data.name=rare"]
    ended = sweep_of(*file, "study.objective=balanced_error", "study.trials=3", small=())
    assert ended.code == 0, ended.err
    archive = Archive(TrackingConfig(store=str(shared_store)))
    trials = archive.trials(ended.study)
    assert all(trial.metrics["best_balanced_error"] >= trial.metrics["best_dev_error"] * 0.5 for trial in trials)
    best = archive.best(ended.study)
    assert best.metrics["best_balanced_error"] == min(trial.metrics["best_balanced_error"] for trial in trials)
    measures = {name: best.metrics[f"dev_{name}"] for name in ("precision", "recall", "roc_auc", "average_precision")}
    assert all(0 <= value <= 1 for value in measures.values())
    assert best.params["training.monitor"] == "balanced_error"


@pytest.mark.slow
def test_the_conclusion_and_the_report_take_it_as_any_other(
    sweep_of: Callable[..., Ended], pipeline: Callable[..., Ended], shared_store: Path
) -> None:
    ended = sweep_of("study.objective=balanced_error", "study.trials=4", "tracking.pictures=true")
    assert ended.code == 0, ended.err
    assert pipeline("report", f"study={ended.study}", f"tracking.store={shared_store}").code == 0
