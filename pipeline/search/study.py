"""Opens a study: its name, its storage, and the refusal of another configuration under the same name."""

import hashlib
import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.addresses import with_driver
from pipeline.config.commands import SweepConfig
from pipeline.config.errors import ConfigError, StudyError
from pipeline.config.validation import as_plain
from pipeline.search.lock import Check, hold_study, unusable
from pipeline.search.pruners import make_pruner
from pipeline.search.samplers import make_sampler
from pipeline.search.search import Search
from pipeline.search.space import Space
from pipeline.trials.kernels import Arithmetic, current, run_under

_NOT_IN_DIGEST = {
    "workers": None,
    "tracking": None,
    "study": {"name", "trials", "minutes", "fresh", "take_over", "storage", "max_failures", "stall", "prefer", "race"},
}
_CONFIG = "config"
_LEARNING = ("tpe", "gp", "random")


def identity(config: SweepConfig) -> dict[str, Any]:
    """The part of the configuration that makes a study what it is, as plain values."""
    plain = as_plain(config)
    if plain["study"]["from"] is None:
        del plain["study"]["from"]
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
    except OSError as error:
        raise _not_opened(path, error) from None
    return _open_journal(path)


def _open_journal(path: Path) -> JournalStorage:
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_AlreadyHeld(str(path))))
    except OSError as error:
        raise _not_opened(path, error) from None
    except Exception:  # Optuna replays the journal without looking: what it stumbles over can be anything
        raise StudyError(f"the study's journal {path} is damaged and cannot be read.") from None


def _not_opened(path: Path, error: OSError) -> StudyError:
    return StudyError(f"the study's journal {path} cannot be opened: {error.strerror}.")


def find_study(config: SweepConfig, name: str) -> optuna.Study | None:
    """A study where `config` keeps its own, to be looked at alone, since another coordinator may be writing to it."""
    if not _exists(config, name):
        return None
    in_database = "://" in (config.study.storage or "")
    storage = open_storage(config, name) if in_database else _open_journal(journal_path(config, name))
    try:
        return optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler(), pruner=NopPruner())
    except KeyError:
        return None


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


def make_search(config: SweepConfig, space: Space, before: Sequence[FrozenTrial] = ()) -> Search:
    """The search that `config` describes, before its first trial; `before` are the trials that it took over.

    Raises
    ------
    ConfigError
        Objectives, a sampler, a pruner or queued configurations that cannot be, alone or together.
    """
    objectives = objective_names(config)
    _check_objectives(config, objectives)
    queue = [space.encode(values) for values in config.study.enqueue]
    if config.sampler.name == "grid":
        _check_whole(queue, space)
    if config.study.from_ is not None and config.sampler.name not in _LEARNING:
        raise ConfigError(
            f"study.from needs a sampler that can use trials which it did not propose ({', '.join(_LEARNING)}), "
            f"but sampler is {config.sampler.name}."
        )
    return Search(
        make_sampler(config.sampler, space, len(objectives)),
        make_pruner(config.pruner, space.largest("training.num_epochs")),
        space,
        lag=config.study.lag,
        queue=queue,
        objectives=len(objectives),
        before=before,
    )


def _check_objectives(config: SweepConfig, objectives: Sequence[str]) -> None:
    if len(set(objectives)) < max(1, len(objectives)) or objectives == ["parameters"]:
        raise ConfigError(
            "study.objective must be dev_cost, dev_error or balanced_error, or a list of different ones of these "
            f"and parameters, but is {json.dumps(config.study.objective)}."
        )
    if len(objectives) > 1 and config.pruner.name != "none":
        raise ConfigError(
            f"pruner must be none (pruner=none) with several objectives, but is {config.pruner.name}; "
            "Optuna cannot prune them."
        )
    if len(objectives) > 1 and config.study.stall is not None:
        raise ConfigError(f"study.stall must be null with several objectives, but is {config.study.stall}.")


def _check_whole(queue: Sequence[Mapping[str, Any]], space: Space) -> None:
    for params in queue:
        if missing := [leaf.path for leaf in space.leaves if leaf.path not in params]:
            raise ConfigError(
                f"study.enqueue must give every searched value for sampler=grid, but {json.dumps(params)} "
                f"lacks {missing[0]}."
            )


def check_slots(config: SweepConfig) -> None:
    """Refuse more workers than trials that the lag lets run at once.

    Raises
    ------
    ConfigError
        The message names the lag that so many workers need.
    """
    lag, count = config.study.lag, config.workers.count
    if lag is not None and count > lag + 1:
        raise ConfigError(
            f"workers.count must be at most study.lag + 1 = {lag + 1}, but is {count}; "
            f"study.lag={count - 1} allows that, and is another study."
        )


def check_storage(config: SweepConfig) -> None:
    """Refuse a `study.storage` that is neither a database's address nor a file's path.

    Raises
    ------
    StudyError
        Its driver is unknown or not installed.
    ConfigError
        It is a folder.
    """
    where = config.study.storage
    if where is not None and "://" in where:
        try:
            sqlalchemy.make_url(with_driver(where)).get_dialect().import_dbapi()
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise unusable(where, error) from None
    elif where is not None and (not where or Path(where).is_dir()):
        raise ConfigError(f"study.storage must be a database's address or a journal file, but is {where!r}.")


def open_study(config: SweepConfig, name: str, storage: BaseStorage) -> optuna.Study:
    """Create the study, or load it after checking that it was made with this configuration.

    Its own sampler and pruner are never asked: `make_search` has those.

    Raises
    ------
    StudyError
        The study exists with another configuration; the message shows the difference, key by key.
    """
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=RandomSampler(),
        pruner=NopPruner(),
        directions=["minimize"] * len(objective_names(config)),
        load_if_exists=True,
    )
    wanted = identity(config)
    recorded = study.user_attrs.get(_CONFIG)
    if recorded is None:
        study.set_user_attr(_CONFIG, wanted)
    elif "lag" not in recorded.get("study", {}):
        raise StudyError(
            f"study {name} was made by an earlier version, whose search does not repeat, and cannot be continued; "
            "study.fresh=true starts anew beside it."
        )
    elif different := differences(recorded, wanted):
        raise StudyError(
            f"study {name} exists with another configuration ({'; '.join(different)}); "
            "give another study.name, or study.fresh=true to start anew beside it."
        )
    if waiting := [trial.number for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.WAITING]:
        raise StudyError(
            f"trial {waiting[0]} of study {name} was enqueued from outside, so the search would not repeat; "
            "give such configurations in study.enqueue, and study.fresh=true to start anew."
        )
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


def check_arithmetic(study: optuna.Study) -> None:
    """Hold a study to the arithmetic it began with: bits of trials depend on it, and what samplers propose.

    If this machine can, the command is started again under that arithmetic, and does not return from here.

    Raises
    ------
    StudyError
        This machine cannot.
    """
    recorded = study.user_attrs.get("arithmetic")
    if recorded is None:
        study.set_user_attr("arithmetic", current().as_dict())
        return
    try:
        run_under(Arithmetic(**recorded), f"study {study.study_name} began with")
    except ConfigError as error:
        raise StudyError(
            f"{str(error).rstrip('.')}; continue it on such a machine, or start anew beside it with study.fresh=true."
        ) from None


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


def asked(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have been started, in the order of their numbers."""
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
