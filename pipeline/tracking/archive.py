"""Reads runs back from the tracking store alone, and trusts none of what it reads."""

import itertools
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pipeline.config.addresses import mask
from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import RecordError, TrackingError
from pipeline.config.text import printable
from pipeline.tracking import facts, files, reading
from pipeline.tracking.agreement import Page, disagreements
from pipeline.tracking.places import MOVED_AT, UPLOADED
from pipeline.tracking.store import (
    BY_NAME,
    NEWEST_FIRST,
    Store,
    as_folder,
    connect_to_runs,
    every_run,
    explain,
    pages,
    quoted,
    resolve,
)
from pipeline.trials.record import TrialRecord

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

P = ParamSpec("P")
T = TypeVar("T")

PARENT = "mlflow.parentRunId"
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_HANDLE = re.compile(r"(?P<study>[^']+)/(?P<name>[A-Za-z][A-Za-z0-9_-]*)")
_ALIAS = re.compile(r"models:/[^/']+@[^/']+")
CONCLUSION = "conclusion.json"
"""File of a sweep's run that holds its recommendation."""

MEASURES = ("dev_cost", "dev_error", "balanced_error")


@dataclass(frozen=True)
class Found:
    """What the store says of a run without opening its files."""

    run_id: str
    name: str
    kind: str
    study: str
    status: str
    outcome: str
    started_at: float
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifact_uri: str

    @property
    def handle(self) -> str:
        """The name a person can type: `<study>/trial-0007`, or the id where there is no study."""
        return facts.handle(self.kind, self.study, self.name, self.run_id)


def objective(parent: Found) -> str:
    """The measure by which the study chose: its objective, or of several the first that is a measure on dev."""
    text = parent.params.get("study.objective", "dev_cost")
    try:
        given = json.loads(text) if text.startswith("[") else [text]
    except ValueError:
        raise RecordError(
            f"study.objective of {parent.study} must be a name or a list of names, but is {text}."
        ) from None
    return next((name for name in given if name in MEASURES), "dev_cost")


