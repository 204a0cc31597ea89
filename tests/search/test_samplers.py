"""A resumed search proposes what the uninterrupted one would have."""

from dataclasses import asdict
from typing import Any

import optuna
import pytest

from pipeline.config.commands import SamplerConfig
from pipeline.config.trial import TrialConfig
from pipeline.search.samplers import make_sampler
from pipeline.search.space import Space

TREE = {
    "regularization": {
        "lambd": {"low": 0.01, "high": 30.0, "log": True, "points": 4},
        "keep_prob": {"low": 0.5, "high": 1.0, "points": 4},
    }
}


def proposals(name: Any, chunks: list[int]) -> list[dict[str, Any]]:
    """Parameters of a study that is closed and opened again, with a new sampler, after each chunk of trials."""
    storage = optuna.storages.InMemoryStorage()
    space = Space(TREE, asdict(TrialConfig()))
    proposed = []
    for chunk in chunks:
        sampler = make_sampler(SamplerConfig(name=name, seed=7, startup_trials=4), space)
        study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, load_if_exists=True)
        for _ in range(chunk):
            trial = study.ask()
            values = space.suggest(trial)
            study.tell(trial, abs(values["regularization.lambd"] - 3) - values["regularization.keep_prob"])
            proposed.append(values)
    return proposed


@pytest.mark.filterwarnings("ignore:.*experimental:optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", ["tpe", "random", "grid", "qmc", "cmaes"])
def test_interruptions_change_no_proposal(name: str) -> None:
    if name == "cmaes":
        pytest.importorskip("cmaes", reason="CMA-ES is an optional extra")
    whole = proposals(name, [16])
    assert proposals(name, [5, 1, 7, 3]) == whole
    assert len({str(values) for values in whole}) == 16


def test_another_seed_is_another_search() -> None:
    space = Space(TREE, asdict(TrialConfig()))
    first = [
        space.suggest(optuna.create_study(sampler=make_sampler(SamplerConfig(name="random", seed=seed), space)).ask())
        for seed in (0, 1)
    ]
    assert first[0] != first[1]


@pytest.mark.parametrize("name", ["tpe", "random", "grid"])
def test_a_trial_cut_off_between_two_parameters_gets_the_values_it_would_have_had(name: Any) -> None:
    space = Space(TREE, asdict(TrialConfig()))
    whole = proposals(name, [6])
    storage = optuna.storages.InMemoryStorage()
    for number in range(6):
        sampler = make_sampler(SamplerConfig(name=name, seed=7, startup_trials=4), space)
        study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, load_if_exists=True)
        trial = study.ask()
        trial.suggest_float("regularization.lambd", 0.01, 30.0, log=True)
        reopened = optuna.load_study(
            study_name="s",
            storage=storage,
            sampler=make_sampler(SamplerConfig(name=name, seed=7, startup_trials=4), space),
        )
        values = space.suggest(optuna.Trial(reopened, trial._trial_id))
        assert values == whole[number]
        study.tell(trial, abs(values["regularization.lambd"] - 3) - values["regularization.keep_prob"])
