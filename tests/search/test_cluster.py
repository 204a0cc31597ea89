"""Arrays on the way to Dask workers: each has the files it lacks, on its own disk; a cluster of its own is slow's."""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed", reason="Dask is an optional extra")

from pipeline.config.commands import WorkersConfig
from pipeline.config.errors import ConfigError
from pipeline.search import cluster
from pipeline.search.cluster import ArraysAway, CarryArrays, _under, files_in, share
from pipeline.search.executors import open_executor
from pipeline.trials import trial
from pipeline.trials.kernels import Arithmetic, OtherArithmetic, current

NAMES = frozenset([Path("X.npy"), Path("folds/1.npy")])


@pytest.fixture
def arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(trial, "MOVED", {})
    folder = tmp_path / "arrays"
    (folder / "folds").mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text(str(name))
    (folder / ".X.npy.tmp").write_text("half")
    return folder


class Workers:
    """Stands in for a client: whether each of two workers sees the files, and the plugins that it was given."""

    def __init__(self, *see: bool) -> None:
        self._see, self.plugins = see, list[CarryArrays]()

    def run(self, *_: object) -> dict[str, bool]:
        return {f"worker {number}": sees for number, sees in enumerate(self._see)}

    def register_plugin(self, plugin: CarryArrays) -> None:
        self.plugins.append(plugin)


def test_an_address_where_no_scheduler_answers_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.2)
    nowhere = WorkersConfig(backend="dask", address="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match="must be a Dask scheduler's, but tcp://127"), open_executor(nowhere):
        pass


@pytest.mark.parametrize(("see", "sent"), [((True, True), 0), ((True, False), 1), ((False, False), 1)])
def test_files_are_sent_unless_all_workers_see_them(arrays: Path, see: tuple[bool, ...], sent: int) -> None:
    workers: Any = Workers(*see)
    share(workers, arrays, NAMES)
    assert len(workers.plugins) == sent


def test_the_files_of_a_folder_are_those_below_it_without_drafts(arrays: Path) -> None:
    assert files_in(arrays) == NAMES


def test_a_worker_without_the_files_gets_them_on_its_own_disk_and_later_ones_beside_them(
    arrays: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    worker = SimpleNamespace(local_directory=str(disk))
    first = CarryArrays(arrays, NAMES)
    (arrays / "later.npy").write_text("later")
    second = CarryArrays(arrays, frozenset([Path("later.npy")]))
    away = arrays.rename(tmp_path / "away")
    assert first.name != second.name
    for plugin in (first, second):
        plugin.setup(worker)
    moved = trial.MOVED[arrays]
    assert moved.is_relative_to(disk)
    assert {str(path.relative_to(moved)): path.read_text() for path in moved.rglob("*.npy")} == {
        "X.npy": "X.npy",
        "folds/1.npy": "folds/1.npy",
        "later.npy": "later",
    }
    away.rename(arrays)


def test_a_worker_that_sees_the_files_keeps_to_them(arrays: Path, tmp_path: Path) -> None:
    CarryArrays(arrays, NAMES).setup(SimpleNamespace(local_directory=str(tmp_path)))
    assert trial.MOVED == {}


def test_a_task_is_not_begun_under_another_arithmetic_or_without_all_of_the_arrays(arrays: Path) -> None:
    with pytest.raises(OtherArithmetic, match="the Dask worker on "):
        _under(Arithmetic("another", "avx2"), {}, lambda: 7)
    assert _under(current(), {arrays: NAMES}, lambda: 7) == 7
    with pytest.raises(ArraysAway):
        _under(current(), {arrays: NAMES | {Path("later.npy")}}, lambda: 7)


@pytest.mark.parametrize("seen", [True, False])
def test_a_worker_keeps_nothing_of_the_files_in_memory(arrays: Path, tmp_path: Path, seen: bool) -> None:
    (arrays / "X.npy").write_bytes(bytes(1_000_000))
    plugin = CarryArrays(arrays, NAMES)
    if not seen:
        arrays.rename(tmp_path / "away")
    plugin.setup(SimpleNamespace(local_directory=str(tmp_path)))
    assert len(pickle.dumps(plugin)) < 1_000
