"""Opens a study: its name, its storage, and the refusal of another configuration under the same name."""

import hashlib
import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from pipeline.config.addresses import with_driver
from pipeline.config.commands import SweepConfig
from pipeline.config.errors import ConfigError, StudyError
from pipeline.search.lock import Check, hold_study, unusable
from pipeline.search.pruners import make_pruner
from pipeline.search.samplers import make_sampler
from pipeline.search.space import Space

_NOT_IN_DIGEST = {
    "workers": None,
    "tracking": None,
    "study": {"name", "trials", "minutes", "fresh", "take_over", "storage", "max_failures", "stall"},
}
_CONFIG = "config"


def identity(config: SweepConfig) -> dict[str, Any]:
    """The part of the configuration that makes a study what it is, as plain values."""
    plain = asdict(config)
    for section, names in _NOT_IN_DIGEST.items():
        if names is None:
            del plain[section]
        else:
            plain[section] = {key: value for key, value in plain[section].items() if key not in names}
    return plain


def study_name(config: SweepConfig) -> str:
    """The name given, or `<data>-<8 hex digits of the configuration's digest>`.

    Raises
    ------
    ConfigError
        A given name that could not be a file's name.
    """
    if config.study.name is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", config.study.name):
            raise ConfigError(
                "study.name must be 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or a digit, "
                f"but is {config.study.name!r}."
            )
        return config.study.name
    digest = hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()[:8]
    data = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(config.data.path).stem if config.data.path else config.data.name)
    return f"{data.lstrip('.-_') or 'data'}-{digest}"


def journal_path(config: SweepConfig, name: str) -> Path:
    """Where the study's journal is, if it is kept in one: the path in `study.storage`, or one of its own."""
    return Path(config.study.storage or Path(config.tracking.store) / "studies" / f"{name}.journal")


def open_storage(config: SweepConfig, name: str) -> BaseStorage:
    """The study's storage: a journal file of its own, or what `study.storage` names.

    Raises
    ------
    StudyError
        The storage cannot be opened, in one sentence without its password.
    """
    where = config.study.storage
    if where and "://" in where:
        try:
            return RDBStorage(with_driver(where), engine_kwargs={"pool_pre_ping": True})
        except Exception as error:  # SQLAlchemy's drivers each raise classes of their own
            raise unusable(where, error) from None
    path = journal_path(config, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_AlreadyHeld(str(path))))
    except OSError as error:
        raise StudyError(f"the study's journal {path} cannot be opened: {error.strerror}.") from None
    except Exception:  # Optuna replays the journal without looking: what it stumbles over can be anything
        raise StudyError(f"the study's journal {path} is damaged and cannot be read.") from None


@contextmanager
def held(config: SweepConfig) -> Iterator[tuple[str, Check]]:
    """Hold the study that `config` means while the block runs; trouble with its storage is told.

    Gives the study's name, and a check that it is still held.

    Raises
    ------
    StudyError
        Another coordinator holds it, or its storage fails while the block runs.
    """
    where = config.study.storage
    name = name_study(config)
    with hold_study(where, journal_path(config, name), name) as check:
        try:
            yield name, check
        except StorageInternalError as error:
            raise StudyError(
                f"{unusable(where or '', error.__cause__ or error)} Nothing is lost: the same command continues."
            ) from None
        except OSError as error:
            raise StudyError(f"the sweep had to stop: {error}. Nothing is lost: the same command continues.") from None


def trials_possible(config: SweepConfig, space: Space) -> float:
    """How many trials the study can have: no end of them, or the points of the grid beside the queued ones."""
    if config.sampler.name != "grid":
        return math.inf
    return space.grid_size() + len(config.study.enqueue)


