"""`make confirm`: train a study's best configurations again on new seeds, so that luck does not decide."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.commands import ConfirmConfig
from pipeline.console import compose
from pipeline.console.display import Counting, console, table
from pipeline.console.interruption import terminable
from pipeline.console.next_steps import print_next, same_store
from pipeline.data.commonest import sentence
from pipeline.data.divisions import ensure
from pipeline.data.prepare import PreparedData
from pipeline.search.executors import open_executor
from pipeline.search.lock import hold
from pipeline.selection.candidates import Candidate, load, prepare_data, ranked, shared_rows
from pipeline.selection.confirmation import CONFIRMATION, Confirmation, conclude_from
from pipeline.selection.repeats import Repeat, first_unused, further_repeats, new_seeds, repeats
from pipeline.selection.training import train_all
from pipeline.tracking.archive import Archive
from pipeline.tracking.found import Found, objective
from pipeline.tracking.recorder import Recorder
from pipeline.trials.environment import code_version
from pipeline.trials.kernels import as_recorded
from pipeline.trials.record import ENDED, TrialRecord


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline confirm`."""
    return compose.run("confirm", ConfirmConfig, confirm, arguments)


def confirm(config: ConfirmConfig) -> int:
    """Train the missing ones of top × seeds, then compare; return 0 when none is missing."""
    archive = Archive(config.tracking)
    study = config.study or archive.latest_study()
    lock = Path(config.tracking.store) / "studies" / f"{study}.confirm.lock"
    with hold(lock, f"the confirmation of {study}"), terminable():
        plan = plan_confirmation(config, archive, study)
        recorder = Recorder(config.tracking)
        run_id = recorder.open_run("confirm", "confirm", {"study": study}, parent=plan.parent.run_id, noted=True)
        try:
            todo = _missing(archive, run_id, plan.wanted)
            console.print(f"{plan.sentence}; {len(todo)} of {len(plan.wanted)} trainings to do")
            _train(config, plan, run_id, recorder, todo)
            result = plan.compare(archive, run_id)
            result = replace(result, looks=_looks(archive, run_id, result))
            _record(recorder, run_id, result)
        except KeyboardInterrupt:
            _cut_off(archive, recorder, run_id, "KILLED")
            left = len(_missing(archive, run_id, plan.wanted))
            console.print(f"\nInterrupted with {left} trainings left; the same command continues.")
            return 130
        except BaseException:
            _cut_off(archive, recorder, run_id, "FAILED")
            raise
    _print(result, sentence(plan.candidates[0].record.data), run_id)
    return 0


@dataclass(frozen=True)
class ConfirmationPlan:
    """What a confirmation trains: every candidate on every new seed, or on every further repeat.

    Attributes
    ----------
    parent : the sweep's run.
    numbers : the new seeds, or the numbers of the repeats.
    """

    parent: Found
    candidates: list[Candidate]
    numbers: list[int]
    wanted: list[Repeat]
    prepared: PreparedData

    @property
    def sentence(self) -> str:
        """The configurations, and on how many seeds or repeats they are trained."""
        names = ", ".join(candidate.name for candidate in self.candidates)
        return f"Study {self.parent.study}: {names}, on {len(self.numbers)} new {self.wanted[0].kind}s"

    def compare(self, archive: Archive, run_id: str) -> Confirmation:
        """Compare the candidates by their repeated trainings, the runs below the given one."""
        runs = [candidate.run for candidate in self.candidates]
        overlap = shared_rows(self.candidates[0]) if self.wanted[0].kind == "repeat" else None
        study, measure = self.parent.study, objective(self.parent)
        return conclude_from(archive, run_id, study, measure, self.numbers, runs, overlap=overlap)


