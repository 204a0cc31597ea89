"""Made-up worlds for the race: what a configuration costs is known, and its repeats scatter around that."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.config.trial import TrialConfig
from pipeline.search.space import Space
from pipeline.selection import race
from pipeline.selection.race import BASELINE, Entry, Outcome, Rule, Wanted

LAMBD, KEEP, SCALE = "regularization.lambd", "regularization.keep_prob", "model.init.scale"
TREE = {
    "regularization": {"lambd": {"low": 0.01, "high": 30.0, "log": True}, "keep_prob": {"low": 0.5, "high": 1.0}},
    "model": {"init": {"scale": {"low": 0.1, "high": 3.0, "log": True}}},
}
LEAVES = Space(TREE, asdict(TrialConfig())).leaves
LAMBD_ALONE = Space({"regularization": {"lambd": TREE["regularization"]["lambd"]}}, asdict(TrialConfig())).leaves


def bowl(values: Mapping[str, Any]) -> float:
    """Lowest, 0.06, at λ = 3 whatever the rest; 0.15 without λ and more with too much of it."""
    lambd = float(values.get(LAMBD, 0.0))
    return 0.15 if lambd <= 0 else min(0.15, 0.06 * math.exp(0.25 * math.log10(lambd / 3) ** 2))


class World:
    """Values of fits: the truth times what the repeat does to all times noise of the fit's own."""

    def __init__(self, truth: Callable[[Mapping[str, Any]], float], *, noise: float = 0.0, seed: int = 0):
        self.truth, self.noise, self.seed = truth, noise, seed
        self.asked: list[tuple[str, int]] = []

    def fit(self, entry: Entry, repeat: int) -> float:
        """The value of one fit, the same however often it is asked for."""
        self.asked.append((entry.key, repeat))
        own = np.random.default_rng([self.seed, repeat, *entry.key.encode()]).normal()
        common = np.random.default_rng([self.seed, repeat]).normal()
        return self.truth(entry.values) * math.exp(self.noise * (own + common))


def drawn(count: int, *, seed: int = 0, alone: bool = False) -> list[Entry]:
    """Trials at random places of the space."""
    rng = np.random.default_rng(seed)
    made = []
    for number, (a, b, c) in enumerate(rng.random((count, 3))):
        values = {LAMBD: 0.01 * 3000**a} | ({} if alone else {KEEP: 0.5 + b / 2, SCALE: 0.1 * 30**c})
        made.append(Entry(f"trial-{number:04d}", values))
    return made


def settle(
    world: World, trials: list[Entry], known: dict[str, dict[int, float]] | None = None, **options: Any
) -> Outcome:
    """Train what the race wants until it is over; `known` is added to."""
    known = {} if known is None else known
    repeats, leaves = options.pop("repeats", 2), options.pop("leaves", LEAVES)
    for entry in [*trials, Entry(BASELINE, {})]:
        by_repeat = known.setdefault(entry.key, {})
        for repeat in set(range(repeats)) - by_repeat.keys():
            by_repeat[repeat] = world.fit(entry, repeat)
    options.setdefault("rule", Rule())

    def train(wanted: list[Wanted]) -> None:
        for fit in wanted:
            known.setdefault(fit.entry.key, {})[fit.repeat] = world.fit(fit.entry, fit.repeat)

    found = race.settle(race.run(leaves, trials, known, repeats=repeats, **options), train)
    assert found is not None
    return found
