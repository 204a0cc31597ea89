"""Pins BLAS to one thread while trials train."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def controller() -> ThreadpoolController:
    """Return this process's libraries with threads; found once, because the search is slow."""
    return ThreadpoolController()


class _Pinned:
    """The process's limit of one BLAS thread: set by the first trial, lifted after the last."""

    lock = threading.Lock()
    trials = 0
    limits: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Pin BLAS to one thread: faster with several workers, and the same bits whatever the number of cores."""
    with _Pinned.lock:
        if _Pinned.trials == 0:
            _Pinned.limits = controller().limit(limits=1, user_api="blas")
        _Pinned.trials += 1
    try:
        yield
    finally:
        with _Pinned.lock:
            _Pinned.trials -= 1
            if _Pinned.trials == 0:
                _Pinned.limits.restore_original_limits()
