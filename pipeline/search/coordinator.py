"""Runs a study: asks for configurations, hands trials to workers segment by segment, prunes, and tells the results.

It alone writes to the study. A finished trial is first written whole to the outbox, which is the commit point, then
told to the study, then handed to the tracker. So whatever is killed, and whenever, a trial that the study still calls
running either waits in the outbox, and is told, or is trained again to the same bits.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.errors import ConfigError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.gradcheck.report import distrust
from pipeline.search.outbox import Outbox
from pipeline.search.serving import WorkersGone
from pipeline.search.space import Space
from pipeline.search.study import asked
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import Segment, WrongGradient, failed_record, work

BASELINE = -1
"""Number of the run without regularisation, which is no trial of the study."""

SEGMENT_S = 2.0
"""Longest time between two reports of a running trial; where a segment ends changes no bit."""


class Tracker(Protocol):
    """What the coordinator tells the tracking side; nothing here may block training."""

    def finished(self, number: int, path: Path) -> None:
        """A record waits in the outbox."""

    def progress(self, number: int, segment: Segment) -> None:
        """A trial is under way and has curves to show."""


@dataclass
class Flight:
    """A trial under way."""

    number: int
    config: TrialConfig
    trial: optuna.Trial | None = None
    segment: Segment | None = None
    rung: int = 0
    stop: bool = False
    record: TrialRecord | None = None


@dataclass(frozen=True)
class Plan:
    """When a sweep ends and how it decides.

    Attributes
    ----------
    trials : how many trials the study is to have in all.
    rungs : epochs at which trials report and may be pruned.
    objectives : summary values that are minimised.
    slots : trials under way at once.
    synchronous : ask in batches of `slots`, and tell a batch in the order of its numbers.
    """

    trials: int
    rungs: tuple[int, ...]
    objectives: tuple[str, ...] = ("dev_cost",)
    slots: int = 1
    synchronous: bool = False
    minutes: float | None = None
    max_failures: int = 3
    stall: int | None = None


@dataclass
class Progress:
    """Where a sweep stands, for people."""

    done: int = 0
    pruned: int = 0
    failed: int = 0
    wanted: int = 0
    best: FrozenTrial | None = None


class Coordinator:
    """Carries one study to its planned end; see the module's text for what survives what."""

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
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
        self.study, self.space, self.plan = study, space, plan
        self.executor, self.outbox, self.tracker, self.arrays = executor, outbox, tracker, arrays
        self._describe, self._on_progress, self._check_held = describe, on_progress, still_held
        self._flights: dict[Future[Segment], Flight] = {}
        self._batch: list[Flight] = []  # finished, waiting to be told in order
        self._at_rung: list[Flight] = []  # synchronous: waiting for the others of the batch to get there
        self._told: list[tuple[int, Path]] = []  # told to the study, waiting to be handed to the tracker
        self._from_before: set[int] = set()  # trials that an earlier call finished
        self.stopped = ""  # why the sweep ended before its number of trials
        self.gave_up = False  # and whether that was for trouble, not for a rule that the user set
        self._last_failure = ""  # its reason
        self._began = time.monotonic()

    # The loop ---------------------------------------------------------------------------------------------------------

    def run(self, baseline: TrialConfig | None = None) -> None:
        """Run until the planned number of trials is done, or a budget or a stop rule ends it.

        Parameters
        ----------
        baseline : a configuration to train beside the trials, once per study.
        """
        trials = asked(self.study)
        self._from_before = {trial.number for trial in trials if trial.state.is_finished()}
        self._send_told(self._from_before)
        try:
            if baseline is not None and "baseline" not in self.study.user_attrs:
                self._begin(Flight(BASELINE, baseline))
            for flight in self._left_running(trials):
                self._begin(flight)
            self._fill()
            while self._flights:
                done, _ = wait(self._flights, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda f: (self._flights[f].rung, self._flights[f].number)):
                    self._advance(self._flights.pop(future), future)
                self._climb_together()
                self._fill()
                self._hand_over()
                self._report()
        finally:
            self._hand_over()

    def _fill(self) -> None:
        """Start new trials while there is a slot, a budget and something left to try."""
        if self.plan.synchronous:
            if self._flights:
                return
            self._tell_batch()
            self._start(self.plan.slots - len(asked(self.study)) % self.plan.slots)
        else:
            self._start(self.plan.slots - len(self._flights))

    def _left_running(self, trials: Sequence[FrozenTrial]) -> list[Flight]:
        """The trials that a killed coordinator left; its last batch is completed before any of it runs."""
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        flights = [self._open(optuna.Trial(self.study, trial._trial_id)) for trial in running]
        if running and self.plan.synchronous:
            flights += self._ask(-len(trials) % self.plan.slots)
        return [flight for flight in flights if flight is not None]

    def _start(self, count: int) -> None:
        for flight in self._ask(count):
            self._submit(flight)

    def _ask(self, count: int) -> list[Flight]:
        """New trials, all asked for before any of them runs."""
        flights = []
        for _ in range(count):
            if self._is_over():
                break
            self._check_held()
            flight = self._open(self.study.ask())
            if flight is not None:
                flights.append(flight)
        return flights

    def _is_over(self) -> bool:
        plan, trials = self.plan, asked(self.study)
        if self.stopped or len(trials) >= plan.trials:
            return True
        if plan.minutes is not None and time.monotonic() - self._began > 60 * plan.minutes:
            self.stopped = f"the budget of {plan.minutes:g} minutes is used up"
        elif plan.stall is not None and self._stalled(trials, plan.stall):
            self.stopped = f"the last {plan.stall} finished trials brought no improvement"
        elif self._failures(trials) >= plan.max_failures:
            self.gave_up = True
            self.stopped = (
                f"{plan.max_failures} trials in a row failed (study.max_failures sets how many may), the last of them:"
                f" {self._last_failure}"
            )
        return bool(self.stopped)

    def _failures(self, trials: Sequence[FrozenTrial]) -> int:
        """How many of the latest trials that this call finished failed in a row."""
        count = 0
        for trial in reversed([t for t in trials if t.state.is_finished() and t.number not in self._from_before]):
            if trial.state != TrialState.FAIL:
                break
            count += 1
        return count

    def _stalled(self, trials: Sequence[FrozenTrial], stall: int) -> bool:
        finished = [t for t in trials if t.state.is_finished()]
        values = [t.value if t.state == TrialState.COMPLETE and t.value is not None else math.inf for t in finished]
        return len(values) > stall and min(values[:-stall]) <= min(values[-stall:])

    # One trial --------------------------------------------------------------------------------------------------------

    def _send_told(self, numbers: set[int]) -> None:
        """Hand over records that a killed coordinator had told to the study, but perhaps not sent."""
        told = numbers | ({BASELINE} if "baseline" in self.study.user_attrs else set())
        for number, path in self.outbox.waiting():
            if number in told:
                self.tracker.finished(number, path)

    def _open(self, trial: optuna.Trial) -> Flight | None:
        """The flight of a trial just asked, or left running by a killed coordinator; it keeps the values it was given.

        A configuration that cannot be is failed at once.
        """
        values = self.space.suggest(trial)
        plain = self.space.apply(values)
        try:
            config = parse(TrialConfig, plain)
        except ConfigError as error:
            self._commit(Flight(trial.number, TrialConfig(), trial), failed_record(plain, error))
            return None
        return Flight(trial.number, config, trial)

    def _begin(self, flight: Flight) -> None:
        """Start a trial, or take its result from the outbox if a killed coordinator left it there."""
        record = self.outbox.load(flight.number)
        if record is None:
            self._submit(flight)
        else:
            self._finish(flight, record)

    def _submit(self, flight: Flight) -> None:
        rungs = self.plan.rungs if flight.number != BASELINE else ()
        until = rungs[flight.rung] if flight.rung < len(rungs) else None
        future = self.executor.submit(
            work, self.arrays, flight.config, flight.segment, until=until, seconds=SEGMENT_S, stop=flight.stop
        )
        self._flights[future] = flight

    def _advance(self, flight: Flight, future: "Future[Segment]") -> None:
        """Take a segment's result: finish, prune, or go on."""
        try:
            segment = future.result()
        except WorkersGone:
            raise
        except Exception as error:
            if isinstance(error, WrongGradient):
                self.gave_up = True
                self.stopped = f"{run_name(flight.number)} has wrong gradients.\n{error}"
            self._fail(flight, error)
            return
        flight.segment = segment
        if segment.record is not None:
            self._finish(flight, segment.record)
            return
        self.tracker.progress(flight.number, segment)
        if self._has_reached_rung(flight, segment):
            self._at_rung.append(flight)
            if not self.plan.synchronous:
                self._climb_together()
        else:
            self._submit(flight)

    def _has_reached_rung(self, flight: Flight, segment: Segment) -> bool:
        rungs = self.plan.rungs if flight.trial is not None else ()
        return flight.rung < len(rungs) and segment.position >= rungs[flight.rung]

    def _climb_together(self) -> None:
        """Decide for the trials at a rung whether they go on; synchronous batches once all are there, in their order.

        Successive halving compares with whoever reported before, so that order is part of the search.
        """
        if self.plan.synchronous and self._flights:
            return
        for flight in sorted(self._at_rung, key=lambda flight: (flight.rung, flight.number)):
            assert flight.trial is not None
            assert flight.segment is not None
            flight.stop = not self._go_on(flight.trial, self.plan.rungs[flight.rung], flight.segment)
            flight.rung += 1
            self._submit(flight)
        self._at_rung.clear()

    def _go_on(self, trial: optuna.Trial, rung: int, segment: Segment) -> bool:
        """Report the best value so far and ask the pruner; a decision once taken is kept, whatever is killed."""
        key = f"go_on_{rung}"
        if key not in trial.user_attrs:
            if rung not in self.study.get_trials(deepcopy=False)[trial.number].intermediate_values:
                trial.report(segment.summary[f"best_{self.plan.objectives[0]}"], rung)
            trial.set_user_attr(key, not trial.should_prune())
        return bool(trial.user_attrs[key])

    def _fail(self, flight: Flight, error: Exception) -> None:
        self._finish(flight, failed_record(asdict(flight.config), error))

    # The end of a trial -----------------------------------------------------------------------------------------------

    def _finish(self, flight: Flight, record: TrialRecord) -> None:
        self._describe(record)
        path = self.outbox.path(flight.number)
        if not path.exists():
            record.save(path)
        if self.plan.synchronous and flight.number != BASELINE:
            flight.record = record
            self._batch.append(flight)
        else:
            self._commit(flight, record)

    def _tell_batch(self) -> None:
        for flight in sorted(self._batch, key=lambda flight: flight.number):
            assert flight.record is not None
            self._commit(flight, flight.record)
        self._batch.clear()

    def _commit(self, flight: Flight, record: TrialRecord) -> None:
        """Tell the study, then the tracker. The record is in the outbox; all of this may be repeated."""
        path = self.outbox.path(flight.number)
        if not path.exists():
            self._describe(record)
            record.save(path)
        brief = {"outcome": record.outcome, "epochs": record.stop_epoch, **record.summary}
        brief = {key: value for key, value in brief.items() if not isinstance(value, float) or math.isfinite(value)}
        if distrust(record.gradient_checks):
            brief["distrusted"] = True
        if record.outcome == "failed":
            self._last_failure = record.reason.splitlines()[0] if record.reason else "for no reason given"
        if flight.trial is None:
            self.study.set_user_attr("baseline", brief)
        else:
            flight.trial.set_user_attr("summary", brief)
            self._tell(flight.number, record)
        self._told.append((flight.number, path))

    def _hand_over(self) -> None:
        """Let the tracker send what was told; now that the workers have tasks, since it takes this process's time."""
        while self._told:
            self.tracker.finished(*self._told.pop(0))

    def _tell(self, number: int, record: TrialRecord) -> None:
        if record.outcome in ("completed", "early_stopped"):
            values = [objective_value(name, record) for name in self.plan.objectives]
            self.study.tell(number, values, skip_if_finished=True)
        elif record.outcome == "failed":
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self.study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def _report(self) -> None:
        trials = asked(self.study)
        states = [trial.state for trial in trials]
        complete = [t for t in trials if t.state == TrialState.COMPLETE]
        self._on_progress(
            Progress(
                done=sum(state.is_finished() for state in states),
                pruned=states.count(TrialState.PRUNED),
                failed=states.count(TrialState.FAIL),
                wanted=self.plan.trials,
                best=min(complete, key=lambda t: t.values[0]) if complete else None,
            )
        )


def run_name(number: int) -> str:
    """The name of a trial's run and file: trial-0007, or baseline."""
    return f"trial-{number:04d}" if number >= 0 else "baseline"


def objective_value(name: str, record: TrialRecord) -> float:
    """The value of one objective: best dev cost, best dev error, or the number of parameters (of one fit)."""
    if name == "parameters":
        return float(record.num_parameters)
    return record.summary[f"best_{name}"]
