"""Named streams of random numbers, all from one seed; drawing from one never changes another."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

STREAM_SCHEME = 1
"""Version of how streams come from a seed; recorded with a trial, since another scheme gives other bits."""

SPAWN_KEYS = {"init": 0, "shuffle": 1, "dropout": 2, "augmentation": 3, "gradcheck": 4}
"""A new stream takes the next free number, so that no other is renumbered."""


@dataclass
class Streams:
    """One generator for each use of chance in a trial; SFC64, whose raw words are the quickest to draw."""

    init: np.random.Generator
    shuffle: np.random.Generator
    dropout: np.random.Generator
    augmentation: np.random.Generator
    gradcheck: np.random.Generator

    def states(self) -> dict[str, Any]:
        """Return where each stream stands, to be pickled."""
        return {field.name: getattr(self, field.name).bit_generator.state for field in fields(self)}

    @classmethod
    def restore(cls, states: Mapping[str, Any]) -> "Streams":
        """Return streams that go on where `states` were taken."""
        made = streams(0)
        for name, state in states.items():
            getattr(made, name).bit_generator.state = state
        return made


def streams(seed: int, repeat: int = 0) -> Streams:
    """Return the streams of a seed: generator k is SFC64 seeded by SeedSequence(seed, spawn_key=(k,)).

    Those of repeat r >= 1 have the spawn key (k, r).
    """
    for name, number in (("seed", seed), ("repeat", repeat)):
        if number < 0:
            raise ValueError(f"{name} must not be negative, got {number}")
    return Streams(**{name: _generator(seed, key, repeat) for name, key in SPAWN_KEYS.items()})


def _generator(seed: int, key: int, repeat: int) -> np.random.Generator:
    spawn_key = (key, repeat) if repeat else (key,)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=spawn_key)))