def plan_confirmation(config: ConfirmConfig, archive: Archive, study: str) -> ConfirmationPlan:
    """Choose the candidates, and prepare their data and divisions."""
    parent, children = archive.parent(study), archive.children(study)
    runs = chosen(archive, parent, children, objective(parent), config.top)
    candidates = [load(archive, run) for run in runs]
    prepared = prepare_data(archive, candidates, Path(config.tracking.store), allow_path=config.allow_path)
    configs = {candidate.name: candidate.config for candidate in candidates}
    if candidates[0].config.repeats > 1:
        first = first_unused(run for run in children if run.kind in ("trial", "baseline", "confirm"))
        numbers = list(range(first, first + config.seeds))
        wanted = further_repeats(configs, numbers)
    else:
        numbers = new_seeds(config.seeds, (int(run.params.get("seed", 0)) for run in archive.trials(study)))
        wanted = repeats(configs, numbers)
    ensure(prepared, candidates[0].config.data, {n for each in wanted for n in each.config.repeat_numbers})
    return ConfirmationPlan(parent, candidates, numbers, wanted, prepared)


def chosen(archive: Archive, parent: Found, children: Sequence[Found], measure: str, top: int) -> list[Found]:
    """Return the runs to repeat: the recommended configuration, the best trials, and the baseline.

    For a study without repeats, only its best trials.
    """
    trials = ranked(archive, parent.study, measure)[:top]
    if trials[0].params.get("repeats", "1") == "1":
        return trials
    recommended = [archive.best(parent.study)] if "recommended" in parent.tags else []
    baselines = [run for run in children if run.kind == "baseline" and run.outcome in ENDED]
    others = [run for run in trials if run.run_id not in {each.run_id for each in recommended}]
    return [*recommended, *others[: top - len(recommended)], *baselines]


def _missing(archive: Archive, run_id: str, wanted: Sequence[Repeat]) -> list[Repeat]:
    done = {run.name for run in archive.below(run_id) if run.status in ("FINISHED", "FAILED")}
    return [repeat for repeat in wanted if repeat.name not in done]


def _train(config: ConfirmConfig, plan: ConfirmationPlan, run_id: str, recorder: Recorder, todo: list[Repeat]) -> None:
    """Train and record what is missing, under the arithmetic of the first candidate."""
    arithmetic = as_recorded(plan.candidates[0].record.environment)
    arrays = plan.prepared.path
    code = code_version(diff=config.tracking.code_diff)
    done = 0

    def finished(repeat: Repeat, record: TrialRecord) -> None:
        nonlocal done
        record.add_origin(plan.prepared, code)
        tags = {"study": plan.parent.study, "trial": repeat.trial.removeprefix("trial-")}
        recorder.write(record, kind="confirmation", name=repeat.name, parent=run_id, tags=tags)
        done += 1
        progress.update(done, len(todo))

    if todo:
        with open_executor(config.workers, [arrays], arithmetic) as executor, Counting("trainings") as progress:
            train_all(todo, arrays, executor, slots=config.workers.count, finished=finished)


def _cut_off(archive: Archive, recorder: Recorder, run_id: str, status: str) -> None:
    """Mark the confirmation's run as KILLED if it is still RUNNING."""
    for run in archive.below(run_id):
        if run.status == "RUNNING":
            recorder.close(run.run_id, status)
    recorder.close(run_id, status)


def _looks(archive: Archive, run_id: str, result: Confirmation) -> int:
    """How many results this confirmation has shown, this one included; the same result again is no further look."""
    before = archive.find(run_id).tags
    return int(before.get("revision", 0)) + (before.get("result_sha256") != result.digest)


def _record(recorder: Recorder, run_id: str, result: Confirmation) -> None:
    """Write the result as the metrics' next step; an unchanged result is not written again."""
    recorder.write_json(run_id, CONFIRMATION, result.as_dict() | {"verdict": result.verdict})
    recorder.annotate(run_id, result.tags(), result.metrics(), step=result.looks)
    recorder.close(run_id)


def _print(result: Confirmation, beside: str, run_id: str) -> None:
    table(*result.table())
    said = [line for line in (result.verdict, beside, result.footnote) if line]
    console.print("\n" + "\n".join(said) + f"\n\nrun {run_id}")
    print_next([("open the test set, and ship", f"make final STUDY={result.study}{same_store()}")])
