"""Which openings of a test set are counted: by their source, by the rows they showed, and what cannot be told."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from pipeline.data.recognition import HashedRows, Overlap
from pipeline.tracking import files
from pipeline.tracking.openings import ROWS, left_running, openings, take_number, whose, write_rows
from pipeline.tracking.recorder import Recorder

OURS = HashedRows(np.arange(2, dtype=np.uint64), np.arange(8, dtype=np.uint16).reshape(4, 2))


@dataclass
class Present:
    """Stands in for the present rows, of which an opening showed so many of 100."""

    shared: int = 100
    by_chance: float = 0.0
    compared: list[HashedRows] = field(default_factory=list)

    def overlap(self, rows: HashedRows) -> Overlap:
        self.compared.append(rows)
        return Overlap(self.shared, 100, self.by_chance)


def announce(recorder: Recorder, folder: Path, source: str = "theirs", rows: HashedRows | Any = OURS) -> str:
    """A run of kind final that opened a test set, with the rows that it showed."""
    tags = {"study": "s", "trial_name": "trial-0001", "source_digest": source, "test_opened": "true"}
    tags |= {"opened_at": "2026-01-02T03:04:05+00:00", "opened_from": whose(recorder.store)}
    run_id = recorder.open_run("final", "final", tags, {})
    if isinstance(rows, HashedRows):
        write_rows(folder / ROWS, rows)
    else:
        files.write_arrays(folder / ROWS, rows)
    recorder.write_file(run_id, folder / ROWS)
    return run_id


def opened(recorder: Recorder, folder: Path, *arguments: Any) -> str:
    """An opening that has come to its end."""
    run_id = announce(recorder, folder, *arguments)
    take_number(recorder.store, run_id)
    recorder.close(run_id, "FINISHED")
    return run_id


def test_an_opening_of_the_same_source_counts_without_a_look_at_its_rows(recorder: Recorder, tmp_path: Path) -> None:
    run_id = opened(recorder, tmp_path, "ours")
    present = Present()
    found = openings(recorder.store, "ours", lambda: present)  # type: ignore[arg-type, return-value]
    assert [opening.run_id for opening in found.counted] == [run_id]
    assert (found.doubtful, present.compared) == ([], [])
    assert found.sentence.startswith("The test set has been opened once: on 2026-01-02 03:04:05 UTC for s/tr")


@pytest.mark.parametrize(
    ("present", "counted", "doubtful"),
    [(Present(100), 1, 0), (Present(10), 1, 0), (Present(9), 0, 0), (Present(60, by_chance=59.0), 0, 1)],
)
def test_an_opening_of_another_source_counts_by_the_rows_that_it_showed(
    recorder: Recorder, tmp_path: Path, present: Present, counted: int, doubtful: int
) -> None:
    opened(recorder, tmp_path)
    found = openings(recorder.store, "ours", lambda: present)  # type: ignore[arg-type, return-value]
    assert (len(found.counted), len(found.doubtful)) == (counted, doubtful)
    (rows,) = present.compared
    assert np.array_equal(rows.columns, OURS.columns)
    assert np.array_equal(rows.cells, OURS.cells)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"columns": OURS.columns}, "does not hold hashed rows"),
        ({"columns": OURS.columns.astype(np.int64), "cells": OURS.cells}, "does not hold hashed rows"),
        ({"columns": OURS.columns, "cells": OURS.cells.astype(np.float64)}, "does not hold hashed rows"),
        ({"columns": OURS.columns, "cells": OURS.cells[:, :1]}, r"has (4, 1) cells for (2,) columns"),
        ({"columns": OURS.columns, "cells": OURS.cells[0]}, r"has (2,) cells for (2,) columns"),
    ],
)
def test_rows_that_cannot_be_compared_leave_a_doubt(
    recorder: Recorder, tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    opened(recorder, tmp_path, "theirs", arrays)
    found = openings(recorder.store, "ours", Present)  # type: ignore[arg-type]
    assert found.counted == []
    assert words in found.doubtful[0].doubt
    assert found.sentence.startswith("The test set is unopened as far as can be told; no trial can read it.")


@pytest.mark.parametrize(("kind", "downloads"), [("embedded", 0), ("server", 1)])
def test_rows_on_this_machine_are_read_in_place_and_those_of_a_server_are_downloaded(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, downloads: int
) -> None:
    opened(recorder, tmp_path)
    asked, download = [], MlflowClient.download_artifacts

    def counted(*arguments: Any) -> str:
        asked.append(arguments)
        return download(*arguments)

    monkeypatch.setattr(MlflowClient, "download_artifacts", counted)
    monkeypatch.setattr("pipeline.tracking.connection.check", lambda store: None)  # no server stands behind it
    found = openings(replace(recorder.store, kind=kind), "ours", Present)  # type: ignore[arg-type]
    assert (len(found.counted), len(asked)) == (1, downloads)


def test_without_the_present_rows_nothing_can_be_told_of_another_source(recorder: Recorder, tmp_path: Path) -> None:
    opened(recorder, tmp_path)
    (opening,) = openings(recorder.store, "ours").doubtful
    assert "the present rows are no longer prepared in this store" in opening.doubt


def test_openings_stand_in_the_order_of_their_numbers_and_one_without_has_yet_to_look(
    recorder: Recorder, tmp_path: Path
) -> None:
    first, second, third = (announce(recorder, tmp_path, "ours") for _ in range(3))
    assert (take_number(recorder.store, second), take_number(recorder.store, first)) == (1, 2)
    assert [opening.run_id for opening in openings(recorder.store, "ours").counted] == [second, first]
    looked = {unended.run_id: unended.may_have_looked for unended in left_running(recorder.store)}
    assert looked == {first: True, second: True, third: False}


def test_a_test_set_that_nobody_opened_is_said_to_be_unopened(recorder: Recorder) -> None:
    sentence = "The test set is unopened; no trial can read it."
    assert openings(recorder.store, "ours", Present).sentence == sentence  # type: ignore[arg-type]
