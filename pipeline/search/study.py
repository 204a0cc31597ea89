"""Opens a study, and refuses another configuration, other data or another arithmetic under its name."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.commands import SweepConfig
from pipeline.config.errors import ConfigError, StudyError
from pipeline.search.identity import identity, study_name
from pipeline.search.lock import Check, hold_study, unusable
from pipeline.search.making import objective_names
from pipeline.search.storage import journal_path, open_journal, open_storage
from pipeline.trials.differences import differences
from pipeline.trials.kernels import Arithmetic, current, run_under

_CONFIG = "config"


def find_study(config: SweepConfig, name: str) -> optuna.Study | None:
    """Open a study of the storage in `config` read-only; return None if it does not exist."""
    if not _exists(config, name):
        return None
    in_database = "://" in (config.study.storage or "")
    storage = open_storage(config, name) if in_database else open_journal(journal_path(config, name))
    try:
        return optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler(), pruner=NopPruner())
    except KeyError:
        return None


@contextmanager
def held(config: SweepConfig) -> Iterator[tuple[str, Check]]:
    """Hold the study of `config` while the block runs; explain failures of its storage.

    Yields the study's name, and a check that it is still held.

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


def open_study(config: SweepConfig, name: str, storage: BaseStorage) -> optuna.Study:
    """Create the study, or load it after checking that it was made with this configuration.

    The study's own sampler and pruner are never used; `make_search` makes those.

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
    """Return a random id, kept in the study, because other studies may have the same name."""
    if "id" not in study.user_attrs:
        study.set_user_attr("id", uuid.uuid4().hex)
    return str(study.user_attrs["id"])


def check_data(study: optuna.Study, digest: str) -> None:
    """Refuse data that are not those of the study's start.

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
    """Continue a study under the arithmetic of its start, on which trials and proposals depend.

    If this machine can, the command restarts under that arithmetic, and this call does not return.

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
    """Return the study's name; with `study.fresh`, the first of name, name-2, name-3, … that no study has."""
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


def asked(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have been started, in the order of their numbers."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
