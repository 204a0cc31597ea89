"""Runs a study: gives the proposed trials to workers, segment by segment, and records their results.

It alone writes to the study. A finished trial is first written whole to the outbox, which is the commit point, then
told to the study, then handed to the tracker. So after a kill at any moment, each trial that the study still calls
running is either in the outbox, from which its result is told, or is trained again to the same bits. Proposals and
pruning decisions need no protection: `pipeline.search.search` computes them again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.commands import PrunerConfig
from pipeline.config.errors import ConfigError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.search.outbox import Outbox
from pipeline.search.pruning import why
from pipeline.search.search import Search, as_proposed, id_of
from pipeline.search.serving import WorkersGone
from pipeline.search.stop_rules import failures_in_a_row, stalled
from pipeline.search.told import end_of, summary_of, values_of
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import Segment, WrongGradient, failed_record, work

BASELINE = "baseline"
"""Name of the run without regularisation, which is not a trial of the study."""

SEGMENT_S = 2.0
"""Longest time between two reports of a running trial, in seconds; the cut changes no bit of the result."""


class Tracker(Protocol):
    """Receives the coordinator's reports for tracking; its methods must not block."""

    def submit(self, name: str) -> None:
        """A run's record waits in the outbox."""

    def progress(self, name: str, curves: Mapping[str, np.ndarray], started_at: float, elapsed_s: float) -> None:
        """A run is under way and has curves to show."""


@dataclass
class Flight:
    """A run under way: a trial of the study, or with no `trial` the baseline."""

    name: str
    config: TrialConfig
    trial: optuna.Trial | None = None
    segment: Segment | None = None
    rung: int = 0
    stop: bool = False
    pruned: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """When a sweep ends, and when its trials report.

    Attributes
    ----------
    trials : how many trials the study is to have in all.
    rungs : epochs at which trials report and may be pruned.
    objectives : summary values that are minimised.
    pruner : decides at the rungs.
    slots : runs under way at once; the search's lag may allow fewer.
    minutes : time budget of this call; where it ends depends on the clock, and so does not repeat.
    max_failures, stall : how many failures, or trials without improvement, in a row by trial number end the sweep.
    """

    trials: int
    rungs: tuple[int, ...]
    objectives: tuple[str, ...] = ("dev_cost",)
    pruner: PrunerConfig = field(default_factory=PrunerConfig)
    slots: int = 1
    minutes: float | None = None
    max_failures: int = 3
    stall: int | None = None


@dataclass
class Progress:
    """The state of a sweep, for display."""

    done: int = 0
    pruned: int = 0
    failed: int = 0
    wanted: int = 0
    best: FrozenTrial | None = None


