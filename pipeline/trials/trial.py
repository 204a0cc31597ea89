"""A trial: a pure function of a configuration, the arrays and where to stop.

It trains, checks gradients before and after, and returns a record; it touches no file, no study and no tracking store.
It can be carried out in segments, in different processes, and gives the same bits as in one go.

    >>> from pipeline.config.trial import TrialConfig
    >>> from pipeline.trials.trial import run_trial
    >>> record = run_trial(TrialConfig(seed=3), arrays)
    >>> record.outcome, record.summary["best_dev_error"]
"""

import time
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.errors import UserError
from pipeline.config.trial import TrialConfig
from pipeline.data.arrays import TrialArrays, load_arrays
from pipeline.gradcheck.check import GradientReport
from pipeline.nn.parameters import Parameters
from pipeline.training.diagnosis import diagnosis_of
from pipeline.training.fit import Fit, FitState
from pipeline.training.means import mean_curves, mean_measures, mean_summary
from pipeline.trials.environment import environment
from pipeline.trials.fits import Planned, begin, forget_others, make_fit, outcome, plan, train
from pipeline.trials.format_1 import repeat_folds
from pipeline.trials.gradients import check
from pipeline.trials.parts import architecture_of
from pipeline.trials.record import FORMAT, TrialRecord, fit_name, prefixes
from pipeline.trials.threads import one_thread

Curves = dict[str, np.ndarray]


class WrongGradient(Exception):
    """The gradient check before training says the gradients are wrong; training on them would be worthless."""


@dataclass
class Segment:
    """The state of a trial: everything that another process needs to continue it.

    Attributes
    ----------
    position : epochs trained.
    repeats : the number of each fit's repeat.
    fits : the state of each fit.
    checks : gradient reports so far, "init" and "trained".
    record : the finished trial's record; None while there is more to do.
    busy_s, total_s : seconds of work, in this segment and in all so far.
    started_at : seconds since 1970-01-01 UTC.
    """

    position: int = 0
    repeats: list[int] = field(default_factory=list)
    fits: list[FitState] = field(default_factory=list)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    record: TrialRecord | None = None
    busy_s: float = 0.0
    total_s: float = 0.0
    started_at: float = field(default_factory=time.time)

    @property
    def summary(self) -> dict[str, float]:
        """The best so far of each fit, as means."""
        return mean_summary([fit.summary() for fit in self.fits], self.repeats) if self.fits else {}

    @property
    def curves(self) -> Curves:
        """The curves so far, as means over the fits."""
        return mean_curves([fit.curves() for fit in self.fits], [fit.memory.best_epoch for fit in self.fits])


def run_trial(config: TrialConfig, arrays: TrialArrays, stop_epoch: int | None = None) -> TrialRecord:
    """Train one configuration to its end, or for `stop_epoch` epochs if that comes first.

    Raises
    ------
    WrongGradient
        The check before training found wrong gradients, and `gradcheck.allow_wrong` is false.
    ValueError
        The configuration does not fit the arrays.
    """
    segment = advance(config, arrays, until=stop_epoch)
    if segment.record is None:
        segment = advance(config, arrays, segment, stop=True)
    assert segment.record is not None
    return segment.record


def failed_record(config: dict[str, Any], error: Exception) -> TrialRecord:
    """Return the record of a trial that could not be trained; its reason names the error."""
    named = isinstance(error, WrongGradient | UserError)
    reason = str(error) if named else f"{type(error).__name__}: {error}"
    return TrialRecord(
        config=config, outcome="failed", reason=reason, environment=environment(), started_at=time.time()
    )


def work_whole(
    path: Path, config: TrialConfig, stop_epoch: int | None = None, *, record_format: int = FORMAT
) -> TrialRecord:
    """Call `run_trial` in a worker process; return a failed record for an error in the trial itself.

    Parameters
    ----------
    record_format : 1 repeats a record of that format, in which `stop_epoch` counts folds if there are several.
    """
    try:
        arrays = _arrays(path)
        repeat = repeat_folds if record_format == 1 and len(arrays.folds) > 1 else run_trial
        return repeat(config, arrays, stop_epoch)
    except Exception as error:
        return failed_record(asdict(config), error)


def work(
    path: Path,
    config: TrialConfig,
    segment: Segment | None,
    *,
    until: int | None = None,
    seconds: float | None = None,
    stop: bool = False,
) -> Segment:
    """Call `advance` in a worker process; the arrays are mapped once and shared by all workers."""
    return advance(config, _arrays(path), segment, until=until, seconds=seconds, stop=stop)


def advance(
    config: TrialConfig,
    arrays: TrialArrays,
    segment: Segment | None = None,
    *,
    until: int | None = None,
    seconds: float | None = None,
    stop: bool = False,
) -> Segment:
    """Continue a trial; how it is cut into calls changes no bit of the result.

    Parameters
    ----------
    segment : what an earlier call returned; None begins.
    until : return after this many epochs in total, if the trial has not ended before.
    seconds : return after about this long.
    stop : train no further, and end the trial as pruned.
    """
    began = time.perf_counter()
    deadline = None if seconds is None else began + seconds
    with one_thread(), np.errstate(all="ignore"):
        trainer = _Trainer(config, arrays)
        segment = trainer.begin() if segment is None else replace(segment, record=None)
        if not stop:
            segment = trainer.train(segment, until, deadline)
        ended = "pruned" if stop else outcome(segment.fits)
        if ended is not None:
            segment.record = trainer.record(segment, ended)
            segment.fits = []
    segment.busy_s = time.perf_counter() - began
    segment.total_s += segment.busy_s
    if segment.record is not None:
        segment.record.duration_s = segment.total_s
    return segment


