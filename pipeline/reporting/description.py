"""A sweep in a few lines of Markdown: what it was, its result against the baseline, what limits it, how to go on."""

from collections.abc import Sequence
from typing import Any

from pipeline.config.text import markdown_table
from pipeline.data.commonest import sentence
from pipeline.reporting.findings import Finding
from pipeline.reporting.results import Sweep, Trial, label
from pipeline.reporting.sentences import sentences, table
from pipeline.trials.record import no_result

ROWS = {
    "dev cost": "best_dev_cost",
    "dev error": "best_dev_error",
    "train cost": "best_train_cost",
    "train error": "best_train_error",
    "best epoch": "best_epoch",
}
"""What is shown of a run, and its metric."""


def describe(sweep: Sweep, findings: Sequence[Finding]) -> str:
    """Return the description of the sweep's own run."""
    paragraphs = [
        _headline(sweep),
        f"It searched {search_space(sweep)}, with the {sweep.config['sampler']['name']} sampler and the "
        f"{sweep.config['pruner']['name']} pruner.",
        _result(sweep),
        beside(sweep),
        _limits(findings),
        "The pictures are among this run's artifacts, under `pictures`.",
        "\n".join(f"- {what}: `{command}`" for what, command in commands(sweep).items()),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _headline(sweep: Sweep) -> str:
    """Return the result in a sentence, the part of a description that the UI shows before it is opened."""
    what = f"**{len(sweep.trials)} trials on {sweep.config['data']['name']}.**"
    if sweep.conclusion is not None:
        return " ".join([what, *sentences(sweep.conclusion, one_division=sweep.one_division)])
    if not sweep.ranked:
        return f"{what} {no_result(trial.outcome for trial in sweep.trials)}"
    best, words = sweep.ranked[0], sweep.objectives[0].replace("_", " ")
    against = f", {shown(sweep.baseline, sweep.metric)} without regularisation" if sweep.baseline else ""
    return f"{what} Best {words} {shown(best, sweep.metric)} ({best.name}{against})."


def search_space(sweep: Sweep) -> str:
    """λ from 0.01 to 30 (log), keep_prob from 0.5 to 1, activation among relu, tanh."""
    texts = []
    for leaf in sweep.space.leaves:
        if leaf.is_choice:
            texts.append(f"{label(leaf.path)} among {', '.join(map(str, leaf.labels))}")
        else:
            d = leaf.range
            texts.append(f"{label(leaf.path)} from {d.low:g} to {d.high:g}{' (log)' if d.log else ''}")
    return ", ".join(texts)


def beside(sweep: Sweep) -> str:
    """Return a sentence on what to compare every dev error with."""
    return sentence(sweep.data, sweep.objectives[0])


def _result(sweep: Sweep) -> str:
    """Return a table of the best trial beside the run without regularisation."""
    if sweep.conclusion is not None:
        return markdown_table(*table(sweep.conclusion))
    if not sweep.ranked:
        return ""
    best, baseline = sweep.ranked[0], sweep.baseline
    lines = [f"| | {best.name} | no regularisation |", "|---|---|---|"]
    lines += [f"| {text} | {shown(best, key)} | {shown(baseline, key)} |" for text, key in ROWS.items()]
    return "\n".join([f"Best: **{best.name}** with {values(best)}.", "", *lines])


def _limits(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    first, *rest = findings
    lines = [f"**Diagnosis:** {first.claim} {first.evidence}"]
    lines += [f"- {finding.claim}" for finding in rest]
    advice = [finding.advice for finding in findings if finding.advice]
    lines += ["", "**Next:**", *(f"{number}. {text}" for number, text in enumerate(advice, start=1))] if advice else []
    return "\n".join(lines)


def values(trial: Trial) -> str:
    """Return the searched values of a trial: λ = 4.86, keep_prob = 0.667."""
    return ", ".join(f"{label(path)} = {short(value)}" for path, value in trial.values.items())


def shown(trial: Trial | None, metric: str) -> str:
    """Return a metric for people: errors in %, whole epochs, costs with four digits."""
    value = float("nan") if trial is None else trial[metric]
    if value != value:
        return "–"
    if metric.endswith("error"):
        return f"{100 * value:.2f} %"
    return f"{value:.0f}" if metric in ("best_epoch", "stop_epoch") else f"{value:.4g}"


def short(value: Any) -> str:
    """A configuration value for people: three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def commands(sweep: Sweep) -> dict[str, str]:
    """Return the possible next steps: a purpose and a command each."""
    shown = {"all of it in one HTML file": f"make report STUDY={sweep.name}"}
    if sweep.ranked:
        recommended = "" if sweep.conclusion is None else sweep.conclusion.run
        run = f"{sweep.name}/{recommended or sweep.leader.name}"
        shown["the best again, to the same bits"] = f"make rerun RUN={run}"
        shown["the best on new seeds"] = f"make confirm STUDY={sweep.name}"
    return shown
