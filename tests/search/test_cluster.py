"""Arrays on the way to Dask workers: each has the files it lacks, on its own disk; a cluster of its own is slow's."""

import contextlib
import errno
import inspect
import platform
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed", reason="Dask is an optional extra")

from pipeline.config.commands import WorkersConfig
from pipeline.config.errors import ConfigError
from pipeline.config.trial import DataConfig
from pipeline.data.arrays import load_arrays
from pipeline.data.divisions import ensure
from pipeline.data.prepare import prepare
from pipeline.search import cluster
from pipeline.search.cluster import ArraysAway, Piece, _under, files_in, share
from pipeline.search.executors import open_executor
from pipeline.search.serving import WorkersGone
from pipeline.trials import trial
from pipeline.trials.kernels import Arithmetic, OtherArithmetic, current

NAMES = frozenset([Path("X.npy"), Path("folds/1.npy")])


CONTENT = {"X.npy": "X.npy", "folds/1.npy": "folds/1.npy"}
ARRAYS = Path("store/arrays")


@pytest.fixture
def arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder relative to the working directory, of which each process has its own."""
    monkeypatch.setattr(trial, "MOVED", {})
    monkeypatch.chdir(tmp_path)
    (ARRAYS / "folds").mkdir(parents=True)
    for name in NAMES:
        (ARRAYS / name).write_text(str(name))
    (ARRAYS / ".X.npy.tmp").write_text("half")
    return ARRAYS


class Workers:
    """Stands in for a client of two workers: each has its own disk, and its own working directory unless it shares.

    Attributes
    ----------
    pieces : (worker, file, bytes) of each piece that arrived.
    """

    def __init__(self, folder: Path, *shares: bool) -> None:
        self.moved: list[dict[Path, Path]] = [{} for _ in shares]
        self.disks = [folder / f"disk-{number}" for number in range(len(shares))]
        self._folders = [folder if shared else disk for shared, disk in zip(shares, self.disks, strict=True)]
        self.pieces: list[tuple[int, str, int]] = []
        for disk in self.disks:
            disk.mkdir()

    def run(
        self,
        function: Callable[..., Any],
        *given: Any,
        workers: Sequence[int] | None = None,
        on_error: str = "raise",
    ) -> dict[int, Any]:
        results = {}
        for number in range(len(self.disks)) if workers is None else workers:
            with contextlib.chdir(self._folders[number]), pytest.MonkeyPatch.context() as process:
                process.setattr(trial, "MOVED", self.moved[number])
                with contextlib.suppress(*([OSError] if on_error == "ignore" else [])):
                    results[number] = self._call(number, function, given)
        return results

    def _call(self, number: int, function: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        if isinstance(given[0], Piece):
            self.pieces.append((number, str(given[0].name), len(given[0].content)))
        if "dask_worker" in inspect.signature(function).parameters:
            return function(*given, dask_worker=SimpleNamespace(local_directory=str(self.disks[number])))
        return function(*given)

    def seen(self, number: int) -> dict[str, str]:
        """Return the content of each file that this worker's tasks see in place of ARRAYS."""
        folder = self.moved[number].get(ARRAYS, self._folders[number] / ARRAYS)
        return {str(name): (folder / name).read_text() for name in sorted(files_in(folder))}


