"""A trial: a pure function of a configuration, the arrays and where to stop.

It trains, checks gradients before and after, and returns a record; it touches no file, no study and no tracking store.
It can be carried out in segments, in different processes, and gives the same bits as in one go.

    >>> from pipeline.config.trial import TrialConfig
    >>> from pipeline.trials.trial import run_trial
    >>> record = run_trial(TrialConfig(seed=3), arrays)
    >>> record.outcome, record.summary["best_dev_error"]
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from pipeline.config.errors import UserError
from pipeline.config.trial import TrialConfig
from pipeline.data.arrays import Fold, TrialArrays, load_arrays
from pipeline.data.augment import make_augment
from pipeline.data.batches import Examples
from pipeline.data.sampling import stratified_sample
from pipeline.gradcheck.check import GradientReport, check_gradients
from pipeline.nn.network import Network
from pipeline.nn.parameters import Parameters
from pipeline.training.cross_validation import FoldResult, mean_curves, mean_summary
from pipeline.training.diagnosis import diagnose
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.fit import PROBE_EXAMPLES, Fit, FitState
from pipeline.training.optimizers import Optimizer
from pipeline.training.streams import streams
from pipeline.trials.environment import environment
from pipeline.trials.parts import architecture_of, initial_parameters, regularization_of
from pipeline.trials.record import TrialRecord

Curves = dict[str, np.ndarray]


class WrongGradient(Exception):
    """The gradient check before training says the gradients are wrong; training on them would be worthless."""


@dataclass
class Segment:
    """Where a trial stands: all that another process needs to go on.

    Attributes
    ----------
    position : epochs trained; with folds, folds trained.
    fit : state of the fit under way.
    folds : what each finished fold gave.
    checks : gradient reports so far, "init" and "trained".
    record : the finished trial's record; None while there is more to do.
    busy_s, total_s : seconds of work, in this segment and in all so far.
    started_at : seconds since 1970-01-01 UTC.
    """

    position: int = 0
    fit: FitState | None = None
    folds: list[FoldResult] = field(default_factory=list)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    record: TrialRecord | None = None
    busy_s: float = 0.0
    total_s: float = 0.0
    started_at: float = field(default_factory=time.time)

    @property
    def summary(self) -> dict[str, float]:
        """The best so far: of the fit under way, or with finished folds their means."""
        if self.folds:
            return mean_summary(self.folds)
        return self.fit.summary() if self.fit is not None else {}

    @property
    def curves(self) -> Curves:
        """The curves so far: of the fit under way, or with finished folds their means."""
        if self.folds:
            return mean_curves(self.folds)
        return self.fit.curves() if self.fit is not None else {}


def run_trial(config: TrialConfig, arrays: TrialArrays, stop_epoch: int | None = None) -> TrialRecord:
    """Train one configuration to its end, or for `stop_epoch` epochs (with folds: folds) if that comes first.

    Raises
    ------
    WrongGradient
        The check before training found wrong gradients, and `gradcheck.allow_wrong` is false.
    ValueError
        The configuration does not fit the arrays, a batch larger than the training part for instance.
    """
    segment = advance(config, arrays, until=stop_epoch)
    if segment.record is None:
        segment = advance(config, arrays, segment, stop=True)
    assert segment.record is not None
    return segment.record


def failed_record(config: dict[str, Any], error: Exception) -> TrialRecord:
    """The record of a trial that could not be trained; its reason names the error."""
    named = isinstance(error, WrongGradient | UserError)
    reason = str(error) if named else f"{type(error).__name__}: {error}"
    return TrialRecord(
        config=config, outcome="failed", reason=reason, environment=environment(), started_at=time.time()
    )


def work_whole(path: Path, config: TrialConfig, stop_epoch: int | None = None) -> TrialRecord:
    """`run_trial`, in a worker process; an error in the trial itself is a record too."""
    try:
        return run_trial(config, _arrays(path), stop_epoch)
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
    """`advance`, in a worker process: the arrays are mapped once and shared by all workers."""
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
    """Carry a trial on; how it is cut into calls changes no bit of the result.

    Parameters
    ----------
    segment : what an earlier call returned; None begins.
    until : return at this many epochs (with folds: folds), if the trial has not ended before.
    seconds : return after about this long.
    stop : train no further, and end the trial as pruned.
    """
    began = time.perf_counter()
    deadline = None if seconds is None else began + seconds
    with _one_thread(), np.errstate(all="ignore"):
        segment = (
            Segment()
            if segment is None
            else replace(segment, folds=list(segment.folds), checks=dict(segment.checks), record=None)
        )
        trainer = _Trainer(config, arrays)
        outcome = "pruned" if stop else trainer.train(segment, until, deadline)
        if outcome is not None:
            segment.record = trainer.record(segment, outcome)
    segment.busy_s = time.perf_counter() - began
    segment.total_s += segment.busy_s
    if segment.record is not None:
        segment.record.duration_s = segment.total_s
        segment.fit = None
    return segment


class _Trainer:
    """One configuration over the arrays: builds the parts from plain values, and puts the steps in order."""

    def __init__(self, config: TrialConfig, arrays: TrialArrays):
        self.config, self.arrays = config, arrays
        self.architecture = architecture_of(config, arrays)

    def train(self, segment: Segment, until: int | None, deadline: float | None) -> str | None:
        """Train on; the trial's outcome once it has ended."""
        if len(self.arrays.folds) > 1:
            return self._train_folds(segment, until, deadline)
        segment.fit = self._train_fold(segment, until, deadline)
        segment.position = segment.fit.epoch
        return segment.fit.outcome

    def _train_folds(self, segment: Segment, until: int | None, deadline: float | None) -> str | None:
        """Fold after fold; each begins with the same seed, so that folds differ in their examples alone."""
        while not _is_over(segment, len(self.arrays.folds)):
            if until is not None and segment.position >= until:
                return None
            fit = self._train_fold(segment, None, deadline)
            if fit.outcome is None:
                segment.fit = fit
                return None
            result = FoldResult(fit.outcome, fit.reason, fit.curves(), fit.summary(), fit.parameters().as_dict())
            segment.folds.append(result)
            segment.fit, segment.position = None, len(segment.folds)
        outcomes = [fold.outcome for fold in segment.folds]
        return next((name for name in ("diverged", "early_stopped") if name in outcomes), "completed")

    def _train_fold(self, segment: Segment, until: int | None, deadline: float | None) -> FitState:
        fold = self.arrays.folds[len(segment.folds)]
        fit = self._fit(fold)
        if segment.fit is None:
            drawn = streams(self.config.seed)
            parameters = initial_parameters(self.config, self.architecture, drawn)
            if not segment.checks:
                segment.checks["init"] = self._check_before(parameters, fold)
            segment.fit = fit.begin(parameters, drawn)
        return fit.advance(segment.fit, until, deadline)

    def _network(self, fold: Fold, max_batch: int) -> Network:
        regularization = regularization_of(self.config, len(fold.train))
        return Network(self.architecture, regularization, dtype=self.config.training.dtype, max_batch=max_batch)

    def _batch_size(self, fold: Fold) -> int:
        size = self.config.training.batch_size
        return len(fold.train) if isinstance(size, str) else min(size, len(fold.train))

    def _fit(self, fold: Fold) -> Fit:
        t = self.config.training
        optimizer = Optimizer(
            name=t.optimizer,
            learning_rate=t.learning_rate,
            momentum=t.momentum,
            beta2=t.beta2,
            epsilon=t.epsilon,
            decay=t.decay,
            decay_rate=t.decay_rate,
        )
        return Fit(
            self._network(fold, max(self._batch_size(fold), PROBE_EXAMPLES)),
            _examples(self.arrays, fold, "train", t.dtype),
            _examples(self.arrays, fold, "dev", t.dtype) if len(fold.dev) else None,
            optimizer,
            batch_size=self._batch_size(fold),
            num_epochs=t.num_epochs,
            stopper=EarlyStopping(t.monitor, t.patience, t.min_delta),
            augment=make_augment(**asdict(self.config.augmentation), image_shape=self.arrays.image_shape),
        )

    def _check_before(self, parameters: Parameters, fold: Fold) -> dict[str, Any]:
        report = self._check(parameters, fold)
        if report is None:
            return {}
        if report.verdict == "wrong" and not self.config.gradcheck.allow_wrong:
            raise WrongGradient("\n".join(report.table().splitlines()[:8]))
        return report.as_dict()

    def _check(self, parameters: Parameters, fold: Fold) -> GradientReport | None:
        """Compare gradients on a small stratified batch of training examples, masks frozen where dropout is on."""
        c = self.config.gradcheck
        if not c.enabled:
            return None
        rng = streams(self.config.seed).gradcheck
        chosen = stratified_sample(self.arrays.y[fold.train], c.examples, rng=rng)
        X, y = Examples(self.arrays.X, self.arrays.y, fold.train[chosen], fold.normalization, "float64").head(
            len(chosen)
        )
        network = self._network(fold, len(y))
        masks = network.draw_masks(len(y), rng) if min(network.keep_prob) < 1 else None
        return check_gradients(
            network,
            parameters,
            X,
            y,
            rng=rng,
            masks=masks,
            epsilon=c.epsilon,
            max_coordinates=c.max_coordinates,
            directions=c.directions,
            max_kink_share=c.max_kink_share,
        )

    def record(self, segment: Segment, outcome: str) -> TrialRecord:
        """The record of the trial as it stands; the second gradient check is made here."""
        fold = self.arrays.folds[0]
        summary = segment.summary
        check = self._check(self._returned(segment), fold)
        if check is not None:
            segment.checks["trained"] = check.as_dict()
        learnt = math.isfinite(summary["best_train_cost"])  # of logits that are no numbers, errors say nothing
        diagnosis = learnt and diagnose(
            summary["best_train_error"],
            summary["best_dev_error"],
            optimal_error=self.config.data.optimal_error,
            threshold=self.config.diagnosis.threshold,
        )
        return TrialRecord(
            config=asdict(self.config),
            data={"digest": self.arrays.digest},
            outcome=outcome,
            reason=_reason(segment, outcome),
            stop_epoch=segment.position,
            curves=segment.curves,
            parameters=_named_parameters(segment),
            summary=summary,
            gradient_checks={moment: report for moment, report in segment.checks.items() if report},
            diagnosis=diagnosis.as_dict() if diagnosis else {},
            fold_curves=[result.curves for result in segment.folds],
            environment=environment(),
            started_at=segment.started_at,
        )

    def _returned(self, segment: Segment) -> Parameters:
        """The parameters of the best epoch; with folds, of the first fold."""
        if segment.folds:
            return Parameters.of(self.architecture.layer_sizes, segment.folds[0].parameters)
        assert segment.fit is not None
        return segment.fit.parameters()