class _Trainer:
    """One configuration on its arrays, with the steps of a trial."""

    def __init__(self, config: TrialConfig, arrays: TrialArrays):
        self.config, self.arrays = config, arrays
        self.architecture = architecture_of(config, arrays)
        self.plan = plan(config, arrays)

    @cached_property
    def fits(self) -> list[Fit]:
        """One fit for each entry of the plan, with memory to train in."""
        c, a = self.config, self.arrays
        forget_others(a, self.plan)
        return [make_fit(c, self.architecture, a, planned.rows) for planned in self.plan]

    def begin(self) -> Segment:
        """Check the gradients at the initial values, and return the trial before its first epoch."""
        states = [
            begin(fit, planned, self.config, self.architecture)
            for fit, planned in zip(self.fits, self.plan, strict=True)
        ]
        checks = {"init": self._check_before(states[0].parameters())}
        return Segment(repeats=[planned.repeat for planned in self.plan], fits=states, checks=checks)

    def train(self, segment: Segment, until: int | None, deadline: float | None) -> Segment:
        """Train every fit on."""
        states = train(self.fits, segment.fits, until, deadline)
        return replace(segment, fits=states, position=max(state.epoch for state in states))

    def _check(self, parameters: Parameters) -> GradientReport | None:
        return check(self.config, self.architecture, self.arrays, self.plan[0], parameters)

    def _check_before(self, parameters: Parameters) -> dict[str, Any]:
        report = self._check(parameters)
        if report is None:
            return {}
        if report.verdict == "wrong" and not self.config.gradcheck.allow_wrong:
            raise WrongGradient("\n".join(report.table().splitlines()[:8]))
        return report.as_dict()

    def record(self, segment: Segment, ended: str) -> TrialRecord:
        """Check the gradients again, and return the record of the trial in its present state."""
        trained = self._check(segment.fits[0].parameters())
        checks = segment.checks | {"trained": {} if trained is None else trained.as_dict()}
        measured = [fit.dev_measures(state) for fit, state in zip(self.fits, segment.fits, strict=True)]
        summary = segment.summary | mean_measures(measured)
        curves = [state.curves() for state in segment.fits]
        optimal_error, threshold = self.config.data.optimal_error, self.config.diagnosis.threshold
        return TrialRecord(
            config=asdict(self.config),
            data={"digest": self.arrays.digest, "arrays_checksum": self.arrays.checksum},
            outcome=ended,
            reason=self._reason(segment, ended),
            stop_epoch=segment.position,
            curves=segment.curves,
            parameters=self._named_parameters(segment),
            summary=summary,
            gradient_checks={moment: report for moment, report in checks.items() if report},
            diagnosis=diagnosis_of(curves, summary, optimal_error, threshold),
            fits=[
                self._brief(planned, state, ended, more)
                for planned, state, more in zip(self.plan, segment.fits, measured, strict=True)
            ],
            fit_curves=curves if len(curves) > 1 else [],
            environment=environment(),
            started_at=segment.started_at,
        )

    def _brief(self, planned: Planned, state: FitState, ended: str, more: dict[str, float]) -> dict[str, Any]:
        """Return the record's entry about one fit."""
        cut_off = "pruned" if ended == "pruned" else "stopped"
        return {
            "repeat": planned.repeat,
            "fold": planned.fold,
            "outcome": state.outcome or cut_off,
            "reason": state.reason,
            "epochs": state.epoch,
            "summary": state.summary() | more,
        }

    def _named_parameters(self, segment: Segment) -> dict[str, np.ndarray]:
        """Return W1, b1 and so on; of several fits repeat0_W1, fold1_W1 or repeat0_fold1_W1."""
        names = prefixes([(planned.repeat, planned.fold) for planned in self.plan])
        return {
            f"{prefix}{name}": values
            for prefix, state in zip(names, segment.fits, strict=True)
            for name, values in state.parameters().as_dict().items()
        }

    def _reason(self, segment: Segment, ended: str) -> str:
        if ended == "pruned":
            return f"the pruner stopped it after {segment.position} epochs"
        states = segment.fits
        if len(states) == 1:
            return states[0].reason
        if ended == "diverged":
            fit, planned = next((s, p) for s, p in zip(states, self.plan, strict=True) if s.outcome == "diverged")
            return f"{fit_name(planned.repeat, planned.fold)}: {fit.reason}"
        epochs = [state.epoch for state in states]
        early = sum(state.outcome == "early_stopped" for state in states)
        return f"{early} of {len(states)} fits stopped early; they trained {min(epochs)} to {max(epochs)} epochs"


MOVED: dict[Path, Path] = {}
"""Paths of arrays on this machine, by the coordinator's paths, if they differ."""


def _arrays(path: Path) -> TrialArrays:
    return _load(MOVED.get(path, path))


@lru_cache(maxsize=2)
def _load(path: Path) -> TrialArrays:
    return load_arrays(path)
