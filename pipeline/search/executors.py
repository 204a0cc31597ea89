"""Where trials run: worker processes on this machine, or a Dask cluster, behind one `concurrent.futures.Executor`.

Workers that are lost are replaced, and their trials given out again by the rule in `losses`.
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
"""Worker processes for each processor beyond which a count is a slip of the hand."""

FILES_OF_ITS_OWN, FILES_PER_WORKER = 128, 4
"""Files that the coordinator keeps open, and those it needs for each worker process."""

_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def check_workers(config: WorkersConfig) -> None:
    """Refuse at once what `open_executor` could not open.

    Raises
    ------
    ConfigError
        No address of a cluster is given, or its package is not installed; or more processes than this machine can have.
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
    """How many files this process may have open; no limit is known on Windows."""
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
    """The executor that `config.backend` names; if the block is left by an exception, its tasks end at once.

    Parameters
    ----------
    arrays : absolute paths of the arrays that trials will map, for workers that do not share this file system.
    arithmetic : what the workers compute with; None: with what this process does.

    Raises
    ------
    ConfigError
        No cluster at the address, or its package is not installed; or the processes cannot be started.
    """
    check_workers(config)
    arithmetic = arithmetic or current()
    with _cluster(config, arrays, arithmetic) if config.backend == "dask" else _local(config, arithmetic) as executor:
        yield executor


@contextmanager
def _local(config: WorkersConfig, arithmetic: Arithmetic) -> Iterator[Executor]:
    # NumPy reads these when a worker first loads it. Trials pin their threads themselves, too; this saves the start-up
    # of threads that would never be used.
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
