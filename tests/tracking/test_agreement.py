"""Whatever the store shows of a run is derived from its record; what was changed there is found and named."""

import hashlib
import json
import math
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.entities import Metric

from pipeline.config.errors import RecordError
from pipeline.tracking import facts
from pipeline.tracking.agreement import Page, disagreements, shown
from pipeline.tracking.archive import Archive
from pipeline.tracking.files import CHECKS_TEXT, RECORD
from pipeline.tracking.points import Span
from pipeline.tracking.recorder import Recorder
from pipeline.trials.environment import PACKAGE, code_digest
from pipeline.trials.record import TrialRecord

MakeRecord = Callable[..., TrialRecord]
STUDY = "digits-0123abcd"


@pytest.fixture
def run_id(recorder: Recorder, make_record: MakeRecord) -> str:
    """A trial that was shown while it was under way, with infinities and values that are no numbers."""
    parent = recorder.open_sweep(STUDY, {})
    record = make_record()
    record.curves["train_cost"][3:5] = np.inf, np.nan
    run_id = recorder.open_run("trial", "trial-0007", {"study": STUDY}, {}, parent, record.started_at)
    curves = {name: values[:4] for name, values in record.curves.items()}
    recorder.progress(run_id, curves, Span.of(curves, record.started_at, 0.5))
    recorder.write(record, kind="trial", name="trial-0007", parent=parent, tags={"study": STUDY, "trial": "0007"})
    recorder.annotate(run_id, {"note_of_mine": "nice", "rerun_verdict": "identical"})
    return run_id


def found(archive: Archive, run_id: str) -> list[str]:
    run = archive.find(run_id)
    return archive.disagreements(run, archive.load(run))


def a_page(record: TrialRecord, times: tuple[int, ...] = ()) -> tuple[Page, dict[str, Any]]:
    """The page that a store shows of a record, begun at 1,000 ms and ended at 2,000, and what was noted of it."""
    largest = sys.float_info.max
    points = {
        name: [
            (step, min(value, largest), times[step] if name == "dev_cost" and times else 1500)
            for step, value in of.items()
        ]
        for name, of in facts.points(record).items()
    }
    name, source = "trial-0007", {"mlflow.source.name": "pipeline trial", "mlflow.source.type": "LOCAL"}
    tags = facts.tags(record) | {"kind": "trial", "mlflow.runName": name, "mlflow.note.content": "text", **source}
    named = facts.dataset(record.data)
    page = Page(
        "0" * 32,
        name,
        "FINISHED",
        1000,
        2000,
        facts.params(record.config),
        tags,
        points,
        {},
        [] if named is None else [named],
    )
    return page, {"kind": "trial", "name": name, "shown": shown("text", 1000, 2000, {})}


def test_infinities_and_values_that_are_not_numbers_agree_with_what_a_database_holds_of_them(
    make_record: MakeRecord,
) -> None:
    record = make_record()
    record.curves["train_cost"][3:5] = np.inf, np.nan
    page, meta = a_page(record)
    assert disagreements(page, record, meta) == []
    page.points["train_cost"][4] = (4, 0.5, 1500)
    assert disagreements(page, record, meta) == [
        "the metric train_cost at step 4 is 0.5 in the tracking store, but nan in the record"
    ]
    page.points["train_cost"][4] = (4, math.nan, 1500)
    page.points["train_cost"][5] = (5, math.nan, 1500)
    assert disagreements(page, record, meta)[0].startswith("the metric train_cost at step 5 is nan in")


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ((1000, 1100, 1200, 1300, 1400, 1500, 2000), False),
        ((999, 1100, 1200, 1300, 1400, 1500, 2000), True),
        ((1000, 1100, 1200, 1300, 1400, 1500, 2001), True),
        ((1000, 1200, 1100, 1300, 1400, 1500, 2000), True),
    ],
)
def test_the_times_of_a_metric_lie_within_the_run_s_and_do_not_run_backwards(
    make_record: MakeRecord, times: tuple[int, ...], told: bool
) -> None:
    record = make_record()
    page, meta = a_page(record, times)
    sentence = "the times of the metric dev_cost in the tracking store run backwards or leave those of the run"
    assert disagreements(page, record, meta) == [sentence] * told


