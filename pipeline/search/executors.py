"""Where trials run: worker processes on this machine, or a Dask cluster, behind one `concurrent.futures.Executor`.

Lost workers are replaced, and their trials run again by the rule in `losses`.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from pipeline.config.commands import WorkersConfig
from pipeline.config.errors import ConfigError
from pipeline.search.losses import GivenOutAgain
from pipeline.search.processes import LocalProcesses
from pipeline.search.serving import closing
from pipeline.trials.kernels import Arithmetic, current, prepare_worker, variables

PER_PROCESSOR = 32
"""A larger number of worker processes per processor counts as a typing mistake."""

FILES_OF_ITS_OWN, FILES_PER_WORKER = 128, 4
"""Files that the coordinator keeps open, and files for each worker process."""

_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def check_workers(config: WorkersConfig) -> None:
    """Refuse a configuration that `open_executor` could not open.

    Raises
    ------
    ConfigError
        The cluster's address or its package is missing, or there are more processes than this machine allows.
    """
    if config.backend == "dask":
        if config.address is None:
            raise ConfigError("workers.address must be the address of a Dask scheduler for workers=dask, but is null.")
        if find_spec("distributed") is None:
            raise ConfigError("workers=dask needs the package distributed; install it with: pip install distributed")
        return
    processors = os.cpu_count() or 1
    if config.count > PER_PROCESSOR * processors:
        raise ConfigError(
            f"workers.count must be at most {PER_PROCESSOR * processors} here ({PER_PROCESSOR} for each of "
            f"{processors} processors), but is {config.count}."
        )
    files = _open_files()
    if config.count > (files - FILES_OF_ITS_OWN) // FILES_PER_WORKER:
        raise ConfigError(
            f"workers.count must be at most {max(0, files - FILES_OF_ITS_OWN) // FILES_PER_WORKER} here, where a "
            f"process may open {files} files (ulimit -n), but is {config.count}."
        )


def _open_files() -> int:
    """Return how many files this process may have open."""
    try:
        import resource
    except ImportError:
        return 2**31
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**31 if limit == resource.RLIM_INFINITY else limit


@contextmanager
def open_executor(
    config: WorkersConfig, arrays: Sequence[Path] = (), arithmetic: Arithmetic | None = None
) -> Iterator[Executor]:
    """Open the executor that `config.backend` names; an exception in the block ends its tasks immediately.

    Parameters
    ----------
    arrays : absolute paths of the arrays that trials will map, for workers that do not share this file system.
    arithmetic : of the workers; None: that of this process.

    Raises
    ------
    ConfigError
        There is no cluster at the address, its package is missing, or the processes cannot be started.
    """
    check_workers(config)
    arithmetic = arithmetic or current()
    with _cluster(config, arrays, arithmetic) if config.backend == "dask" else _local(config, arithmetic) as executor:
        yield executor


@contextmanager
def _local(config: WorkersConfig, arithmetic: Arithmetic) -> Iterator[Executor]:
    # NumPy reads these when a worker first loads it. Trials limit their threads themselves, too; this avoids starting
    # threads that would never be used.
    environment = dict.fromkeys(_ONE_THREAD, "1")
    if arithmetic != current():
        environment |= variables(arithmetic)
    processes = LocalProcesses(
        config.count,
        patience=config.patience,
        prepare=partial(prepare_worker, arithmetic),
        environment=environment,
    )
    with closing(GivenOutAgain(processes)) as executor:
        yield executor


def _cluster(config: WorkersConfig, arrays: Sequence[Path], arithmetic: Arithmetic) -> AbstractContextManager[Executor]:
    from pipeline.search.cluster import cluster

    return cluster(config, arrays, arithmetic)
