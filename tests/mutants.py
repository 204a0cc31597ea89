"""Changes the code at random, one place at a time, and lists the changes that no test notices: `make mutants`.

    make mutants ARGS="nn search --sample 60 --seed 0"

Works on clones of the last commit. Each mutant meets the tests of its room first, and if it survives them the other
quick tests. A mutant that hangs counts as noticed. The sample depends on the code and the seed alone.
"""

import argparse
import ast
import copy
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("nn", "training", "search", "selection", "tracking")
QUICK = "not slow and not oracle and not browser and not postgresql"

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

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {' '.join(self.before.split())[:70]}  →  {' '.join(self.text.split())[:70]}"


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
            found.append(Mutant(path, node.lineno, start, end, text, source.encode()[start:end].decode()))
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
    """A random sample of a room's mutants, the same for the same code and seed."""
    files = sorted((ROOT / "pipeline" / room).rglob("*.py"))
    every = [mutant for path in files for mutant in mutants(str(path.relative_to(ROOT)), path.read_text())]
    return random.Random(f"{room} {seed}").sample(every, min(size, len(every)))


def tests_pass(tree: Path, *arguments: str, timeout_s: float) -> bool:
    """Whether the quick tests that `arguments` name pass in a clone, in time."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", QUICK, *arguments]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            return process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return False


def survives(mutant: Mutant, tree: Path, room: str, *, room_alone: bool, timeout_s: float) -> bool:
    """Whether no test notices the mutant; the clone is put back afterwards."""
    path = tree / mutant.path
    source = path.read_bytes()
    path.write_bytes(source[: mutant.start] + mutant.text.encode() + source[mutant.end :])
    try:
        if not tests_pass(tree, f"tests/{room}", timeout_s=timeout_s):
            return False
        return room_alone or tests_pass(tree, "-n", "2", "tests", f"--ignore=tests/{room}", timeout_s=600)
    finally:
        path.write_bytes(source)


def main() -> int:
    """Try the samples of the rooms, and list who survived; 0 if nine tenths were noticed in each."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("rooms", nargs="*", default=ROOMS, help=f"folders of pipeline/ (default: {' '.join(ROOMS)})")
    parser.add_argument("--sample", type=int, default=60, help="mutants of each room (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="mutants tried at once")
    parser.add_argument("--room-alone", action="store_true", help="leave the tests of the other rooms out")
    options = parser.parse_args()
    noticed = []
    with tempfile.TemporaryDirectory() as folder:
        trees = SimpleQueue[Path]()
        for number in range(options.jobs):
            trees.put(Path(folder) / str(number))
            subprocess.run(["git", "clone", "--quiet", ROOT, Path(folder) / str(number)], check=True)
        for room in options.rooms:
            tree = trees.get()
            began = time.monotonic()
            if not tests_pass(tree, f"tests/{room}", timeout_s=600):
                sys.exit(f"error: the tests of {room} fail without any change.")
            trees.put(tree)
            limit = 30 + 4 * options.jobs * (time.monotonic() - began)

            def tried(mutant: Mutant, room: str = room, limit: float = limit) -> bool:
                tree = trees.get()
                try:
                    return survives(mutant, tree, room, room_alone=options.room_alone, timeout_s=limit)
                finally:
                    trees.put(tree)

            chosen = sample(room, options.sample, options.seed)
            with ThreadPoolExecutor(options.jobs) as pool:
                survivors = [m for m, lives in zip(chosen, pool.map(tried, chosen), strict=True) if lives]
            noticed.append(1 - len(survivors) / len(chosen))
            print(f"{room}: {len(chosen) - len(survivors)} of {len(chosen)} noticed; not noticed:", flush=True)
            print("".join(f"  {mutant}\n" for mutant in survivors), end="", flush=True)
    return 0 if min(noticed) >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