def open_study(config: SweepConfig, name: str, storage: BaseStorage, space: Space) -> optuna.Study:
    """Create the study, or load it after checking that it was made with this configuration.

    Raises
    ------
    StudyError
        The study exists with another configuration; the message shows the difference, key by key.
    """
    objectives = objective_names(config)
    if len(set(objectives)) < max(1, len(objectives)) or objectives == ["parameters"]:
        raise ConfigError(
            "study.objective must be dev_cost or dev_error, or a list of different ones of dev_cost, dev_error and "
            f"parameters, but is {json.dumps(config.study.objective)}."
        )
    if len(objectives) > 1 and config.pruner.name != "none":
        raise ConfigError(
            f"pruner must be none (pruner=none) with several objectives, but is {config.pruner.name}; "
            "Optuna cannot prune them."
        )
    if len(objectives) > 1 and config.study.stall is not None:
        raise ConfigError(f"study.stall must be null with several objectives, but is {config.study.stall}.")
    queued = [space.encode(values) for values in config.study.enqueue]
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=make_sampler(config.sampler, space, len(objectives)),
        pruner=make_pruner(config.pruner, space.largest("training.num_epochs")),
        directions=["minimize"] * len(objectives),
        load_if_exists=True,
    )
    wanted = identity(config)
    recorded = study.user_attrs.get(_CONFIG)
    if recorded is None:
        study.set_user_attr(_CONFIG, wanted)
    elif different := differences(recorded, wanted):
        raise StudyError(
            f"study {name} exists with another configuration ({'; '.join(different)}); "
            "give another study.name, or study.fresh=true to start anew beside it."
        )
    _enqueue(study, queued)
    return study


def study_id(study: optuna.Study) -> str:
    """A random name that no other study has, kept in the study: others may be called the same."""
    if "id" not in study.user_attrs:
        study.set_user_attr("id", uuid.uuid4().hex)
    return str(study.user_attrs["id"])


def check_data(study: optuna.Study, digest: str) -> None:
    """Hold a study to the data it began with.

    Raises
    ------
    StudyError
        The arrays have changed since.
    """
    recorded = study.user_attrs.get("data_digest")
    if recorded is None:
        study.set_user_attr("data_digest", digest)
    elif recorded != digest:
        raise StudyError(
            f"the data of study {study.study_name} have changed since it began (digest {recorded[:8]} → {digest[:8]}); "
            "trials on different data do not compare, so give study.fresh=true to start anew beside it."
        )


def name_study(config: SweepConfig) -> str:
    """The study's name; with `study.fresh`, the first of name, name-2, name-3, … that no study has."""
    name = study_name(config)
    if not config.study.fresh:
        return name
    number, fresh = 1, name
    while _exists(config, fresh):
        number += 1
        fresh = f"{name}-{number}"
    return fresh


def _exists(config: SweepConfig, name: str) -> bool:
    where = config.study.storage
    if where is None:
        return journal_path(config, name).exists()
    if "://" in where:
        return name in optuna.get_all_study_names(open_storage(config, name))
    # Another coordinator may be writing to this journal, so it is only looked at.
    path = Path(where)
    return path.exists() and f'"study_name":"{name}"' in path.read_text(errors="replace")


def objective_names(config: SweepConfig) -> list[str]:
    """The objectives as a list, one or several."""
    given = config.study.objective
    return list(given) if isinstance(given, list) else [given]


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Where two plain configurations differ, as `key: recorded → wanted`."""
    found = []
    for key in sorted(recorded.keys() | wanted.keys()):
        old, new = recorded.get(key, "absent"), wanted.get(key, "absent")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}: {old} → {new}")
    return found


def _enqueue(study: optuna.Study, configurations: Sequence[dict[str, Any]]) -> None:
    """Queue configurations ahead of the sampler, each once whatever interrupts."""
    already = {trial.user_attrs.get("enqueued") for trial in study.get_trials(deepcopy=False)}
    for number, params in enumerate(configurations):
        if number not in already:
            study.enqueue_trial(params, user_attrs={"enqueued": number})


def asked(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that have been started, in the order of their numbers; those still queued are not among them."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]


def _cut_torn_line(path: Path) -> None:
    """Cut a journal back to its last whole line; a crash may have torn the one after it, which then says nothing."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


class _AlreadyHeld(JournalFileSymlinkLock):
    """No lock of its own: the coordinator holds the study's lock for as long as the journal is open.

    Optuna's lock files survive kill -9 and would make the next start wait for them.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
