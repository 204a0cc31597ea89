"""What a person sees of a sweep in the MLflow UI: columns at once, groups that open, comparisons that work."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="browser tests are optional")

from tests.browser.pages import CHROMIUM, DRIVER, Browser, mlflow_ui
from tests.end_to_end.sweeps import SMALL, run, stored

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

VIEW = "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey="


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("seen") / "mlruns"
    ended = run(store, "sweep", *SMALL, "study.trials=8", "study.name=seen", "workers.count=1", "pruner=none")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return store


@pytest.fixture(scope="module")
def browser(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with mlflow_ui(swept) as address:
        window = Browser(tmp_path_factory.mktemp("profile"), address)
        try:
            yield window
        finally:
            window.close()


def test_the_printed_link_shows_results_searched_values_and_verdicts_at_once(browser: Browser) -> None:
    browser.driver.set_window_size(2600, 1050)  # the table draws the columns in sight alone
    browser.open(f"{VIEW}sweeps")
    browser.wait_for("seen")
    browser.until(lambda: "outcome" in browser.headings(), "the view's columns")
    shown = browser.headings()
    for name in (
        "best_dev_cost",
        "best_dev_error",
        "regularization.lambd",
        "regularization.keep_prob",
        "model.init.scale",
        "outcome",
        "diagnosis_verdict",
        "gradcheck_init",
    ):
        assert name in shown


def test_a_sweep_is_one_row_that_opens_to_its_trials(browser: Browser) -> None:
    browser.open(f"{VIEW}sweeps")
    (group,) = browser.until(lambda: browser.rows("seen"), "the sweep's row")
    assert browser.rows("trial-") == []
    group.find_element("css selector", "button").click()
    browser.until(lambda: len(browser.rows("trial-")) == 8, "eight trials")


def test_a_sweeps_own_view_lists_its_runs_the_best_first(browser: Browser, swept: Path) -> None:
    trials = stored(swept).of_kind("trial")
    best = min(trials, key=lambda trial: trial.data.metrics["best_dev_cost"])
    browser.open(f"{VIEW}seen")
    rows = browser.until(lambda: browser.rows("trial-"), "trials")
    assert best.info.run_name in rows[0].text
    assert len(browser.rows("baseline")) == 1


def test_charts_overlay_the_curves_and_draw_parallel_coordinates_of_the_searched_values(browser: Browser) -> None:
    browser.open(f"{VIEW}seen&compareRunsMode=CHART")
    browser.wait_for("Parallel Coordinates")
    browser.until(lambda: all(n in browser.text for n in ("regularization.lambd", "model.init.scale")), "coordinates")
    curves = browser.until(
        lambda: [
            c
            for c in browser.all(".js-plotly-plot")
            if len(c.find_elements("css selector", ".scatterlayer .trace")) > 1
        ],
        "a chart with several curves",
    )
    assert len(curves[0].find_elements("css selector", ".scatterlayer .trace")) >= 8


def test_comparing_chosen_runs_draws_their_parallel_coordinates(browser: Browser) -> None:
    browser.open(f"{VIEW}seen")
    for row in browser.until(lambda: browser.rows("trial-")[:4], "trials"):
        row.find_element("css selector", "input.ag-checkbox-input").click()
    browser.press("Compare")
    browser.wait_for("Comparing 4 Runs")
    axes = browser.until(lambda: browser.all(".parcoords .y-axis"), "the axes of the parallel coordinates")
    names = " ".join(axis.text for axis in axes)
    assert "regularization.lambd" in names
    assert "regularization.keep_prob" in names


def test_the_sweeps_run_shows_its_description_and_its_pictures(browser: Browser, swept: Path) -> None:
    (parent,) = stored(swept).of_kind("sweep")
    browser.open(f"/#/experiments/1/runs/{parent.info.run_id}")
    browser.wait_for("Best dev cost")
    browser.press("Show more")
    browser.wait_for("make rerun RUN=seen/trial-")
    browser.open(f"/#/experiments/1/runs/{parent.info.run_id}/artifacts/pictures/history.png")
    browser.until(lambda: browser.all("img[src^='blob:'], img[src*='history.png']"), "the picture")


def test_a_trials_run_shows_its_result_its_diagnosis_and_how_to_repeat_it(browser: Browser, swept: Path) -> None:
    trial = stored(swept).of_kind("trial")[0]
    browser.open(f"/#/experiments/1/runs/{trial.info.run_id}")
    browser.wait_for("Outcome:")
    browser.press("Show more")
    browser.wait_for("Diagnosis:")
    browser.wait_for(f"make rerun RUN=seen/{trial.info.run_name}")
