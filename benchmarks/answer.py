"""Is the sweep's answer right: the recommended against the best there is, what is claimed against fresh repeats.

`python -m benchmarks.answer [--data digits …] [--seeds 10] [--fresh 100] [--cache answer.jsonl]`

Every study has its own sampler seed and its own data.split_seed. It is searched and raced in this process by the code
that `make sweep` uses, with the defaults of conf/. "Fresh" is the mean over repeats that no study ever uses. The oracle
of a study is the lowest of the recommended and the best three (by six repeats) of `--oracle` points spread over the
space, on the same fresh repeats. Trainings are kept in the cache file, so that a run that was cut off goes on.
"""

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import optuna
from optuna.trial import TrialState

from pipeline.commands.sweep import baseline
from pipeline.config.commands import SweepConfig
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.console import compose
from pipeline.data.arrays import TrialArrays, load_arrays
from pipeline.data.divisions import ensure
from pipeline.data.prepare import PreparedData, prepare
from pipeline.search.making import make_search
from pipeline.search.search import Search
from pipeline.search.space import Space
from pipeline.selection import race
from pipeline.selection.blocks import digest_of
from pipeline.selection.recommendation import Recommendation, recommend
from pipeline.trials.trial import run_trial

FRESH = 1000
"""Number of the first fresh repeat."""


class Trainings:
    """Fits by configuration and repeat, trained once and kept in a file of JSON lines."""

    def __init__(self, cache: Path):
        self.cache, self.known = cache, dict[str, dict[str, float]]()
        if cache.exists():
            for line in cache.read_text().splitlines():
                entry = json.loads(line)
                self.known[entry["key"]] = entry

    def fit(self, config: TrialConfig, repeat: int, arrays: TrialArrays) -> dict[str, float]:
        """dev_cost, infinite if it diverged, and the CPU seconds that it took."""
        key = f"{digest_of(config)}/{repeat}"
        if key not in self.known:
            began = time.process_time()
            record = run_trial(replace(config, first_repeat=repeat, repeats=1), arrays)
            seconds = time.process_time() - began
            entry = {"key": key, "dev_cost": record.values("dev_cost")[repeat], "seconds": seconds}
            with self.cache.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            self.known[key] = entry
        return self.known[key]


@dataclass
class Study:
    """One study: a configuration, and what came of it."""

    config: SweepConfig
    space: Space
    prepared: PreparedData
    arrays: TrialArrays
    trainings: Trainings
    fits: int = 0
    seconds: float = 0.0

    def value(self, config: TrialConfig, repeat: int) -> float:
        """The dev cost of one fit, which counts among those of the study."""
        ensure(self.prepared, self.config.data, [repeat])
        found = self.trainings.fit(config, repeat, self.arrays)
        self.fits, self.seconds = self.fits + 1, self.seconds + found["seconds"]
        return found["dev_cost"]

    def config_of(self, entry: race.Entry) -> TrialConfig:
        """The configuration of an entry."""
        if entry.name == race.BASELINE:
            return baseline(self.config)
        return parse(TrialConfig, self.space.apply(entry.values))

    def mean(self, config: TrialConfig, count: int) -> float:
        """The mean over fresh repeats, which do not count among those of the study."""
        fits, seconds = self.fits, self.seconds
        values = [self.value(config, FRESH + number) for number in range(count)]
        self.fits, self.seconds = fits, seconds
        return math.fsum(values) / count

    def search(self) -> list[tuple[race.Entry, list[float]]]:
        """The trials with the values of their repeats."""
        search: Search = make_search(self.config, self.space)
        found = []
        for number in range(self.config.study.trials):
            proposed = search.propose()
            entry = race.Entry(f"trial-{number:04d}", self.space.values(proposed.params))
            values = [self.value(self.config_of(entry), repeat) for repeat in range(self.config.repeats)]
            finite = math.isfinite(math.fsum(values))
            state = TrialState.COMPLETE if finite else TrialState.PRUNED
            search.end(number, state, [math.fsum(values) / len(values)] if finite else None)
            found.append((entry, values))
        return found

    def conclude(self) -> Recommendation:
        """Search and race, as the command does."""
        trials, repeats = self.search(), self.config.repeats
        known = {entry.key: dict(enumerate(values)) for entry, values in trials}
        known[race.BASELINE] = {repeat: self.value(baseline(self.config), repeat) for repeat in range(repeats)}

        def train(wanted: Sequence[race.Wanted]) -> None:
            for fit in wanted:
                known.setdefault(fit.entry.key, {})[fit.repeat] = self.value(self.config_of(fit.entry), fit.repeat)

        entries = [entry for entry, _ in trials]
        outcome = race.settle(race.run(self.space.leaves, entries, known, repeats=repeats), train)
        assert outcome is not None
        return recommend(outcome, self.space.leaves, "dev_cost", trial_repeats=repeats)


