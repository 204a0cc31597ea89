"""Tables, numbers and lines for the terminal."""

import subprocess
import sys
from pathlib import Path

CODE = """
from pipeline.console.display import console
for n in range(20_000):
    console.print(n)
import pathlib; pathlib.Path({path!r}).write_text("went on")
"""


def test_a_reader_that_goes_away_ends_neither_the_command_nor_its_exit_code(tmp_path: Path) -> None:
    path = f"{tmp_path}/done"
    command = [sys.executable, "-c", CODE.format(path=path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert Path(path).read_text() == "went on"
