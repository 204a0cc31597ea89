"""Refuses a memory limit under which the libraries cannot be loaded.

If OpenBLAS gets no memory for its threads while it is loaded, it retries forever and only SIGKILL ends it.
"""

import os
import resource
import sys

from pipeline.config.errors import ConfigError

_LIBRARIES_KB, _THREAD_KB = 530_000, 85_000
"""Address space that the libraries of a command take, and that each of BLAS's threads takes in NumPy's and SciPy's."""

_MOST_THREADS = 64  # of the OpenBLAS in NumPy's and SciPy's wheels


def check_memory() -> None:
    """Refuse an address space that is too small for the libraries; nothing heavy may be imported before.

    Raises
    ------
    ConfigError
        `ulimit -v` is too low.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or sys.platform != "linux":  # elsewhere it is not enforced
        return
    threads = blas_threads()
    least = _LIBRARIES_KB + threads * _THREAD_KB
    if limit // 1024 < least:
        raise ConfigError(
            f"ulimit -v must be at least {least} (kB) to load the libraries with {threads} BLAS threads, "
            f"but is {limit // 1024}."
        )


def blas_threads() -> int:
    """Return how many threads OpenBLAS starts when loaded: what its variables say, or one for each processor."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if (given := os.environ.get(name, "")).isdecimal() and int(given) > 0:
            return min(int(given), _MOST_THREADS)
    return min(len(os.sched_getaffinity(0)), _MOST_THREADS)
