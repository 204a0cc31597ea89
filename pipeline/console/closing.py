"""The words and tables with which a sweep begins and ends."""

import shlex
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.commands import SweepConfig
from pipeline.config.text import short
from pipeline.console.compose import overrides
from pipeline.console.display import console, short_name, table
from pipeline.console.next_steps import print_next, same_store
from pipeline.data.divisions import is_fixed
from pipeline.reporting.sentences import sentences
from pipeline.reporting.sentences import table as conclusion_table
from pipeline.search.coordinator import run_name
from pipeline.search.making import objective_names
from pipeline.search.study import asked
from pipeline.selection.recommendation import Recommendation
from pipeline.trials.record import no_result

SHOWN = 5


def standing(study: optuna.Study, config: SweepConfig) -> str:
    """Return the state of the study: "20 of 50 trials done, 9 stopped early by the pruner or diverged, 0 failed"."""
    states = [trial.state for trial in asked(study)]
    done = sum(state.is_finished() for state in states)
    wanted = config.study.trials
    so_far = f"{done} of {wanted} trials done" if len(states) <= wanted else f"{done} trials done ({wanted} asked for)"
    return (
        f"{so_far}, {states.count(TrialState.PRUNED)} stopped early by the pruner "
        f"or diverged, {states.count(TrialState.FAIL)} failed"
    )


def print_end(
    config: SweepConfig,
    name: str,
    study: optuna.Study,
    *,
    run_id: Callable[[int], str],
    test_set: str = "",
    stopped: str = "",
    gave_up: bool = False,
    left: str = "",
    exhausted: bool = False,
    conclusion: Recommendation | None = None,
    beside: str = "",
) -> int:
    """Print the result and what to do next; return 0 when the sweep ended as planned or by a rule of the user's.

    Parameters
    ----------
    beside : a sentence on the error to compare every dev error with.
    """
    complete = [t for t in asked(study) if t.state == TrialState.COMPLETE]
    console.print(f"\nStudy {name}: {standing(study, config)}.")
    if distrusted := [str(t.number) for t in asked(study) if t.user_attrs.get("summary", {}).get("distrusted")]:
        console.print(f"The gradient check calls the trained gradients wrong in trial {', '.join(distrusted)}.")
    if not complete:
        console.print(no_result(t.user_attrs.get("summary", {}).get("outcome", "") for t in asked(study)))
    elif len(objective_names(config)) > 1:
        _print_front(study, run_id)
    elif conclusion is not None:
        _print_conclusion(conclusion, one_division=is_fixed(config.data))
    else:
        _print_gain(study, min(complete, key=_first), objective_names(config)[0])
        _print_best(sorted(complete, key=_first)[:SHOWN], run_id)
    for line in filter(None, (beside if complete else "", test_set)):
        console.print(line)
    done = not stopped and all(trial.state.is_finished() for trial in asked(study))
    if exhausted:
        console.print("The grid is complete: every point of it has been tried. Other points are another study.")
    if stopped:
        console.print(f"The sweep stopped before {config.study.trials} trials: {stopped}")
    if left:
        console.print(f"{left} They are sent when the same command runs again.")
    recommended = "" if conclusion is None else conclusion.run
    _print_next(config, name, complete, done=done, exhausted=exhausted, recommended=recommended)
    hopeless = bool(asked(study)) and all(trial.state == TrialState.FAIL for trial in asked(study))
    return 1 if gave_up or left or hopeless else 0


def _first(trial: FrozenTrial) -> float:
    return float(trial.values[0])


def _print_conclusion(conclusion: Recommendation, *, one_division: bool) -> None:
    console.print("\n" + " ".join(sentences(conclusion, one_division=one_division)) + "\n")
    table(*conclusion_table(conclusion), optional=("repeats", "behind it"))
    if conclusion.luckiest != conclusion.name:
        console.print(f"{conclusion.luckiest} was the luckiest trial: the lowest mean over its own repeats.")


def _print_gain(study: optuna.Study, best: FrozenTrial, objective: str) -> None:
    baseline = study.user_attrs.get("baseline", {}).get(f"best_{objective}")
    if baseline is not None:
        words = objective.replace("_", " ")
        change = (baseline - best.values[0]) / baseline if baseline else 0.0
        console.print(
            f"Best {words} {short(best.values[0])}, against {short(baseline)} without regularisation: "
            f"{100 * abs(change):.0f} % {'lower' if change >= 0 else 'higher'}."
        )


def _print_best(best: list[FrozenTrial], run_id: Callable[[int], str]) -> None:
    paths = list(dict.fromkeys(path for trial in best for path in trial.params))
    rows = []
    for trial in best:
        brief: dict[str, Any] = trial.user_attrs.get("summary", {})
        errors = [brief.get("best_dev_cost"), brief.get("best_dev_error")]
        values = [trial.params.get(path) for path in paths]
        rows.append([run_name(trial.number), *errors, *values, brief.get("epochs"), run_id(trial.number)])
    names = [short_name(path) for path in paths]
    table(["trial", "dev cost", "dev error", *names, "epochs", "run id"], rows)


def _print_front(study: optuna.Study, run_id: Callable[[int], str]) -> None:
    front = sorted(study.best_trials, key=lambda trial: trial.values)
    paths = list(dict.fromkeys(path for trial in front for path in trial.params))
    objectives = [str(name) for name in study.user_attrs["config"]["study"]["objective"]]
    rows = [[run_name(t.number), *t.values, *(t.params.get(path) for path in paths), run_id(t.number)] for t in front]
    console.print(f"{len(front)} trials that no other beats in every objective (the Pareto front):")
    table(["trial", *objectives, *(short_name(path) for path in paths), "run id"], rows)


def _print_next(
    config: SweepConfig, name: str, complete: list[FrozenTrial], *, done: bool, exhausted: bool, recommended: str
) -> None:
    given, where = overrides(), same_store()
    lines = [("see and compare the runs", f"make ui{where}")]
    if complete:
        best = recommended or run_name(min(complete, key=_first).number)
        lines.append(("prove that the best repeats", f"make rerun RUN={name}/{best}{where}"))
    if not exhausted:
        trials = 2 * max(config.study.trials, len(complete)) if done else config.study.trials
        same = [text for text in given if not text.startswith(("study.trials=", "study.fresh="))]
        if config.study.fresh:
            same.append(f"study.name={name}")
        again = f'make sweep ARGS="{shlex.join([*same, f"study.trials={trials}"])}"'
        lines.append(("extend the study" if done else "resume the study", again))
    if complete:
        lines.append(("more certainty", f"make confirm STUDY={name}{where}"))
    lines.append(("one HTML file of it all", f"make report STUDY={name}{where}"))
    print_next(lines)
