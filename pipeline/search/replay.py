"""Replays a search from its history, without training, and compares each proposal and decision with the record.

The history is a plain value that the sweep leaves in the tracking store, so an audit needs neither the study nor its
database.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from pipeline.config.commands import SweepConfig
from pipeline.config.errors import ConfigError, RecordError
from pipeline.config.validation import parse, read_as
from pipeline.search.identity import identity
from pipeline.search.making import make_search, objective_names
from pipeline.search.pruning import Pruned, why
from pipeline.search.search import Search
from pipeline.search.space import Space
from pipeline.search.widening import Copy, kept
from pipeline.trials.record import ENDED

FILE = "trials.json"
"""Name of the history among the files of the sweep's run."""


@dataclass
class Ended:
    """One recorded trial.

    Attributes
    ----------
    params : what the sampler proposed, by path; a choice by its label.
    outcome : None while the trial is under way.
    values : of the objectives, if it completed.
    reports : best value so far at each rung, by epoch.
    """

    number: int
    params: dict[str, Any]
    outcome: str | None = None
    values: list[float] | None = None
    reports: dict[int, float] = field(default_factory=dict)

    @property
    def state(self) -> TrialState:
        """The study's word for the outcome."""
        if self.outcome in ENDED:
            return TrialState.COMPLETE
        return TrialState.FAIL if self.outcome == "failed" else TrialState.PRUNED


@dataclass
class StudyHistory:
    """Everything that determines a search, and what it proposed and decided.

    Attributes
    ----------
    config : the part of the sweep's configuration that determines the trials.
    before : trials that were taken over from an earlier study.
    versions : of the packages that compute proposals.
    arithmetic : kernel and feature level of the study's start; the last digits of proposals depend on them.
    """

    config: dict[str, Any]
    trials: list[Ended]
    before: list[Copy] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    arithmetic: dict[str, str] | None = None


@dataclass(frozen=True)
class Replay:
    """How far a replayed search agrees with the record.

    Attributes
    ----------
    parted : the first difference; empty if there is none.
    pruned : why each pruned trial was pruned, by number.
    """

    trials: int
    proposals: int = 0
    reports: int = 0
    decisions: int = 0
    parted: str = ""
    pruned: Mapping[int, Pruned] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What was compared, in numbers."""
        return (
            f"{self.proposals} of {self.trials} proposals and {self.decisions} of {self.reports} decisions as recorded"
        )


def history(study: optuna.Study, config: SweepConfig) -> dict[str, Any]:
    """Return the study's history as a plain value."""
    trials = [
        Ended(
            trial.number,
            trial.params,
            trial.user_attrs["summary"]["outcome"] if trial.state.is_finished() else None,
            trial.values if trial.state == TrialState.COMPLETE else None,
            trial.intermediate_values if trial.state.is_finished() else {},
        )
        for trial in study.get_trials(deepcopy=False)
    ]
    taken = kept(study)
    copies = taken.copies if taken else []
    return asdict(StudyHistory(identity(config), trials, copies, versions(), study.user_attrs.get("arithmetic")))


def versions() -> dict[str, str]:
    """Return the versions of the packages that compute proposals."""
    import numpy
    import scipy

    return {"Optuna": optuna.__version__, "NumPy": numpy.__version__, "SciPy": scipy.__version__}


def read(value: Any) -> StudyHistory:
    """Read a history from a plain value.

    Raises
    ------
    RecordError
        The value is not a history.
    """
    found = read_as(StudyHistory, value, file=FILE, what="a study's history")
    numbers = [trial.number for trial in found.trials]
    if numbers != list(range(len(numbers))):
        missing = next(n for n, number in enumerate([*numbers, -1]) if n != number)
        raise RecordError(f"{FILE} is not a study's history: trial {missing} is missing.")
    return found


def replay(recorded: StudyHistory, rtol: float = 0.0) -> Replay:
    """Propose and prune every trial again, up to the first difference.

    Parameters
    ----------
    rtol : relative difference of proposed numbers that is accepted, because processors differ in the last digits.

    Raises
    ------
    RecordError
        The configuration does not fit this version, or the search ran without a lag.
    """
    try:
        config = parse(SweepConfig, recorded.config)
        space = Space(config.search.space, asdict(config.trial))
        search = make_search(config, space, [each.frozen(space) for each in recorded.before])
    except ConfigError as error:
        raise RecordError(f"The configuration in {FILE} does not fit this version: {error}") from None
    if config.study.lag is None:
        raise RecordError("The study ran free (study.lag=null), so its search cannot be replayed.")
    reports = sum(len(trial.reports) for trial in recorded.trials)
    proposals = decisions = 0
    pruned: dict[int, Pruned] = {}
    for trial in recorded.trials:
        if parted := _proposed_otherwise(search, trial, rtol):
            return Replay(len(recorded.trials), proposals, reports, decisions, parted, pruned)
        proposals += 1
        for epoch, value in sorted(trial.reports.items()):
            if parted := _decided_otherwise(search, trial, epoch, value):
                return Replay(len(recorded.trials), proposals, reports, decisions, parted, pruned)
            decisions += 1
        if trial.reports and trial.outcome == "pruned":
            pruned[trial.number] = why(
                config.pruner, objective_names(config)[0], search.trials[trial.number], search.rivals(trial.number)
            )
        if trial.outcome is not None:
            search.end(trial.number, trial.state, trial.values)
    return Replay(len(recorded.trials), proposals, reports, decisions, pruned=pruned)


def _proposed_otherwise(search: Search, trial: Ended, rtol: float) -> str:
    """Return how the next proposal differs from the recorded trial; empty if it does not."""
    if not search.may_propose():
        return f"trial {trial.number} was proposed before a trial that it depends on had ended"
    proposed = search.propose().params
    for path in sorted(proposed.keys() | trial.params.keys()):
        here, there = proposed.get(path), trial.params.get(path)
        near = isinstance(here, float) and isinstance(there, float) and math.isclose(here, there, rel_tol=rtol)
        if here != there and not near:
            return f"trial {trial.number} has {path} = {there!r} on record, but {here!r} is proposed"
    return ""


def _decided_otherwise(search: Search, trial: Ended, epoch: int, value: float) -> str:
    """Return how the decision at a rung differs from the record; empty if it does not."""
    went_on = trial.outcome != "pruned" or epoch != max(trial.reports)
    goes_on = search.go_on(trial.number, epoch, value)
    if went_on == goes_on:
        return ""
    words = {True: "went on", False: "was pruned"}
    return f"trial {trial.number} {words[went_on]} at epoch {epoch} on record, but by the history it {words[goes_on]}"


def changed_versions(recorded: Mapping[str, str]) -> str:
    """Return which packages that compute proposals have changed since the record: "Optuna 4.9.0 → 5.0.0"."""
    here = versions()
    return ", ".join(
        f"{name} {recorded[name]} → {here[name]}" for name in here if name in recorded and recorded[name] != here[name]
    )
