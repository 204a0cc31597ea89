"""`make remove`: a study is removed with everything that belongs to it; other studies and test-set openings stay."""

from pathlib import Path

import pytest

from pipeline import __main__
from pipeline.commands.remove import remove
from pipeline.config.commands import RemoveConfig, TrackingConfig
from pipeline.config.errors import ConfigError, StudyError
from pipeline.tracking.archive import Archive
from tests.stores.make_store import unpack


def a_store(tmp_path: Path) -> Path:
    store = unpack("0.2.0", tmp_path)
    (store / "outbox" / "opened").mkdir(parents=True)
    (store / "outbox" / "opened" / "trial-0009.npz").write_bytes(b"x" * 1000)
    (store / "exports" / "opened-trial-0001").mkdir(parents=True)
    (store / "exports" / "opened-trial-0001" / "record.json").write_text("{}")
    return store


def settings(store: Path, study: str | None = "opened", **changes: object) -> RemoveConfig:
    return RemoveConfig(study=study, tracking=TrackingConfig(store=str(store)), **{"yes": True, **changes})  # type: ignore[arg-type]


def test_a_study_goes_with_all_its_runs_and_files_but_not_its_opening_nor_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = a_store(tmp_path)
    archive = Archive(TrackingConfig(store=str(store)))
    before = archive.runs()
    gone = [run for run in before if run.study == "opened" and run.kind != "final" and run.name != "trial-0000"]
    assert remove(settings(store)) == 0
    after = archive.runs()
    others = {run.run_id for run in before if run.study in ("mixed", "folds") or run.kind == "train"}
    left = {run.run_id: run for run in after}
    assert others < left.keys()
    assert [left[run_id].kind for run_id in left.keys() - others].count("final") == 1
    assert not left.keys() & {run.run_id for run in gone}
    assert not [run.run_id for run in gone if (store / "artifacts" / run.run_id).exists()]
    assert not list(store.rglob("*opened*"))
    assert (store / "studies" / "mixed.journal").exists()
    assert "Kept: final, opened/trial-0000" in capsys.readouterr().out
    with pytest.raises(StudyError, match="no study none"):
        remove(settings(store, "none"))


def test_removal_needs_a_name_and_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = unpack("0.2.0", tmp_path)
    with pytest.raises(ConfigError, match="study must name the study"):
        remove(settings(store, None))
    with pytest.raises(ConfigError, match=r"study\.name must be 1 to 100 letters"):
        remove(settings(store, "../x"))
    with pytest.raises(ConfigError, match="yes must be true"):
        remove(settings(store, yes=False))
    monkeypatch.setattr("pipeline.commands.remove._asked", lambda question: False)
    assert remove(settings(store, yes=False)) == 1
    assert (store / "studies" / "opened.journal").exists()


def test_a_study_that_is_held_is_not_removed(tmp_path: Path) -> None:
    from pipeline.search.lock import hold

    store = unpack("0.2.0", tmp_path)
    with hold(store / "studies" / "mixed.lock", "study mixed"), pytest.raises(StudyError, match="mixed"):
        remove(settings(store, "mixed"))
    assert __main__.main(["remove", f"tracking.store={store}"]) == 1
