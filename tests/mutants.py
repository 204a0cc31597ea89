"""Changes the code at random, one place at a time, and lists the changes that no test notices: `make mutants`.

    make mutants ARGS="nn search --sample 60 --seed 0"

Works on clones of the last commit. Each mutant meets those tests of its room that run the changed lines, those of
its file first, and if it survives them the quick tests of the other rooms. What hangs counts as noticed. The sample is
drawn by the changed lines themselves and the seed, so that changes elsewhere and moved files hardly change it.
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
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _typeshed import TraceFunction

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("nn", "training", "gradcheck", "trials", "search", "selection", "tracking")
QUICK = "not slow and not oracle and not browser and not postgresql"
FORKS = multiprocessing.get_context("forkserver")
LIBRARIES = [
    "numpy",
    "scipy.stats",
    "sklearn.datasets",
    "hydra",
    "optuna",
    "mlflow",
    "pandas",
    "hypothesis",
    "pydantic",
    "matplotlib.figure",
]
LIMIT_S = 1800
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
    lines: range
    function: range  # the lines of the innermost function around it, or of the file

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {_short(self.before)}  →  {_short(self.text)}   in: {self.context}"


def _short(text: str) -> str:
    return " ".join(text.split())[:70]


def mutants(path: str, source: str) -> list[Mutant]:
    """Every mutant of a file, in order."""
    starts = list(itertools.accumulate((len(line) for line in source.encode().splitlines(keepends=True)), initial=0))
    found = []
    program = ast.parse(source)
    functions = [
        range(len(starts) + 1),
        *(_lines(node) for node in ast.walk(program) if isinstance(node, ast.FunctionDef)),
    ]
    for node in _code(program):
        for changed in _changes(node):
            text = ast.unparse(changed)
            assert isinstance(node, ast.expr | ast.stmt)
            start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[operator]
            text = f"({text})" if isinstance(node, ast.expr) else text
            before, context = source.encode()[start:end].decode(), source.splitlines()[node.lineno - 1].strip()
            around = min((lines for lines in functions if node.lineno in lines), key=len)
            found.append(Mutant(path, node.lineno, start, end, text, before, context, _lines(node), around))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.text))


def _lines(node: ast.expr | ast.stmt) -> range:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return range(min(line.lineno for line in [*decorators, node]), (node.end_lineno or 0) + 1)


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
        changed.ops[0] = _SWAPPED[type(changed.ops[0])]()  # type: ignore[call-overload]
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


Lines = dict[str, set[int]]
"""The lines of each file of the package that were run."""


class Baseline:
    """Measures how long each test takes and which lines of the package it runs, itself or in its fixtures."""

    def __init__(self) -> None:
        self.lines: Lines = defaultdict(set)
        self.fixtures: dict[str, Lines] = {}
        self.tests: dict[str, Lines] = {}
        self.seconds: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        package, self.lines = f"{Path.cwd()}/pipeline/", defaultdict(set)

        def trace(frame: FrameType, event: str, arg: object) -> "TraceFunction | None":
            if not frame.f_code.co_filename.startswith(package):
                return None
            self.lines[frame.f_code.co_filename].add(frame.f_lineno)
            return trace

        threading.settrace(trace)
        sys.settrace(trace)
        yield
        sys.settrace(None)
        fixtures = (self.fixtures.get(name, {}) for name in getattr(item, "fixturenames", ()))
        self.tests[item.nodeid] = _merged(self.lines, *fixtures)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
        before, self.lines = self.lines, defaultdict(set)
        yield
        if fixturedef.scope != "function":
            known = self.fixtures.get(fixturedef.argname, {})
            self.fixtures[fixturedef.argname] = _merged(known, self.lines)
        self.lines = _merged(before, self.lines)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        plain = {
            name: (
                self.seconds[name],
                {str(Path(path).relative_to(Path.cwd())): sorted(run) for path, run in of.items()},
            )
            for name, of in self.tests.items()
        }
        Path("baseline.json").write_text(json.dumps(plain))


def _merged(*many: Lines) -> Lines:
    lines: Lines = defaultdict(set)
    for path, run in itertools.chain.from_iterable(each.items() for each in many):
        lines[path] |= run
    return lines


@dataclass
class KnownTest:
    """What the tests without a change have shown of one: its seconds, and the lines that it runs."""

    name: str
    seconds: float
    lines: Lines

    @property
    def file(self) -> str:
        return self.name.partition("::")[0]


def meeting(mutant: Mutant, tests: list[KnownTest]) -> list[KnownTest]:
    """The tests that run the changed lines in their own process, or else those of its function.

    If there are none, a worker or a command may run them: the tests that run any line of the file, or of none.
    """
    for lines in (mutant.lines, mutant.function):
        if found := [test for test in tests if any(line in lines for line in test.lines.get(mutant.path, ()))]:
            return found
    return [test for test in tests if mutant.path in test.lines or not test.lines]


@dataclass
class Only:
    """Runs these tests alone, the fastest first; one that hangs ends the process by SIGALRM."""

    tests: dict[str, float]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.tests]
        items.sort(key=lambda item: self.tests[item.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        signal.alarm(60 + 5 * int(self.tests[nodeid]))


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


def failure(tree: Path, *arguments: str, plugin: object = None) -> str | None:
    """Which of the quick tests that `arguments` name fails first in a clone; None if all pass."""
    process = FORKS.Process(target=run_pytest, args=(tree, list(arguments), [plugin] if plugin else []))
    process.start()
    process.join(LIMIT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # what hangs, and the workers that a failed test has left
    process.join()
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", (tree / "output.txt").read_text(), re.MULTILINE)
    passed = process.exitcode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    return None if passed else failed[1] if failed else f"exit code {process.exitcode}"


def noticed_by(mutant: Mutant, tree: Path, room: str, tests: list[KnownTest], *, then: str) -> str | None:
    """Which test notices the mutant, None if none does; the clone is put back afterwards."""
    path = tree / mutant.path
    source = path.read_bytes()
    met = meeting(mutant, tests)
    own = [test for test in met if test.file.endswith(f"/test_{path.name}")]
    write(path, source[: mutant.start] + mutant.text.encode() + source[mutant.end :])
    try:
        for stage in (own, [test for test in met if test not in own]):
            files, only = {test.file for test in stage}, Only({test.name: test.seconds for test in stage})
            if stage and (test := failure(tree, "-p", "no:xdist", *sorted(files), plugin=only)):
                return test
        return failure(tree, "-n", "2", *then.split(), f"--ignore=tests/{room}") if then else None
    finally:
        write(path, source)


def write(path: Path, source: bytes) -> None:
    """Write a source file with a time of its own, so that Python takes no other version's bytecode for it."""
    path.write_bytes(source)
    os.utime(path, (next(TIMES), 0))


def baseline(tree: Path, room: str) -> list[KnownTest]:
    """The tests of a room, run without any change."""
    if failure(tree, "-p", "no:xdist", f"tests/{room}", plugin=Baseline()):
        sys.exit(f"{(tree / 'output.txt').read_text()}error: the tests of {room} fail without any change.")
    found = json.loads((tree / "baseline.json").read_text())
    return [
        KnownTest(name, seconds, {path: set(run) for path, run in of.items()}) for name, (seconds, of) in found.items()
    ]


def main() -> int:
    """Try the samples of the rooms, and list who survived; 0 if nine tenths were noticed in each."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", default=ROOMS, help=f"folders of pipeline/ (default: {' '.join(ROOMS)})")
    parser.add_argument("--sample", type=int, default=60, help="mutants of each room (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="mutants tried at once")
    parser.add_argument("--then", default="tests", help="what survivors meet (default: tests; empty: nothing more)")
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
            tests = baseline(tree, room)
            trees.put(tree)

            def tried(mutant: Mutant, room: str = room, tests: list[KnownTest] = tests) -> bool:
                tree = trees.get()
                try:
                    test = noticed_by(mutant, tree, room, tests, then=options.then)
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
