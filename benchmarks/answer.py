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
import pandas as pd
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
from pipeline.selection.blocks import blocks, digest_of
from pipeline.selection.recommendation import Estimate, Recommendation, recommend
from pipeline.trials.trial import run_trial

LAMBD = "regularization.lambd"

BY_HAND = 50

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

    def fits(self, config: TrialConfig, repeats: Sequence[int], arrays: TrialArrays) -> list[dict[str, float]]:
        """dev_cost of each repeat, infinite if it diverged, and the CPU seconds that it took."""
        own = digest_of(config)
        for block in blocks(config, [repeat for repeat in repeats if f"{own}/{repeat}" not in self.known]):
            began = time.process_time()
            record = run_trial(block.config, arrays)
            seconds = (time.process_time() - began) / block.config.repeats
            for repeat, cost in record.values("dev_cost").items():
                self.keep({"key": f"{own}/{repeat}", "dev_cost": cost, "seconds": seconds})
        return [self.known[f"{own}/{repeat}"] for repeat in repeats]

    def keep(self, entry: dict[str, Any]) -> None:
        """Add one training to what is known and to the file."""
        with self.cache.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        self.known[entry["key"]] = entry


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

    def values(self, config: TrialConfig, repeats: Sequence[int], *, counted: bool = True) -> list[float]:
        """The dev cost of each repeat; `counted` among the fits of the study or not."""
        ensure(self.prepared, self.config.data, repeats)
        found = self.trainings.fits(config, repeats, self.arrays)
        if counted:
            self.fits, self.seconds = self.fits + len(found), self.seconds + sum(each["seconds"] for each in found)
        return [each["dev_cost"] for each in found]

    def config_of(self, entry: race.Entry) -> TrialConfig:
        """The configuration of an entry."""
        if entry.name == race.BASELINE:
            return baseline(self.config)
        return parse(TrialConfig, self.space.apply(entry.values))

    def mean(self, config: TrialConfig, count: int) -> float:
        """The mean over fresh repeats, which do not count among those of the study."""
        return math.fsum(self.values(config, range(FRESH, FRESH + count), counted=False)) / count

    def search(self) -> list[tuple[race.Entry, list[float]]]:
        """The trials with the values of their repeats."""
        search: Search = make_search(self.config, self.space)
        found = []
        for number in range(self.config.study.trials):
            proposed = search.propose()
            entry = race.Entry(f"trial-{number:04d}", self.space.values(proposed.params))
            values = self.values(self.config_of(entry), range(self.config.repeats))
            finite = math.isfinite(math.fsum(values))
            state = TrialState.COMPLETE if finite else TrialState.PRUNED
            search.end(number, state, [math.fsum(values) / len(values)] if finite else None)
            found.append((entry, values))
        return found

    def by_hand(self) -> tuple[race.Entry, float, float]:
        """The best of 50 single trainings, as many scripts have it, its dev cost, and the CPU seconds of the 50."""
        config = replace(self.config, repeats=1, study=replace(self.config.study, trials=BY_HAND))
        alone = replace(self, config=config, fits=0, seconds=0.0)
        entry, (cost,) = min(alone.search(), key=lambda trial: trial[1])
        return entry, cost, alone.seconds

    def conclude(self) -> Recommendation:
        """Search and race, as the command does."""
        trials, repeats = self.search(), self.config.repeats
        known = {entry.key: dict(enumerate(values)) for entry, values in trials}
        known[race.BASELINE] = dict(enumerate(self.values(baseline(self.config), range(repeats))))

        def train(wanted: Sequence[race.Wanted]) -> None:
            for entry in {fit.entry.key: fit.entry for fit in wanted}.values():
                own = [fit.repeat for fit in wanted if fit.entry.key == entry.key]
                found = self.values(self.config_of(entry), own)
                known.setdefault(entry.key, {}).update(zip(own, found, strict=True))

        entries = [entry for entry, _ in trials]
        outcome = race.settle(race.run(self.space.leaves, entries, known, repeats=repeats), train)
        assert outcome is not None
        return recommend(outcome, self.space.leaves, "dev_cost", trial_repeats=repeats)


def source_of(data: str, folder: Path) -> list[str]:
    """The overrides that name the data: built in, `wide`, or a file with a column `target`."""
    if data == "moons":
        return ["data=moons", "data.noise=0.3", "data.examples=500"]
    path = wide_table(folder / "wide.csv") if data == "wide" else Path(data)
    return ["data=file", f"data.path={path}", "data.target=target"] if path.suffix else [f"data={data}"]


