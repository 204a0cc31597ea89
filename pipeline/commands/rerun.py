"""`make rerun`: train a recorded run again, from its record alone, and compare the two bit by bit."""

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pipeline.config.commands import RerunConfig
from pipeline.config.errors import RecordError
from pipeline.console import compose
from pipeline.console.display import console
from pipeline.reporting.agreement import compare_sweep
from pipeline.selection.audit import audit_search
from pipeline.selection.claims import claim_differences
from pipeline.selection.repetition import Original, Repetition, find, repeat
from pipeline.selection.winner import shipped_otherwise
from pipeline.tracking.archive import Archive
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.registry import Registry
from pipeline.trials.comparison import Comparison, compare
from pipeline.trials.differences import code_differences, environment_differences
from pipeline.trials.environment import code_version
from pipeline.trials.kernels import Arithmetic, current
from pipeline.trials.record import TrialRecord

SHOWN = 8
"""Differences of the environment that are listed; those that change bits most often come first."""


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline rerun`."""
    return compose.run("rerun", RerunConfig, rerun, arguments)


def rerun(config: RerunConfig) -> int:
    """Rerun one run, or all of a study; return 0 only if all are identical (or within tolerance, if accepted).

    Raises
    ------
    UserError
        No such run, a record that cannot be trusted, or data that have changed.
    """
    if config.run == "search":
        return audit(config)
    good = config.run != "all" or audit(config) == 0
    models = Models(config)
    wanted = find(config)
    code = code_version(diff=config.tracking.code_diff)
    recorder = Recorder(config.tracking) if config.track else None
    accepted = {"identical"} | ({"within_tolerance"} if config.accept == "tolerance" else set())
    ends: list[str] = []

    def announce(original: Original, environment: dict[str, Any], arithmetic: Arithmetic) -> None:
        if arithmetic != current():
            console.print(f"Trained with {arithmetic}, as the record was; this command by itself has {current()}.")
        say_differences(original.record, environment | {"code": code})

    for repetition in repeat(config, wanted, announce):
        comparison = say_verdict(config, repetition, code, recorder)
        ends.append(comparison.verdict.replace("_", " ") if comparison else "not repeated")
        changed = [*(repetition.original.changed if repetition.original else ()), *models.disagreements(repetition)]
        for sentence in changed:
            console.print(f"{repetition.name}: {sentence}")
        good &= comparison is not None and comparison.verdict in accepted and not changed
    if len(ends) > 1:
        console.print(", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends)))
    return 0 if good else 1


def audit(config: RerunConfig) -> int:
    """Replay the study's search without training, and compare it with the record; return 0 if they agree.

    With run=all, a search that cannot be replayed is no failure, since its trials still can.
    """
    logging.getLogger("optuna").setLevel(logging.WARNING)
    archive = Archive(config.tracking)
    study = config.study or archive.latest_study()
    sentences, whole = [], True
    try:
        found = audit_search(archive, study)
        sentences, whole = list(found.sentences), found.whole
    except RecordError as error:
        if config.run == "search":
            raise
        sentences.append(str(error))
    if config.run == "all" and keeps_notes(archive, study):
        compared = compare_sweep(archive, study)
        otherwise = [*compared.differences, *claim_differences(archive, study)]
        sentences += [f"{sentence}." for sentence in otherwise]
        sentences += compared.remarks
        whole &= not otherwise
    for sentence in sentences:
        console.print(sentence)
    return 0 if whole else 1


def keeps_notes(archive: Archive, study: str) -> bool:
    """Return whether a version that notes what it writes made a study, which also gave it a lag."""
    parent = archive.parent(study)
    return "study.lag" in parent.params or "lag" in archive.read_json(parent, "sweep.json").get("study", {})


class Models:
    """The registered models, which are compared with the runs that they came from; read when the first run is."""

    def __init__(self, config: RerunConfig):
        self._config = config

    @cached_property
    def _registry(self) -> Registry:
        return Registry(self._config.tracking)

    @cached_property
    def _of_runs(self) -> Mapping[str, Sequence[Any]]:
        return self._registry.of_runs()

    def disagreements(self, repetition: Repetition) -> list[str]:
        """Return differences between a repeated run and its registered models; an exported run has none."""
        original, prepared = repetition.original, repetition.prepared
        if original is None or prepared is None or not original.run_id:
            return []
        sentences = []
        for version in self._of_runs.get(original.run_id, ()):
            address = f"models:/{version.name}/{version.version}"
            try:
                shipped = self._registry.load(address)
            except RecordError as error:
                sentences.append(str(error))
                continue
            parts = shipped_otherwise(shipped, version.tags, original.record, prepared)
            sentences += [f"the {part} of {address} are not those of the run that it names" for part in parts]
        return sentences


def say_verdict(
    config: RerunConfig, repetition: Repetition, code: dict[str, Any], recorder: Recorder | None
) -> Comparison | None:
    """Compare a run with its repetition, print and record the verdict; return None if it was not repeated."""
    original, repeated, prepared = repetition.original, repetition.record, repetition.prepared
    if original is None or repeated is None or prepared is None:
        console.print(f"{repetition.name} {repetition.trouble}")
        return None
    repeated.add_origin(prepared, code)
    comparison = compare(original.record, repeated, config.rtol)
    if comparison.verdict == "identical":
        console.print(f"{original.name}: {comparison.sentence}")
    else:
        why = f"{repetition.obstacle}, so its bits cannot be reproduced here.\n" if repetition.obstacle else ""
        console.print(f"{original.name}: {why}{comparison.table()}")
    if recorder is not None:
        write(recorder, original, repeated, comparison)
    return comparison


def say_differences(record: TrialRecord, here: dict[str, Any]) -> None:
    """Print how environment and code differ from the record's, which may explain different bits."""
    for what, lines in (
        ("The environment differs from the record's", environment_differences(record.environment, here)),
        ("The code differs from the record's", code_differences(record.environment.get("code") or {}, here["code"])),
    ):
        if lines:
            more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
            console.print("\n".join([f"{what}:", *(f"  {line}" for line in [*lines[:SHOWN], *more])]))


def write(recorder: Recorder, original: Original, repeated: TrialRecord, comparison: Comparison) -> None:
    """Track the rerun, linked to the original, which gets the verdict as a tag."""
    tags = {"verdict": comparison.verdict, "rerun_of": original.run_id or original.name}
    name = f"rerun of {re.sub(r'.*/', '', original.name)}"
    run_id = recorder.write(repeated, kind="rerun", name=name, tags=tags)
    recorder.write_json(run_id, "comparison.json", comparison.as_dict())
    if original.run_id:
        recorder.annotate(original.run_id, tags={"rerun_verdict": comparison.verdict})
