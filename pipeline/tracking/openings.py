"""The register of opened test sets: each opening is a run of kind `final` in the tracking store.

An opening concerns a data set if it had the same source, or if it showed rows that are held out now. All experiments
of the store and deleted runs are searched too, since deleting a run does not undo the opening.
"""

import hashlib
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.errors import RecordError, TrackingError, UserError
from pipeline.data.recognition import HashedRows, Overlap, PresentRows
from pipeline.tracking import files, untrusted
from pipeline.tracking.connection import connect, explain, quoted
from pipeline.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

REGISTER = "test-set-openings"
"""A registered model without files: the server numbers its versions, and the numbers order the openings."""
ROWS = "test_rows.npz"
NO_TEST_SET = "There is no test set: the data were split without one."
_NAMES = re.compile("columns|cells")
_MAX_BYTES = 2**30


@dataclass(frozen=True)
class Opening:
    """One opening of a test set.

    Attributes
    ----------
    order : the server's number; None for openings recorded before there were numbers.
    opened_at : by the clock of the machine that opened it, in ISO 8601, UTC.
    test_error : the result; None if the evaluation did not finish.
    overlap : how many of the rows held out now it showed; None if only the source was compared.
    trouble : why its rows cannot be compared; empty when they can.
    """

    run_id: str
    study: str
    trial: str
    opened_at: str
    data_digest: str
    test_error: float | None
    order: int | None = None
    overlap: Overlap | None = None
    trouble: str = ""

    @property
    def sentence(self) -> str:
        """When, for what, and what it showed."""
        when = self.opened_at.replace("T", " ").replace("+00:00", " UTC")
        seen = "" if self.test_error is None else f", which showed a test error of {self.test_error:.2%}"
        rows = (
            f", with {self.overlap.shared:,} of the {self.overlap.held_out:,} rows held out now" if self.overlap else ""
        )
        return f"on {when} for {self.study}/{self.trial} (run {self.run_id}){rows}{seen}"

    @property
    def doubt(self) -> str:
        """Why it cannot be told whether this opening showed rows that are held out now."""
        if self.overlap is None:
            return f"Whether the test set opened {self.sentence} had the same rows cannot be told: {self.trouble}"
        return (
            f"{self.overlap.shared:,} of the {self.overlap.held_out:,} rows held out now equal rows of the test set "
            f"opened on {self.opened_at[:10]} for {self.study}/{self.trial} (run {self.run_id}). That is not counted "
            f"as an opening: rows repeat so much that about {self.overlap.by_chance:,.0f} would by chance."
        )


@dataclass(frozen=True)
class Openings:
    """The openings that concern a data set, in order, and those for which that is unknown."""

    counted: list[Opening] = field(default_factory=list)
    doubtful: list[Opening] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """Whether the test set was opened, with which results, and which openings are doubtful."""
        doubts = " ".join(["", *(opening.doubt for opening in self.doubtful)])
        if not self.counted:
            known = " as far as can be told" if doubts else ""
            return f"The test set is unopened{known}; no trial can read it.{doubts}"
        times = "once" if len(self.counted) == 1 else f"{len(self.counted)} times"
        seen = "; ".join(opening.sentence for opening in self.counted)
        return f"The test set has been opened {times}: {seen}.{doubts}"


def openings(store: Store, source_digest: str, rows: Callable[[], PresentRows] | None = None) -> Openings:
    """Return every opening of a test set from this source, or with at least 10 % of the rows held out now.

    An announcement without a number does not count: it will find the present one before it reads any row.

    Parameters
    ----------
    rows : called for the present rows if there are others to compare with; without it only the source is compared,
        and every other opening is doubtful.
    """
    client = connect(store)
    try:
        order = _numbers(client)
        found = [(run, _opening(run, order)) for run in _finals(client, "tags.test_opened = 'true'")]
        found = [(run, opening) for run, opening in found if not _has_yet_to_be_numbered(run, opening)]
        counted = [opening for run, opening in found if run.data.tags.get("source_digest") == source_digest]
        others = [(run, o) for run, o in found if o not in counted and "opened_from" in run.data.tags]
        present = rows() if rows and others else None
        compared = [_compared(client, store, run, opening, present) for run, opening in others]
    except UserError:
        raise
    except Exception as error:
        raise explain(error, store) from error
    counted += [opening for opening in compared if opening.overlap and opening.overlap.is_certain]
    doubtful = [o for o in compared if o.trouble or (o.overlap and o.overlap.is_large and not o.overlap.is_certain)]
    return Openings(sorted(counted, key=_place), sorted(doubtful, key=_place))


