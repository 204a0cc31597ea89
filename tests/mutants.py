"""Changes the code at random, one place at a time, and lists the changes that no test notices: `make mutants`.

    make mutants ARGS="nn search --sample 60 --seed 0"

Works on clones of the last commit. Each mutant meets its file's own tests first, then those of its room, the fastest
first, and if it survives them the other quick tests. A mutant that hangs counts as noticed. A mutant's place in the
sample depends on the seed and on its own line alone, so that changes elsewhere and moved files hardly change it.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import itertools
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("nn", "training", "search", "selection", "tracking")
QUICK = "not slow and not oracle and not browser and not postgresql"
FORKS = multiprocessing.get_context("forkserver")
LIBRARIES = ["numpy", "scipy.stats", "sklearn.datasets", "hydra", "optuna", "mlflow", "pandas", "hypothesis"]
TIMES = itertools.count(1_000_000_000)

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "zeros": "ones", "ones": "zeros"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file: the bytes from `start` to `end` become `text`."""

    path: str
    line: int
    start: int
    end: int
    text: str
    before: str
    context: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {_short(self.before)}  →  {_short(self.text)}   in: {self.context}"


def _short(text: str) -> str:
    return " ".join(text.split())[:70]


def mutants(path: str, source: str) -> list[Mutant]:
    """Every mutant of a file, in order."""
    starts = list(itertools.accumulate((len(line) for line in source.encode().splitlines(keepends=True)), initial=0))
    found = []
    for node in _code(ast.parse(source)):
        for changed in _changes(node):
            text = ast.unparse(changed)
            assert isinstance(node, ast.expr | ast.stmt)
            start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[operator]
            text = f"({text})" if isinstance(node, ast.expr) else text
            before, context = source.encode()[start:end].decode(), source.splitlines()[node.lineno - 1].strip()
            found.append(Mutant(path, node.lineno, start, end, text, before, context))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.text))


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run: no annotations, texts, errors' words, or what type checkers alone read."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list", "type_params"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _code(child)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """The changed copies of a node, none for most nodes."""
    changed = copy.deepcopy(node)
    if isinstance(changed, ast.Compare) and type(changed.ops[0]) in _SWAPPED:
        changed.ops[0] = _SWAPPED[type(changed.ops[0])]()  # type: ignore[assignment]
        yield changed
    elif isinstance(changed, ast.BinOp | ast.BoolOp) and type(changed.op) in _SWAPPED:
        changed.op = _SWAPPED[type(changed.op)]()  # type: ignore[assignment]
        yield changed
    elif isinstance(changed, ast.UnaryOp) and isinstance(changed.op, ast.Not | ast.USub):
        yield changed.operand
    elif isinstance(changed, ast.Constant) and type(changed.value) is bool:
        yield ast.Constant(not changed.value)
    elif isinstance(changed, ast.Constant) and type(changed.value) in (int, float):
        yield ast.Constant(changed.value + 1)  # type: ignore[operator]
    elif isinstance(changed, ast.IfExp):
        yield ast.IfExp(changed.test, changed.orelse, changed.body)
    elif isinstance(changed, ast.Expr) and isinstance(changed.value, ast.Call):
        yield ast.Pass()
    elif isinstance(changed, ast.Name) and changed.id in _NAMES:
        yield ast.Name(_NAMES[changed.id])
    elif isinstance(changed, ast.Break | ast.Continue):
        yield ast.Pass()


def sample(room: str, size: int, seed: int) -> list[Mutant]:
    """A random sample of a room's mutants, the same for the same lines and seed."""
    files = sorted((ROOT / "pipeline" / room).rglob("*.py"))
    every = [mutant for path in files for mutant in mutants(str(path.relative_to(ROOT)), path.read_text())]
    seen: Counter[str] = Counter()

    def draw(mutant: Mutant) -> bytes:
        what = f"{mutant.context} {mutant.before} {mutant.text}"
        seen[what] += 1
        return sha256(f"{seed} {what} {seen[what]}".encode()).digest()

    return sorted(every, key=draw)[:size]


@dataclass
class FastestFirst:
    """Sorts the tests: first those of one file, then the fastest; a test that hangs ends the process by SIGALRM."""

    own: str
    seconds: dict[str, float]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        def late(item: pytest.Item) -> tuple[bool, bool, float]:
            sweeps = "swept" in getattr(item, "fixturenames", ())
            return item.path.name != self.own, sweeps, self.seconds.get(item.nodeid, 0)

        items.sort(key=late)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        signal.alarm(60 + 5 * int(self.seconds.get(nodeid, 0)))


