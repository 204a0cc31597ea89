"""Optuna's samplers by name, seeded so that a proposal depends only on the trials before it and its number."""

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
    """Return the sampler that `config.name` names.

    Raises
    ------
    ConfigError
        Its optional package is not installed, or it cannot search this space.
    """
    package = _NEEDS.get(config.name)
    if package and find_spec(package) is None:
        raise ConfigError(f"sampler={config.name} needs the package {package}; install it with: pip install {package}")
    if config.name == "cmaes" and objectives > 1:
        raise ConfigError(f"sampler=cmaes must have one objective, but study.objective has {objectives}.")
    startup = config.startup_trials
    grid = space.grid() if config.name == "grid" else {}
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=startup),
        "random": lambda seed: RandomSampler(seed=seed),
        # The points of a grid and of a Sobol sequence are numbered: their seed must be the same for all trials.
        "grid": lambda _: GridSampler(grid, seed=config.seed),
        "qmc": lambda seed: _Sobol(config.seed, space, independent=RandomSampler(seed=seed)),
        "cmaes": lambda seed: CmaEsSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False),
        "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        makers[config.name](0)  # refuses an unsuitable space before a study exists
    return PerTrialSampler(makers[config.name], config.seed)


class _Sobol(QMCSampler):
    """Gives trial n the point n of a scrambled Sobol sequence over the space's unconditional leaves.

    Optuna takes the space from the first finished trial; behind a lag, several trials would be drawn at random before.
    """

    def __init__(self, seed: int, space: Space, independent: BaseSampler):
        super().__init__(seed=seed, scramble=True, independent_sampler=independent, warn_independent_sampling=False)
        self._distributions = {leaf.path: leaf.distribution for leaf in space.leaves if not leaf.when}
        self._point = 0

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the point by the trial's number."""
        self._point = trial.number

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all leaves without a condition, except those with a single possible value."""
        return {path: each for path, each in self._distributions.items() if not each.single()}

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._point


class PerTrialSampler(BaseSampler):
    """Gives every trial a fresh sampler whose seed depends on `seed` and the trial's number alone.

    A plain seeded sampler restarts its stream when a study is resumed, and proposes trials twice. With one seed for
    each trial, a proposal depends only on what the study already holds.
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return self._make(int(np.random.SeedSequence([self._seed, *words]).generate_state(1)[0]))

    def reseed_rng(self) -> None:
        """Do nothing: each trial has its own seed."""

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
        """Delegate to a sampler for this parameter: with one seed, all parameters would be drawn alike."""
        sampler = self._seeded(trial.number, zlib.crc32(param_name.encode()))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Do nothing: the search never tells it (see `pipeline.search.search`)."""
