"""Writes pictures, description, diagnosis and views of the UI to a sweep's own run when the sweep ends."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.commands import TrackingConfig
from pipeline.reporting.description import describe
from pipeline.reporting.findings import Finding
from pipeline.reporting.limits import diagnose_best, find_limits
from pipeline.reporting.pictures import draw_all
from pipeline.reporting.results import Sweep, gather
from pipeline.tracking.archive import Archive
from pipeline.tracking.notes import NOTE
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.views import views_of

PICTURES = "pictures"
"""Folder of a sweep's run."""


def present(tracking: TrackingConfig, recorder: Recorder, study: str) -> list[Finding]:
    """Read a sweep from the tracking store, and write its presentation to its own run; may be repeated.

    Returns
    -------
    list of Finding
        The limits of the sweep's result, the main one first.
    """
    archive = Archive(tracking)
    sweep = gather(archive, study)
    for key, value in views_of(archive.studies()).items():
        recorder.save_view(key, value)
    shown = summarize(sweep)
    if tracking.pictures:
        with tempfile.TemporaryDirectory() as folder:
            for path in draw_all(sweep, Path(folder)).values():
                recorder.write_file(sweep.parent.run_id, path, PICTURES)
    recorder.annotate(sweep.parent.run_id, tags=shown.tags, metrics=shown.metrics, step=len(sweep.trials))
    return shown.findings


@dataclass(frozen=True)
class Shown:
    """What a sweep's run shows beside its conclusion; all of it follows from its trials."""

    findings: list[Finding]
    tags: dict[str, str]
    metrics: dict[str, float]


def summarize(sweep: Sweep) -> Shown:
    """What the sweep's run is to show."""
    findings = find_limits(sweep)
    return Shown(findings, _tags(sweep, findings), _metrics(sweep))


def _tags(sweep: Sweep, findings: list[Finding]) -> dict[str, str]:
    tags = {NOTE: describe(sweep, findings)}
    if findings:
        tags["diagnosis_verdict"] = diagnose_best(sweep).verdict
        tags["diagnosis_limit"] = findings[0].claim
        tags["diagnosis_remedies"] = "; ".join(finding.advice for finding in findings if finding.advice)
    return tags


def _metrics(sweep: Sweep) -> dict[str, float]:
    """The best trial's summary, so that sweeps can be compared as runs can."""
    if not sweep.ranked:
        return {}
    best = sweep.ranked[0]
    names = ("best_dev_cost", "best_dev_error", "best_train_cost", "best_train_error", "avoidable_bias", "variance")
    return {name: best[name] for name in names if best[name] == best[name]}