def wide_table(path: Path) -> Path:
    """A table of 400 such rows."""
    X, y = wide_rows(400, 0)
    X.assign(target=y).to_csv(path, index=False)
    return path


def wide_rows(m: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """100 random columns, of which five decide on two classes; a tenth of the labels is turned over."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, 100))
    score = X[:, 0] - X[:, 1] + X[:, 2] * X[:, 3] + X[:, 4]
    y = ((score > 0) ^ (rng.random(m) < 0.1)).astype(int)
    return pd.DataFrame(X, columns=[f"x{number}" for number in range(X.shape[1])]), y


def open_study(data: str, seed: int, chosen: argparse.Namespace, trainings: Trainings) -> Study:
    """One study of the data: `seed` is its sampler's and, unless one is chosen, its division's; no gradient checks."""
    division = seed if chosen.split is None else chosen.split
    settings = [
        *source_of(data, chosen.store),
        f"data.split_seed={division}",
        f"sampler.seed={seed}",
        "gradcheck.enabled=false",
    ]
    with hydra.initialize_config_dir(str(compose.CONF), version_base="1.3"):
        composed = hydra.compose("sweep", [f"tracking.store={chosen.store}", *settings, *chosen.overrides])
    config = parse(SweepConfig, compose.plain(composed))
    prepared = prepare(config.data, chosen.store)
    space = Space(config.search.space, asdict(config.trial))
    return Study(config, space, prepared, load_arrays(prepared.path), trainings)


def measure(data: str, chosen: argparse.Namespace, trainings: Trainings) -> list[dict[str, Any]]:
    """One row of figures for each study of the data."""
    rows = []
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        study = open_study(data, seed, chosen, trainings)
        found = study.conclude()
        config = parse(TrialConfig, study.space.apply(found.values))
        fresh, base = study.mean(config, chosen.fresh), study.mean(baseline(study.config), chosen.fresh)
        rows.append(
            {
                "seed": seed,
                "split": study.config.data.split_seed,
                "fresh": fresh,
                "claimed": found.expected.mean,
                "cost_inside": _inside(fresh, found.expected, chosen.fresh),
                "gain_inside": _inside(1 - fresh / base, found.gain, chosen.fresh),
                "gain": 1 - fresh / base,
                "oracle": min(fresh, oracle(study, chosen.oracle, chosen.fresh)),
                "values": found.values,
                "by_hand": by_hand(study, chosen.fresh) if chosen.by_hand else None,
                "lambd": along_lambd(study, found, chosen.ranges),
                "fits": study.fits,
                "seconds": study.seconds,
            }
        )
        shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in rows[-1].items()}
        print(data, json.dumps(shown, default=dataclasses.asdict), flush=True)
    for row in rows:  # studies of one division have one oracle
        row["oracle"] = min(other["oracle"] for other in rows if other["split"] == row["split"])
    return rows


def by_hand(study: Study, fresh: int) -> dict[str, float]:
    """What the best of 50 single trainings seemed to cost, and its mean over the fresh repeats."""
    entry, claimed, _ = study.by_hand()
    return {"claimed": claimed, "fresh": study.mean(study.config_of(entry), fresh)}


def _inside(truth: float, estimate: Estimate | None, fresh: int) -> bool:
    """Whether an interval holds the truth; it is widened by the error of the truth, a mean over `fresh` repeats."""
    if estimate is None or estimate.mean is None or estimate.low is None or estimate.high is None:
        return False
    wider = math.sqrt(1 + estimate.repeats / fresh)
    low, high = (estimate.mean + wider * (end - estimate.mean) for end in (estimate.low, estimate.high))
    return low <= truth <= high


def along_lambd(study: Study, found: Recommendation, repeats: int) -> dict[str, Any] | None:
    """The recommended λ, its range, and what λ at the two ends and at 13 places costs, times what is recommended costs.

    The others are held. Costs are means over fresh repeats, the same for all; none are trained for `repeats` = 0.
    """
    each = next((each for each in found.ranges if each.path == LAMBD and each.low is not None), None)
    if each is None or each.low is None or each.high is None:
        return None
    kept = {"value": each.value, "low": max(each.low, each.searched[0]), "high": each.high}
    if repeats:
        places = np.geomspace(*each.searched, 13).tolist()
        lambds = [each.value, kept["low"], each.high, *places]
        configs = [parse(TrialConfig, study.space.apply({**found.values, LAMBD: lambd})) for lambd in lambds]
        own, *others = (study.mean(config, repeats) for config in configs)
        ratios = [cost / own for cost in others]
        outside = [
            not kept["low"] <= lambd <= each.high
            for lambd, ratio in zip(places, ratios[2:], strict=True)
            if ratio >= 1.5
        ]
        kept |= {"ends": ratios[:2], "bad_outside": outside}
    return kept


def oracle(study: Study, count: int, fresh: int) -> float:
    """The lowest mean over `fresh` repeats among the best three of `count` points; infinite for no points.

    The points are spread over the space. The best twelve on six repeats of their own get twenty more; the best three
    of these are judged on the same fresh repeats as what the studies recommend.
    """
    from scipy.stats import qmc

    from pipeline.selection.surrogate import decode

    leaves, used = study.space.leaves, 2 * FRESH
    places = qmc.Sobol(len(leaves), seed=0).random_base2(math.ceil(math.log2(count))) if count else []
    values = [{leaf.path: decode(leaf, u) for leaf, u in zip(leaves, place, strict=True)} for place in places]
    left = [parse(TrialConfig, study.space.apply(each)) for each in values]
    for repeats, kept in ((6, 12), (20, 3)):
        numbers = range(used, used + repeats)
        left.sort(key=lambda config: math.fsum(study.values(config, numbers, counted=False)))
        left, used = left[:kept], numbers.stop
    return min((study.mean(config, fresh) for config in left), default=math.inf)


def summarize(data: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print what was measured beside what is wanted."""
    error = 1 / math.sqrt(len(rows))
    print(f"\n{data}: {len(rows)} studies")
    ratios = {
        "recommended / oracle": [row["fresh"] / row["oracle"] for row in rows],
        "claimed / fresh": [row["claimed"] / row["fresh"] for row in rows],
        "best of 50 by hand / oracle": [row["by_hand"]["fresh"] / row["oracle"] for row in rows if row["by_hand"]],
        "its claimed / fresh": [row["by_hand"]["claimed"] / row["by_hand"]["fresh"] for row in rows if row["by_hand"]],
    }
    for name, logs in ((name, np.log(ratio)) for name, ratio in ratios.items() if len(ratio) > 1):
        mean, low, high = (math.exp(value) for value in (logs.mean(), logs.min(), logs.max()))
        print(f"  {name} {mean:.3f} ± {mean * logs.std(ddof=1) * error:.3f}, {low:.3f} to {high:.3f}")
    for what in ("cost", "gain"):
        share = float(np.mean([row[f"{what}_inside"] for row in rows]))
        print(f"  fresh {what} within its interval: {share:.0%} ± {math.sqrt(share * (1 - share)) * error:.0%}")
    ranges = [row["lambd"] for row in rows if row["lambd"] is not None]
    if len(ranges) > 1:
        pairs = [(a, b) for at, a in enumerate(ranges) for b in ranges[:at]]
        overlap = np.mean([a["low"] <= b["high"] and b["low"] <= a["high"] for a, b in pairs])
        width = np.median([math.log10(each["high"] / each["low"]) for each in ranges])
        values = [each["value"] for each in ranges]
        print(f"  λ {min(values):.2g} to {max(values):.2g}; its ranges overlap in {overlap:.0%} of pairs")
        print(f"  median width of its range: {width:.2f} decades")
    if any("ends" in each for each in ranges):
        ends = np.array([ratio for each in ranges for ratio in each["ends"]])
        outside = [is_outside for each in ranges for is_outside in each["bad_outside"]]
        print(f"  λ at an end of its range costs ≤ 1.15 × in {np.mean(ends <= 1.15):.0%}, at most {ends.max():.2f} ×")
        print(f"  values that cost ≥ 1.5 × lie outside in {np.mean(outside or [1]):.0%} of {len(outside)}")
    fits, seconds = (np.mean([row[what] for row in rows]) for what in ("fits", "seconds"))
    print(f"  fits {fits:.0f}, CPU seconds of training {seconds:.1f}")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits"], help="names, or paths of files with a column `target`")
    parser.add_argument("--seeds", type=int, default=10, help="studies of each data set")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--split", type=int, help="one data.split_seed for all; by default each study has its own")
    parser.add_argument("--fresh", type=int, default=100, help="fresh repeats behind each truth")
    parser.add_argument("--oracle", type=int, default=0, help="points of the space among which the oracle looks, too")
    parser.add_argument("--by-hand", action="store_true", help="the best of 50 single trainings, too")
    parser.add_argument("--ranges", type=int, default=0, help="fresh repeats behind what λ costs along its range")
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
