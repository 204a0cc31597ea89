"""Optuna's samplers by name, seeded so that a killed and resumed search proposes what an uninterrupted one would."""

import warnings
import zlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.commands import SamplerConfig
from pipeline.config.errors import ConfigError
from pipeline.search.space import Space

_NEEDS = {"cmaes": "cmaes", "gp": "torch"}


def make_sampler(config: SamplerConfig, space: Space, objectives: int = 1) -> BaseSampler:
    """The sampler that `config.name` names.

    Raises
    ------
    ConfigError
        Its optional package is not installed, or it cannot search this space.
    """
    package = _NEEDS.get(config.name)
    if package and find_spec(package) is None:
        raise ConfigError(f"sampler={config.name} needs the package {package}; install it with: pip install {package}")
    if config.name == "qmc":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return QMCSampler(seed=config.seed, scramble=True, warn_independent_sampling=False)
    if config.name == "cmaes" and objectives > 1:
        raise ConfigError(f"sampler=cmaes must have one objective, but study.objective has {objectives}.")
    startup = config.startup_trials
    grid = space.grid() if config.name == "grid" else {}
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=startup),
        "random": lambda seed: RandomSampler(seed=seed),
        # The grid's points are shuffled by the seed and numbered after that: it must be the same for all trials.
        "grid": lambda _: GridSampler(grid, seed=config.seed),
        "cmaes": lambda seed: CmaEsSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False),
        "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=startup),
    }
    return PerTrialSampler(makers[config.name], config.seed)


class PerTrialSampler(BaseSampler):
    """Gives every trial a fresh sampler whose seed depends on `seed` and the trial's number alone.

    A plain seeded sampler starts its stream again when a study is resumed, and then proposes trials twice. With a seed
    of its own for each trial, what is proposed depends only on what the study already holds.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int):
        self._make = make
        self._seed = seed
        self._current: tuple[int, BaseSampler] | None = None

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if self._current is None or self._current[0] != trial.number:
            self._current = (trial.number, self._seeded(trial.number))
        return self._current[1]

    def _seeded(self, *words: int) -> BaseSampler:
        return self._make(int(np.random.SeedSequence([self._seed, *words]).generate_state(1)[0]))

    def reseed_rng(self) -> None:
        """Do nothing: the seed is the trial's."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Delegate to the trial's sampler."""
        self._of(trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Delegate to the trial's sampler."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Delegate to the trial's sampler."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Delegate to a sampler of this parameter's own, so that a trial cut off between two of them goes on alike."""
        sampler = self._seeded(trial.number, zlib.crc32(param_name.encode()))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Delegate, but for the grid, which would stop a study that is not running `optimize`."""
        sampler = self._of(trial)
        if not isinstance(sampler, GridSampler):
            sampler.after_trial(study, trial, state, values)
