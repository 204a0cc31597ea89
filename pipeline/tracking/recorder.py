"""Writes runs to MLflow; only one process has a `Recorder` at a time.

Every write may be repeated after a crash: nothing is stored twice or lost, and an interrupted run is continued in
place.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import TrackingError
from pipeline.tracking import facts, files, views
from pipeline.tracking.agreement import SHOWN, shown
from pipeline.tracking.connection import OLDEST_FIRST, PARENT, Connected, P, T, every_run, pages, quoted
from pipeline.tracking.notes import NOTE, Notes
from pipeline.tracking.places import files_folder
from pipeline.tracking.points import Curves, Points, Span
from pipeline.tracking.run_folders import RunFolders
from pipeline.trials.record import TrialRecord

if TYPE_CHECKING:
    from mlflow.entities import Run

ENDED = ("FINISHED", "FAILED")
"""Status of a run whose record is stored completely; a KILLED run was interrupted."""


@dataclass
class Child:
    """What this process knows of a run; `started_ms` is in ms since 1970-01-01 UTC."""

    run_id: str
    status: str
    started_ms: int


class Recorder(Connected):
    """Synchronous, repeatable writes to one experiment, which is created when missing."""

    def __init__(self, tracking: TrackingConfig) -> None:
        super().__init__(tracking, to_write=True)
        self._runs: dict[str, dict[str, Child]] = {}  # the known ones, by parent and name
        self._new: set[str] = set()  # sweeps all of whose runs are known here
        self._points = Points(self._client)
        self._experiment_id, local = self._guarded(self._open_experiment, tracking.experiment)
        self._folders = RunFolders(self._client, local)
        self._notes = Notes(self._client, self._folders)

    def _open_experiment(self, name: str) -> tuple[str, Path | None]:
        """Return the experiment's id, and the folder of its runs' files if it is on this machine."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            made = self._client.create_experiment(name, artifact_location=self.store.artifacts)
            found = self._client.get_experiment(made)
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id), files_folder(self._client, self.store, found)

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment, for links into the UI."""
        return self._experiment_id

    def ping(self) -> None:
        """Make a small request; raise if the store does not answer."""
        self._guarded(self._client.get_experiment, self._experiment_id)

    # --- sweeps ----------------------------------------------------------------------------------------------------

    def open_sweep(
        self, study: str, config: Mapping[str, Any], tags: Mapping[str, str] | None = None, *, tracked: int = 0
    ) -> str:
        """Find the parent run of `study` by its tag and set it to running, or create it; return its id.

        Parameters
        ----------
        tracked : how many trials of the study were tracked before; if any, the run must exist.
        """
        return self._guarded(self._open_sweep, study, config, tags or {}, tracked)

    def _open_sweep(self, study: str, config: Mapping[str, Any], tags: Mapping[str, str], tracked: int) -> str:
        words = {"kind": "sweep", "study": study, "mlflow.source.name": "pipeline sweep", **tags}
        run = self._find_sweep(study, tags.get("study_id"))
        if run is not None:
            self._client.update_run(run.info.run_id, status="RUNNING")
        elif tracked:
            raise TrackingError(
                f"The study {study} has {tracked} finished trials, but the tracking store {self.store.shown} has no "
                "run of it: restore the store (mlflow.db) or the tracking.* settings that it was swept with, or begin "
                "anew with study.fresh=true."
            )
        else:
            run = self._create(study, words, time.time())
            self._new.add(str(run.info.run_id))
        run_id = str(run.info.run_id)
        params = facts.params(config)
        there = {*run.data.params, *views.searched(params)}  # searched values are params of the trials
        new = {key: value for key, value in params.items() if key not in there}
        self._notes.open(run_id, words, new)
        self._log(run_id, params=new, tags=words)
        self.write_json(run_id, "sweep.json", config)
        return run_id

    def _find_sweep(self, study: str, study_id: str | None) -> "Run | None":
        """Return the oldest run of a sweep of this name, if there is one; refuse another study's."""
        found = self._search(f"tags.kind = 'sweep' and tags.study = {quoted(study)}")
        if found and found[-1].data.tags.get("study_id", study_id) != study_id:
            raise TrackingError(
                f"the tracking store {self.store.shown} holds another sweep called {study}; "
                "give this one another study.name."
            )
        return found[-1] if found else None

    def child(self, parent: str, name: str) -> str | None:
        """Return the id of the child `name` of a run; None if there is none."""
        run = self._guarded(self._child, parent, name)
        return run.run_id if run else None

    def _child(self, parent: str, name: str) -> Child | None:
        """Return a child, looking it up in the store if unknown; of two with one name, the older."""
        known = self._runs.setdefault(parent, {})
        if name not in known and parent not in self._new:
            condition = f"tags.`{PARENT}` = {quoted(parent)} and attributes.run_name = {quoted(name)}"
            found = next(pages(self._client, self._experiment_id, condition, 1, OLDEST_FIRST))
            if found:
                known[name] = _child(found[0])
        return known.get(name)

    # --- runs ------------------------------------------------------------------------------------------------------

    def open_run(
        self,
        kind: str,
        name: str,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        parent: str | None = None,
        started_at: float | None = None,
        *,
        noted: bool = False,
    ) -> str:
        """Set the child `name` of `parent` to running, or create a run, by default started now; return its id.

        Parameters
        ----------
        noted : whether the run keeps a note of what is written to it, because it will have no record.
        """
        started_at = started_at or time.time()
        return self._guarded(self._open, kind, name, tags or {}, params or {}, parent, started_at, noted)

    def _open(
        self,
        kind: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        parent: str | None,
        started_at: float,
        noted: bool,
    ) -> str:
        run = self._open_run(kind, name, tags, self._child(parent, name) if parent else None, parent, started_at)
        flat = facts.params(params)
        if noted:
            self._notes.open(run.run_id, {"kind": kind, "mlflow.source.name": f"pipeline {kind}", **tags}, flat)
        self._log(run.run_id, params=flat)
        return run.run_id

    def _open_run(
        self, kind: str, name: str, tags: Mapping[str, str], run: Child | None, parent: str | None, started_at: float
    ) -> Child:
        """Set the run to running, or create one called `name` if there is none."""
        if run is None:
            words = {"kind": kind, "mlflow.source.name": f"pipeline {kind}", "mlflow.source.type": "LOCAL", **tags}
            info = self._create(name, words | ({PARENT: parent} if parent else {}), started_at).info
            run = Child(str(info.run_id), "RUNNING", int(info.start_time))
            self._points.begin(run.run_id)
            if parent:
                self._runs.setdefault(parent, {})[name] = run
        elif run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
        return run

    def _create(self, name: str, tags: Mapping[str, str], started_at: float) -> "Run":
        words = {key: facts.tag(value) for key, value in tags.items()}
        return self._client.create_run(self._experiment_id, round(started_at * 1000), words, name)

    def progress(self, run_id: str, curves: Mapping[str, np.ndarray], span: Span, already: int = 0) -> None:
        """Append the points of growing curves from step `already` on, except stored ones."""
        points = {
            name: {step: value for step, value in steps.items() if step >= already}
            for name, steps in facts.curve_points(curves, norms=False).items()
        }
        self._guarded(self._write_points, run_id, points, span, {})

    def write(
        self,
        record: TrialRecord,
        *,
        kind: str,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> str:
        """Write a finished record and return its run id; the status is set last, so an ended run is complete.

        Parameters
        ----------
        name : the run's name; under a parent it identifies the run, and writing it again changes nothing.
        key : identifies a run without parent, in case the write must be repeated.
        """
        words = {**(tags or {}), **({"record_key": key} if key else {})}
        return self._guarded(self._write, record, kind, name, parent, words)

    def _write(self, record: TrialRecord, kind: str, name: str, parent: str | None, tags: dict[str, str]) -> str:
        there = self._child(parent, name) if parent else self._with_key(tags.get("record_key"))
        if there and there.status in ENDED:
            return there.run_id
        run = self._open_run(kind, name, tags, there, parent, record.started_at)
        note = facts.description(record, kind, name, facts.handle(kind, tags.get("study", ""), name, run.run_id))
        words = tags | facts.tags(record) | {NOTE: note}
        ended_ms = self._write_values(run, record, words)
        belongs = tags | ({PARENT: parent} if parent else {})
        self._write_files(run.run_id, record, kind, name, shown(note, run.started_ms, ended_ms, belongs, words))
        self._write_data(run.run_id, record.data)
        self._end(run, facts.TERMINAL.get(record.outcome, "FINISHED"), ended_ms)
        return run.run_id

    def _write_values(self, run: Child, record: TrialRecord, tags: Mapping[str, str]) -> int:
        """Log metrics, params and tags that the run lacks; return when it ended, in ms, after its last point."""
        span = Span(record.started_at, record.started_at + record.duration_s, record.stop_epoch)
        metrics = self._points.missing(run.run_id, facts.points(record), span, run.started_ms)
        self._log(run.run_id, metrics, facts.params(record.config), tags)
        return max(round(1000 * span.ended), self._points.latest(run.run_id), run.started_ms)

    def _end(self, run: Child, status: str, ended_ms: int) -> None:
        run.status = status
        self._client.set_terminated(run.run_id, status, ended_ms)
        self._points.forget(run.run_id)

    def _with_key(self, key: str | None) -> Child | None:
        """Return the run that an earlier attempt wrote under this key, even if it was renamed."""
        runs = self._search(f"tags.record_key = {quoted(key)}") if key else []
        return _child(runs[0]) if runs else None

    def close(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run with `status` FINISHED, FAILED or KILLED."""
        ended_ms = round(1000 * time.time())
        self._guarded(self._notes.add, run_id, status=status, ended_ms=ended_ms)
        self._guarded(self._client.set_terminated, run_id, status, ended_ms)

    def end_cut_off(self, parent: str) -> None:
        """Mark every running child of a sweep as KILLED; writing its record later continues it."""
        running = f"tags.`{PARENT}` = {quoted(parent)} and attributes.status = 'RUNNING'"
        for run in self._guarded(self._search, running):
            self.close(str(run.info.run_id), "KILLED")
            self._runs.get(parent, {}).pop(str(run.info.run_name), None)

    def annotate(
        self,
        run_id: str,
        tags: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
    ) -> None:
        """Set tags, and metrics at `step`, of an existing run."""
        points = {name: {step: value} for name, value in (metrics or {}).items()}
        self._guarded(self._notes.add, run_id, tags=tags, points=points)
        now = time.time()
        self._guarded(self._write_points, run_id, points, Span(now, now, step), tags or {})

    def tag(self, run_id: str, name: str) -> str | None:
        """The value of a run's tag; None if it has none of this name."""
        found: str | None = self._guarded(self._client.get_run, run_id).data.tags.get(name)
        return found

    def write_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Store a copy of a local file, such as a picture, with a run."""
        self._guarded(self._notes.add, run_id, files={f"{folder}/{path.name}".lstrip("/"): path.read_bytes()})
        self._guarded(self._folders.copy, run_id, path, folder)

    def write_json(self, run_id: str, name: str, value: Any) -> None:
        """Store plain values as a JSON file with a run."""
        text = json.dumps(files.masked(value), indent=1, ensure_ascii=False)
        self._guarded(self._notes.add, run_id, files={name: text.encode()})
        self._guarded(self._folders.write_text, run_id, name, text)

    def save_view(self, key: str, value: str) -> None:
        """Save a view of the run list for the UI; `pipeline.tracking.views` makes the value."""
        self._guarded(self._client.set_experiment_tag, self._experiment_id, f"{views.TAG}{key}", value)

    # --- requests ------------------------------------------------------------------------------------------------

    def _write_points(self, run_id: str, points: Curves, span: Span, tags: Mapping[str, Any]) -> None:
        self._log(run_id, self._points.missing(run_id, points, span), {}, tags)

    def _log(
        self,
        run_id: str,
        metrics: list[Any] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Send metrics, params and tags in as few requests as the limits allow; the client splits at 1,000."""
        from mlflow.entities import Param, RunTag

        pairs = [Param(key, value) for key, value in (params or {}).items()]
        words = [RunTag(key, facts.tag(value)) for key, value in (tags or {}).items()]
        self._client.log_batch(run_id, metrics or [], pairs, words)
        self._points.add(run_id, metrics or [])

    def _write_files(self, run_id: str, record: TrialRecord, kind: str, name: str, page: Mapping[str, Any]) -> None:
        with self._folders.writing(run_id) as folder:
            files.write_folder(record, folder, kind=kind, name=name, more={SHOWN: page})

    def _write_data(self, run_id: str, data: Mapping[str, Any]) -> None:
        """Log the data set as an input of the run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if named := facts.dataset(data):
            tags = [InputTag("mlflow.data.context", "training")]
            self._client.log_inputs(run_id, [DatasetInput(Dataset(source_type="local", **named), tags)])

    def _search(self, condition: str) -> list["Run"]:
        return list(every_run(self._client, self._experiment_id, condition))

    def _guarded(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call MLflow; after a failure clear the caches, because the write may or may not have arrived."""
        try:
            return super()._guarded(call, *arguments, **named)
        except TrackingError:
            self._runs.clear()
            self._new.clear()
            self._points.forget()
            raise


def _child(run: "Run") -> Child:
    return Child(str(run.info.run_id), str(run.info.status), int(run.info.start_time))