class Archive:
    """Reading access to one experiment, which must exist."""

    def __init__(self, tracking: TrackingConfig) -> None:
        self.store: Store = resolve(tracking)
        self._client: MlflowClient = connect_to_runs(self.store)
        found = self._guarded(self._client.get_experiment_by_name, tracking.experiment)
        if found is None:
            raise TrackingError(f"The tracking store {self.store.shown} has no experiment named {tracking.experiment}.")
        self.experiment_id = str(found.experiment_id)
        self._moved_at = _milliseconds(found.tags.get(MOVED_AT))

    # --- agreement -----------------------------------------------------------------------------------------------

    def disagreements(self, run: Found, record: TrialRecord) -> list[str]:
        """Sentences on what the store shows of a run otherwise than its record says: params, metrics, tags, times."""
        page = Page.of(self._guarded(self._client.get_run, run.run_id), self._points(run))
        return disagreements(page, record, self._meta(run))

    def _points(self, run: Found) -> dict[str, list[tuple[int, float, int]]]:
        """Every stored point of every metric of a run."""
        return {
            name: [
                (point.step, point.value, point.timestamp)
                for point in self._guarded(self._client.get_metric_history, run.run_id, name)
            ]
            for name in run.metrics
        }

    def _meta(self, run: Found) -> dict[str, Any]:
        """The content of a run's `record.json`."""
        meta = self.read_json(run, files.RECORD)
        return meta if isinstance(meta, dict) else {}

    def _refuse_edited(self, runs: Sequence[Found], best: Found, metric: str) -> None:
        """Refuse to choose by values that are not those of the records; of uploaded files, the best run's alone."""
        for run in runs if self._is_local(best) else [best]:
            summary = self._meta(run).get("summary")
            recorded = summary.get(metric) if isinstance(summary, dict) else None
            if recorded != run.metrics.get(metric):
                raise RecordError(
                    f"{metric} of {run.handle} is {run.metrics.get(metric)} in the tracking store, but {recorded} in "
                    "its record: the store has been changed. Name a run by hand, or see all differences with "
                    f"make rerun RUN=all STUDY={run.study}."
                )
        for sentence in self.disagreements(best, self.load(best)):
            raise RecordError(f"{best.handle} has been changed in the tracking store: {sentence}.")

    def _is_local(self, run: Found) -> bool:
        return self._local_folder(run) is not None

    # --- finding ---------------------------------------------------------------------------------------------------

    def find(self, run: str, study: str | None = None) -> Found:
        """The run that a person means by `run`.

        Parameters
        ----------
        run : a run id, `<study>/trial-0007`, `trial-0007` of `study`, `best` of `study`, or `models:/<name>@<alias>`.
        study : the latest sweep's when not given.

        Raises
        ------
        RecordError
            There is no such run.
        """
        if run == "best":
            return self.best(study)
        if _RUN_ID.fullmatch(run):
            return self._by_id(run)
        if _ALIAS.fullmatch(run):
            return self._by_id(self._aliased(run))
        handle = run if "/" in run else f"{study or self.latest_study()}/{run}"
        if match := _HANDLE.fullmatch(handle):
            for found in self._search(f"tags.study = '{match['study']}' and attributes.run_name = '{match['name']}'"):
                return found
        raise RecordError(
            f"RUN must be a run id, <study>/trial-0007, best, or models:/<name>@<alias> of the store "
            f"{self.store.shown}, but is {run} (`make runs` lists them)."
        )

    def best(self, study: str | None = None) -> Found:
        """The run with repeat 0 of what the study recommends; without a recommendation its best completed trial."""
        name = study or self.latest_study()
        parent = self.parent(name)
        if "recommended" in parent.tags:
            return self._recommended(parent)
        metric = f"best_{objective(parent)}"
        ranked = [run for run in self.trials(name) if run.outcome in ("completed", "early_stopped")]
        ranked = [run for run in ranked if run.metrics.get(metric, float("nan")) == run.metrics.get(metric)]
        if not ranked:
            raise RecordError(f"The study {name} has no completed trial with a {metric} yet.")
        best = min(ranked, key=lambda run: (run.metrics[metric], run.name))
        self._refuse_edited(ranked, best, metric)
        return best

    def _recommended(self, parent: Found) -> Found:
        """The run that the sweep's conclusion names, if it still is what its record says."""
        named = self.read_json(parent, CONCLUSION).get("run")
        for run in self.children(parent.study):
            if run.name == named and run.status == "FINISHED":
                for sentence in self.disagreements(run, self.load(run)):
                    raise RecordError(f"{run.handle} has been changed in the tracking store: {sentence}.")
                return run
        raise RecordError(f"The study {parent.study} recommends {named}, which is not in the tracking store.")

    def studies(self) -> list[Found]:
        """The parent runs of all sweeps, the newest first."""
        return self._search("tags.kind = 'sweep'")

    def latest_study(self) -> str:
        """The name of the sweep that was started last."""
        for run in self.studies():
            return run.study
        raise RecordError(f"The store {self.store.shown} holds no sweep yet; `make sweep` makes one.")

    def parent(self, study: str) -> Found:
        """The parent run of a study."""
        if found := self._search(f"tags.kind = 'sweep' and tags.study = {quoted(study)}"):
            return found[-1]  # the oldest, as the recorder takes
        known = ", ".join(run.study for run in self.studies()[:10]) or "none"
        raise RecordError(f"STUDY must be one of those in the store ({known}), but is {study}.")

    def children(self, study: str, kind: str | None = None) -> list[Found]:
        """The runs of a study of a kind, or its trials, baseline and confirmations, by name."""
        condition = f"tags.`{PARENT}` = {quoted(self.parent(study).run_id)}"
        condition += f" and tags.kind = {quoted(kind)}" if kind else ""
        return sorted(self._search(condition), key=lambda run: run.name)

    def trials(self, study: str) -> list[Found]:
        """The trials of a study in order."""
        return self.children(study, "trial")

    def below(self, run_id: str) -> list[Found]:
        """The children of a run of any kind, by name."""
        return sorted(self._search(f"tags.`{PARENT}` = {quoted(run_id)}"), key=lambda run: run.name)

    def runs(self, kind: str | None = None) -> list[Found]:
        """All runs of a kind, or of every kind, the newest first."""
        return self._search(f"tags.kind = {quoted(kind)}" if kind else "")

    def page(self, condition: str, size: int, number: int = 1, order: str = NEWEST_FIRST) -> tuple[list[Found], bool]:
        """One page of the runs that fit a condition, counted from 1, and whether there are more."""
        asked = pages(self._client, self.experiment_id, condition, size, order)
        found = self._guarded(lambda: next(itertools.islice(asked, number - 1, None), None))
        return ([], False) if found is None else ([_found(run) for run in found], bool(found.token))

    def page_of(self, parent: Found, size: int, number: int = 1) -> tuple[list[Found], bool]:
        """One page of the children of a run by name, counted from 1, and whether there are more."""
        return self.page(f"tags.`{PARENT}` = {quoted(parent.run_id)}", size, number, BY_NAME)

    def _by_id(self, run_id: str) -> Found:
        from mlflow.exceptions import MlflowException

        try:
            return _found(self._client.get_run(run_id))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise RecordError(f"The store {self.store.shown} has no run {run_id}.") from None
            raise explain(error, self.store) from error

    def _aliased(self, address: str) -> str:
        from mlflow.exceptions import MlflowException

        name, alias = address.removeprefix("models:/").split("@")
        try:
            run_id = self._client.get_model_version_by_alias(name, alias).run_id
        except MlflowException:
            raise RecordError(f"The store {self.store.shown} has no model {name} with the alias {alias}.") from None
        if not run_id or not _RUN_ID.fullmatch(run_id):
            raise RecordError(f"The model {address} names no run that it came from.")
        return str(run_id)

    def _search(self, condition: str) -> list[Found]:
        return [_found(run) for run in self._guarded(every_run, self._client, self.experiment_id, condition)]

    # --- reading ---------------------------------------------------------------------------------------------------

    def load(self, run: Found) -> TrialRecord:
        """The record of a run from its files in the store.

        Raises
        ------
        RecordError
            The run has no whole record, or one that cannot be trusted.
        """
        if run.kind == "sweep":
            raise RecordError(f"{run.run_id} is a whole sweep: name one of its trials, or RUN=all STUDY={run.study}.")
        if folder := self._local_folder(run):
            return reading.read_folder(folder)
        with tempfile.TemporaryDirectory() as staging:
            self._download(run, Path(staging), files.REQUIRED + files.OPTIONAL)
            return reading.read_folder(Path(staging))

    def read_json(self, run: Found, name: str) -> Any:
        """A JSON file of a run by its name, such as a sweep's `sweep.json`.

        Raises
        ------
        RecordError
            The run has no such file, or one that is too large or no JSON.
        """
        if folder := self._local_folder(run):
            return reading.read_json(folder / name)
        with tempfile.TemporaryDirectory() as staging:
            self._download(run, Path(staging), (name,))
            return reading.read_json(Path(staging) / name)

    def is_foreign(self, run: Found) -> bool:
        """Whether a run was not recorded in this very place: on a server, or in a store that was moved here since."""
        path, base = as_folder(run.artifact_uri), as_folder(self.store.artifacts or "")
        if self.store.kind == "server" or path is None or base is None:
            return True
        if 1000 * run.started_at < self._moved_at:
            return True
        return not path.resolve().is_relative_to(base.resolve())

    def _local_folder(self, run: Found) -> Path | None:
        """The run's folder where the store is on this machine, also if `mlruns/` has been moved since."""
        path = as_folder(run.artifact_uri)
        if path is None:
            if run.artifact_uri.startswith(UPLOADED) and self.store.kind == "server":
                return None
            if self.store.artifacts and run.artifact_uri.startswith(self.store.artifacts.rstrip("/") + "/"):
                return None
            raise RecordError(
                f"Run {run.run_id} keeps its files at {mask(run.artifact_uri)}, which is outside the store; "
                f"to trust that place, set tracking.artifacts to it."
            )
        base = as_folder(self.store.artifacts or "") if self.store.artifacts else None
        if base is None or not path.resolve().is_relative_to(base.resolve()):
            path = (base or self.store.root / "artifacts") / run.run_id / "artifacts"
        if not path.is_dir():
            raise RecordError(f"Run {run.run_id} has no files in {path.parent}.")
        return path

    def _download(self, run: Found, staging: Path, names: Sequence[str]) -> None:
        """Fetch files of a run by their known names, each after a look at its size."""
        listed = {item.path: item for item in self._guarded(self._client.list_artifacts, run.run_id)}
        for name in names:
            item = listed.get(name)
            if item is None:
                continue
            limit = reading.MAX_ARRAY_BYTES if name.endswith(".npz") else reading.MAX_TEXT_BYTES
            if item.is_dir or item.file_size is None or not 0 <= item.file_size <= limit:
                raise RecordError(f"{name} of run {run.run_id} must be a file of at most {limit:,} bytes.")
            place = Path(self._guarded(self._client.download_artifacts, run.run_id, name, str(staging)))
            if place.resolve() != (staging / name).resolve():
                raise RecordError(f"{name} of run {run.run_id} was sent to another place than it was asked for.")

    def _guarded(self, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        try:
            return read(*arguments, **named)
        except Exception as error:
            raise explain(error, self.store) from error


def _milliseconds(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _found(run: "Run") -> Found:
    """What the store says, made safe to print."""
    tags = _safe(run.data.tags)
    return Found(
        run_id=printable(str(run.info.run_id)),
        name=" ".join(printable(str(run.info.run_name)).split()),
        kind=tags.get("kind", ""),
        study=tags.get("study", ""),
        status=str(run.info.status),
        outcome=tags.get("outcome", ""),
        started_at=(run.info.start_time or 0) / 1000,
        params=_safe(run.data.params),
        metrics=dict(run.data.metrics),
        tags=tags,
        artifact_uri=str(run.info.artifact_uri or ""),
    )


def _safe(words: Mapping[str, str]) -> dict[str, str]:
    return {printable(key): printable(value) for key, value in words.items()}
