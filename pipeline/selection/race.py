"""The rule by which a sweep comes to one configuration: a race of the leaders over further repeats.

A pure function of the trials and of the values of fits. `run` gives the fits that it wants next until it has them
all, and then the outcome. So a race that was cut off is simply begun again, and a study that was extended from 25 to
50 trials comes to what 50 trials come to: fits that an earlier race prescribed are looked at only where this one
prescribes them too.

The order of events, for trials with k repeats each:

1. For every subset of the parts (λ, dropout, init scale) values are proposed by a Gaussian process through the trials,
   the other parts neutral, and trained on the same k repeats.
2. The leaders get further repeats from the same numbered list, stage by stage, fewer of them each time. The best is the
   one with the lowest mean over all repeats of the last stage.
3. The best and the baseline get fresh repeats, which no choice has used: all that is claimed of the best comes from
   these. The proposals of step 1 get the first few of them, for what each part buys.
4. Each value of the recommended is moved to either end of the range that is predicted to do as well, and trained on the
   first few of the fresh repeats; this is done twice. So a range is drawn between values that were trained.
"""

import hashlib
import json
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from optuna.distributions import CategoricalDistribution

from pipeline.search.space import Leaf
from pipeline.selection import parts, surrogate
from pipeline.selection.statistics import standard_error

Values = Mapping[str, Any]
Known = Mapping[str, Mapping[int, float]]
"""The measure by configuration (its `key`) and repeat; infinite where the training diverged or failed."""

Result = TypeVar("Result")

BASELINE = "baseline"

NEAR = 0.02
"""An end of a range that is this close to the recommended value, as a share of what was searched, is not trained."""


@dataclass(frozen=True)
class Rule:
    """How a race goes.

    Attributes
    ----------
    stages : how many leaders go on, and how many further repeats these get.
    fresh : repeats of the recommended and of the baseline that no choice used.
    for_parts : how many of these the proposals for subsets of the parts get, and the ends of ranges.
    rounds : how often the ends of the ranges are trained; the second time where the first has moved them.
    """

    stages: tuple[tuple[int, int], ...] = ((6, 2), (3, 4))
    fresh: int = 8
    for_parts: int = 4
    rounds: int = 2


@dataclass(frozen=True)
class Entry:
    """A configuration in the race.

    Attributes
    ----------
    name : trial-0007, or for a proposal its parts: "λ + dropout".
    values : the searched values by dotted path; for the baseline none.
    parts : of a proposal, the parts that it was made for.
    """

    name: str
    values: Values
    parts: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        """What identifies the configuration within its study: 16 hex digits; of the baseline its name."""
        return BASELINE if self.name == BASELINE else key_of(self.values)


@dataclass(frozen=True)
class Wanted:
    """One fit that the race needs."""

    entry: Entry
    repeat: int


Steps = Generator[list[Wanted], None, Result]
"""A race under way: it gives lists of fits that are wanted, and in the end its result."""


@dataclass(frozen=True)
class Outcome:
    """What a race came to.

    Attributes
    ----------
    recommended, best, simplest : entries; the recommended is one of the other two.
    baseline : None if the study has none.
    entries : all that took part, trials that were trained to their end and proposals.
    proposals : the entries made for subsets of the parts.
    probes : the recommended with one value moved to an end of its range; they take no part in the choice.
    known : every value that the race looked at.
    fresh : the repeats of the recommended and the baseline that no choice used.
    """

    recommended: Entry
    best: Entry
    simplest: Entry
    baseline: Entry | None
    entries: tuple[Entry, ...]
    proposals: tuple[Entry, ...]
    probes: tuple[Entry, ...]
    known: Known
    fresh: tuple[int, ...]


def process_of(leaves: Sequence[Leaf], entries: Sequence[Entry], known: Known) -> surrogate.Fitted | None:
    """The Gaussian process through these entries and the baseline; None where there are too few to fit one.

    The baseline is the only one at the neutral values, which makes what is predicted there less of a guess; it has a
    place in the space only if nothing but parts is searched.
    """
    if len(entries) < len(leaves) + 2:
        return None
    configurations, values = [entry.values for entry in entries], [known[entry.key] for entry in entries]
    if BASELINE in known and all(parts.part_of(leaf.path) is not None for leaf in leaves):
        configurations, values = [*configurations, parts.neutral_values(leaves, ())], [*values, known[BASELINE]]
    return surrogate.fit(leaves, configurations, values)


