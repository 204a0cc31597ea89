"""SIGTERM and Ctrl-C interrupt a command once, and the handlers from before come back."""

import signal
from collections.abc import Iterator

import pytest

from pipeline.console.interruption import terminable

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def plain_handlers() -> Iterator[None]:
    """Python's own handler of SIGINT and the system's of SIGTERM, whatever runs the tests."""
    before = {number: signal.getsignal(number) for number in BOTH}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_interrupts_the_block_once_and_a_second_one_does_not_disturb_the_end(number: signal.Signals) -> None:
    ended = []

    def command() -> None:
        with terminable():
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGINT)
                ended.append("in order")

    with pytest.raises(KeyboardInterrupt):
        command()
    assert ended == ["in order"]


def test_the_handlers_from_before_come_back() -> None:
    with terminable():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with terminable():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)