@pytest.mark.parametrize("status", ["RUNNING", "KILLED"])
def test_of_a_run_whose_writing_was_cut_off_one_sentence_says_so(make_record: MakeRecord, status: str) -> None:
    """After its files were written and before it was ended, so that all but the end is there."""
    record = make_record()
    page, meta = a_page(record)
    assert disagreements(replace(page, status=status, ended_ms=0), record, meta) == [
        f"its run is {status}: it was cut off while it was written, which its command would complete"
    ]


def test_facts_that_older_records_derived_differently_are_not_compared(make_record: MakeRecord) -> None:
    record = make_record()
    folds = replace(record, format=1, fit_curves=[record.curves] * 3)
    page, meta = a_page(folds)
    page.points["dev_cost"][2] = (2, 9.0, 1500)
    page.points["num_parameters"][0] = (0, 99.0, 1500)
    assert disagreements(page, folds, meta) == []
    for other in (replace(folds, fit_curves=[]), replace(folds, format=2)):
        assert "dev_cost at step 2 is 9.0" in "; ".join(disagreements(page, other, meta))


def test_what_is_missing_is_reported_as_missing(make_record: MakeRecord) -> None:
    record = make_record()
    page, meta = a_page(record)
    tags = {name: value for name, value in page.tags.items() if name != "diagnosis_verdict"}
    assert disagreements(replace(page, tags=tags), record, meta) == [
        "the tag diagnosis_verdict is missing in the tracking store, but high variance in the record"
    ]
    params = {**page.params, "odd": "1"}
    assert disagreements(replace(page, params=params), record, meta) == [
        "the param odd is 1 in the tracking store, but missing in the record"
    ]
    assert meta["shown"]["description_sha256"] == hashlib.sha256(b"text").hexdigest()


def test_what_was_written_agrees_with_its_record(archive: Archive, run_id: str) -> None:
    assert found(archive, run_id) == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE params SET value = '9.0' WHERE key = 'regularization.lambd'", "the param regularization.lambd is 9.0"),
        ("DELETE FROM params WHERE key = 'regularization.lambd'", "the param regularization.lambd is missing"),
        ("UPDATE metrics SET value = 0.001 WHERE key = 'best_dev_cost'", "best_dev_cost at step 0 is 0.001 in"),
        ("UPDATE metrics SET value = 0.001 WHERE key = 'dev_cost' AND step = 2", "dev_cost at step 2 is 0.001 in"),
        ("UPDATE metrics SET value = 0.001 WHERE key = 'train_cost' AND step = 3", "but inf in the record"),
        ("DELETE FROM metrics WHERE key = 'dev_error' AND step = 6", "dev_error at step 6 is missing in"),
        ("UPDATE metrics SET key = 'accuracy' WHERE key = 'best_epoch'", "accuracy at step 0 is 4.0 in the"),
        ("UPDATE metrics SET timestamp = 1 WHERE key = 'dev_cost' AND step = 2", "times of the metric dev_cost"),
        ("UPDATE tags SET value = 'good' WHERE key = 'gradcheck_trained'", "the tag gradcheck_trained is good in"),
        ("UPDATE tags SET value = 'low' WHERE key = 'diagnosis_verdict'", "the tag diagnosis_verdict is low in"),
        ("UPDATE tags SET value = 'All is well.' WHERE key = 'mlflow.note.content'", "the description in the tracking"),
        ("UPDATE tags SET value = 'trial-0001' WHERE key = 'mlflow.runName'", "the tag mlflow.runName is trial-0001"),
        ("UPDATE runs SET status = 'FAILED' WHERE name = 'trial-0007'", "the status is FAILED in"),
        ("UPDATE runs SET end_time = end_time + 1000 WHERE name = 'trial-0007'", "the time at which it ended"),
        ("UPDATE runs SET start_time = 5 WHERE name = 'trial-0007'", "the time at which it started"),
        ("UPDATE runs SET name = 'trial-0001' WHERE name = 'trial-0007'", "the name is trial-0001 in"),
        (
            "UPDATE latest_metrics SET value = 0.001 WHERE key = 'best_dev_error'",
            "best_dev_error is 0.001 in the run list",
        ),
        ("UPDATE tags SET value = '0001' WHERE key = 'trial'", "the tag trial is 0001 in"),
        ("UPDATE tags SET value = 'other' WHERE key = 'study' AND value != ''", "the tag study is other in"),
        ("UPDATE tags SET value = 'me' WHERE key = 'mlflow.source.name'", "the tag mlflow.source.name is me in"),
        ("DELETE FROM tags WHERE key = 'mlflow.parentRunId'", "the tag mlflow.parentRunId is missing in"),
        ("UPDATE datasets SET name = 'mnist'", "the name of the data set is mnist in"),
        ("UPDATE datasets SET dataset_profile = '{}'", "the profile of the data set is {} in"),
        ("DELETE FROM inputs", "the digest of the data set is missing in"),
    ],
)
def test_what_was_changed_in_the_store_is_found_and_named(
    archive: Archive, run_id: str, root: Path, statement: str, told: str
) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        assert connection.execute(statement).rowcount >= 1
        if statement.startswith("UPDATE metrics") and "step = 0" not in statement:
            connection.execute(statement.replace("metrics", "latest_metrics", 1))
    sentences = found(archive, run_id)
    assert told in "; ".join(sentences)
    assert len(sentences) <= 4