def take_number(store: Store, run_id: str) -> int:
    """Register an announced opening and return its number, which the server assigns independently of clocks."""
    from mlflow.exceptions import MlflowException

    client = connect(store)
    about = "Not a model: its versions put the openings of test sets in order. Leave them as they are."
    try:
        with suppress(MlflowException):  # it exists already; any other failure recurs when the version is made
            client.create_registered_model(REGISTER, description=about)
        return int(client.create_model_version(REGISTER, f"runs:/{run_id}/{ROWS}", run_id).version)
    except Exception as error:
        raise explain(error, store) from error


def whose(store: Store) -> str:
    """Return a hash of this machine and folder: the tag `opened_from` of openings announced here."""
    return hashlib.sha256(f"{socket.gethostname()} {store.root}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Unended:
    """An opening whose run is still RUNNING; without a number it has read no row."""

    run_id: str
    source_digest: str
    may_have_looked: bool


def left_running(store: Store) -> list[Unended]:
    """Return the openings announced from this folder that have not ended, including those of earlier versions."""
    client = connect(store)
    try:
        order = _numbers(client)
        runs = [(run, _opening(run, order)) for run in _finals(client, "attributes.status = 'RUNNING'")]
    except Exception as error:
        raise explain(error, store) from error
    return [
        Unended(opening.run_id, run.data.tags.get("source_digest", ""), not _has_yet_to_be_numbered(run, opening))
        for run, opening in runs
        if store.kind == "embedded" or run.data.tags.get("opened_from") == whose(store)
    ]


def _place(opening: Opening) -> tuple[int, str]:
    return opening.order or 0, opening.opened_at


def _numbers(client: "MlflowClient") -> dict[str, int]:
    found, token = dict[str, int](), None
    while True:
        page = client.search_model_versions(f"name={quoted(REGISTER)}", page_token=token)
        found |= {str(version.run_id): int(version.version) for version in page}
        token = page.token
        if not token:
            return found


def _finals(client: "MlflowClient", condition: str) -> Iterator["Run"]:
    from mlflow.entities import ViewType

    experiments = None
    while True:
        page = client.search_experiments(view_type=ViewType.ALL, page_token=experiments)
        ids, token = [experiment.experiment_id for experiment in page], None
        while ids:
            runs = client.search_runs(
                ids, f"tags.kind = 'final' and {condition}", ViewType.ALL, max_results=1000, page_token=token
            )
            yield from runs
            token = runs.token
            if not token:
                break
        experiments = page.token
        if not experiments:
            return


def _opening(run: "Run", order: dict[str, int]) -> Opening:
    tags, run_id = run.data.tags, str(run.info.run_id)
    own = tags.get("opening_number", "")
    return Opening(
        run_id=run_id,
        study=tags.get("study", ""),
        trial=tags.get("trial_name", ""),
        opened_at=tags.get("opened_at", ""),
        data_digest=tags.get("data_digest", ""),
        test_error=run.data.metrics.get("test_error"),
        order=order.get(run_id, int(own) if own.isdecimal() else None),
    )


def _has_yet_to_be_numbered(run: "Run", opening: Opening) -> bool:
    return "opened_from" in run.data.tags and run.info.status == "RUNNING" and opening.order is None


def _compared(client: "MlflowClient", store: Store, run: "Run", opening: Opening, rows: PresentRows | None) -> Opening:
    """Return the opening with the overlap of its rows and the present ones."""
    if rows is None:
        return replace(opening, trouble="the present rows are no longer prepared in this store.")
    try:
        return replace(opening, overlap=rows.overlap(_opened_rows(client, store, run)))
    except (RecordError, TrackingError) as error:
        return replace(opening, trouble=str(error))


def _opened_rows(client: "MlflowClient", store: Store, run: "Run") -> HashedRows:
    run_id = str(run.info.run_id)
    with tempfile.TemporaryDirectory() as staging:
        path = store.root / "artifacts" / run_id / "artifacts" / ROWS
        if store.kind == "server" or not path.is_file():
            try:
                path = Path(client.download_artifacts(run_id, ROWS, staging))
            except Exception as error:
                raise explain(error, store) from error
        arrays = untrusted.read_arrays(path, _NAMES, _MAX_BYTES)
    columns, cells = arrays.get("columns"), arrays.get("cells")
    if columns is None or cells is None or columns.dtype != np.uint64 or cells.dtype != np.uint16:
        raise RecordError(f"{ROWS} of run {run_id} does not hold hashed rows.")
    if columns.ndim != 1 or cells.ndim != 2 or cells.shape[1] != len(columns):
        raise RecordError(f"{ROWS} of run {run_id} has {cells.shape} cells for {columns.shape} columns.")
    return HashedRows(columns, cells)


def write_rows(path: Path, rows: HashedRows) -> None:
    """Write the hashes of the rows that are about to be opened, for later comparisons."""
    files.write_arrays(path, {"columns": rows.columns, "cells": rows.cells})
