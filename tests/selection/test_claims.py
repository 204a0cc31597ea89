"""What the runs of `confirm` and `final` show follows from records; what was edited there is found and named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands import confirm, final
from pipeline.config.commands import ConfirmConfig, FinalConfig, TrackingConfig
from pipeline.config.validation import parse
from pipeline.selection.claims import claim_differences
from pipeline.selection.confirmation import CONFIRMATION
from pipeline.selection.evaluation import FINAL
from pipeline.tracking import notes
from pipeline.tracking.archive import Archive
from pipeline.tracking.files import sha256
from pipeline.tracking.found import Found
from tests.inline import inline

Edit = Callable[[Archive], None]


@pytest.fixture(scope="module")
def original(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was confirmed, and whose test set was opened."""
    store = tmp_path_factory.mktemp("claimed") / "mlruns"
    shutil.copytree(swept, store)
    plain: dict[str, Any] = {"study": "first", "tracking": {"store": str(store), "code_diff": False}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confirm, "open_executor", inline)
        assert confirm.confirm(parse(ConfirmConfig, plain | {"top": 2, "seeds": 2, "workers": {"count": 1}})) == 0
    assert final.final(parse(FinalConfig, plain | {"register": False})) == 0
    return store


@pytest.fixture
def archive(original: Path, tmp_path: Path) -> Archive:
    shutil.copytree(original, tmp_path / "mlruns")
    return Archive(TrackingConfig(store=str(tmp_path / "mlruns")))


def run_of(archive: Archive, kind: str) -> Found:
    [run] = archive.children("first", kind)
    return run


def path_of(archive: Archive, kind: str, name: str) -> Path:
    return archive.store.root / "artifacts" / run_of(archive, kind).run_id / "artifacts" / name


def in_file(kind: str, name: str, change: Callable[[dict[str, Any]], object], *, fitted: bool = True) -> Edit:
    """Change a JSON file, and make the digest in the note fit, as someone who wants to deceive would."""

    def edit(archive: Archive) -> None:
        path = path_of(archive, kind, name)
        plain = json.loads(path.read_text())
        change(plain)
        path.write_text(json.dumps(plain))
        if fitted and name != notes.FILE:
            digest = sha256(path.read_bytes())
            in_file(kind, notes.FILE, lambda note: note["files_sha256"].update({name: digest}))(archive)

    return edit


def test_an_untouched_study_agrees(archive: Archive) -> None:
    assert {run.kind for run in archive.children("first") if not run.outcome} == {"confirm", "final"}
    assert claim_differences(archive, "first") == []


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (in_file("confirm", CONFIRMATION, lambda c: c["rows"][0].update(p=0.01)), "confirm.json has rows.0.p = 0.01"),
        (in_file("confirm", CONFIRMATION, lambda c: c["rows"].reverse()), "confirm.json has rows.0.trial"),
        (in_file("confirm", CONFIRMATION, lambda c: c.update(verdict="Good.")), "verdict = Good., but"),
        (in_file("confirm", CONFIRMATION, lambda c: c["seeds"].append(9)), "confirm.json does not fit the runs"),
        (in_file("confirm", CONFIRMATION, lambda c: c["rows"][0].update(trial="x")), "does not fit the runs that are"),
        (in_file("confirm", CONFIRMATION, lambda c: c.clear()), "does not fit the runs that are"),
        (in_file("confirm", CONFIRMATION, dict.clear, fitted=False), "the file confirm.json is not the one that"),
        (in_file("confirm", notes.FILE, lambda n: n["tags"].update(winner="x")), "the tag winner was written as x"),
        (
            in_file("confirm", notes.FILE, lambda n: n["points"]["mean_dev_cost"].update({"1": 0.0})),
            "the metric mean_dev_cost was written as 0.0, but",
        ),
        (in_file("final", FINAL, lambda f: f.update(test_error=0.0)), "final.json has test_error = 0.0, but"),
        (in_file("final", FINAL, lambda f: f.update(dev_error=0.0)), "final.json has dev_error = 0.0, but"),
        (in_file("final", FINAL, lambda f: f.update(trial="first/x")), "final.json has trial = first/x, but"),
        (in_file("final", FINAL, lambda f: f["per_class"][0].update(recall=2)), "per_class.0.recall = 2, but"),
        (in_file("final", FINAL, lambda f: f["confusion_matrix"].reverse()), "final.json has test_error ="),
        (in_file("final", FINAL, lambda f: f["confusion_matrix"].pop()), "does not count the 40 test examples"),
        (in_file("final", FINAL, lambda f: f.update(confusion_matrix=[[10**15, 0], [0, 0]])), "does not count the 40"),
        (in_file("final", FINAL, lambda f: f.update(confusion_matrix="x")), "does not count the 40 test examples"),
        (in_file("final", FINAL, lambda f: f.pop("test_cost")), "final.json does not hold a result"),
        (
            in_file("final", notes.FILE, lambda n: n["points"]["best_dev_cost"].update({"0": 0.0})),
            "the metric best_dev_cost was written as 0.0, but",
        ),
        (in_file("final", notes.FILE, lambda n: n["tags"].update(trial_run_id="x")), "is no longer in the store"),
        (lambda archive: path_of(archive, "final", notes.FILE).unlink(), "The record has no page.json"),
    ],
)
def test_what_was_edited_is_named(archive: Archive, edit: Edit, told: str) -> None:
    edit(archive)
    assert told in "; ".join(claim_differences(archive, "first"))
