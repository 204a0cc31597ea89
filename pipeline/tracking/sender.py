"""Sends finished records and growing curves to MLflow in its own thread, so that training never waits for MLflow.

A record stays in the outbox until MLflow has all of it. If the store is away, the sender retries with growing waits;
records that could not be sent are reported at the end and sent by the next command.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.errors import RecordError, StoreAway, TrackingError, UserError, exhaustion
from pipeline.tracking.points import Span
from pipeline.tracking.recorder import Recorder
from pipeline.trials.record import TrialRecord

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
PROGRESS_EVERY_S = 2.0
ENDING_S = 1.0
"""Seconds that a closed sender may take to notice that it must stop."""
TRIES = 5
"""A record refused this often while others pass is set aside, and stays in the outbox."""


@dataclass(frozen=True)
class Left:
    """The records that had not been sent when the sender was closed.

    Attributes
    ----------
    names : the records that are still in the outbox.
    reason : a sentence on what went wrong; empty when all is done.
    """

    names: tuple[str, ...]
    reason: str


class Sender:
    """The only writer of a sweep's runs.

    Parameters
    ----------
    open_recorder : makes the `Recorder`; called in the thread, and again until it succeeds.
    outbox : folder of this study's record files, `<run name>.npz`.
    study, config, tags : of the parent run.
    tracked : how many of the study's trials earlier calls have tracked.
    on_opened : called in the thread when the store is open, before `opened` returns.
    on_sent : called in the thread with (name, run id) when a record has arrived.
    progress_every_s, first_wait_s : seconds between two updates of growing curves, and before the first retry.
    """

    def __init__(
        self,
        open_recorder: Callable[[], Recorder],
        outbox: Path,
        *,
        study: str,
        config: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        tracked: int = 0,
        on_opened: Callable[[], None] = lambda: None,
        on_sent: Callable[[str, str], None] = lambda name, run_id: None,
        progress_every_s: float = PROGRESS_EVERY_S,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self.outbox, self.study = outbox, study
        self.parent: str | None = None
        self.run_ids: dict[str, str] = {}
        self._open_recorder, self._config, self._tags = open_recorder, config, dict(tags or {})
        self._on_opened, self._on_sent = on_opened, on_sent
        self._tracked = tracked
        self._recorder: Recorder | None = None
        self._wake = threading.Condition()
        self._queue: OrderedDict[str, int] = OrderedDict()  # name → tries
        self._aside: dict[str, str] = {}  # name → why it was refused
        self._growing: dict[str, tuple[dict[str, np.ndarray], Span]] = {}  # run name → its latest curves
        self._begun: dict[str, str] = {}  # run name → run id, of the runs that were opened for progress
        self._progress_every_s, self._first_wait_s = progress_every_s, first_wait_s
        self._last_progress = self._last_done = time.monotonic()
        self._trouble, self._away = "", False
        self._closing, self._dropping, self._retried = False, False, False
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)

    def start(self) -> "Sender":
        """Start the thread; return the sender itself."""
        self.outbox.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def opened(self, timeout_s: float = 600.0) -> str:
        """Wait for the parent run; return its id, or an empty text if the store does not answer at present.

        A server that does not answer is reported after its own time-out of some seconds. The limit here is for waits
        without a time-out, such as a lock, and is far longer than opening a local store takes on a loaded machine.

        Raises
        ------
        TrackingError
            The store cannot be used, or does not answer in time.
        """
        with self._wake:
            self._wake.wait_for(lambda: self.parent or self._trouble, timeout=timeout_s)
        self.check()
        if self.parent is None and not self._trouble:
            raise TrackingError(f"The tracking store did not answer within {timeout_s:g} s.")
        return self.parent or ""

    def check(self) -> None:
        """Refuse a store that cannot be used; one that is away, or fails after the parent run is open, stops nothing.

        Raises
        ------
        TrackingError
            The store cannot be used; the message says why.
        """
        if self.parent is None and self._trouble and not self._away:
            raise TrackingError(self._trouble)

    @property
    def recorder(self) -> Recorder | None:
        """The recorder, for further writes once the sender is closed; None while its thread may still be writing."""
        return None if self._thread.is_alive() else self._recorder

    def pending(self) -> list[str]:
        """Names of the records in the outbox."""
        return sorted(path.stem for path in self.outbox.glob("*.npz") if not path.name.startswith("."))

    def submit(self, name: str) -> None:
        """Queue the record `outbox/<name>.npz`, and return immediately."""
        with self._wake:
            self._growing.pop(name, None)
            self._aside.pop(name, None)
            self._queue.setdefault(name, 0)
            self._wake.notify_all()

    def progress(self, name: str, curves: Mapping[str, np.ndarray], started_at: float, elapsed_s: float) -> None:
        """Queue the curves of a running trial; only the latest are kept.

        Parameters
        ----------
        started_at, elapsed_s : when the trial began, in seconds since 1970-01-01 UTC, and its seconds of work so far.
        """
        with self._wake:
            if name not in self._queue and name not in self.run_ids:
                self._growing[name] = (dict(curves), Span.of(curves, started_at, elapsed_s))

    @property
    def trouble(self) -> str:
        """A sentence on why nothing can be sent at present; empty if everything works."""
        return self._trouble

    @property
    def waiting(self) -> int:
        """How many records are still to be sent."""
        return len(self._queue) + len(self._aside)

    def close(self, patience_s: float = 30.0) -> Left:
        """Send what is left; give up when nothing has arrived for `patience_s`.

        Runs of interrupted trials become KILLED. Afterwards `recorder` can be used, unless the thread still waits for
        an answer of the store.
        """
        with self._wake:
            self._closing, self._last_done = True, time.monotonic()
            self._wake.notify_all()
        while self._thread.is_alive() and (left_s := self._last_done + patience_s - time.monotonic()) > 0:
            self._thread.join(left_s)
        with self._wake:
            self._dropping = True
            self._wake.notify_all()
            names = tuple(dict.fromkeys([*self._queue, *self._aside]))
            reason = next(iter(self._aside.values()), self._trouble)
        if self._thread.is_alive():
            self._thread.join(ENDING_S)
        if names or self._thread.is_alive():
            return Left(names, reason or f"nothing arrived within {patience_s:g} s.")
        return Left((), "")

    # --- the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        wait_s = self._first_wait_s
        while not self._dropping:
            try:
                self._connect()
                if not self._step():
                    return
                self._trouble, wait_s = "", self._first_wait_s
            except Exception as error:  # any error: the sweep goes on and the record stays in the outbox
                trouble = exhaustion(error) or f"{type(error).__name__}: {error}"
                if isinstance(error, UserError):
                    trouble = str(error)
                with self._wake:
                    self._trouble, self._away = trouble, isinstance(error, StoreAway)
                    self._wake.notify_all()
                self._pause(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _connect(self) -> None:
        if self._recorder is None:
            self._recorder = self._open_recorder()
        if self.parent is None:
            parent = self._recorder.open_sweep(self.study, self._config, self._tags, tracked=self._tracked)
            self._on_opened()
            with self._wake:
                self.parent = parent
                self._wake.notify_all()

    def _step(self) -> bool:
        """Do one task; return False when everything is done and the sender is closing."""
        with self._wake:
            self._wake.wait_for(lambda: self._queue or self._closing, timeout=self._until_progress())
            if self._closing and not self._queue and not self._retried:
                self._retried = True
                self._queue.update(dict.fromkeys(self._aside, TRIES - 1))
                self._aside.clear()
            name = next(iter(self._queue), None)
            closing = self._closing
        if name is not None:
            self._send(name)
        elif closing:
            self._end_cut_off()
            return False
        if not closing and self._until_progress() == 0.0:
            self._send_progress()
        return True

    def _until_progress(self) -> float | None:
        if not self._growing:
            return self._progress_every_s
        return max(0.0, self._last_progress + self._progress_every_s - time.monotonic())

    def _send(self, name: str) -> None:
        assert self._recorder is not None
        path = self.outbox / f"{name}.npz"
        try:
            if path.exists():
                record = _load(path)
                kind, tags = self._identity(name)
                run_id = self._recorder.write(record, kind=kind, name=name, parent=self.parent, tags=tags)
                path.unlink()
                self.run_ids[name] = run_id
                self._on_sent(name, run_id)
        except Exception as error:
            self._count_failure(name, error)
            raise
        with self._wake:
            self._queue.pop(name, None)
            self._begun.pop(name, None)
            self._last_done = time.monotonic()

    def _identity(self, name: str) -> tuple[str, dict[str, str]]:
        """Return kind and tags of a run by name: trial-0007, baseline, or confirm-<configuration>-<repeat>-<count>."""
        kind, _, rest = name.partition("-")
        tags = {"trial": rest} if kind == "trial" else {"configuration": rest.partition("-")[0]} if rest else {}
        return kind, {"study": self.study} | tags

    def _count_failure(self, name: str, error: Exception) -> None:
        """Queue a failed record behind the others, or set it aside if it fails while the store itself works."""
        tries = TRIES if isinstance(error, RecordError) else self._queue[name] + 1  # a damaged file stays damaged
        refused = tries >= TRIES and self._store_works()
        with self._wake:  # before taking the lock, since the store may be slow and training must not wait
            self._queue[name] += 1
            self._queue.move_to_end(name)
            if refused:
                del self._queue[name]
                self._aside[name] = f"{name} was refused: {error}"

    def _store_works(self) -> bool:
        try:
            assert self._recorder is not None
            self._recorder.ping()
        except Exception:
            return False
        return True

    def _send_progress(self) -> None:
        assert self._recorder is not None
        with self._wake:
            growing, self._growing = self._growing, {}
        self._last_progress = time.monotonic()
        for name, (curves, span) in growing.items():
            if name not in self._begun:
                kind, tags = self._identity(name)
                run_id = self._recorder.open_run(kind, name, tags, parent=self.parent, started_at=span.began)
                self._begun[name] = run_id
            self._recorder.progress(self._begun[name], curves, span)

    def _end_cut_off(self) -> None:
        """Mark running children as KILLED, those of an earlier crash too; a resumed sweep continues them."""
        assert self._recorder is not None
        assert self.parent is not None
        self._recorder.end_cut_off(self.parent)

    def _pause(self, seconds: float) -> None:
        """Wait before the next try; closing cuts the wait short."""
        with self._wake:
            closing = self._closing
            self._wake.wait_for(
                lambda: self._dropping or self._closing != closing, timeout=min(seconds, 1.0) if closing else seconds
            )


def _load(path: Path) -> TrialRecord:
    try:
        return TrialRecord.load(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} is damaged: {' '.join(str(error).split())}") from error
