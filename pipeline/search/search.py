"""The search as a function of its history: what is proposed, and which trials go on, behind a fixed lag.

Trial n is proposed from trials 0 … n − 1 − lag as they ended. The trials within the lag are shown to the sampler as
running, with their parameters only, and later ones not at all. Whether trial n goes on at a rung is decided from the
same trials and its own reports. So the clock, the number of workers and the order of finishing have no influence, and
an interrupted search goes on from its records as if it had not been interrupted.

Trials of an earlier study may precede trial 0. They have ended, so every trial knows them. A sampler sees trial n as
number `len(before) + n`, and so does not repeat the random numbers of the earlier study.

It trains nothing and writes nothing.
"""

import copy
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.search.space import Space

_NAME = "search"
"""Name of every study in memory: Hyperband chooses a trial's bracket by the study's name and the trial's number."""


class Search:
    """One search: trials are proposed in the order of their numbers, and end in any order.

    Parameters
    ----------
    sampler, pruner : made by `make_sampler` and `make_pruner`.
    lag : how many trials before it a proposal does not know; None: it knows every ended trial.
    queue : parameters of the first trials, which the sampler completes.
    objectives : how many values a trial has; all are minimised.
    before : ended trials of an earlier study, which every trial of this one knows.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        pruner: BasePruner,
        space: Space,
        *,
        lag: int | None,
        queue: Sequence[Mapping[str, Any]] = (),
        objectives: int = 1,
        before: Sequence[FrozenTrial] = (),
    ):
        self.space, self.lag, self._queue = space, lag, queue
        self._memory = _Memory(len(before))
        self._study = optuna.create_study(
            study_name=_NAME,
            storage=self._memory,
            sampler=sampler,
            pruner=pruner,
            directions=["minimize"] * objectives,
        )
        for trial in before:
            self._recall(trial)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial proposed so far, as it stands; those of an earlier study are not among them."""
        return [self._numbered(trial) for trial in self._memory.trials[self._memory.before :]]

    def ended(self, number: int) -> list[FrozenTrial]:
        """Return the trials whose results trial `number` may know, by number."""
        known = self.trials if self.lag is None else self.trials[: max(0, number - self.lag)]
        return [trial for trial in known if trial.state.is_finished()]

    def may_propose(self) -> bool:
        """Return whether every trial that the next proposal needs has ended."""
        return self.lag is None or len(self.ended(len(self.trials))) == max(0, len(self.trials) - self.lag)

    def propose(self) -> FrozenTrial:
        """Propose the next trial; return its number, parameters and the sampler's own attributes."""
        number = len(self.trials)
        assert self.may_propose(), f"trial {number} needs the end of every trial before the lag"
        if number < len(self._queue):
            self._study.enqueue_trial(dict(self._queue[number]))
        with self._memory.seen_by(self._memory.before + number, self.lag):
            self.space.suggest(self._study.ask())
        self._memory.proposed.append(self._memory.trials[-1])
        return self.trials[number]

    def go_on(self, number: int, rung: int, value: float) -> bool:
        """Return whether a trial that reports `value` at epoch `rung` goes on; earlier reports must have been given."""
        return self._go_on(self._memory.before + number, rung, value)

    def report(self, number: int, values: Mapping[int, float]) -> None:
        """Give all reports of a recalled trial whose training ended unseen: by rung, its value there."""
        self._report(self._memory.before + number, values)

    def rivals(self, number: int) -> list[FrozenTrial]:
        """The other trials, as the pruner sees them when trial `number` reports; an earlier study's come first."""
        place = self._memory.before + number
        with self._memory.seen_by(place, self.lag):
            return [trial for trial in self._study.get_trials(deepcopy=False) if trial.number != place]

    def end(self, number: int, state: TrialState, values: Sequence[float] | None) -> None:
        """Record how a trial ended, for later ones."""
        self._end(self._memory.before + number, state, values)

    def recall(self, trial: FrozenTrial) -> None:
        """Take over the next trial from a study's record instead of proposing it again.

        A trial that has not ended will report again: `go_on` as it is trained, or `report` if its record is found. For
        an ended one the pruner is asked again, because some pruners remember their answers.
        """
        self._recall(trial)

    # Below, trials are numbered as in memory, where those of an earlier study come first.

    def _numbered(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial in memory with its number in this study."""
        if not self._memory.before:
            return trial
        found = copy.copy(trial)
        found.number -= self._memory.before
        return found

    def _recall(self, trial: FrozenTrial) -> None:
        place = len(self._memory.trials)
        self._memory.create_new_trial(
            self._study._study_id, as_proposed(trial.params, trial.distributions, trial.system_attrs)
        )
        self._memory.proposed.append(self._memory.trials[place])
        if trial.state.is_finished():
            self._report(place, trial.intermediate_values)
            # Optuna calls the last report of a pruned trial its value, which no sampler reads.
            self._end(place, trial.state, trial.values if trial.state == TrialState.COMPLETE else None)

    def _report(self, place: int, values: Mapping[int, float]) -> None:
        for rung, value in sorted(values.items()):
            self._go_on(place, rung, value)

    def _go_on(self, place: int, rung: int, value: float) -> bool:
        self._memory.set_trial_intermediate_value(id_of(self._memory.trials[place]), rung, value)
        with self._memory.seen_by(place, self.lag):
            return not self._study.pruner.prune(self._study, self._memory.trials[place])

    def _end(self, place: int, state: TrialState, values: Sequence[float] | None) -> None:
        self._memory.set_trial_state_values(id_of(self._memory.trials[place]), state, values)


def id_of(trial: FrozenTrial) -> int:
    """Return a trial's id in its storage, which Optuna keeps private but asks for to continue a running trial."""
    return trial._trial_id


def as_proposed(
    params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], attributes: Mapping[str, Any]
) -> FrozenTrial:
    """Return a trial that has only been proposed."""
    return create_trial(
        state=TrialState.RUNNING,
        params=dict(params),
        distributions=dict(distributions),
        system_attrs=dict(attributes),
    )


class _Memory(InMemoryStorage):
    """A study in memory that shows samplers and pruners only what one trial may know.

    Its first `before` trials are of an earlier study, and known to all.
    """

    def __init__(self, before: int) -> None:
        super().__init__()
        self.before = before
        self.proposed: list[FrozenTrial] = []  # every trial as it was proposed
        self._seen_by: tuple[int, int] | None = None

    @property
    def trials(self) -> list[FrozenTrial]:
        return super().get_all_trials(0, deepcopy=False)

    @contextmanager
    def seen_by(self, number: int, lag: int | None) -> Iterator[None]:
        """Show only what trial `number` may know while the block runs; without a lag, everything."""
        self._seen_by = None if lag is None else (number, max(min(number, self.before), number - lag))
        try:
            yield
        finally:
            self._seen_by = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy=False)
        if self._seen_by is not None:
            number, first = self._seen_by
            trials = trials[:first] + self.proposed[first:number] + trials[number : number + 1]
        trials = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials
