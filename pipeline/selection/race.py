"""The rule by which a sweep chooses one configuration: a race of the leaders over further repeats.

A pure function of the trials and of the values of fits. `run` yields the fits that it needs next until it has them all,
and then returns the outcome. So an interrupted race simply begins again, and a study extended from 25 to 50 trials has
the result of 50 trials: fits of an earlier race are used only if this one needs them too.

The order of events, for trials with k repeats each:

1. For every subset of the parts (λ, dropout, init scale), a Gaussian process through the trials proposes values, the
   other parts neutral; they are trained on the same k repeats.
2. The leaders get further repeats from the same numbered list, in stages with fewer and fewer leaders. The best has the
   lowest mean over all repeats of the last stage.
3. The best and the baseline get fresh repeats, which no choice has used; all claims about the best come from these. The
   proposals of step 1 get the first few of them, which show the effect of each part.
4. Each recommended value is moved to either end of the range that is predicted to do as well, and trained on the first
   few fresh repeats; this is done twice. So the ends of a range are values that were trained.
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
"""An end of a range this close to the recommended value, as a share of the searched range, is not trained."""


@dataclass(frozen=True)
class Rule:
    """The sizes of a race.

    Attributes
    ----------
    stages : for each stage, the number of leaders and their further repeats.
    fresh : repeats of the recommended and of the baseline that no choice used.
    for_parts : how many of these are for proposals for subsets of the parts, and for ends of ranges.
    rounds : how often the ends of the ranges are trained, after the first time only if they have moved.
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
    parts : of a proposal, the subset of parts that it uses.
    """

    name: str
    values: Values
    parts: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        """Identifies the configuration within its study: 16 hex digits, or the baseline's name."""
        return BASELINE if self.name == BASELINE else key_of(self.values)


@dataclass(frozen=True)
class Wanted:
    """One fit that the race needs."""

    entry: Entry
    repeat: int


Steps = Generator[list[Wanted], None, Result]
"""A race under way: it yields lists of needed fits, and returns its result."""


@dataclass(frozen=True)
class Outcome:
    """The result of a race.

    Attributes
    ----------
    recommended, best, simplest : entries; the recommended is one of the other two.
    baseline : None if the study has none.
    entries : all participants, trials that were trained to their end and proposals.
    proposals : the entries made for subsets of the parts.
    probes : the recommended with one value moved to an end of its range; they take no part in the choice.
    known : every value that the race used.
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
    """Return the Gaussian process through these entries and the baseline; None if they are too few.

    The baseline is the only entry at the neutral values, where it makes predictions more reliable; it lies in the space
    only if nothing but parts is searched.
    """
    if len(entries) < len(leaves) + 2:
        return None
    configurations, values = [entry.values for entry in entries], [known[entry.key] for entry in entries]
    if BASELINE in known and all(parts.part_of(leaf.path) is not None for leaf in leaves):
        configurations, values = [*configurations, parts.neutral_values(leaves, ())], [*values, known[BASELINE]]
    return surrogate.fit(leaves, configurations, values)


def key_of(values: Values) -> str:
    """Return 16 hexadecimal digits (SHA-256) of searched values."""
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
    """Yield the fits that are needed next until all are known; return the outcome, or None without any trained trial.

    Parameters
    ----------
    trials : in the order of their numbers; those without values for all first `repeats`, such as pruned or failed,
        are ignored.
    known : at least the first `repeats` of each trial and of the baseline; the caller adds the values of the yielded
        fits before continuing.
    """
    return _Race(leaves, known, repeats, rule).run(trials, baseline, prefer)


def settle(race: Steps[Result], provide: Callable[[list[Wanted]], None]) -> Result:
    """Run a race to its end; `provide` trains the needed fits and adds their values."""
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
        """Yield those of the given fits that are not known."""
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
        """Return an entry for each subset of the searched parts, with the values that are predicted to do best."""
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
        """Run the stages; return the winner, and how many repeats the race has used."""
        used, leaders = self.repeats, self._ordered(entries, self.repeats)
        for count, further in self.rule.stages:
            leaders = leaders[:count]
            yield from self._need(leaders, range(used, used + further))
            used += further
            leaders = self._ordered(leaders, used)
        return leaders[0], used

    def _ordered(self, entries: Sequence[Entry], used: int) -> list[Entry]:
        """Return the entries by their mean over the first `used` repeats, ties in the given order."""
        return sorted(entries, key=lambda entry: self._mean(entry, range(used)))

    def _probe(self, recommended: Entry, entries: Sequence[Entry], repeats: Sequence[int]) -> Steps[list[Entry]]:
        """Train the predicted ends of the ranges, round by round."""
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
        """Return the entry with the fewest parts, then the strongest, of those that do as well as the best.

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
    """Return the recommended entry with one value moved to an end of its range, for every other end."""
    values, made = recommended.values, []
    for leaf in process.leaves:
        if leaf.path in values and not isinstance(leaf.distribution, CategoricalDistribution):
            own = surrogate.place(leaf, values[leaf.path])
            places = [surrogate.place(leaf, end) for end in surrogate.does_as_well(process, leaf, values)]
            ends = [surrogate.decode(leaf, place) for place in places if abs(place - own) > NEAR]
            made += [Entry(f"{recommended.name} with {leaf.path}={end}", {**values, leaf.path: end}) for end in ends]
    return made


def _once(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries without duplicates of a configuration; the first of each stays."""
    found: dict[str, Entry] = {}
    for entry in entries:
        found.setdefault(entry.key, entry)
    return list(found.values())