class Durations:
    """Measures how long each test takes."""

    def __init__(self) -> None:
        self.seconds = Counter[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration  # type: ignore[assignment]

    def pytest_sessionfinish(self) -> None:
        Path("durations.json").write_text(json.dumps(self.seconds))


def run_pytest(tree: Path, arguments: list[str], plugins: list[object]) -> None:
    """Run pytest in a clone, in this process, which was forked with the libraries imported."""
    os.setsid()
    os.chdir(tree)
    os.environ["PYTEST_ADDOPTS"] = ""
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.path[:] = [str(tree), *(place for place in sys.path if Path(place or ".").resolve() not in (ROOT, tree))]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "pipeline")]:
        del sys.modules[name]
    sys.modules["__main__"] = importlib.import_module("pytest.__main__")
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
    warning = "ignore::pytest.PytestAssertRewriteWarning"  # of the libraries that this process has already imported
    os._exit(pytest.main(["-q", "-x", "-W", warning, "-m", QUICK, *arguments], plugins=plugins))


def failure(tree: Path, *arguments: str, plugin: object) -> str | None:
    """Which of the quick tests that `arguments` name fails first in a clone; None if all pass."""
    process = FORKS.Process(target=run_pytest, args=(tree, list(arguments), [plugin]))
    process.start()
    process.join()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # the workers that a failed test has left
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", (tree / "output.txt").read_text(), re.MULTILINE)
    return None if process.exitcode == 0 else failed[1] if failed else f"exit code {process.exitcode}"


def noticed_by(mutant: Mutant, tree: Path, room: str, seconds: dict[str, float], *, room_alone: bool) -> str | None:
    """Which test notices the mutant, None if none does; the clone is put back afterwards."""
    path = tree / mutant.path
    source = path.read_bytes()
    plugin = FastestFirst(f"test_{path.name}", seconds)
    own = f"tests/{room}/{plugin.own}"
    stages = [["-p", "no:xdist", own]] if (tree / own).exists() else []
    stages += [["-p", "no:xdist", f"tests/{room}", f"--ignore={own}"]]
    stages += [] if room_alone else [["-n", "2", "tests", f"--ignore=tests/{room}"]]
    write(path, source[: mutant.start] + mutant.text.encode() + source[mutant.end :])
    try:
        return next((test for stage in stages if (test := failure(tree, *stage, plugin=plugin))), None)
    finally:
        write(path, source)


def write(path: Path, source: bytes) -> None:
    """Write a source file with a time of its own, so that Python takes no other version's bytecode for it."""
    path.write_bytes(source)
    os.utime(path, (next(TIMES), 0))


def baseline(tree: Path, room: str) -> dict[str, float]:
    """How long each test of a room takes, without any change."""
    if failure(tree, "-p", "no:xdist", f"tests/{room}", plugin=Durations()):
        sys.exit(f"{(tree / 'output.txt').read_text()}error: the tests of {room} fail without any change.")
    return json.loads((tree / "durations.json").read_text())  # type: ignore[no-any-return]


def main() -> int:
    """Try the samples of the rooms, and list who survived; 0 if nine tenths were noticed in each."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("rooms", nargs="*", default=ROOMS, help=f"folders of pipeline/ (default: {' '.join(ROOMS)})")
    parser.add_argument("--sample", type=int, default=60, help="mutants of each room (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="mutants tried at once")
    parser.add_argument("--room-alone", action="store_true", help="leave the tests of the other rooms out")
    parser.add_argument("--only", default="", help="try only those of the sample whose description holds this text")
    parser.add_argument("-v", "--verbose", action="store_true", help="say of each mutant which test noticed it")
    options = parser.parse_args()
    FORKS.set_forkserver_preload(LIBRARIES)
    noticed = []
    with tempfile.TemporaryDirectory() as folder:
        trees = SimpleQueue[Path]()
        for number in range(options.jobs):
            trees.put(Path(folder) / str(number))
            subprocess.run(["git", "clone", "--quiet", ROOT, Path(folder) / str(number)], check=True)
        for room in options.rooms:
            tree = trees.get()
            seconds = baseline(tree, room)
            trees.put(tree)

            def tried(mutant: Mutant, room: str = room, seconds: dict[str, float] = seconds) -> bool:
                tree = trees.get()
                try:
                    test = noticed_by(mutant, tree, room, seconds, room_alone=options.room_alone)
                finally:
                    trees.put(tree)
                if test is None or options.verbose:
                    print(f"{f'noticed by {test}' if test else 'not noticed'}: {mutant}", flush=True)
                return test is None

            chosen = [mutant for mutant in sample(room, options.sample, options.seed) if options.only in str(mutant)]
            with ThreadPoolExecutor(options.jobs) as pool:
                survivors = sum(pool.map(tried, chosen))
            noticed.append(1 - survivors / len(chosen))
            print(f"{room}: {len(chosen) - survivors} of {len(chosen)} noticed", flush=True)
    return 0 if min(noticed) >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