def open_study(data: str, seed: int, store: Path, trainings: Trainings, overrides: Sequence[str]) -> Study:
    """One study of the data, with `seed` for the sampler and for the division; gradient checks are left out."""
    source = ["data=file", f"data.path={data}", "data.target=target"] if "." in data else [f"data={data}"]
    settings = [*source, f"data.split_seed={seed}", f"sampler.seed={seed}", "gradcheck.enabled=false", *overrides]
    with hydra.initialize_config_dir(str(compose.CONF), version_base="1.3"):
        config = parse(SweepConfig, compose.plain(hydra.compose("sweep", [f"tracking.store={store}", *settings])))
    prepared = prepare(config.data, store)
    space = Space(config.search.space, asdict(config.trial))
    return Study(config, space, prepared, load_arrays(prepared.path), trainings)


def measure(data: str, chosen: argparse.Namespace, trainings: Trainings) -> list[dict[str, Any]]:
    """One row of figures for each study of the data."""
    rows = []
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        study = open_study(data, seed, chosen.store, trainings, chosen.overrides)
        found = study.conclude()
        config = parse(TrialConfig, study.space.apply(found.values))
        fresh, base = study.mean(config, chosen.fresh), study.mean(baseline(study.config), chosen.fresh)
        rows.append(
            {
                "seed": seed,
                "fresh": fresh,
                "claimed": found.expected.mean,
                "cost_inside": _inside(fresh, found.expected),
                "gain_inside": _inside(1 - fresh / base, found.gain),
                "gain": 1 - fresh / base,
                "oracle": min([fresh, *(study.mean(other, chosen.fresh) for other in _points(study, chosen.oracle))]),
                "lambd": next((each for each in found.ranges if each.path == "regularization.lambd"), None),
                "fits": study.fits,
                "seconds": study.seconds,
            }
        )
        shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in rows[-1].items()}
        print(data, json.dumps(shown, default=dataclasses.asdict), flush=True)
    return rows


def _inside(truth: float, estimate: Any) -> bool:
    return bool(estimate is not None and estimate.low is not None and estimate.low <= truth <= estimate.high)


def _points(study: Study, count: int) -> list[TrialConfig]:
    """The best three, on six repeats of their own, of `count` points spread over the space."""
    from scipy.stats import qmc

    from pipeline.selection.surrogate import decode

    if not count:
        return []
    points = qmc.Sobol(len(study.space.leaves), seed=0).random_base2(math.ceil(math.log2(count)))[:count]
    configs = [
        parse(
            TrialConfig,
            study.space.apply({leaf.path: decode(leaf, u) for leaf, u in zip(study.space.leaves, point, strict=True)}),
        )
        for point in points
    ]
    fits, seconds = study.fits, study.seconds
    means = [math.fsum(study.value(config, 2 * FRESH + number) for number in range(6)) for config in configs]
    study.fits, study.seconds = fits, seconds
    return [configs[place] for place in np.argsort(means, kind="stable")[:3]]


def summarize(data: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print what was measured beside what is wanted."""
    ratio = np.log([row["fresh"] / row["oracle"] for row in rows])
    claimed = np.log([row["claimed"] / row["fresh"] for row in rows])
    error = 1 / math.sqrt(len(rows))
    print(f"\n{data}: {len(rows)} studies")
    for name, logs in (("recommended / oracle", ratio), ("claimed / fresh", claimed)):
        mean, low, high = (math.exp(value) for value in (logs.mean(), logs.min(), logs.max()))
        print(f"  {name} {mean:.3f} ± {logs.std(ddof=1) * error:.3f}, {low:.3f} to {high:.3f}")
    for what in ("cost", "gain"):
        share = float(np.mean([row[f"{what}_inside"] for row in rows]))
        print(f"  fresh {what} within its interval: {share:.0%} ± {math.sqrt(share * (1 - share)) * error:.0%}")
    ranges = [row["lambd"] for row in rows if row["lambd"] is not None and row["lambd"].low is not None]
    if len(ranges) > 1:
        pairs = [(a, b) for at, a in enumerate(ranges) for b in ranges[:at]]
        overlap = np.mean([a.low <= b.high and b.low <= a.high for a, b in pairs])
        width = np.median([math.log10(each.high / max(each.low, each.searched[0])) for each in ranges])
        values = [each.value for each in ranges]
        print(f"  λ {min(values):.2g} to {max(values):.2g}; its ranges overlap in {overlap:.0%} of pairs")
        print(f"  median width of its range: {width:.2f} decades")
    fits, seconds = (np.mean([row[what] for row in rows]) for what in ("fits", "seconds"))
    print(f"  fits {fits:.0f}, CPU seconds of training {seconds:.1f}")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits"], help="names, or paths of files with a column `target`")
    parser.add_argument("--seeds", type=int, default=10, help="studies of each data set")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--fresh", type=int, default=100, help="fresh repeats behind each truth")
    parser.add_argument("--oracle", type=int, default=0, help="points of the space among which the oracle looks, too")
    parser.add_argument("--cache", type=Path, default=Path("mlruns/answer/trainings.jsonl"))
    parser.add_argument("--store", type=Path, default=Path("mlruns/answer"))
    parser.add_argument("overrides", nargs="*", help="of the sweep's configuration: study.trials=50")
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    chosen.cache.parent.mkdir(parents=True, exist_ok=True)
    trainings = Trainings(chosen.cache)
    for data in chosen.data:
        summarize(data, measure(data, chosen, trainings))


if __name__ == "__main__":
    main()
