"""Copies the trials of an earlier study that lie in a new study's space, so that they are not trained again.

The copies are made when the new study begins, and kept in it with a digest. From then on only the copies are read, so
it does not matter if the earlier study grows or is removed.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import TypeAdapter, ValidationError

from pipeline.config.commands import SweepConfig
from pipeline.config.digests import plain_digest
from pipeline.config.errors import ConfigError, StudyError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.search.coordinator import run_name
from pipeline.search.pruners import rungs
from pipeline.search.space import Space
from pipeline.search.study import find_study
from pipeline.trials.differences import differences
from pipeline.trials.kernels import current

_SUMMARY, _PART = "before", "before/{:04d}"
"""Attributes of a study with copies: one for each, and one about all of them, written last."""

RunIds = Callable[[str], Mapping[str, str]]
"""Gives the ids of a study's runs by name; empty where the tracking store does not answer."""


@dataclass
class Copy:
    """One trial of an earlier study.

    Attributes
    ----------
    study, number, run_id : which trial it was, and its run; the id is empty if the store did not answer.
    params : its values as parameters of the new study, by path; a choice by its label.
    config : digest of the whole configuration.
    values : of the objectives, if it completed.
    reports : best value so far at each rung, by epoch.
    repeats : values of each repeat by measure.
    """

    study: str
    number: int
    run_id: str
    params: dict[str, Any]
    config: str
    outcome: str
    values: list[float] | None = None
    reports: dict[int, float] = field(default_factory=dict)
    repeats: dict[str, list[float | None]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name a person can type: <study>/trial-0007."""
        return f"{self.study}/{run_name(self.number)}"

    def frozen(self, space: Space) -> FrozenTrial:
        """Return the trial as the search knows it."""
        by_path = {leaf.path: leaf.distribution for leaf in space.leaves}
        return create_trial(
            state=TrialState.PRUNED if self.values is None else TrialState.COMPLETE,
            values=self.values,
            params=self.params,
            distributions={path: by_path[path] for path in self.params},
            intermediate_values=self.reports,
        )


@dataclass
class TakenOver:
    """All copies of a study from another.

    Attributes
    ----------
    outside, failed, other_rungs : how many were left out, because they are outside the space, failed, or were pruned
        by reports at other epochs than this study's.
    """

    study: str
    copies: list[Copy] = field(default_factory=list)
    outside: int = 0
    failed: int = 0
    other_rungs: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of everything in the copies that the search and the race depend on."""
        plain = [{key: value for key, value in asdict(each).items() if key != "run_id"} for each in self.copies]
        return plain_digest(plain)

    @property
    def sentence(self) -> str:
        """How many trials were taken over, and why others were not."""
        why = {
            "outside the search space": self.outside,
            "failed": self.failed,
            "pruned at other epochs than this study's": self.other_rungs,
        }
        left = ", ".join(f"{count} {words}" for words, count in why.items() if count)
        return f"{len(self.copies)} trials are taken over from {self.study}" + (f"; left out: {left}." if left else ".")


def find_copies(config: SweepConfig, space: Space, name: str, data_digest: str, run_ids: RunIds) -> TakenOver | None:
    """Return what a new study is to copy; None if it has its copies already, or `study.from` names no study.

    Raises
    ------
    StudyError
        The earlier study does not exist, is not comparable, or has no trial in this one's space.
    """
    if config.study.from_ is None:
        return None
    begun = find_study(config, name)
    if begun is not None and _SUMMARY in begun.user_attrs:
        return None
    source = find_study(config, config.study.from_)
    if source is None:
        raise StudyError(
            f"study.from must name a study that is kept where this one is, but {config.study.from_} is not there."
        )
    theirs = _configuration(source)
    their_space = Space(theirs.search.space, asdict(theirs.trial))
    _check_alike(config, space, data_digest, source, theirs, their_space)
    same_rungs = rungs(config.pruner, space.most_epochs) == rungs(theirs.pruner, their_space.most_epochs)
    found = _select(source, space, their_space, run_ids, same_rungs=same_rungs)
    if not found.copies:
        raise StudyError(f"no trial of study.from={source.study_name} can be taken over: {found.sentence}")
    return found


def _configuration(source: optuna.Study) -> SweepConfig:
    recorded = source.user_attrs.get("config")
    if recorded is None or "lag" not in recorded.get("study", {}):
        raise StudyError(f"study.from={source.study_name} was made by an earlier version and cannot be taken over.")
    try:
        return parse(SweepConfig, recorded)
    except ConfigError as error:
        raise StudyError(f"study.from={source.study_name} does not fit this version: {error}") from None


def _check_alike(
    config: SweepConfig,
    space: Space,
    data_digest: str,
    source: optuna.Study,
    theirs: SweepConfig,
    their_space: Space,
) -> None:
    """Refuse a study whose values are not comparable with this one's."""
    searched = [leaf.path for leaf in (*space.leaves, *their_space.leaves)]
    here = _fixed(config, searched) | {"data digest": data_digest, "arithmetic": current().as_dict()}
    there = _fixed(theirs, searched) | {
        "data digest": source.user_attrs.get("data_digest"),
        "arithmetic": source.user_attrs.get("arithmetic"),
    }
    if different := differences(there, here):
        raise StudyError(
            f"study.from={source.study_name} cannot be compared with this study ({'; '.join(different)}); "
            "only searched values, their ranges, the sampler and the pruner may differ."
        )


def _fixed(config: SweepConfig, searched: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that must be equal for comparable values; the data's digest replaces their path."""
    plain = copy.deepcopy(asdict(config.trial))
    for path in [*searched, "data.path"]:
        _drop(plain, path.split("."))
    return plain | {"study": {"objective": config.study.objective}, "kernels": config.kernels}


def _drop(plain: dict[str, Any], keys: Sequence[str]) -> None:
    """Remove a dotted path; if it is one layer's value, remove the values of all layers."""
    *parents, last = [key for key in keys if not key.isdigit()]
    for key in parents:
        plain = plain[key]
    plain.pop(last, None)


def _select(source: optuna.Study, space: Space, their_space: Space, run_ids: RunIds, *, same_rungs: bool) -> TakenOver:
    """Return copies of the usable trials; those that the earlier study had itself copied come first."""
    found = TakenOver(source.study_name)
    for trial in _ended(source, run_ids):
        if trial.outcome == "failed":
            found.failed += 1
            continue
        whole = their_space.apply(their_space.values(trial.params))
        params = space.locate(whole)
        if params is None:
            found.outside += 1
        elif trial.outcome == "pruned" and not same_rungs:
            found.other_rungs += 1
        else:
            trial.params, trial.config = params, plain_digest(asdict(parse(TrialConfig, whole)))
            trial.reports = trial.reports if same_rungs else {}
            found.copies.append(trial)
    return found


def _ended(source: optuna.Study, run_ids: RunIds) -> Iterator[Copy]:
    """Return every ended trial that a study knows, with its parameters as that study has them."""
    earlier = kept(source)
    yield from earlier.copies if earlier else ()
    ids = run_ids(source.study_name)
    for trial in source.get_trials(deepcopy=False):
        if trial.state.is_finished():
            yield Copy(
                source.study_name,
                trial.number,
                ids.get(run_name(trial.number), ""),
                dict(trial.params),
                "",
                trial.user_attrs["summary"]["outcome"],
                list(trial.values) if trial.state == TrialState.COMPLETE else None,
                dict(trial.intermediate_values),
                trial.user_attrs.get("values", {}),
            )


def keep(study: optuna.Study, found: TakenOver) -> None:
    """Write the copies into a new study; after a kill before the end it counts as having none and begins again."""
    for number, each in enumerate(found.copies):
        # as text, because Optuna copies all attributes whenever one is read
        study.set_user_attr(_PART.format(number), json.dumps(asdict(each)))
    counts = {"outside": found.outside, "failed": found.failed, "other_rungs": found.other_rungs}
    summary = {"study": found.study, "copies": len(found.copies), "digest": found.digest, **counts}
    study.set_user_attr(_SUMMARY, summary)


def kept(study: optuna.Study) -> TakenOver | None:
    """Return the copies of a study; None if it has none.

    Raises
    ------
    StudyError
        The copies are not those that were written.
    """
    summary = study.user_attrs.get(_SUMMARY)
    if summary is None:
        return None
    found = TakenOver(summary["study"], [], summary["outside"], summary["failed"], summary["other_rungs"])
    attributes = study.user_attrs
    reader = TypeAdapter(Copy)
    try:
        parts = [attributes.get(_PART.format(number), "") for number in range(summary["copies"])]
        found.copies = [reader.validate_python(json.loads(text)) for text in parts]
    except (ValidationError, ValueError):
        found.copies = []
    if found.digest != summary["digest"]:
        raise StudyError(
            f"the trials that study {study.study_name} took over from {found.study} have been changed since; "
            "study.fresh=true takes them over anew."
        )
    return found


def before(study: optuna.Study, space: Space) -> list[FrozenTrial]:
    """Return the trials that precede trial 0 of a study."""
    taken = kept(study)
    return [each.frozen(space) for each in taken.copies] if taken else []
