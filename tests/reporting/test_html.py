"""The report is one file that says everything, and trusts no name."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pipeline.reporting.description import describe
from pipeline.reporting.html import ordered, render
from pipeline.reporting.limits import find_limits
from pipeline.selection.recommendation import Compared, Estimate, Recommendation
from tests.reporting.sweeps import THREE, a_sweep, a_trial

PATHS = ("regularization.lambd", "regularization.keep_prob", "model.init.scale")


@pytest.fixture
def sweep():
    trials = [
        a_trial(n, dict(zip(PATHS, (1.0 + n, 0.8, 0.5), strict=True)), cost, outcome=outcome)
        for n, (cost, outcome) in enumerate(((0.2, "completed"), (0.1, "early_stopped"), (0.05, "pruned")))
    ]
    return a_sweep(trials, baseline=a_trial(-1, dict.fromkeys(PATHS, 1.0), 0.15, dev=0.04), space=THREE)


@pytest.fixture
def page(sweep, tmp_path):
    picture = tmp_path / "history.png"
    picture.write_bytes(b"\x89PNG picture")
    return render(
        sweep, find_limits(sweep), {"history": picture}, confirmation="Unconfirmed.", test_set="Opened <once>."
    )


def test_the_file_needs_nothing_else(page):
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page) == []
    assert "http" not in page
    assert 'src="data:image/png;base64,iVBOR' in page


def test_it_has_every_run_its_verdicts_the_diagnosis_and_the_commands(page, sweep):
    for trial in [*sweep.trials, sweep.baseline]:
        assert trial.name in page
        assert trial.run.run_id in page
    for finding in find_limits(sweep):
        assert finding.claim in page
    assert "make rerun RUN=made-up/trial-0001" in page
    assert "two-sided differences, ε = 1e-05" in page
    assert "W1[0, 1]" in page


def test_names_given_by_people_are_escaped(page):
    assert "Opened &lt;once&gt;." in page
    hostile = a_sweep([], data={"name": "<script>alert(1)</script>"})
    shown = render(hostile, [], {}, confirmation="", test_set="")
    assert "<script>alert" not in shown
    assert "&lt;script&gt;alert(1)" in shown


def test_beside_dev_errors_stands_that_of_always_answering_the_commonest_class(page, sweep):
    assert page.count("always answering 0: dev error 25.07%") == 2  # below the conclusion and above the trials
    assert "always answering 0: dev error 25.07%" in describe(sweep, [])


def test_a_pruned_trial_says_why(sweep):
    why = "Dev cost 0.3 at epoch 15 is above 0.12, the median there of 9 completed trials"
    sweep.trials[2].run.tags["pruned_because"] = why
    page = render(sweep, [], {}, confirmation="", test_set="")
    assert f"<td>trial-0002</td><td>{why}</td>" in page
    assert "Why trials were pruned" not in render(a_sweep([]), [], {}, confirmation="", test_set="")


def test_runs_are_ordered_by_the_objective_with_the_pruned_last(sweep):
    assert [run.name for run in ordered(sweep)] == ["trial-0001", "baseline", "trial-0000", "trial-0002"]


def test_the_description_compares_the_best_with_no_regularisation_and_says_how_to_go_on(sweep):
    text = describe(sweep, find_limits(sweep))
    assert "| | trial-0001 | no regularisation |" in text
    assert "| dev cost | 0.1 | 0.15 |" in text
    assert "λ from 0.01 to 30 (log), keep_prob from 0.5 to 1, init scale from 0.1 to 3 (log)" in text
    assert "**Diagnosis:**" in text
    assert "`make rerun RUN=made-up/trial-0001`" in text
    assert len(text) < 5000  # a tag holds no more


def test_a_sweep_without_a_result_is_described_as_one():
    assert "No trial has been trained to its end yet." in describe(a_sweep([]), [])
    diverged = describe(a_sweep([a_trial(1, {"regularization.lambd": 1.0}, 0.1, outcome="diverged")]), [])
    assert "No trial has been trained to its end: 1 diverged. A smaller training.learning_rate" in diverged


class Boxes(HTMLParser):
    """Which elements each table stands in."""

    def __init__(self):
        super().__init__()
        self.open, self.tables = [], []

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append(list(self.open))
        if tag in ("div", "details"):
            self.open.append(dict(attrs).get("class", tag))

    def handle_endtag(self, tag):
        if tag in ("div", "details"):
            self.open.pop()


def test_every_table_scrolls_in_its_own_box_and_the_trials_fold(page):
    boxes = Boxes()
    boxes.feed(page)
    assert boxes.open == []
    assert len(boxes.tables) >= 5
    assert all(table[-1] == "wide" for table in boxes.tables)
    assert page.index("<details open><summary>Trials") < page.index("<summary>Gradient checks")
    assert '<meta name="viewport" content="width=device-width' in page


def test_the_report_begins_with_the_conclusion(page, sweep):
    assert page.index("Best: <b>trial-0001</b>") < page.index("3 trials on digits") < page.index("<h2>Diagnosis")


def test_the_row_that_stands_out_is_the_recommended_trial(sweep):
    own = Compared("trial-0000", {}, 0.2, 0.01, 16, None, None, None)
    expected = Estimate(0.2, 0.19, 0.21, 8)
    found = Recommendation(
        "dev_cost", "trial-0000", {}, expected, None, None, (), {}, {}, own, own, (own,), "trial-0001", 2, 2
    )
    concluded = replace(sweep, conclusion=found)
    page = render(concluded, [], {}, confirmation="", test_set="")
    assert re.findall(r'<tr class="best">\s*<td>(.*?)</td>', page) == ["trial-0000"]
    assert "make rerun RUN=made-up/trial-0000" in page


def test_a_dev_figure_of_several_repeats_has_its_standard_error(sweep):
    sweep.trials[0].run.metrics.update(best_dev_cost_se=0.013, best_dev_error_se=0.004)
    shown = render(sweep, [], {}, confirmation="", test_set="")
    assert "0.200 ± 0.013" in shown
    assert "2.00 ± 0.40 %" in shown
