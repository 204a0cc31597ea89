"""What a sweep's run shows follows from its trials, and writing it again changes nothing."""

from pathlib import Path

from pipeline.config.commands import TrackingConfig
from pipeline.reporting.conclusion import present, summarize
from pipeline.tracking.archive import Archive
from pipeline.tracking.notes import NOTE
from pipeline.tracking.recorder import Recorder
from tests.reporting.sweeps import a_sweep, a_trial

LAMBD = "regularization.lambd"


def test_the_metrics_are_those_of_the_best_trial_without_values_that_are_not_numbers() -> None:
    worse, best = a_trial(0, {LAMBD: 0.1}, 0.3), a_trial(1, {LAMBD: 1.0}, 0.2, dev=0.04)
    shown = summarize(a_sweep([worse, best]))
    assert shown.metrics["best_dev_cost"] == 0.2
    assert shown.metrics["best_dev_error"] == 0.04
    assert "variance" not in shown.metrics  # this trial has none


def test_the_tags_name_the_main_limit_and_what_to_try() -> None:
    shown = summarize(a_sweep([a_trial(0, {LAMBD: 1.0}, 0.2, train=0.0, dev=0.1)]))
    assert shown.tags["diagnosis_verdict"] == "high variance"
    assert shown.tags["diagnosis_limit"] == shown.findings[0].claim
    assert shown.findings[0].advice in shown.tags["diagnosis_remedies"]


def test_a_sweep_without_a_trial_that_ended_well_has_a_description_alone() -> None:
    shown = summarize(a_sweep([]))
    assert (shown.findings, shown.metrics) == ([], {})
    assert set(shown.tags) == {NOTE}


def test_the_run_gets_what_it_shows_and_again_the_same(store: Path) -> None:
    tracking = TrackingConfig(store=str(store), pictures=False)
    findings = present(tracking, Recorder(tracking), "first")
    archive = Archive(tracking)
    first = archive.parent("first")
    assert first.tags["diagnosis_limit"] == findings[0].claim
    assert present(tracking, Recorder(tracking), "first") == findings
    again = archive.parent("first")
    assert (again.tags, again.metrics) == (first.tags, first.metrics)
