"""A sweep is whole before its pictures are drawn, whatever becomes of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Ended
from tests.end_to_end.sweeps import stored

PRESENT = "pipeline.reporting.conclusion.present"
Sweep = Callable[..., Ended]


def ends_in(error: BaseException) -> Callable[..., None]:
    def present(*given: object) -> None:
        raise error

    return present


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("no font"), 0, "The sweep's pictures could not be made (no font); make report STUDY=drawn-0 tries"),
        (KeyboardInterrupt(), 130, "Interrupted. Study drawn-130 is whole; the same command draws its pictures."),
    ],
    ids=["a fault", "Ctrl-C"],
)
def test_a_sweep_without_its_pictures_is_whole_and_the_same_command_draws_them(
    sweep_of: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, says: str
) -> None:
    options = (f"study.name=drawn-{code}", "study.trials=2")
    with monkeypatch.context() as patch:
        patch.setattr(PRESENT, ends_in(error))
        ended = sweep_of(*options, store=tmp_path)
    assert ended.code == code, ended.err
    assert says in ended.out
    (parent,) = stored(tmp_path).of_kind("sweep")
    assert parent.info.status == "FINISHED"
    assert "mlflow.note.content" not in parent.data.tags
    assert sweep_of(*options, store=tmp_path).code == 0
    (parent,) = stored(tmp_path).of_kind("sweep")
    assert "2 trials" in parent.data.tags["mlflow.note.content"]