def _is_over(segment: Segment, folds: int) -> bool:
    return len(segment.folds) == folds or any(fold.outcome == "diverged" for fold in segment.folds)


def _reason(segment: Segment, outcome: str) -> str:
    unit = "folds" if segment.folds else "epochs"
    if outcome == "pruned":
        return f"the pruner stopped it after {segment.position} {unit}"
    if segment.folds:
        return "; ".join(f"fold {number}: {fold.reason}" for number, fold in enumerate(segment.folds, start=1))
    return segment.fit.reason if segment.fit is not None else ""


def _named_parameters(segment: Segment) -> dict[str, np.ndarray]:
    """W1, b1 and so on; with folds, fold1_W1 and so on."""
    if segment.folds:
        folds = enumerate(segment.folds, start=1)
        return {f"fold{number}_{name}": a for number, fold in folds for name, a in fold.parameters.items()}
    return {} if segment.fit is None else segment.fit.parameters().as_dict()


def _examples(arrays: TrialArrays, fold: Fold, part: str, dtype: str) -> Examples:
    """The examples of a part, kept for the trial's next segment and for the next trial on the same arrays."""
    kept, key = _KEPT.examples, (id(arrays), id(fold), part, dtype)
    if key not in kept:
        while len(kept) >= 2 * len(arrays.folds):
            kept.pop(next(iter(kept)))
        kept[key] = (arrays, Examples(arrays.X, arrays.y, getattr(fold, part), fold.normalization, dtype))
    return kept[key][1]


class _Kept(threading.local):
    """Each thread's own examples, since a batch is a view of a buffer that the next batch overwrites.

    They are found by the identity of the arrays, which are kept too, so that no other arrays can have the same.
    """

    def __init__(self) -> None:
        self.examples: dict[tuple[int, int, str, str], tuple[TrialArrays, Examples]] = {}


_KEPT = _Kept()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


class _Pinned:
    """BLAS's limit of one thread, which belongs to the process: set by the first trial, lifted after the last."""

    lock = threading.Lock()
    trials = 0
    limits: Any = None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Pin BLAS to one thread: faster with several workers, and the same bits whatever the number of cores."""
    with _Pinned.lock:
        if _Pinned.trials == 0:
            _Pinned.limits = _controller().limit(limits=1, user_api="blas")
        _Pinned.trials += 1
    try:
        yield
    finally:
        with _Pinned.lock:
            _Pinned.trials -= 1
            if _Pinned.trials == 0:
                _Pinned.limits.restore_original_limits()


MOVED: dict[Path, Path] = {}
"""Where arrays are on this machine, if not at the path by which the coordinator calls them."""


@lru_cache(maxsize=2)
def _arrays(path: Path) -> TrialArrays:
    return load_arrays(MOVED.get(path, path))
