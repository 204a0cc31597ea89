"""Runs a race: trains the fits that the rule asks for in the sweep's workers, and keeps every value in the study.

A record is first written to the outbox, then its values to the study, then it is handed to the tracker, as with trials.
So a killed race continues: values in the study are not trained again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.commands import SweepConfig
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.search.coordinator import run_name
from pipeline.search.making import objective_names
from pipeline.search.outbox import Outbox
from pipeline.search.space import Space
from pipeline.search.widening import kept
from pipeline.selection import race
from pipeline.selection.blocks import Block, blocks, digest_of
from pipeline.selection.recommendation import Recommendation, recommend, run_of
from pipeline.selection.training import train_all
from pipeline.training.means import MEASURES
from pipeline.trials.record import TrialRecord


@dataclass
class Racing:
    """A race over the held study, and the workers that train.

    Attributes
    ----------
    baseline : the configuration without regularisation, if the study has one.
    divide : makes the divisions of the given repeats before they are trained.
    describe : adds the origin of the data and the code to a record.
    sent : called with the name of each run whose record is in the outbox.
    on_progress : called with how many fits are trained, and how many are wanted so far.
    """

    study: optuna.Study
    space: Space
    config: SweepConfig
    baseline: TrialConfig | None
    executor: Executor
    slots: int
    outbox: Outbox
    arrays: Path
    divide: Callable[[Sequence[int]], None]
    describe: Callable[[TrialRecord], None]
    sent: Callable[[str], None]
    on_progress: Callable[[int, int], None] = lambda done, wanted: None

    def run(self) -> Recommendation | None:
        """Train until the rule is satisfied; return the conclusion, or None if no trial was trained to its end."""
        for name in self.outbox.waiting():
            if name.startswith("confirm-") and (record := self.outbox.load(name)) is not None:  # left by a kill
                keep_fits(self.study, parse(TrialConfig, record.config), record)
                self.sent(name)
        measure = objective_names(self.config)[0]
        trials = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
        entries = [race.Entry(run_name(trial.number), self._values(trial)) for trial in trials]
        known = {entry.key: _by_repeat(trial.user_attrs, measure) for entry, trial in zip(entries, trials, strict=True)}
        earlier = self._taken_over(known, measure)
        if self.baseline is not None:
            known[race.BASELINE] = _by_repeat(self.study.user_attrs.get("baseline", {}), measure)
        steps = race.run(
            self.space.leaves,
            [*earlier, *entries],
            known,
            repeats=self.config.repeats,
            baseline=self.baseline is not None,
            prefer=self.config.study.prefer,
        )
        outcome = race.settle(steps, lambda wanted: self._provide(wanted, known, measure))
        if outcome is None:
            return None
        found = recommend(outcome, self.space.leaves, measure, trial_repeats=self.config.repeats)
        return replace(found, run=self._first_run(outcome.recommended))

    def _taken_over(self, known: dict[str, dict[int, float]], measure: str) -> list[race.Entry]:
        """Return entries for the copied trials of an earlier study, and add their values to the known ones."""
        taken, entries = kept(self.study), []
        for each in taken.copies if taken else ():
            if each.values is not None:
                entries.append(race.Entry(each.name, self.space.values(each.params)))
                known.setdefault(entries[-1].key, _by_repeat({"values": each.repeats}, measure))
        return entries

    def _first_run(self, entry: race.Entry) -> str:
        """Return the run with an entry's repeat 0: the trial's, or the run of its first repeats.

        A copied trial has none until it is trained here, so that the recommendation can be rerun, confirmed and
        registered from this study alone.
        """
        first = blocks(self.config_of(entry), range(self.config.repeats))
        if run_of(entry, first) == entry.name:
            return entry.name
        attributes = self.study.user_attrs  # a copy
        self._train([each for each in first if fit_attribute(each.config, each.config.first_repeat) not in attributes])
        return run_of(entry, first)

    def _values(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the searched values of a trial, by dotted path."""
        return self.space.values(trial.params)

    def _provide(self, wanted: Sequence[race.Wanted], known: dict[str, dict[int, float]], measure: str) -> None:
        """Provide the values of the wanted fits, from the study or by training."""
        todo: list[Block] = []
        configs = {fit.entry.key: self.config_of(fit.entry) for fit in wanted}
        attributes = self.study.user_attrs  # a copy
        for key, config in configs.items():
            repeats = [fit.repeat for fit in wanted if fit.entry.key == key]
            todo += blocks(config, [repeat for repeat in repeats if fit_attribute(config, repeat) not in attributes])
        self._train(todo)
        attributes = self.study.user_attrs
        for fit in wanted:
            value = attributes[fit_attribute(configs[fit.entry.key], fit.repeat)].get(measure)
            known.setdefault(fit.entry.key, {})[fit.repeat] = math.inf if value is None else value

    def config_of(self, entry: race.Entry) -> TrialConfig:
        """Return the configuration of an entry."""
        if entry.name == race.BASELINE:
            assert self.baseline is not None
            return self.baseline
        return parse(TrialConfig, self.space.apply(entry.values))

    def _train(self, todo: list[Block]) -> None:
        if not todo:
            return
        total, done = sum(block.config.repeats for block in todo), 0
        self.divide(sorted({repeat for block in todo for repeat in block.config.repeat_numbers}))

        def finished(block: Block, record: TrialRecord) -> None:
            nonlocal done
            self.describe(record)
            self.outbox.put(block.name, record)
            keep_fits(self.study, block.config, record)
            self.sent(block.name)
            done += block.config.repeats
            self.on_progress(done, total)

        train_all(todo, self.arrays, self.executor, slots=self.slots, finished=finished)


def fit_attribute(config: TrialConfig, repeat: int) -> str:
    """Return the study's attribute name for the values of one fit."""
    return f"fit/{digest_of(config)}/{repeat}"


def keep_fits(study: optuna.Study, config: TrialConfig, record: TrialRecord) -> None:
    """Store the values of a record's repeats in the study; null where a fit diverged or failed."""
    values = {measure: record.values(measure) for measure in MEASURES}
    for repeat in config.repeat_numbers:
        found = {measure: by_repeat.get(repeat, math.inf) for measure, by_repeat in values.items()}
        study.set_user_attr(
            fit_attribute(config, repeat),
            {measure: value if math.isfinite(value) else None for measure, value in found.items()},
        )


def _by_repeat(attributes: Mapping[str, Any], measure: str) -> dict[int, float]:
    """Return the values of a trial or the baseline by repeat, as the study has them."""
    values = attributes.get("values", {}).get(measure, ())
    return {repeat: math.inf if value is None else float(value) for repeat, value in enumerate(values)}