def key_of(values: Values) -> str:
    """16 hexadecimal digits (SHA-256) of searched values."""
    return hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()[:16]


def run(
    leaves: Sequence[Leaf],
    trials: Sequence[Entry],
    known: Known,
    *,
    repeats: int,
    baseline: bool = True,
    prefer: Literal["best", "simplest"] = "best",
    rule: Rule = Rule(),
) -> Steps[Outcome | None]:
    """Give the fits that are wanted next until all are known; the outcome, or None without a trial that was trained.

    Parameters
    ----------
    trials : in the order of their numbers; pruned and failed ones, whose first `repeats` are not all known, count for
        nothing.
    known : at least the first `repeats` of each trial and of the baseline; whoever trains what is wanted adds to it
        before asking for more.
    """
    return _Race(leaves, known, repeats, rule).run(trials, baseline, prefer)


def settle(race: Steps[Result], provide: Callable[[list[Wanted]], None]) -> Result:
    """Carry a race through; `provide` makes the values that are wanted known."""
    while True:
        try:
            wanted = next(race)
        except StopIteration as end:
            return cast(Result, end.value)
        provide(wanted)


@dataclass
class _Race:
    leaves: Sequence[Leaf]
    known: Known
    repeats: int
    rule: Rule
    looked_at: dict[str, dict[int, float]] = field(default_factory=dict)

    def run(self, trials: Sequence[Entry], baseline: bool, prefer: str) -> Steps[Outcome | None]:
        first = range(self.repeats)
        trained = _once([trial for trial in trials if all(r in self.known.get(trial.key, {}) for r in first)])
        yield from self._need(trained, first)
        if not any(math.isfinite(self._mean(trial, first)) for trial in trained):
            return None
        bases = [Entry(BASELINE, {})] if baseline else []
        yield from self._need(bases, first)
        proposals = self._propose(trained)
        yield from self._need(proposals, first)
        entries = _once([*trained, *proposals])
        best, used = yield from self._stages(entries)
        fresh = range(used, used + self.rule.fresh)
        yield from self._need([best, *bases], fresh, proposals, fresh[: self.rule.for_parts])
        recommended, simplest = best, self._simplest(best, entries)
        if prefer == "simplest":
            fresh = range(fresh.stop, fresh.stop + self.rule.fresh)
            recommended = simplest
            yield from self._need([recommended, *bases], fresh)
        probes = yield from self._probe(recommended, entries, fresh[: self.rule.for_parts])
        return Outcome(
            recommended=recommended,
            best=best,
            simplest=simplest,
            baseline=bases[0] if bases else None,
            entries=tuple(entries),
            proposals=tuple(proposals),
            probes=tuple(probes),
            known=self.looked_at,
            fresh=tuple(fresh),
        )

    def _need(self, *groups: Sequence[Entry] | Sequence[int]) -> Steps[None]:
        """Look at fits, given as entries and repeats in turn; ask for those that are not known."""
        fits = [
            Wanted(entry, repeat)
            for entries, repeats in zip(groups[::2], groups[1::2], strict=True)
            for entry in _once(cast(Sequence[Entry], entries))
            for repeat in cast(Sequence[int], repeats)
        ]
        once = {(fit.entry.key, fit.repeat): fit for fit in fits}.values()
        wanted = [fit for fit in once if fit.repeat not in self.known.get(fit.entry.key, {})]
        if wanted:
            yield wanted
        for fit in fits:
            self.looked_at.setdefault(fit.entry.key, {})[fit.repeat] = self.known[fit.entry.key][fit.repeat]

    def _mean(self, entry: Entry, repeats: Iterable[int]) -> float:
        values = self.looked_at[entry.key]
        return math.fsum(values[repeat] for repeat in repeats) / len(list(repeats))

    def _propose(self, trained: Sequence[Entry]) -> list[Entry]:
        """One entry for each subset of the searched parts; the values are those that the trials predict to do best."""
        searched = parts.searched_parts(self.leaves)
        conditional = any(leaf.when for leaf in self.leaves)  # a proposal could break the condition
        process = (
            process_of(self.leaves, trained, self.looked_at) if parts.subsets(searched) and not conditional else None
        )
        if process is None:
            return []
        made = []
        for kept in parts.subsets(searched):
            values = process.propose(parts.neutral_values(self.leaves, kept))
            made.append(Entry(" + ".join(kept), values, kept))
        return made

    def _stages(self, entries: Sequence[Entry]) -> Steps[tuple[Entry, int]]:
        """The first of the last stage, and how many repeats the race has used."""
        used, leaders = self.repeats, self._ordered(entries, self.repeats)
        for count, further in self.rule.stages:
            leaders = leaders[:count]
            yield from self._need(leaders, range(used, used + further))
            used += further
            leaders = self._ordered(leaders, used)
        return leaders[0], used

    def _ordered(self, entries: Sequence[Entry], used: int) -> list[Entry]:
        """The entries by their mean over the first `used` repeats, ties in the order given."""
        return sorted(entries, key=lambda entry: self._mean(entry, range(used)))

    def _probe(self, recommended: Entry, entries: Sequence[Entry], repeats: Sequence[int]) -> Steps[list[Entry]]:
        """Train the ends of the ranges, as they are predicted from all that is known by then."""
        probes: list[Entry] = []
        if any(leaf.when for leaf in self.leaves):  # a moved value could break the condition
            return probes
        for _ in range(self.rule.rounds):
            process = process_of(self.leaves, [*entries, *probes], self.looked_at)
            if process is None:
                return probes
            probes = _once([*probes, *_ends(process, recommended)])
            yield from self._need(probes, repeats)
        return probes

    def _simplest(self, best: Entry, entries: Sequence[Entry]) -> Entry:
        """The one with the fewest ingredients, then the strongest, of those that do as well as the best.

        As well: the mean paired difference from the best, over the repeats both have, is at most one standard error of
        that difference (the one-standard-error rule; Breiman, Friedman, Olshen & Stone 1984, section 3.4.3).
        """
        equals = [entry for entry in entries if entry is best or self._as_well(entry, best)]
        return min(
            equals,
            key=lambda entry: (
                len(parts.ingredients(entry.values)),
                -parts.strength(self.leaves, entry.values),
                entry.name,
            ),
        )

    def _as_well(self, entry: Entry, best: Entry) -> bool:
        ours, theirs = self.looked_at[entry.key], self.looked_at[best.key]
        both = sorted(ours.keys() & theirs.keys())
        enough = max(2, self.repeats + self.rule.for_parts)
        if len(both) < enough or not all(math.isfinite(ours[r]) for r in both):
            return False
        differences = [ours[r] - theirs[r] for r in both]
        return math.fsum(differences) / len(both) <= float(standard_error(differences))


def _ends(process: surrogate.Fitted, recommended: Entry) -> list[Entry]:
    """The recommended with one value moved to an end of its range, for every end that is not the value itself."""
    values, made = recommended.values, []
    for leaf in process.leaves:
        if leaf.path in values and not isinstance(leaf.distribution, CategoricalDistribution):
            own = surrogate.place(leaf, values[leaf.path])
            places = [surrogate.place(leaf, end) for end in surrogate.does_as_well(process, leaf, values)]
            ends = [surrogate.decode(leaf, place) for place in places if abs(place - own) > NEAR]
            made += [Entry(f"{recommended.name} with {leaf.path}={end}", {**values, leaf.path: end}) for end in ends]
    return made


def _once(entries: Sequence[Entry]) -> list[Entry]:
    """Entries without repetitions of the same configuration; the first of each stays."""
    found: dict[str, Entry] = {}
    for entry in entries:
        found.setdefault(entry.key, entry)
    return list(found.values())
