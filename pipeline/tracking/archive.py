"""Finds runs as people name them, and compares what the store shows of a run with its record."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.config.errors import RecordError
from pipeline.tracking import files, notes
from pipeline.tracking.agreement import Page, changes, disagreements
from pipeline.tracking.connection import BY_NAME, NEWEST_FIRST, PARENT, every_run, explain, pages, quoted
from pipeline.tracking.found import Found, found_of, objective
from pipeline.tracking.run_files import RunFiles
from pipeline.trials.record import ENDED, TrialRecord, no_result

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_HANDLE = re.compile(r"(?P<study>[^']+)/(?P<name>[A-Za-z][A-Za-z0-9_-]*)")
_ALIAS = re.compile(r"models:/[^/']+@[^/']+")
CONCLUSION = "conclusion.json"
"""File of a sweep's run that holds its recommendation."""


class Archive(RunFiles):
    """Finds the runs of one experiment, which must exist."""

    # --- agreement -----------------------------------------------------------------------------------------------

    def disagreements(self, run: Found, record: TrialRecord) -> list[str]:
        """Return a sentence for each difference between the store and a run's record: params, metrics, tags, times."""
        return disagreements(self._page(run), record, self._meta(run))

    def note(self, run: Found) -> notes.Note:
        """Return what was noted of a run without a record.

        Raises
        ------
        RecordError
            There is no note, or it is none.
        """
        return notes.read(self.read_json(run, notes.FILE))

    def changes(self, run: Found, note: notes.Note) -> list[str]:
        """Return a sentence for each difference between the note of a run and what the store shows, files included."""
        found = changes(self._page(run), note)
        return found if run.status == "RUNNING" else [*found, *self._changed_files(run, note)]

    def _changed_files(self, run: Found, note: notes.Note) -> Iterator[str]:
        for name, digest in note.files_sha256.items():
            try:
                content = self.read_file(run, name)
            except RecordError as error:
                yield str(error).rstrip(".")
            else:
                if files.sha256(content) != digest:
                    yield f"the file {name} is not the one that was written"

    def _page(self, run: Found) -> Page:
        return Page.of(self._guarded(self._client.get_run, run.run_id), self._points(run))

    def _points(self, run: Found) -> dict[str, list[tuple[int, float, int]]]:
        """Return every stored point of every metric of a run."""
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
        """Refuse to choose by values that differ from the records; for uploaded files, check only the best run's."""
        for run in runs if self.is_local(best) else [best]:
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

    # --- finding ---------------------------------------------------------------------------------------------------

    def find(self, run: str, study: str | None = None) -> Found:
        """Return the run that a user means by `run`.

        Parameters
        ----------
        run : a run id, `<study>/trial-0007`, `trial-0007` of `study`, `best` of `study`, or `models:/<name>@<alias>`.
        study : by default the latest sweep's.

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
        """Return repeat 0 of the recommended configuration; without a recommendation the best completed trial."""
        name = study or self.latest_study()
        parent = self.parent(name)
        if "recommended" in parent.tags:
            return self._recommended(parent)
        metric = f"best_{objective(parent)}"
        trials = self.trials(name)
        ranked = [run for run in trials if run.outcome in ENDED]
        if not ranked:
            raise RecordError(f"Study {name}: {no_result(run.outcome for run in trials)}")
        ranked = [run for run in ranked if run.metrics.get(metric, float("nan")) == run.metrics.get(metric)]
        if not ranked:
            raise RecordError(f"The study {name} has no completed trial with a {metric} yet.")
        best = min(ranked, key=lambda run: (run.metrics[metric], run.name))
        self._refuse_edited(ranked, best, metric)
        return best

    def _recommended(self, parent: Found) -> Found:
        """Return the run that the sweep's conclusion names, if it still agrees with its record."""
        named = self.read_json(parent, CONCLUSION).get("run")
        for run in self.children(parent.study):
            if run.name == named and run.status == "FINISHED":
                for sentence in self.disagreements(run, self.load(run)):
                    raise RecordError(f"{run.handle} has been changed in the tracking store: {sentence}.")
                return run
        raise RecordError(f"The study {parent.study} recommends {named}, which is not in the tracking store.")

    def studies(self) -> list[Found]:
        """Return the parent runs of all sweeps, newest first."""
        return self._search("tags.kind = 'sweep'")

    def latest_study(self) -> str:
        """Return the name of the sweep that was started last."""
        for run in self.studies():
            return run.study
        raise RecordError(f"The store {self.store.shown} holds no sweep yet; `make sweep` makes one.")

    def parent(self, study: str) -> Found:
        """Return the parent run of a study."""
        if found := self._search(f"tags.kind = 'sweep' and tags.study = {quoted(study)}"):
            return found[-1]  # the oldest, as in the recorder
        known = ", ".join(run.study for run in self.studies()[:10]) or "none"
        raise RecordError(f"STUDY must be one of those in the store ({known}), but is {study}.")

    def children(self, study: str, kind: str | None = None) -> list[Found]:
        """Return a study's runs of one kind, or its trials, baseline and confirmations, by name."""
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
        """Return one page (counted from 1) of the runs that satisfy a condition, and whether there are more."""
        asked = pages(self._client, self.experiment_id, condition, size, order)
        found = self._guarded(lambda: next(itertools.islice(asked, number - 1, None), None))
        return ([], False) if found is None else ([found_of(run) for run in found], bool(found.token))

    def page_of(self, parent: Found, size: int, number: int = 1) -> tuple[list[Found], bool]:
        """Return one page (counted from 1) of a run's children by name, and whether there are more."""
        condition = f"tags.`{PARENT}` = {quoted(parent.run_id)} AND tags.kind != 'confirm'"
        return self.page(condition, size, number, BY_NAME)

    def _by_id(self, run_id: str) -> Found:
        from mlflow.exceptions import MlflowException

        try:
            return found_of(self._client.get_run(run_id))
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
        return self._guarded(lambda: list(map(found_of, every_run(self._client, self.experiment_id, condition))))
