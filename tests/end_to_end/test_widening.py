"""A small sweep from a small sweep, as commands."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.end_to_end.conftest import Ended
from tests.end_to_end.test_audit import edit
from tests.end_to_end.test_searches import study_of

Run = Callable[..., Ended]
RACE = ("repeats=2", "study.race=true")


def test_a_wider_sweep_races_with_trials_of_the_earlier_one_and_is_audited_with_them(
    sweep_of: Run, pipeline: Run, tmp_path: Path
) -> None:
    rate = "training.learning_rate"
    space = ("~search.space.regularization", "~search.space.model", f"+search.space.{rate}.high=0.3")
    narrow = ("study.name=narrow", "study.trials=5", "study.race=false", "repeats=2", f"+search.space.{rate}.low=0.05")
    assert sweep_of(*space, *narrow, store=tmp_path).code == 0
    hopeless = f"study.enqueue=[{{{rate}: 1e-6}}, {{{rate}: 2e-6}}]"
    wider = (*space, f"+search.space.{rate}.low=1e-6", hopeless)
    ended = sweep_of("study.name=wide", "study.from=narrow", "study.trials=2", *RACE, *wider, store=tmp_path)
    assert ended.code == 0, ended.err
    assert "5 trials are taken over from narrow." in ended.out
    assert "2 of 2 trials done" in ended.out
    study = study_of(tmp_path, "wide")
    assert len(study.trials) == 2
    (path,) = tmp_path.glob("artifacts/*/artifacts/conclusion.json")
    conclusion = json.loads(path.read_text())
    assert conclusion["trials"] == 7
    assert conclusion["name"].startswith("narrow/trial-")
    assert conclusion["run"].startswith("confirm-")  # trained here, so that this study stands alone
    assert conclusion["run"].endswith("-0-2")
    number = int(conclusion["name"][-4:])
    original = study_of(tmp_path, "narrow").trials[number].user_attrs["values"]["dev_cost"]
    fits = [value for key, value in study.user_attrs.items() if key.startswith("fit/") and key.endswith(("/0", "/1"))]
    assert original == [fit["dev_cost"] for fit in fits]

    best = pipeline("rerun", "run=best", "study=wide", f"tracking.store={tmp_path}", "workers.count=1")
    assert best.code == 0, best.err
    audit = ("rerun", "run=search", "study=wide", f"tracking.store={tmp_path}")
    audited = pipeline(*audit)
    assert audited.code == 0, audited.out
    assert "5 of 5 trials taken over from narrow were compared with their records." in audited.out

    (path,) = [each for each in tmp_path.rglob("trials.json") if json.loads(each.read_text())["before"]]
    history = json.loads(path.read_text())
    history["before"][3]["repeats"]["dev_cost"][1] *= 2
    path.write_text(json.dumps(history))
    edited = pipeline(*audit)
    assert edited.code == 1
    assert "narrow/trial-0003 has dev_cost [" in edited.out
    history["before"][3]["repeats"]["dev_cost"][1] /= 2
    path.write_text(json.dumps(history))

    names = "run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'study' AND value = 'narrow')"
    edit(tmp_path, f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'trial-0002' AND {names}")
    gone = pipeline(*audit)
    assert gone.code == 0
    assert "4 of 5 trials taken over from narrow were compared with their records; the others are no" in gone.out