class Coordinator:
    """Brings one study to its planned end; the module's docstring says how it survives kills."""

    def __init__(
        self,
        study: optuna.Study,
        search: Search,
        plan: Plan,
        *,
        executor: Executor,
        outbox: Outbox,
        tracker: Tracker,
        arrays: Path,
        describe: Callable[[TrialRecord], None] = lambda record: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        still_held: Callable[[], None] = lambda: None,
    ):
        self.study, self.search, self.plan = study, search, plan
        self.executor, self.arrays = executor, arrays
        self.outbox, self.tracker = outbox, tracker
        self._describe, self._on_progress, self._check_held = describe, on_progress, still_held
        self._flights: dict[Future[Segment], Flight] = {}
        self._told: list[str] = []  # runs told to the study, waiting to be handed to the tracker
        self._reasons: dict[int, str] = {}  # why trials failed
        self.stopped = ""  # why the sweep ended before its number of trials
        self.gave_up = False  # whether it ended because of failures, not by a rule of the user's
        self._began = time.monotonic()

    def run(self, baseline: TrialConfig | None = None) -> None:
        """Run until the planned number of trials is done, or a budget or a stop rule ends it.

        Parameters
        ----------
        baseline : a configuration to train beside the trials, once per study.
        """
        recorded = self.study.get_trials(deepcopy=False)
        self._send_told(recorded)
        if self._is_complete(recorded, baseline):
            return
        for trial in recorded:
            self.search.recall(trial)
        try:
            if baseline is not None and BASELINE not in self.study.user_attrs:
                self._begin(Flight(BASELINE, baseline))
            for trial in recorded:
                if trial.state == TrialState.RUNNING:
                    self._open(trial)
            self._fill()
            while self._flights:
                done, _ = wait(self._flights, return_when=FIRST_COMPLETED)
                for future in done:
                    self._advance(self._flights.pop(future), future)
                self._fill()
                self._hand_over()
                self._report()
        finally:
            self._hand_over()

    def _is_complete(self, recorded: Sequence[FrozenTrial], baseline: TrialConfig | None) -> bool:
        """Return whether nothing is left to run; then the search, which may be long, need not be recalled."""
        has_baseline = baseline is None or BASELINE in self.study.user_attrs
        ended = all(trial.state.is_finished() for trial in recorded)
        return has_baseline and ended and len(recorded) >= self.plan.trials

    def _fill(self) -> None:
        """Start new trials while there is a slot, the search can propose one, and nothing ends the sweep."""
        while len(self._flights) < self.plan.slots and self.search.may_propose() and not self._is_over():
            self._check_held()
            proposed = self.search.propose()
            self.study.add_trial(as_proposed(proposed.params, proposed.distributions, proposed.system_attrs))
            self._open(self.study.get_trials(deepcopy=False)[proposed.number])

    def _is_over(self) -> bool:
        """Return whether the sweep ends before the next trial; all rules but the clock repeat."""
        plan, number = self.plan, len(self.search.trials)
        if self.stopped or number >= plan.trials:
            return True
        ended = self.search.ended(number)
        if plan.minutes is not None and time.monotonic() - self._began > 60 * plan.minutes:
            self.stopped = (
                f"the budget of {plan.minutes:g} minutes is used up (the clock ended it, not a rule that repeats)"
            )
        elif plan.stall is not None and stalled(ended, plan.stall):
            self.stopped = f"the last {plan.stall} finished trials brought no improvement"
        elif failures_in_a_row(ended, since=self.study.user_attrs.get("gave_up_at", 0)) >= plan.max_failures:
            self.gave_up = True
            self.study.set_user_attr("gave_up_at", number)
            self.stopped = (
                f"{plan.max_failures} trials in a row failed (study.max_failures sets how many may), the last of them:"
                f" {self._reasons.get(ended[-1].number, 'see its run')}"
            )
        return bool(self.stopped)

    def _send_told(self, recorded: Sequence[FrozenTrial]) -> None:
        """Hand over records that a killed coordinator had told to the study but perhaps not sent."""
        told = {run_name(trial.number) for trial in recorded if trial.state.is_finished()}
        told |= {BASELINE} & self.study.user_attrs.keys()
        for name in self.outbox.waiting():
            if name in told:
                self.tracker.submit(name)

    def _open(self, proposed: FrozenTrial) -> None:
        """Begin a trial of the study, or mark it FAILED immediately if its configuration is invalid."""
        trial = optuna.Trial(self.study, id_of(proposed))
        plain = self.search.space.apply(self.search.space.values(proposed.params))
        name = run_name(proposed.number)
        try:
            config = parse(TrialConfig, plain)
        except ConfigError as error:
            self._finish(Flight(name, TrialConfig(), trial), failed_record(plain, error))
        else:
            self._begin(Flight(name, config, trial))

    def _begin(self, flight: Flight) -> None:
        """Start a run, or take its result from the outbox if a killed coordinator left it there."""
        record = self.outbox.load(flight.name)
        if record is None:
            self._submit(flight)
            return
        if flight.trial is not None:  # later trials are compared with its reports
            number = flight.trial.number
            self.search.report(number, self.study.get_trials(deepcopy=False)[number].intermediate_values)
        self._finish(flight, record)

    def _submit(self, flight: Flight) -> None:
        rungs = self._rungs(flight)
        until = rungs[flight.rung] if flight.rung < len(rungs) else None
        future = self.executor.submit(
            work, self.arrays, flight.config, flight.segment, until=until, seconds=SEGMENT_S, stop=flight.stop
        )
        self._flights[future] = flight

    def _rungs(self, flight: Flight) -> tuple[int, ...]:
        return self.plan.rungs if flight.trial is not None else ()

    def _advance(self, flight: Flight, future: "Future[Segment]") -> None:
        """Take a segment's result: finish, prune, or go on."""
        try:
            segment = future.result()
        except WorkersGone:
            raise
        except Exception as error:
            if isinstance(error, WrongGradient):
                self.gave_up = True
                self.stopped = f"{flight.name} has wrong gradients.\n{error}"
            self._finish(flight, failed_record(asdict(flight.config), error))
            return
        flight.segment = segment
        if segment.record is not None:
            self._finish(flight, segment.record)
            return
        self.tracker.progress(flight.name, segment.curves, segment.started_at, segment.total_s)
        self._climb(flight, segment)
        self._submit(flight)

    def _climb(self, flight: Flight, segment: Segment) -> None:
        """At a rung, report the best value so far and ask the search whether the trial goes on."""
        rungs = self._rungs(flight)
        if flight.trial is None or flight.rung == len(rungs) or segment.position < rungs[flight.rung]:
            return
        rung, value = rungs[flight.rung], segment.summary[f"best_{self.plan.objectives[0]}"]
        flight.rung += 1
        number = flight.trial.number
        flight.stop = not self.search.go_on(number, rung, value)
        if flight.stop:
            trial, rivals = self.search.trials[number], self.search.rivals(number)
            flight.pruned = why(self.plan.pruner, self.plan.objectives[0], trial, rivals).as_dict()
        if rung not in self.study.get_trials(deepcopy=False)[number].intermediate_values:
            flight.trial.report(value, rung)  # a trial that is trained again after a crash has reported already

    def _finish(self, flight: Flight, record: TrialRecord) -> None:
        """Save the record, tell the study and the search, then the tracker; every step may be repeated."""
        self._describe(record)
        if record.outcome == "pruned" and flight.pruned:  # else it comes from the outbox, and says why itself
            record.pruned = flight.pruned
        self.outbox.put(flight.name, record)
        if flight.trial is None:
            self.study.set_user_attr(BASELINE, summary_of(record) | {"values": values_of(record)})
        else:
            self._tell(flight.trial, record)
        self._told.append(flight.name)

    def _tell(self, trial: optuna.Trial, record: TrialRecord) -> None:
        state, values = end_of(record, self.plan.objectives)
        if state == TrialState.FAIL:
            self._reasons[trial.number] = record.reason.splitlines()[0] if record.reason else "for no reason given"
        trial.set_user_attr("summary", summary_of(record))
        trial.set_user_attr("values", values_of(record))
        if record.pruned:
            trial.set_user_attr("pruned", record.pruned["sentence"])
        self.study.tell(trial.number, values, state, skip_if_finished=True)
        self.search.end(trial.number, state, values)

    def _hand_over(self) -> None:
        """Hand finished runs to the tracker; done once the workers have tasks, because it takes this process's time."""
        while self._told:
            self.tracker.submit(self._told.pop(0))

    def _report(self) -> None:
        trials = self.search.trials
        states = [trial.state for trial in trials]
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        self._on_progress(
            Progress(
                done=sum(state.is_finished() for state in states),
                pruned=states.count(TrialState.PRUNED),
                failed=states.count(TrialState.FAIL),
                wanted=self.plan.trials,
                best=min(complete, key=lambda trial: trial.values[0]) if complete else None,
            )
        )


def run_name(number: int) -> str:
    """The name of a trial's run and file: trial-0007."""
    return f"trial-{number:04d}"
