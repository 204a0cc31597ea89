"""Searches without a coordinator: trials whose values follow from their parameters by arithmetic."""

from dataclasses import asdict
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from pipeline.config.commands import PrunerConfig, SamplerConfig
from pipeline.config.trial import TrialConfig
from pipeline.search.pruners import make_pruner, rungs
from pipeline.search.samplers import make_sampler
from pipeline.search.search import Search
from pipeline.search.space import Space

LAMBD, KEEP_PROB, OPTIMIZER, MOMENTUM = (
    "regularization.lambd",
    "regularization.keep_prob",
    "training.optimizer",
    "training.momentum",
)
RANGES = {
    "regularization": {
        "lambd": {"low": 0.01, "high": 30.0, "log": True, "points": 5},
        "keep_prob": {"low": 0.5, "high": 1.0, "points": 4},
    }
}
CONDITIONAL = RANGES | {
    "training": {
        "optimizer": {"choices": ["momentum", "adam"]},
        "momentum": {"low": 0.5, "high": 0.99, "when": {"training.optimizer": "momentum"}},
    }
}
EPOCHS = 20


def make(
    sampler: str = "random",
    pruner: str = "none",
    *,
    tree: dict[str, Any] = RANGES,
    lag: int | None = 3,
    seed: int = 7,
    startup: int = 4,
    queue: Any = (),
    before: Any = (),
) -> Search:
    """A search with this sampler and pruner that has no trial yet."""
    space = Space(tree, asdict(TrialConfig()))
    return Search(
        make_sampler(SamplerConfig(name=sampler, seed=seed, startup_trials=startup), space),  # type: ignore[arg-type]
        make_pruner(pruner_config(pruner), EPOCHS),
        space,
        lag=lag,
        queue=queue,
        before=before,
    )


def pruner_config(name: str) -> PrunerConfig:
    """A pruner that looks at epochs 2, 4, 8 and 16 (threshold: stops above 3)."""
    return PrunerConfig(name=name, first_rung=2, startup_trials=2, upper=3.0)  # type: ignore[arg-type]


def cost(trial: FrozenTrial, epoch: int) -> float:
    """The best dev cost of a trial up to an epoch."""
    return abs(float(trial.params[LAMBD]) - 3) + 1 / (1 + epoch)


def carry_out(search: Search, trial: FrozenTrial, pruner: str) -> None:
    """Train a proposed trial by arithmetic, rung by rung, to its end."""
    for rung in rungs(pruner_config(pruner), EPOCHS):
        if not search.go_on(trial.number, rung, cost(trial, rung)):
            search.end(trial.number, TrialState.PRUNED, None)
            return
    search.end(trial.number, TrialState.COMPLETE, [cost(trial, EPOCHS)])


def in_order(search: Search, pruner: str, count: int) -> list[FrozenTrial]:
    """Carry out so many trials one after the other."""
    while len(search.trials) < count:
        carry_out(search, search.propose(), pruner)
    return search.trials


def plain(trials: list[FrozenTrial]) -> list[Any]:
    """All that a search says about its trials."""
    complete = TrialState.COMPLETE
    return [(t.params, t.state.name, t.values if t.state == complete else None, t.intermediate_values) for t in trials]
