"""The commands offered at a command's end find the same store and show no credentials."""

import pytest

from pipeline.config.commands import TrainConfig
from pipeline.console import compose
from pipeline.console.next_steps import print_next, same_store


def test_further_commands_name_the_same_store_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    def command(config: TrainConfig) -> None:
        print_next([("see it", f"make ui{same_store()}")])

    arguments = ["seed=3", "tracking.uri=http://me:s3cret@host", "tracking.experiment=my own"]
    compose.run("train", TrainConfig, command, arguments)
    said = capsys.readouterr().out
    assert """make ui ARGS="'tracking.uri=http://***@host' 'tracking.experiment=my own'\"""" in said
    assert "(*** stands for the user and password that you gave)" in said
    assert "s3cret" not in said


def test_further_commands_need_no_arguments_for_the_default_store(capsys: pytest.CaptureFixture[str]) -> None:
    compose.run("train", TrainConfig, lambda config: print_next([("see it", f"make ui{same_store()}")]), ["seed=3"])
    said = capsys.readouterr().out
    assert said.endswith("make ui\n")
    assert "***" not in said
