"""Plans configurations to be trained again, on new seeds or on further repeats."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.config.trial import TrialConfig
from pipeline.tracking.found import Found


@dataclass
class Repeat:
    """One configuration to be trained once more: with a new seed, or as a further repeat of its own list."""

    trial: str
    number: int
    config: TrialConfig
    kind: Literal["seed", "repeat"] = "seed"

    @property
    def name(self) -> str:
        """The run's name, trial-0007-seed-3 or trial-0007-repeat-16."""
        return f"{self.trial}-{self.kind}-{self.number}"


def repeats(configs: dict[str, TrialConfig], seeds: Iterable[int]) -> list[Repeat]:
    """Return every configuration with every seed, seed by seed, so that interruption treats all alike."""
    return [Repeat(trial, seed, replace(config, seed=seed)) for seed in seeds for trial, config in configs.items()]


def further_repeats(configs: dict[str, TrialConfig], numbers: Iterable[int]) -> list[Repeat]:
    """Return every configuration on each of these repeats, repeat by repeat."""
    return [
        Repeat(trial, number, replace(config, first_repeat=number, repeats=1), "repeat")
        for number in numbers
        for trial, config in configs.items()
    ]


def first_unused(runs: Iterable[Found]) -> int:
    """Return the first repeat number that none of these runs used."""
    return max((int(run.params.get("first_repeat", 0)) + int(run.params.get("repeats", 1)) for run in runs), default=0)


def new_seeds(count: int, used: Iterable[int]) -> list[int]:
    """Return the first `count` seeds from 1 on that no trial of the study used."""
    taken = set(used)
    unused = (seed for seed in itertools.count(1) if seed not in taken)
    return list(itertools.islice(unused, count))