def test_an_address_where_no_scheduler_answers_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.2)
    nowhere = WorkersConfig(backend="dask", address="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match="must be a Dask scheduler's, but tcp://127"), open_executor(nowhere):
        pass


@pytest.mark.parametrize(
    ("shares", "receivers"), [((True, True), set()), ((True, False), {1}), ((False, False), {0, 1})]
)
def test_files_are_sent_to_the_workers_that_do_not_see_them(
    arrays: Path, tmp_path: Path, shares: tuple[bool, ...], receivers: set[int]
) -> None:
    workers: Any = Workers(tmp_path, *shares)
    share(workers, arrays, NAMES)
    assert {number for number, *_ in workers.pieces} == receivers
    assert {number for number, moved in enumerate(workers.moved) if moved} == receivers
    assert [workers.seen(number) for number in (0, 1)] == [CONTENT] * 2


@pytest.mark.parametrize("size", [0, 7, 8, 9])
def test_a_file_travels_in_pieces_that_bound_what_a_process_holds_of_it(
    arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(cluster, "PIECE", 4)
    (arrays / "X.npy").write_text("123456789"[:size])
    workers: Any = Workers(tmp_path, False)
    share(workers, arrays, NAMES)
    assert workers.seen(0) == CONTENT | {"X.npy": "123456789"[:size]}
    assert max(length for *_, length in workers.pieces) == 4


def test_the_files_of_a_folder_are_those_below_it_without_drafts(arrays: Path) -> None:
    assert files_in(arrays) == NAMES


def test_a_worker_gets_later_files_beside_the_first_on_its_own_disk(arrays: Path, tmp_path: Path) -> None:
    workers: Any = Workers(tmp_path, False, False)
    share(workers, arrays, NAMES)
    (arrays / "later.npy").write_text("later")
    workers.pieces.clear()
    share(workers, arrays, files_in(arrays))
    assert workers.pieces == [(0, "later.npy", 5), (1, "later.npy", 5)]
    assert workers.seen(0) == workers.seen(1) == CONTENT | {"later.npy": "later"}
    assert workers.moved[1][arrays].is_relative_to(workers.disks[1])


def test_a_worker_that_sees_some_of_the_files_gets_them_all_and_keeps_to_what_it_sees_until_then(
    arrays: Path, tmp_path: Path
) -> None:
    workers: Any = Workers(tmp_path, False)
    (workers.disks[0] / arrays).mkdir(parents=True)
    (workers.disks[0] / arrays / "X.npy").write_text("X.npy")
    while_sending = []
    receive = workers.run
    workers.run = lambda *given, **options: while_sending.append(dict(workers.moved[0])) or receive(*given, **options)
    share(workers, arrays, NAMES)
    assert not any(while_sending)
    assert workers.seen(0) == CONTENT


def test_a_file_that_a_worker_lost_half_way_is_never_used_and_sent_again(
    arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PIECE", 4)
    (arrays / "X.npy").write_text("123456789")
    workers: Any = Workers(tmp_path, False, False)
    receive = workers.run

    def restarted(function: Callable[..., Any], *given: Any, **options: Any) -> dict[int, Any]:
        if isinstance(given[0], Piece) and (given[0].name, given[0].start) == (Path("X.npy"), 4):
            shutil.rmtree(workers.disks[0] / "arrays")
        return receive(function, *given, **options)

    workers.run = restarted
    share(workers, arrays, NAMES)
    assert [number for number, name, _ in workers.pieces if name == "X.npy"] == [0, 1, 0, 1, 1]
    assert not list(workers.disks[0].rglob("*X.npy*"))
    assert workers.moved[0] == {}
    assert workers.seen(1) == CONTENT | {"X.npy": "123456789"}
    workers.run = receive
    share(workers, arrays, NAMES)
    assert workers.seen(0) == workers.seen(1)


def refuse_writing(patch: pytest.MonkeyPatch, folder: Path, number: int) -> list[Path]:
    """Let every draft below the folder fail with an error number; return those that were begun."""
    begun, opened = [], Path.open

    def refused(path: Path, mode: str = "r", *given: Any, **options: Any) -> Any:
        if mode == "ab" and path.is_relative_to(folder):
            begun.append(path)
            raise OSError(number, "as the system says it")
        return opened(path, mode, *given, **options)

    patch.setattr(Path, "open", refused)
    return begun


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "No space left on device"), (errno.EDQUOT, "quota"), (errno.EACCES, "Permission denied")],
)
def test_a_worker_whose_disk_is_full_is_named_with_the_folder_and_the_cause(
    number: int, words: str, arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers: Any = Workers(tmp_path, False, False)
    begun = refuse_writing(monkeypatch, workers.disks[1], number)
    where = rf"{re.escape(str(workers.disks[1]))}\S* on {re.escape(platform.node())}"
    with pytest.raises(
        WorkersGone, match=rf"a Dask worker cannot write the arrays to {where}: .*{words}.*\. Nothing is"
    ):
        share(workers, arrays, NAMES)
    assert len(begun) == 1
    assert workers.moved[1] == {}


def test_a_worker_whose_write_fails_for_a_moment_is_left_out_and_gets_the_files_with_its_next_task(
    arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers: Any = Workers(tmp_path, False, False)
    with monkeypatch.context() as patch:
        refuse_writing(patch, workers.disks[1], errno.EIO)
        share(workers, arrays, NAMES)
    assert workers.seen(0) == CONTENT
    assert workers.moved[1] == {}
    share(workers, arrays, NAMES)
    assert workers.seen(1) == CONTENT


def test_a_full_disk_ends_the_command_at_the_first_task_or_when_the_cluster_is_opened(
    arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(cluster, "_sees", lambda path, names: not names)  # as if the worker were on another machine
    begun = refuse_writing(monkeypatch, tmp_path / "disk", errno.ENOSPC)
    empty = tmp_path / "empty"
    empty.mkdir()
    with LocalCluster(
        n_workers=1, processes=False, dashboard_address=None, local_directory=tmp_path / "disk"
    ) as opened:
        config = WorkersConfig(backend="dask", address=opened.scheduler_address, count=1)
        with pytest.raises(WorkersGone, match="No space left on device"), open_executor(config, [tmp_path / ARRAYS]):
            pass
        with open_executor(config, [empty]) as executor:
            assert executor.submit(len, "four").result() == 4
            (empty / "later.npy").write_text("later")
            begun.clear()
            with pytest.raises(WorkersGone, match=r"cannot write the arrays to .*: No space left on device"):
                executor.submit(len, "four").result()
    assert len(begun) == 1


def test_a_worker_that_lost_its_files_gets_them_again(arrays: Path, tmp_path: Path) -> None:
    workers: Any = Workers(tmp_path, False)
    share(workers, arrays, NAMES)
    shutil.rmtree(workers.moved[0][arrays])
    share(workers, arrays, NAMES)
    assert workers.seen(0) == CONTENT


def test_a_task_is_not_begun_under_another_arithmetic_or_without_all_of_the_arrays(arrays: Path) -> None:
    with pytest.raises(OtherArithmetic, match="the Dask worker on "):
        _under(Arithmetic("another", "avx2"), {}, lambda: 7)
    assert _under(current(), {arrays: NAMES}, lambda: 7) == 7
    with pytest.raises(ArraysAway):
        _under(current(), {arrays: NAMES | {Path("later.npy")}}, lambda: 7)


def test_a_worker_trains_on_the_arrays_that_were_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = DataConfig(name="breast_cancer")
    prepared = prepare(config, Path("store"))
    path = prepared.path
    workers: Any = Workers(tmp_path, False)
    for number in (1, 2):
        ensure(prepared, config, [number])
        share(workers, path, files_in(path))
    (carried,) = workers.run(trial._arrays, path).values()
    assert carried.path == workers.moved[0][path]
    assert carried.digest == load_arrays(path).digest
    assert [len(carried.division(number)) for number in (1, 2)] == [1, 1]
