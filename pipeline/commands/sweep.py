"""`make sweep`: search configurations with Optuna, each trial trained by workers and tracked in MLflow."""

import gc
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from pipeline.config.commands import SweepConfig
from pipeline.config.errors import UserError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import as_plain, parse
from pipeline.console import compose
from pipeline.console.closing import print_end, standing
from pipeline.console.data import say_data
from pipeline.console.display import Counting, SweepProgress, console
from pipeline.console.interruption import terminable
from pipeline.data.commonest import sentence
from pipeline.data.divisions import ensure
from pipeline.data.prepare import PreparedData, prepare
from pipeline.data.recognition import present_rows
from pipeline.search import replay, widening
from pipeline.search.coordinator import Coordinator, Plan, Progress, run_name
from pipeline.search.executors import check_workers, open_executor
from pipeline.search.lock import Check, claim
from pipeline.search.making import check_slots, make_search, objective_names, trials_possible
from pipeline.search.outbox import Outbox
from pipeline.search.pruners import rungs
from pipeline.search.space import Space
from pipeline.search.storage import check_storage, open_storage
from pipeline.search.study import asked, check_arithmetic, check_data, held, open_study, study_id
from pipeline.selection.racing import Racing
from pipeline.selection.recommendation import Recommendation
from pipeline.tracking.archive import CONCLUSION, Archive
from pipeline.tracking.openings import NO_TEST_SET, openings
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.sender import Sender
from pipeline.tracking.store import check, resolve
from pipeline.trials.environment import code_version
from pipeline.trials.kernels import choose, current, restarted
from pipeline.trials.record import TrialRecord

PATIENT_S, IMPATIENT_S = 30.0, 5.0
"""How long the end of a sweep waits for a tracking store that is away; less after Ctrl-C, once the store is open."""

FOR_THE_RACE = ("sklearn.gaussian_process", "scipy.stats")
FOR_PICTURES = ("matplotlib.pyplot", "optuna.visualization.matplotlib", "scipy.interpolate")
"""Modules that take seconds to import and that the trials do not need."""

ILLUSTRATED = "illustrated"
"""Tag of the sweep's run: a digest of what its pictures and its description show."""


