"""The words and tables with which a sweep begins and ends."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.config import SweepConfig
from pipeline.display import console, short, table
from pipeline.search.study import asked, objective_names

SHOWN = 5


def standing(study: optuna.Study, config: SweepConfig) -> str:
    """Where the study stands: "20 of 50 trials done, 9 pruned, 0 failed"."""
    states = [trial.state for trial in asked(study)]
    done = sum(state.is_finished() for state in states)
    return (
        f"{done} of {config.study.trials} trials done, {states.count(TrialState.PRUNED)} stopped early by the pruner "
        f"or diverged, {states.count(TrialState.FAIL)} failed"
    )


def print_end(
    config: SweepConfig, name: str, study: optuna.Study, *, run_ids: Mapping[int, str], stopped: str, left: str
) -> int:
    """Say what was found and what to do next; 0 when the study has all its trials."""
    complete = [t for t in asked(study) if t.state == TrialState.COMPLETE]
    console.print(f"\nStudy {name}: {standing(study, config)}.")
    if len(objective_names(config)) > 1:
        _print_front(study)
    elif complete:
        _print_gain(study, min(complete, key=_first), objective_names(config)[0])
        _print_best(name, sorted(complete, key=_first)[:SHOWN], run_ids)
    console.print(f"The test set ({config.data.name}) is unopened; no trial can read it.")
    done = not stopped and all(trial.state.is_finished() for trial in asked(study))
    if stopped:
        console.print(f"The sweep stopped before {config.study.trials} trials: {stopped}")
    if left:
        console.print(f"{left} They are sent when the same command runs again.")
    _print_next(config, name, complete)
    return 0 if done and not left else 1


def _first(trial: FrozenTrial) -> float:
    return float(trial.values[0])


def _print_gain(study: optuna.Study, best: FrozenTrial, objective: str) -> None:
    baseline = study.user_attrs.get("baseline", {}).get(f"best_{objective}")
    if baseline is not None:
        words = objective.replace("_", " ")
        change = (baseline - best.values[0]) / baseline if baseline else 0.0
        console.print(
            f"Best {words} {short(best.values[0])}, against {short(baseline)} without regularisation: "
            f"{abs(change):.0%} {'lower' if change >= 0 else 'higher'}."
        )


def _print_best(name: str, best: list[FrozenTrial], run_ids: Mapping[int, str]) -> None:
    paths = list(dict.fromkeys(path for trial in best for path in trial.params))
    rows = []
    for trial in best:
        brief: dict[str, Any] = trial.user_attrs.get("summary", {})
        run = f"trial-{trial.number:04d}"
        values = [trial.params.get(path) for path in paths]
        rows.append(
            [
                run,
                brief.get("best_dev_cost"),
                brief.get("best_dev_error"),
                *values,
                brief.get("epochs"),
                run_ids.get(trial.number, ""),
            ]
        )
    names = [path.split(".", 1)[-1] for path in paths]
    table(["trial", "dev cost", "dev error", *names, "epochs", "run id"], rows)


def _print_front(study: optuna.Study) -> None:
    rows = [[f"trial-{t.number:04d}", *t.values, *t.params.values()] for t in study.best_trials]
    objectives = [str(name) for name in study.user_attrs["config"]["study"]["objective"]]
    paths = [path.split(".", 1)[-1] for path in study.best_trials[0].params] if study.best_trials else []
    console.print("Trials that no other beats in every objective (the Pareto front):")
    table(["trial", *objectives, *paths], rows)


def _print_next(config: SweepConfig, name: str, complete: list[FrozenTrial]) -> None:
    extend = f'make sweep ARGS="… study.trials={2 * config.study.trials}"'
    lines = [("see and compare the runs", "make ui")]
    if complete:
        best = min(complete, key=_first)
        lines.append(("prove that the best repeats", f"make rerun RUN={name}/trial-{best.number:04d}"))
    lines += [
        ("resume or extend the study", extend.replace("… ", "")),
        ("confirm the best on new seeds", f"make confirm STUDY={name}"),
    ]
    console.print("\nNext:")
    for what, command in lines:
        console.print(f"  {command:55} {what}")
