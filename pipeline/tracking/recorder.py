"""Writes runs to MLflow; one process owns a `Recorder`, and it alone writes.

Every write may be repeated after a crash: what is there already is neither doubled nor lost, and a run that was cut off
is continued in place.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import TrackingError
from pipeline.tracking import facts, files, views
from pipeline.tracking.store import Store, connect, every_run, explain, local_path, quoted, resolve
from pipeline.trials.record import TrialRecord

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

P = ParamSpec("P")
T = TypeVar("T")

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"


class Recorder:
    """Synchronous, repeatable writes to one experiment, which is created when missing."""

    def __init__(self, tracking: TrackingConfig) -> None:
        self.store: Store = resolve(tracking)
        self._client: MlflowClient = connect(self.store)
        self._runs: dict[str, dict[str, tuple[str, str]]] = {}  # parent → name → (run id, status)
        self._written: dict[str, dict[str, set[int]]] = {}  # run id → metric → the steps that are stored
        self._begun: set[str] = set()  # runs that this recorder has created, so that nothing of them is stored unknown
        self._experiment_id, self._files = self._guarded(self._open_experiment, tracking.experiment)

    def _open_experiment(self, name: str) -> tuple[str, Path | None]:
        """The experiment's id, and the folder of its runs' files if that is on this machine."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            made = self._client.create_experiment(name, artifact_location=self.store.artifacts)
            found = self._client.get_experiment(made)
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        folder = local_path(found.artifact_location) if self.store.kind != "server" else None
        return str(found.experiment_id), folder

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment, for links into the UI."""
        return self._experiment_id

    def ping(self) -> None:
        """Ask the store for something small; raises if it cannot answer."""
        self._guarded(self._client.get_experiment, self._experiment_id)

    # --- sweeps ----------------------------------------------------------------------------------------------------

    def open_sweep(self, study: str, config: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> str:
        """The parent run of `study`: found by its tag and set back to running, or created."""
        return self._guarded(self._open_sweep, study, config, tags or {})

    def _open_sweep(self, study: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        found = self._search(f"tags.kind = 'sweep' and tags.study = {quoted(study)}")
        words = {"kind": "sweep", "study": study, "mlflow.source.name": "pipeline sweep", **tags}
        if found:
            run = found[-1]  # the newest come first
            if run.data.tags.get("study_id", tags.get("study_id")) != tags.get("study_id"):
                raise TrackingError(
                    f"the tracking store {self.store.shown} holds another sweep called {study}; "
                    "give this one another study.name."
                )
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = self._create(study, words, time.time())
        run_id = str(run.info.run_id)
        params = facts.params(config)
        there = {*run.data.params, *views.searched(params)}  # a searched value is the trials' own
        fresh = {key: value for key, value in params.items() if key not in there}
        self._log(run_id, params=fresh, tags=words if found else {})
        self.write_json(run_id, "sweep.json", config)
        self._runs[run_id] = self._load_children(run_id)
        return run_id

    def children(self, parent: str) -> dict[int, tuple[str, str]]:
        """(run id, status) of every trial of a sweep, by trial number."""
        known = self._guarded(self._children, parent)
        return {int(name.rsplit("-", 1)[1]): run for name, run in known.items() if name.startswith("trial-")}

    def _children(self, parent: str) -> dict[str, tuple[str, str]]:
        if parent not in self._runs:
            self._runs[parent] = self._load_children(parent)
        return self._runs[parent]

    def _load_children(self, parent: str) -> dict[str, tuple[str, str]]:
        runs = self._search(f"tags.`{PARENT}` = {quoted(parent)}")
        return {str(run.info.run_name): (str(run.info.run_id), str(run.info.status)) for run in runs}

    # --- runs ------------------------------------------------------------------------------------------------------

    def open_run(
        self,
        kind: str,
        name: str,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        parent: str | None = None,
    ) -> str:
        """A running run: the child `name` of `parent` if it exists, else a new one."""
        return self._guarded(self._open_with_params, kind, name, tags or {}, params or {}, parent)

    def _open_with_params(
        self, kind: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any], parent: str | None
    ) -> str:
        siblings = self._children(parent) if parent else {}
        run_id, _ = self._open_run(kind, name, tags, siblings, parent, time.time())
        self._log(run_id, params=facts.params(params))
        return run_id

    def _open_run(
        self,
        kind: str,
        name: str,
        tags: Mapping[str, str],
        siblings: dict[str, tuple[str, str]],
        parent: str | None,
        started_at: float,
    ) -> tuple[str, bool]:
        """The run's id, and whether it is new."""
        if name in siblings:
            run_id, status = siblings[name]
            if status != "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
        else:
            words = {"kind": kind, "mlflow.source.name": f"pipeline {kind}", "mlflow.source.type": "LOCAL", **tags}
            words |= {PARENT: parent} if parent else {}
            run_id, status = str(self._create(name, words, started_at).info.run_id), "NEW"
            self._begun.add(run_id)
        siblings[name] = (run_id, "RUNNING")
        return run_id, status == "NEW"

    def _create(self, name: str, tags: Mapping[str, str], started_at: float) -> "Run":
        words = {key: facts.tag(value) for key, value in tags.items()}
        return self._client.create_run(self._experiment_id, round(started_at * 1000), words, name)

    def progress(self, run_id: str, curves: Mapping[str, np.ndarray], already: int = 0) -> None:
        """Append the points of growing curves from step `already` on; those that are stored are left out."""
        points = {
            name: {step: value for step, value in steps.items() if step >= already}
            for name, steps in facts.curve_points(curves, norms=False).items()
        }
        self._guarded(self._write_now, run_id, points, {})

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
        """Write a finished record and return its run id; terminal status comes last, so a run that has it is whole.

        Parameters
        ----------
        name : the run's name; under a parent it identifies the run, and writing it again changes nothing.
        key : for a run without parent, what tells it from others if the write must be repeated.
        """
        words = {**(tags or {}), **({"record_key": key} if key else {})}
        return self._guarded(self._write, record, kind, name, parent, words)

    def _write(self, record: TrialRecord, kind: str, name: str, parent: str | None, tags: dict[str, str]) -> str:
        siblings = self._children(parent) if parent else self._with_key(name, tags.get("record_key"))
        if name in siblings and siblings[name][1] in ("FINISHED", "FAILED"):
            return siblings[name][0]
        known = f"{tags['study']}/{name}" if kind in ("trial", "baseline") and "study" in tags else ""
        tags |= facts.tags(record) | ({NOTE: facts.description(record, kind, name, known)} if known else {})
        run_id, new = self._open_run(kind, name, tags, siblings, parent, record.started_at)
        points = facts.curve_points(record.curves, norms=True)
        points |= {metric: {0: value} for metric, value in facts.metrics(record).items()}
        missing = self._missing(run_id, points, _clock(record))
        note = {} if known else {NOTE: facts.description(record, kind, name, run_id)}
        self._log(run_id, missing, facts.params(record.config), note if new else tags | note)
        self._write_files(run_id, record, kind, name)
        self._write_data(run_id, record.data)
        status = facts.TERMINAL.get(record.outcome, "FINISHED")
        self._client.set_terminated(run_id, status, round((record.started_at + record.duration_s) * 1000))
        siblings[name] = (run_id, status)
        self._forget(run_id)
        return run_id

    def _with_key(self, name: str, key: str | None) -> dict[str, tuple[str, str]]:
        runs = self._search(f"tags.record_key = {quoted(key)}") if key else []
        return dict.fromkeys([name], (str(runs[0].info.run_id), str(runs[0].info.status))) if runs else {}

    def close(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run with `status` FINISHED, FAILED or KILLED."""
        self._guarded(self._client.set_terminated, run_id, status)

    def end_cut_off(self, parent: str) -> None:
        """Mark every child of a sweep that is still running as KILLED; writing its record later continues it."""
        for name, (run_id, status) in list(self._guarded(self._children, parent).items()):
            if status == "RUNNING":
                self.close(run_id, "KILLED")
                self._runs[parent][name] = (run_id, "KILLED")

    def annotate(
        self,
        run_id: str,
        tags: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
    ) -> None:
        """Set tags, and metrics at `step`, of a run that exists."""
        points = {name: {step: value} for name, value in (metrics or {}).items()}
        self._guarded(self._write_now, run_id, points, tags or {})

    def write_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Keep a local file, a picture or a report, with a run."""
        self._guarded(self._client.log_artifact, run_id, str(path), folder)

    def save_view(self, key: str, value: str) -> None:
        """Offer a view of the run list in the UI; `pipeline.tracking.views` makes the value."""
        self._guarded(self._client.set_experiment_tag, self._experiment_id, f"{views.TAG}{key}", value)

    # --- the writes themselves -------------------------------------------------------------------------------------

    def _write_now(self, run_id: str, points: Mapping[str, Mapping[int, float]], tags: Mapping[str, Any]) -> None:
        now = round(time.time() * 1000)
        self._log(run_id, self._missing(run_id, points, lambda _: now), {}, tags)

    def _missing(
        self, run_id: str, points: Mapping[str, Mapping[int, float]], clock: Callable[[int], int]
    ) -> list["Metric"]:
        """The points that the run does not have yet; `clock` gives the time of a step in ms."""
        from mlflow.entities import Metric

        stored = self._stored_steps(run_id, points)
        return [
            Metric(name, value, clock(step), step)
            for name, steps in points.items()
            for step, value in steps.items()
            if step not in stored[name]
        ]

    def _stored_steps(self, run_id: str, names: Iterable[str]) -> dict[str, set[int]]:
        """The steps of each metric that are stored; of a run that was not begun here, the store is asked once."""
        known = self._written.setdefault(run_id, {})
        unknown = [name for name in names if name not in known]
        there = self._client.get_run(run_id).data.metrics if unknown and run_id not in self._begun else {}
        for name in unknown:
            history = self._client.get_metric_history(run_id, name) if name in there else []
            known[name] = {point.step for point in history}
        return known

    def _log(
        self,
        run_id: str,
        metrics: Sequence["Metric"] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Send everything in as few requests as the limits allow; the client cuts it at 1,000."""
        from mlflow.entities import Param, RunTag

        pairs = [Param(key, value) for key, value in (params or {}).items()]
        words = [RunTag(key, facts.tag(value)) for key, value in (tags or {}).items()]
        self._client.log_batch(run_id, metrics, pairs, words)
        for metric in metrics:  # `_missing` has made an entry for each
            self._written[run_id][metric.key].add(metric.step)

    def _write_files(self, run_id: str, record: TrialRecord, kind: str, name: str) -> None:
        with self._folder(run_id) as folder:
            files.write_folder(record, folder, kind=kind, name=name)

    def write_json(self, run_id: str, name: str, value: Any) -> None:
        """Keep plain values as a JSON file with a run."""
        self._guarded(self._write_text, run_id, name, json.dumps(files.masked(value), indent=1, ensure_ascii=False))

    def _write_text(self, run_id: str, name: str, text: str) -> None:
        with self._folder(run_id) as folder:
            folder.mkdir(parents=True, exist_ok=True)
            files.write_bytes(folder / name, text.encode())

    @contextmanager
    def _folder(self, run_id: str) -> Iterator[Path]:
        """Where to write a run's files: its own folder if that is local, else one that is uploaded at the end."""
        if self._files is not None:
            yield self._files / run_id / "artifacts"
            return
        with tempfile.TemporaryDirectory() as staging:
            yield Path(staging)
            self._client.log_artifacts(run_id, staging)

    def _write_data(self, run_id: str, data: Mapping[str, Any]) -> None:
        """Name the data set as an input of the run, by our own digest of its exact arrays."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if not data.get("digest"):
            return
        profile = json.dumps(files.masked({key: value for key, value in data.items() if key != "digest"}))
        dataset = Dataset(
            name=str(data.get("name") or "data"),
            digest=str(data["digest"])[:36],
            source_type="local",
            source=json.dumps({"source_digest": data.get("source_digest")}),
            profile=profile[:60_000],
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def _search(self, condition: str) -> list["Run"]:
        return every_run(self._client, self._experiment_id, condition)

    def _forget(self, *run_ids: str) -> None:
        for run_id in run_ids:
            self._written.pop(run_id, None)
            self._begun.discard(run_id)

    def _guarded(self, write: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call `write`; if it fails, forget what is known of the store, since the write may have arrived or not."""
        try:
            return write(*arguments, **named)
        except Exception as error:
            self._runs.clear()
            self._forget(*self._written, *self._begun)
            raise explain(error, self.store) from error


def _clock(record: TrialRecord) -> Callable[[int], int]:
    """The time of a step in ms: the epochs spread evenly over the run, and the same if the write is repeated."""
    last = max(record.stop_epoch, 1)
    return lambda step: round((record.started_at + record.duration_s * min(step / last, 1.0)) * 1000)
