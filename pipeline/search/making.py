"""Builds the search that a configuration describes, and refuses configurations that describe none."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from pipeline.config.commands import SweepConfig
from pipeline.config.errors import ConfigError
from pipeline.search.pruners import make_pruner
from pipeline.search.samplers import make_sampler
from pipeline.search.search import Search
from pipeline.search.space import Space

_LEARNING = ("tpe", "gp", "random")


def trials_possible(config: SweepConfig, space: Space) -> float:
    """Return how many trials the study can have: infinite, or the grid's points plus the enqueued trials."""
    if config.sampler.name != "grid":
        return math.inf
    return space.grid_size() + len(config.study.enqueue)


def make_search(config: SweepConfig, space: Space, before: Sequence[FrozenTrial] = ()) -> Search:
    """Return the search that `config` describes, before its first trial; `before` are trials taken over.

    Raises
    ------
    ConfigError
        Objectives, sampler, pruner or enqueued configurations are invalid or do not fit together.
    """
    objectives = objective_names(config)
    _check_objectives(config, objectives)
    queue = [space.encode(values) for values in config.study.enqueue]
    if config.sampler.name == "grid":
        _check_whole(queue, space)
    if config.study.from_ is not None and config.sampler.name not in _LEARNING:
        raise ConfigError(
            f"study.from needs a sampler that can learn from foreign trials ({', '.join(_LEARNING)}), "
            f"but sampler is {config.sampler.name}."
        )
    return Search(
        make_sampler(config.sampler, space, len(objectives)),
        make_pruner(config.pruner, space.most_epochs),
        space,
        lag=config.study.lag,
        queue=queue,
        objectives=len(objectives),
        before=before,
    )


def _check_objectives(config: SweepConfig, objectives: Sequence[str]) -> None:
    if len(set(objectives)) < max(1, len(objectives)) or objectives == ["parameters"]:
        raise ConfigError(
            "study.objective must be dev_cost, dev_error or balanced_error, or a list of these and parameters "
            f"without repetition, but is {json.dumps(config.study.objective)}."
        )
    if len(objectives) > 1 and config.pruner.name != "none":
        raise ConfigError(
            f"pruner must be none (pruner=none) with several objectives, but is {config.pruner.name}; "
            "Optuna cannot prune them."
        )
    if len(objectives) > 1 and config.study.stall is not None:
        raise ConfigError(f"study.stall must be null with several objectives, but is {config.study.stall}.")


def _check_whole(queue: Sequence[Mapping[str, Any]], space: Space) -> None:
    for params in queue:
        if missing := [leaf.path for leaf in space.leaves if leaf.path not in params]:
            raise ConfigError(
                f"study.enqueue must give every searched value for sampler=grid, but {json.dumps(params)} "
                f"lacks {missing[0]}."
            )


def check_slots(config: SweepConfig) -> None:
    """Refuse more workers than the lag allows trials at once.

    Raises
    ------
    ConfigError
        The message names the lag that so many workers need.
    """
    lag, count = config.study.lag, config.workers.count
    if lag is not None and count > lag + 1:
        raise ConfigError(
            f"workers.count must be at most study.lag + 1 = {lag + 1}, but is {count}; "
            f"study.lag={count - 1} allows that, and is another study."
        )


def objective_names(config: SweepConfig) -> list[str]:
    """The objectives as a list, one or several."""
    given = config.study.objective
    return list(given) if isinstance(given, list) else [given]