def main(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline sweep`."""
    return compose.run("sweep", SweepConfig, sweep, arguments)


def sweep(config: SweepConfig) -> int:
    """Bring the study to the number of trials asked for, from wherever it stands; 0 when it got there."""
    logging.getLogger("optuna").setLevel(logging.WARNING)
    space = Space(config.search.space, asdict(config.trial))
    check_workers(config.workers)
    check_slots(config)
    check_storage(config)
    make_search(config, space)  # refuses an invalid search before any file is written
    check(resolve(config.tracking))
    choose(config.kernels)
    trials = int(min(config.study.trials, trials_possible(config, space)))
    config = replace(config, study=replace(config.study, trials=trials))
    with held(config) as (name, still_held), terminable():
        prepared = prepare(config.data, Path(config.tracking.store))
        ensure(prepared, config.data, config.repeat_numbers)
        taken = widening.find_copies(config, space, name, prepared.digest, partial(run_ids, config))
        study = open_study(config, name, open_storage(config, name))
        check_data(study, prepared.digest)
        check_arithmetic(study)
        with claim(study, config.study.storage, take_over=config.study.take_over):
            if taken is not None:
                widening.keep(study, taken)
            sender = make_sender(config, study, prepared)
            return HeldSweep(config, study, space, prepared, sender, still_held).carry_out()


@dataclass(frozen=True)
class HeldSweep:
    """A sweep whose study this command holds, with its data and the writer of its runs."""

    config: SweepConfig
    study: optuna.Study
    space: Space
    prepared: PreparedData
    sender: Sender
    still_held: Check

    def carry_out(self) -> int:
        """Run and track the missing trials, and print how it ended; return the exit code."""
        config, study, name = self.config, self.study, self.study.study_name
        try:
            with open_executor(config.workers, [self.arrays]) as executor:
                self.sender.start()  # after the workers, so that a wrong address leaves no run behind
                self.announce()
                coordinator = self.train(executor)
                conclusion = None if coordinator.stopped else self.race_leaders(executor)
        except KeyboardInterrupt:
            console.print(f"\nInterrupted. Study {name}: {standing(study, config)}; {self.same_command} continues.")
            self.leave("KILLED")
            return 130
        except BaseException:
            if self.sender.parent is not None:
                self.leave("FAILED")
            raise
        left = self.leave("FINISHED", conclusion)
        exit_code = print_end(
            config,
            name,
            study,
            run_id=lambda number: "" if left else run_id(self.sender, number),
            test_set=test_set(self.sender, self.prepared),
            stopped=coordinator.stopped,
            gave_up=coordinator.gave_up,
            left=left,
            exhausted=len(asked(study)) >= trials_possible(config, self.space),
            conclusion=conclusion,
            beside=sentence(self.prepared.description, objective_names(config)[0]),
        )
        try:
            if not left:
                self.illustrate(conclusion)  # last, since nobody should wait for pictures to read the result
        except KeyboardInterrupt:
            console.print(f"\nInterrupted. Study {name} is whole; {self.same_command} draws its pictures.")
            return 130
        return exit_code

    @property
    def same_command(self) -> str:
        """Name the command that takes up this study."""
        instead = f" with study.name={self.study.study_name} for study.fresh=true" if self.config.study.fresh else ""
        return f"the same command{instead}"

    @property
    def arrays(self) -> Path:
        """The absolute path of the arrays."""
        return self.prepared.path.resolve()

    @cached_property
    def describe(self) -> Callable[[TrialRecord], None]:
        """Adds to a record what its trial does not know: the data's description and the code's version."""
        code = code_version(diff=self.config.tracking.code_diff)
        return partial(TrialRecord.add_origin, prepared=self.prepared, code=code)

    @property
    def baseline(self) -> TrialConfig | None:
        """The configuration without regularisation, if it is to be trained."""
        return baseline(self.config) if self.config.study.baseline else None

    def announce(self) -> None:
        """Print what is known before the first trial: the data, the study's standing, and what is unusual about it."""
        say_data(self.config, self.prepared)
        console.print(f"Study {self.study.study_name}: {standing(self.study, self.config)}")
        if (taken := widening.kept(self.study)) is not None:
            console.print(taken.sentence)
        if restarted():
            console.print(f"Computing with {current()}, as the study began.")
        if self.config.study.lag is None:
            console.print("study.lag=null: the search runs free, so the same command may find another result.")

    def train(self, executor: Executor) -> Coordinator:
        """Run the missing trials while MLflow is imported and the store opened; an unusable store ends the sweep."""
        with SweepProgress(self.config.study.trials) as progress:

            def show(standing: Progress) -> None:
                self.sender.check()
                progress.update(standing)

            coordinator = Coordinator(
                self.study,
                make_search(self.config, self.space, widening.before(self.study, self.space)),
                make_plan(self.config, self.space),
                executor=executor,
                outbox=Outbox(self.sender.outbox),
                tracker=self.sender,
                arrays=self.arrays,
                describe=self.describe,
                on_progress=show,
                still_held=self.still_held,
            )
            coordinator.run(self.baseline)
        self.sender.opened()
        return coordinator

    def race_leaders(self, executor: Executor) -> Recommendation | None:
        """Race the leaders over further repeats; None without a race, or if no trial was trained to its end."""
        if not races(self.config):
            return None
        with Counting("further repeats") as progress:
            return Racing(
                self.study,
                self.space,
                self.config,
                self.baseline,
                executor,
                slots=self.config.workers.slots,
                outbox=Outbox(self.sender.outbox),
                arrays=self.arrays,
                divide=lambda numbers: ensure(self.prepared, self.config.data, numbers),
                describe=self.describe,
                sent=self.sender.submit,
                on_progress=progress.update,
            ).run()

    def leave(self, status: str, conclusion: Recommendation | None = None) -> str:
        """Send what is left and end the parent run; return a sentence on what could not be sent."""
        sender, study = self.sender, self.study
        opening = sender.parent is None and not sender.trouble
        left = sender.close(IMPATIENT_S if status == "KILLED" and not opening else PATIENT_S)
        if sender.parent is not None and sender.recorder is not None and not sender.trouble:
            if status != "FAILED":  # the study may be what failed
                sender.recorder.annotate(sender.parent, **standing_metrics(study, objective_names(self.config)[0]))
                if conclusion is not None:
                    write_conclusion(sender.recorder, sender.parent, conclusion)
                sender.recorder.write_json(sender.parent, replay.FILE, replay.history(study, self.config))
            sender.recorder.close(sender.parent, status)
        if left.names:
            return f"{len(left.names)} finished runs wait in {sender.outbox} for the tracking store: {left.reason}"
        return f"The sweep's run could not be ended in the tracking store: {left.reason}" if left.reason else ""

    def illustrate(self, conclusion: Recommendation | None) -> None:
        """Give the parent run its pictures and its description, unless it has those of the study as it now stands.

        If that fails, the finished sweep does not.
        """
        from pipeline.reporting.conclusion import present

        config, sender = self.config, self.sender
        if sender.recorder is None or sender.parent is None:
            return
        found = None if conclusion is None else conclusion.as_dict()
        text = json.dumps([standing(self.study, config), config.tracking.pictures, found])
        stands = hashlib.sha256(text.encode()).hexdigest()[:16]
        try:
            if sender.recorder.tag(sender.parent, ILLUSTRATED) != stands:
                with console.status("Drawing the pictures of the sweep's run"):
                    present(config.tracking, sender.recorder, sender.study)
                sender.recorder.annotate(sender.parent, {ILLUSTRATED: stands})
                sender.recorder.close(sender.parent)  # again, so that its end comes after everything written to it
        except Exception as error:
            console.print(
                f"The sweep's pictures could not be made ({error}); make report STUDY={sender.study} tries again."
            )


def run_id(sender: Sender, number: int) -> str:
    """Return the id of a trial's run; empty if the store does not answer."""
    if sender.recorder is None or sender.parent is None:
        return ""
    return sender.recorder.child(sender.parent, run_name(number)) or ""


def run_ids(config: SweepConfig, study: str) -> dict[str, str]:
    """Return the ids of a study's trials by name; none if the store does not answer, which is no obstacle."""
    try:
        return {run.name: run.run_id for run in Archive(config.tracking).trials(study)}
    except UserError:
        return {}


def test_set(sender: Sender, prepared: PreparedData) -> str:
    """Return a sentence on whether the test set of these data was opened, as far as the store answers."""
    if not prepared.description["examples"].get("test"):
        return NO_TEST_SET
    if sender.recorder is None:
        return f"Whether the test set has been opened cannot be told now: {sender.trouble}"
    try:
        found = openings(sender.recorder.store, prepared.source_digest, lambda: present_rows(prepared))
    except UserError as error:  # the results are to be shown all the same
        return f"Whether the test set has been opened cannot be told now: {error}"
    return found.sentence


def baseline(config: SweepConfig) -> TrialConfig:
    """Return the same network without regularisation and at init scale 1, which the search has to beat."""
    plain = asdict(config.trial)
    plain["regularization"] = {"lambd": 0.0, "lambd_l1": 0.0, "keep_prob": 1.0, "keep_prob_input": 1.0}
    plain["model"]["init"]["scale"] = 1.0
    return parse(TrialConfig, plain)


def make_plan(config: SweepConfig, space: Space) -> Plan:
    """Return the plan: how many trials, when they report, and when to stop."""
    return Plan(
        trials=config.study.trials,
        rungs=rungs(config.pruner, space.most_epochs),
        objectives=tuple(objective_names(config)),
        pruner=config.pruner,
        slots=config.workers.slots,
        minutes=config.study.minutes,
        max_failures=config.study.max_failures,
        stall=config.study.stall,
    )


def races(config: SweepConfig) -> bool:
    """Return whether the leaders race at the end."""
    return config.study.race and len(objective_names(config)) == 1


def make_sender(config: SweepConfig, study: optuna.Study, prepared: PreparedData) -> Sender:
    """Make the writer of this sweep's runs."""
    plain = as_plain(config)
    tags = {"study_id": study_id(study), "data_digest": prepared.digest, "source_digest": prepared.source_digest}
    name = study.study_name
    outbox = Path(config.tracking.store) / "outbox" / name
    told = [run_name(trial.number) for trial in asked(study) if trial.state.is_finished()]
    tracked = sum(not (outbox / f"{run}.npz").exists() for run in told)

    def opened() -> None:
        if len(told) < config.study.trials:
            import_for_the_end(config)

    return Sender(
        partial(Recorder, config.tracking),
        outbox,
        study=name,
        config=plain,
        tags=tags,
        tracked=tracked,
        on_opened=opened,
    )


def import_for_the_end(config: SweepConfig) -> None:
    """Import what the race and the pictures need; in the sender's thread, while the workers train."""
    for name in (FOR_THE_RACE if races(config) else ()) + (FOR_PICTURES if config.tracking.pictures else ()):
        import_module(name)
    gc.freeze()  # otherwise Python's cyclic collector goes through all imported objects again and again


def write_conclusion(recorder: Recorder, run_id: str, conclusion: Recommendation) -> None:
    """Give the sweep's run its conclusion: the file, the tags and the metrics."""
    recorder.write_json(run_id, CONCLUSION, conclusion.as_dict())
    recorder.annotate(
        run_id, {"recommended": json.dumps(conclusion.values)}, conclusion.metrics(), step=conclusion.trials
    )


def standing_metrics(study: optuna.Study, objective: str) -> dict[str, Any]:
    """Return metrics: the number of trials, which is their step, and the best value of the first objective."""
    trials = asked(study)
    values = [trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE]
    best = {f"best_{objective}": min(values)} if values else {}
    return {"metrics": best | {"trials": float(len(trials))}, "step": len(trials)}