def test_a_point_that_was_added_is_found(archive: Archive, run_id: str) -> None:
    archive._client.log_batch(run_id, [Metric("dev_cost", 0.0, 1_700_000_002_000, 6)])
    assert found(archive, run_id)[0].startswith("the metric dev_cost")


@pytest.mark.parametrize(("name", "told"), [("trial-0001", "but 0.5"), ("trial-0000", "but 0.2")])
def test_the_best_is_not_chosen_by_values_that_were_changed(
    recorder: Recorder, archive: Archive, make_record: MakeRecord, name: str, told: str
) -> None:
    parent = recorder.open_sweep(STUDY, {})
    runs = {}
    for trial, cost in {"trial-0000": 0.2, "trial-0001": 0.5}.items():
        record = make_record(summary={"best_dev_cost": cost})
        runs[trial] = recorder.write(record, kind="trial", name=trial, parent=parent, tags={"study": STUDY})
    assert archive.best(STUDY).name == "trial-0000"
    archive._client.log_metric(runs[name], "best_dev_cost", 0.1 if name == "trial-0001" else 0.9, step=1)
    with pytest.raises(RecordError, match=f"best_dev_cost of {STUDY}/{name} is .* in the tracking store, {told}"):
        archive.best(STUDY)


def test_the_best_is_refused_if_its_params_were_changed(archive: Archive, run_id: str, root: Path) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE params SET value = '9.0' WHERE key = 'regularization.lambd'")
    with pytest.raises(RecordError, match=r"trial-0007 has been changed .*: the param regularization.lambd is 9\.0"):
        archive.best(STUDY)


def test_a_tag_that_a_later_version_derives_is_not_missed_in_what_an_earlier_one_wrote(make_record: MakeRecord) -> None:
    record = make_record()
    page, meta = a_page(record)
    meta["shown"] = shown("text", 1000, 2000, {}, [name for name in page.tags if name != "seed"])
    without = {name: value for name, value in page.tags.items() if name != "seed"}
    assert disagreements(replace(page, tags=without), record, meta) == []
    meta["shown"] = shown("text", 1000, 2000, {}, page.tags)
    assert "the tag seed is missing" in "; ".join(disagreements(replace(page, tags=without), record, meta))


def test_words_that_this_code_would_not_write_are_found_though_their_digests_were_changed_too(
    recorder: Recorder, archive: Archive, make_record: MakeRecord, root: Path
) -> None:
    parent = recorder.open_sweep(STUDY, {})
    record = make_record()
    record.environment["code"] = {"digest": code_digest(PACKAGE)}
    run_id = recorder.write(record, kind="trial", name="trial-0001", parent=parent, tags={"study": STUDY})
    assert found(archive, run_id) == []
    folder = root / "artifacts" / run_id / "artifacts"
    meta = json.loads((folder / RECORD).read_text())
    (folder / CHECKS_TEXT).write_text("All gradients are right.\n")
    meta["files_sha256"][CHECKS_TEXT] = hashlib.sha256(b"All gradients are right.\n").hexdigest()
    meta["shown"]["description_sha256"] = hashlib.sha256(b"All is well.").hexdigest()
    (folder / RECORD).write_text(json.dumps(meta))
    recorder.annotate(run_id, {"mlflow.note.content": "All is well."})
    assert found(archive, run_id) == [
        "the description in the tracking store is not what follows from the record",
        "gradcheck.txt is not what follows from gradcheck.json",
    ]
