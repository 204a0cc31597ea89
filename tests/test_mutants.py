"""The mutants that `make mutants` tries: each is one change of code that runs, and the sample repeats."""

import ast

from tests.mutants import KnownTest, meeting, mutants, sample

SOURCE = '''"""Text with 1 + 1."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import numpy
λ = 3


def f(x: int = 2) -> list[int]:
    """Return 7."""
    g(x)
    if x < λ and not x:
        raise ValueError(f"{x + 1} is wrong")
    return [min(x, -x) if x else True]
'''


def test_mutants_change_what_runs_and_nothing_else() -> None:
    found = mutants("f.py", SOURCE)
    assert sorted(f"{mutant.before} → {mutant.text}" for mutant in found) == sorted(
        [
            "3 → (4)",
            "2 → (3)",
            "g(x) → pass",
            "x < λ and not x → (x < λ or not x)",
            "x < λ → (x <= λ)",
            "not x → (x)",
            "min(x, -x) if x else True → (True if x else min(x, -x))",
            "min → (max)",
            "-x → (x)",
            "True → (False)",
        ]
    )


def test_each_mutant_is_a_program_that_differs() -> None:
    original = ast.dump(ast.parse(SOURCE))
    for mutant in mutants("f.py", SOURCE):
        content = SOURCE.encode()
        changed = content[: mutant.start] + mutant.text.encode() + content[mutant.end :]
        assert ast.dump(ast.parse(changed)) != original


def test_a_mutant_meets_the_tests_that_run_its_lines_or_those_that_run_them_in_a_process_of_their_own() -> None:
    mutant = next(mutant for mutant in mutants("f.py", SOURCE) if mutant.before == "g(x)")
    line, function, file, nothing, other = (
        KnownTest(name, 0.1, lines)
        for name, lines in [
            ("line", {"f.py": {mutant.line}}),
            ("function", {"f.py": {mutant.line + 1}}),
            ("file", {"f.py": {5}}),
            ("nothing", {}),
            ("other", {"g.py": {mutant.line}}),
        ]
    )
    assert meeting(mutant, [line, function, file, nothing, other]) == [line]
    assert meeting(mutant, [function, file, nothing, other]) == [function]
    assert meeting(mutant, [file, nothing, other]) == [file, nothing]


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    assert sample("nn", 5, 0) == sample("nn", 5, 0) != sample("nn", 5, 1)
