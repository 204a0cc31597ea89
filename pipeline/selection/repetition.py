"""Trains recorded runs again, each under its recorded arithmetic; only the records under way are in memory."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.commands import RerunConfig
from pipeline.config.errors import ConfigError, DataError, RecordError, UserError
from pipeline.config.trial import DataConfig, TrialConfig
from pipeline.config.validation import parse
from pipeline.data.changes import what_changed
from pipeline.data.divisions import ensure
from pipeline.data.prepare import PreparedData, find_arrays, prepare
from pipeline.search.executors import open_executor
from pipeline.search.serving import LostWorker, WorkersGone
from pipeline.selection.candidates import check_permission
from pipeline.tracking.archive import Archive
from pipeline.tracking.found import Found
from pipeline.tracking.reading import read_folder, read_meta
from pipeline.tracking.sizes import check_sizes
from pipeline.trials.environment import environment
from pipeline.trials.kernels import Arithmetic, current, obstacle, recorded
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import failed_record, work_whole

WITHOUT_A_RECORD = ("confirm", "final", "preflight")
"""Kinds of runs that train nothing, unless they have an outcome, as further fits of a configuration do."""


@dataclass(frozen=True)
class Original:
    """A recorded run: its name, its id in the store (none for an exported folder), and its record.

    `foreign` says that it is not from this machine's own store, so that files it names are opened only with the user's
    permission. `changed` are sentences on differences between the store and the record.
    """

    name: str
    run_id: str
    record: TrialRecord
    foreign: bool
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecordedRun:
    """A run that can be repeated; `load` reads its record."""

    name: str
    load: Callable[[], Original]


@dataclass(frozen=True)
class Repetition:
    """The repetition of one run: the original and the new record, or `trouble`, why it could not be repeated.

    `obstacle` says why this machine cannot use the recorded arithmetic; empty if it can.
    """

    name: str
    original: Original | None = None
    record: TrialRecord | None = None
    prepared: PreparedData | None = None
    trouble: str = ""
    obstacle: str = ""


@dataclass(frozen=True)
class _Job:
    """A run ready to be trained; for one that failed because of its configuration, `trial` is the error."""

    original: Original
    trial: TrialConfig | ConfigError
    prepared: PreparedData
    arithmetic: Arithmetic
    obstacle: str

    @property
    def round(self) -> tuple[Path, Arithmetic]:
        """What runs trained by the same workers have in common."""
        return self.prepared.path.resolve(), self.arithmetic


Announce = Callable[[Original, dict[str, Any], Arithmetic], None]


def find(config: RerunConfig) -> list[RecordedRun]:
    """Return the recorded runs that `config.run` means.

    Raises
    ------
    RecordError
        There is none, or it trained nothing.
    """
    folder = Path(config.run)
    if folder.is_dir():
        name = str(read_meta(folder).get("name") or folder.name)
        return [RecordedRun(name, lambda: Original(name, "", read_folder(folder), foreign=True))]
    archive = Archive(config.tracking)
    if config.run == "all":
        children = archive.children(config.study or archive.latest_study())
        confirmations = [run for run in children if run.kind == "confirm" and not run.outcome]
        found = [*children, *(run for each in confirmations for run in archive.below(each.run_id))]
        found = [run for run in found if run.outcome]
    else:
        found = [archive.find(config.run, config.study)]
    if not found:
        raise RecordError(f"The study {config.study} has no finished run to rerun.")
    return [RecordedRun(run.handle, lambda run=run: _load(archive, run)) for run in found]  # type: ignore[misc]


def _load(archive: Archive, run: Found) -> Original:
    """Return a run with its record, and sentences on differences between the two."""
    if run.kind in WITHOUT_A_RECORD and not run.outcome:
        raise RecordError(
            f"RUN must be a run in which a network was trained, but {run.handle} is of the kind {run.kind} "
            "(`make runs` lists trials)."
        )
    record = archive.load(run)
    return Original(run.handle, run.run_id, record, archive.is_foreign(run), tuple(archive.disagreements(run, record)))


def repeat(config: RerunConfig, wanted: list[RecordedRun], announce: Announce) -> Iterator[Repetition]:
    """Train the wanted runs again, in rounds that share arrays and arithmetic; yield results as they are ready.

    Parameters
    ----------
    announce : called when a round begins, with its first run, and the environment and arithmetic of the workers.

    Raises
    ------
    UserError
        A single run cannot be repeated; with several, each result says so.
    """
    jobs, waiting = _Jobs(config), deque(wanted)
    while waiting:
        one = waiting.popleft()
        first = jobs.make(one, alone=len(wanted) == 1)
        if isinstance(first, Repetition):
            yield first
            continue
        arrays, arithmetic = first.round
        with open_executor(config.workers, [arrays], arithmetic) as executor:
            announce(first.original, executor.submit(environment).result(), arithmetic)
            waiting.appendleft(one)
            yield from _round(config, jobs, waiting, first, executor)


def _round(
    config: RerunConfig, jobs: "_Jobs", waiting: deque[RecordedRun], first: _Job, executor: Executor
) -> Iterator[Repetition]:
    """Repeat the waiting runs that belong to the round of `first`; leave the others."""
    others, flights = deque[RecordedRun](), dict[Future[TrialRecord], _Job]()
    made: _Job | Repetition | None = first
    while waiting or flights:
        while waiting and len(flights) < config.workers.slots:
            one = waiting.popleft()
            job, made = made or jobs.make(one), None
            if isinstance(job, Repetition):
                yield job
            elif job.round != first.round:
                others.append(one)
            elif isinstance(job.trial, ConfigError):
                yield _repeated(job, failed_record(job.original.record.config, job.trial))
            else:
                flights[_submit(executor, job.prepared, job.trial, job.original.record)] = job
        done, _ = wait(flights, return_when=FIRST_COMPLETED) if flights else (set(), None)
        for future in done:
            yield _result(flights.pop(future), future)
    waiting.extend(others)


def _submit(
    executor: Executor, prepared: PreparedData, trial: TrialConfig, record: TrialRecord
) -> "Future[TrialRecord]":
    stop = record.stop_epoch if record.outcome == "pruned" else None
    return executor.submit(work_whole, prepared.path.resolve(), trial, stop, record_format=record.format)


def _result(job: _Job, future: "Future[TrialRecord]") -> Repetition:
    """Return the repetition; the loss of a worker gives no verdict on the record."""
    try:
        return _repeated(job, future.result())
    except WorkersGone:
        raise
    except LostWorker as error:
        return Repetition(job.original.name, trouble=f"could not be repeated, try again: {error}")


def _repeated(job: _Job, record: TrialRecord) -> Repetition:
    return Repetition(job.original.name, job.original, record, job.prepared, obstacle=job.obstacle)


class _Jobs:
    """Makes jobs of runs; equal data are prepared once."""

    def __init__(self, config: RerunConfig):
        self._config = config
        self._prepared: dict[str, PreparedData] = {}

    def make(self, wanted: RecordedRun, *, alone: bool = False) -> _Job | Repetition:
        """Return the job of a run, or why there is none; for a single run, raise that error."""
        try:
            original = wanted.load()
            trial, prepared = self._prepare_again(original)
        except UserError as error:
            if alone:
                raise
            return Repetition(wanted.name, trouble=f"cannot be repeated: {error}")
        arithmetic = recorded(original.record.environment) or current()
        trouble = obstacle(arithmetic) if arithmetic != current() else ""
        if trouble:
            trouble = f"the record was made with {arithmetic}, {trouble}"
        return _Job(original, trial, prepared, current() if trouble else arithmetic, trouble)

    def _prepare_again(self, original: Original) -> tuple[TrialConfig | ConfigError, PreparedData]:
        """Return the configuration and the arrays of a record.

        Raises
        ------
        RecordError
            The record's file or download must be allowed first, or its data have changed since.
        """
        config, record = self._config, original.record
        trial, data = _configuration(original)
        check_permission(original.name, data, foreign=original.foreign, allow_path=config.allow_path)
        key = json.dumps([record.config.get("data"), record.data.get("digest")], sort_keys=True, default=str)
        if key not in self._prepared:
            self._prepared[key] = _arrays(data, record, Path(config.tracking.store))
        prepared = self._prepared[key]
        changed = what_changed(record.data, prepared.description)
        if changed and record.data.get("digest") and not config.changed_data:
            raise RecordError(
                f"The data of {original.name} have changed since it was recorded ({changed}); "
                "rerun it all the same with changed_data=true."
            )
        if isinstance(trial, TrialConfig):
            ensure(prepared, trial.data, trial.repeat_numbers)
        return trial, prepared


def _configuration(original: Original) -> tuple[TrialConfig | ConfigError, DataConfig]:
    """Return the configuration of a record, and its data; of a trial that failed because it is invalid, the error."""
    plain = original.record.config
    try:
        trial = parse(TrialConfig, plain)
    except ConfigError as error:
        if original.record.outcome != "failed":
            raise RecordError(f"The record of {original.name} does not fit this version: {error}") from None
        return error, TrialConfig().data
    check_sizes(trial, original.record)
    return trial, trial.data


def _arrays(data: DataConfig, record: TrialRecord, store: Path) -> PreparedData:
    """Prepare the data; if their source is missing, use arrays prepared earlier, if the store has them."""
    try:
        return prepare(data, store)
    except DataError:
        kept = find_arrays(record.data, store)
        if kept is None:
            raise
        return kept
