"""The report of a sweep: one self-contained HTML file with its pictures."""

import base64
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.gradcheck.report import VERDICTS
from pipeline.reporting import description
from pipeline.reporting.findings import Finding
from pipeline.reporting.pictures import CAPTIONS
from pipeline.reporting.results import Sweep, Trial, label
from pipeline.reporting.sentences import plus_minus, sentences
from pipeline.reporting.sentences import table as sentences_table
from pipeline.tracking.facts import PRUNED
from pipeline.trials.record import no_result

MOMENTS = {"init": "before training", "trained": "after training"}
LISTED = 300
"""Most trials in the table; the others are only counted."""


def render(
    sweep: Sweep, findings: Sequence[Finding], pictures: Mapping[str, Path], *, confirmation: str, test_set: str
) -> str:
    """Return the whole page.

    Parameters
    ----------
    confirmation, test_set : sentences on whether the best was confirmed and the test set was opened.
    """
    from jinja2 import Environment, FileSystemLoader

    # Names of data sets, columns and studies come from people, so everything is escaped.
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    table = ordered(sweep)
    return environment.get_template("report.html").render(
        sweep=sweep,
        said=sentences(sweep.conclusion, one_division=sweep.one_division) if sweep.conclusion else [],
        compared=sentences_table(sweep.conclusion) if sweep.conclusion else None,
        best=sweep.leader if sweep.ranked else None,
        marked=_marked(sweep),
        beside=description.beside(sweep),
        no_result=no_result(trial.outcome for trial in sweep.trials),
        space=description.search_space(sweep),
        begun=time.strftime("%F %H:%M", time.gmtime(sweep.parent.started_at)),
        rows=description.ROWS,
        values=description.values,
        shown=description.shown,
        with_error=with_error,
        short=description.short,
        label=label,
        confirmation=confirmation,
        test_set=test_set,
        findings=findings,
        pictures={name: base64.b64encode(path.read_bytes()).decode() for name, path in pictures.items()},
        captions=CAPTIONS,
        table=table[:LISTED],
        unlisted=max(0, len(table) - LISTED),
        pruned={t.name: t.run.tags[PRUNED] for t in sweep.trials if PRUNED in t.run.tags},
        verdicts=VERDICTS,
        checks=[_tally(sweep, moment, text) for moment, text in MOMENTS.items()],
        evidence=_evidence(sweep),
        commands=description.commands(sweep),
        facts=_facts(sweep),
        config=json.dumps(sweep.config, indent=1, ensure_ascii=False),
    )


def _marked(sweep: Sweep) -> str:
    """Return the run whose row stands out: the recommended one, or without a recommendation the best trial."""
    if sweep.conclusion is not None:
        return sweep.conclusion.name
    return sweep.ranked[0].name if sweep.ranked else ""


def with_error(trial: Trial, metric: str) -> str:
    """Return a metric with its standard error over repeats, if there are several: 1.33 ± 0.21 %."""
    error = trial[f"{metric}_se"]
    if not math.isfinite(error) or not math.isfinite(trial[metric]):
        return description.shown(trial, metric)
    if metric.endswith("error"):
        return f"{100 * trial[metric]:.2f} ± {100 * error:.2f} %"
    return plus_minus(trial[metric], error)


def ordered(sweep: Sweep) -> list[Trial]:
    """Return all runs of the sweep, the baseline included: those that count, best first, then the rest by number."""
    counted = [*sweep.ranked]
    if sweep.baseline is not None and math.isfinite(sweep.baseline[sweep.metric]):
        counted.append(sweep.baseline)
        counted.sort(key=lambda trial: trial[sweep.metric])
    names = {trial.name for trial in counted}
    return [*counted, *(trial for trial in sweep.trials if trial.name not in names)]


def _tally(sweep: Sweep, moment: str, text: str) -> dict[str, Any]:
    """Count each verdict at one moment, and find the largest error of all."""
    found = [trial.run.tags.get(f"gradcheck_{moment}", "") for trial in sweep.trials]
    errors = {trial.name: trial[f"gradcheck_{moment}_relative_error"] for trial in sweep.trials}
    finite = {name: error for name, error in errors.items() if math.isfinite(error)}
    name = max(finite, key=lambda name: finite[name], default="")
    worst = f"{finite[name]:.2g} ({name})" if name else "none was made"
    return {"moment": text, "counts": {verdict: found.count(verdict) for verdict in VERDICTS}, "worst": worst}


def _evidence(sweep: Sweep) -> dict[str, Any]:
    """Return the full gradient reports of the recommended trial, or of the best."""
    if not sweep.ranked:
        return {}
    checks = sweep.records[sweep.leader.name].gradient_checks
    return {text: checks[moment] for moment, text in MOMENTS.items() if checks.get(moment)}


def _facts(sweep: Sweep) -> dict[str, str]:
    """Return data, code and software of the best trial, with what identifies each."""
    record = next(iter(sweep.records.values()), None)
    if record is None:
        return {}
    data, environment = record.data, record.environment
    code, packages = environment.get("code", {}), environment.get("packages", {})
    blas = ", ".join(f"{lib.get('name')} {lib.get('version')} ({lib.get('kernel')})" for lib in environment["blas"])
    examples = data.get("examples") or {}
    return {
        "data": f"{data.get('name')}: {data.get('features')} features, {len(data.get('classes', ()))} classes",
        "examples": ", ".join(f"{part} {count:,}" for part, count in examples.items() if isinstance(count, int)),
        "digest of the arrays": str(data.get("digest")),
        "digest of the source": str(data.get("source_digest")),
        "code": f"{code.get('commit') or code.get('state')}{' with uncommitted changes' if code.get('dirty') else ''}",
        "software": f"Python {environment.get('python')}, NumPy {packages.get('numpy')}, BLAS {blas}",
        "machine": f"{environment.get('platform')}, {environment.get('processor')}",
    }
