"""`make rerun`: train a recorded run again, from its record alone, and compare the two bit by bit."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.commands import RerunConfig
from pipeline.config.errors import ConfigError, DataError, RecordError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.console import compose
from pipeline.console.display import console
from pipeline.data.changes import what_changed
from pipeline.data.divisions import ensure
from pipeline.data.prepare import PreparedData, find_arrays, prepare
from pipeline.search.executors import open_executor
from pipeline.search.serving import LostWorker
from pipeline.tracking.archive import Archive, Found
from pipeline.tracking.reading import check_sizes, read_folder, read_meta
from pipeline.tracking.recorder import Recorder
from pipeline.trials.comparison import Comparison, code_differences, compare, environment_differences
from pipeline.trials.environment import code_version, environment
from pipeline.trials.record import TrialRecord
from pipeline.trials.trial import failed_record, work_whole


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline rerun`."""
    return compose.run("rerun", RerunConfig, rerun, arguments)


@dataclass(frozen=True)
class Original:
    """A recorded run: what to call it, its id in the store (none for an exported folder), and its record.

    `foreign` says that it did not come from this machine's own store, so that the files it names are not opened
    without the user's word. `changed` are sentences on what the store shows otherwise than the record says.
    """

    name: str
    run_id: str
    record: TrialRecord
    foreign: bool
    changed: tuple[str, ...] = ()


def rerun(config: RerunConfig) -> int:
    """Rerun one run, or all of a study; 0 only if every one is identical (or, if accepted, within tolerance).

    Raises
    ------
    UserError
        No such run, a record that cannot be trusted, or data that have changed.
    """
    originals = find(config)
    store = Path(config.tracking.store)
    jobs = [(original, *prepare_again(original, config, store)) for original in originals]
    code = code_version(diff=config.tracking.code_diff)
    recorder = open_recorder(config) if config.track else None
    verdicts = []
    paths = list(dict.fromkeys(prepared.path.resolve() for _, _, prepared in jobs))
    with open_executor(config.workers, paths) as executor:
        say_differences(originals[0].record, executor.submit(environment).result() | {"code": code})
        for original, repeated, prepared in carry_out(executor, jobs):
            repeated.add_origin(prepared, code)
            comparison = compare(original.record, repeated, config.rtol)
            console.print(
                f"{original.name}: {comparison.sentence if comparison.verdict == 'identical' else comparison.table()}"
            )
            if recorder is not None:
                write(recorder, original, repeated, comparison)
            verdicts.append(comparison.verdict)
    changed = [f"{original.name}: {sentence}" for original in originals for sentence in original.changed]
    for line in changed:
        console.print(line)
    accepted = {"identical"} | ({"within_tolerance"} if config.accept == "tolerance" else set())
    if len(verdicts) > 1:
        console.print(", ".join(f"{verdicts.count(v)} {v.replace('_', ' ')}" for v in dict.fromkeys(verdicts)))
    return 0 if set(verdicts) <= accepted and not changed else 1


def open_recorder(config: RerunConfig) -> Recorder:
    """The writer of reruns."""
    tracking = config.tracking
    return Recorder(tracking)


def find(config: RerunConfig) -> list[Original]:
    """The recorded runs that `config.run` means."""
    folder = Path(config.run)
    if folder.is_dir():
        meta = read_meta(folder)
        return [Original(str(meta.get("name") or folder.name), "", read_folder(folder), foreign=True)]
    tracking = config.tracking
    archive = Archive(tracking)
    if config.run == "all":
        found = [run for run in archive.children(config.study or archive.latest_study()) if run.outcome]
    else:
        found = [archive.find(config.run, config.study)]
    if not found:
        raise RecordError(f"The study {config.study} has no finished run to rerun.")
    return [original_of(archive, run) for run in found]


def original_of(archive: Archive, run: Found) -> Original:
    """A run of the store with its record, and what the store shows of it otherwise than the record says."""
    record = archive.load(run)
    changed = archive.disagreements(run, record)
    return Original(run.handle, run.run_id, record, archive.is_foreign(run), tuple(changed))


def say_differences(record: TrialRecord, here: dict[str, object]) -> None:
    """Say first how the environment and the code differ from the record's, since that may be why the bits do."""
    for what, lines in (
        ("The environment differs from the record's", environment_differences(record.environment, here)),
        ("The code differs from the record's", code_differences(record.environment.get("code") or {}, here["code"])),  # type: ignore[arg-type]
    ):
        if lines:
            console.print(f"{what}:")
            for line in lines:
                console.print(f"  {line}")


def prepare_again(
    original: Original, config: RerunConfig, store: Path
) -> tuple[TrialConfig | ConfigError, PreparedData]:
    """The configuration and the arrays of a record.

    Raises
    ------
    RecordError
        The record names a file or a download that has to be allowed, or its data have changed since.
    """
    plain = original.record.config
    try:
        trial: TrialConfig | ConfigError = parse(TrialConfig, plain)
        data = parse(TrialConfig, {"data": plain.get("data", {})}).data
    except ConfigError as error:
        if original.record.outcome != "failed":
            raise RecordError(f"The record of {original.name} does not fit this version: {error}") from None
        trial = error
        data = TrialConfig().data
    if isinstance(trial, TrialConfig):
        check_sizes(trial, original.record)
    if original.foreign and data.source != "builtin" and not config.allow_path:
        raise RecordError(
            f"The record of {original.name} comes from elsewhere and reads {data.path or data.name} ({data.source}); "
            "look whether you trust that, and allow it with allow_path=true."
        )
    try:
        prepared = prepare(data, store)
    except DataError:
        kept = find_arrays(original.record.data, store)  # the source is away; what was made of it may still be here
        if kept is None:
            raise
        prepared = kept
    changed = what_changed(original.record.data, prepared.description)
    if changed and original.record.data.get("digest") and not config.changed_data:
        raise RecordError(
            f"The data of {original.name} have changed since it was recorded ({changed}); "
            "rerun it all the same with changed_data=true."
        )
    if isinstance(trial, TrialConfig):
        ensure(prepared, trial.data, trial.repeat_numbers)
    return trial, prepared


Job = tuple[Original, TrialConfig | ConfigError, PreparedData]


def carry_out(executor: Executor, jobs: Sequence[Job]) -> Iterator[tuple[Original, TrialRecord, PreparedData]]:
    """Train every job; results come as they are ready."""
    futures = {}
    for original, trial, prepared in jobs:
        record = original.record
        if isinstance(trial, ConfigError):
            yield original, failed_record(record.config, trial), prepared
            continue
        stop = record.stop_epoch if record.outcome == "pruned" else None
        arrays = prepared.path.resolve()
        future = executor.submit(work_whole, arrays, trial, stop, record_format=record.format)
        futures[future] = (original, prepared)
    for future in as_completed(futures):
        original, prepared = futures[future]
        try:
            repeated = future.result()
        except LostWorker as error:
            repeated = failed_record(original.record.config, error)
        yield original, repeated, prepared


def write(recorder: Recorder, original: Original, repeated: TrialRecord, comparison: Comparison) -> None:
    """Track the rerun, linked to the original, which gets the verdict as a tag."""
    tags = {"verdict": comparison.verdict, "rerun_of": original.run_id or original.name}
    name = f"rerun of {re.sub(r'.*/', '', original.name)}"
    run_id = recorder.write(repeated, kind="rerun", name=name, tags=tags)
    recorder.write_json(run_id, "comparison.json", comparison.as_dict())
    if original.run_id:
        recorder.annotate(original.run_id, tags={"rerun_verdict": comparison.verdict})
