"""The report in a browser: a click on a column's name sorts the table, and no window is narrower than the page."""

from collections.abc import Iterator

import pytest

pytest.importorskip("selenium", reason="browser tests are optional")

from pipeline.reporting.html import render
from tests.browser.pages import CHROMIUM, DRIVER, Browser
from tests.reporting.sweeps import THREE, a_sweep, a_trial

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

PATHS = ("regularization.lambd", "regularization.keep_prob", "model.init.scale")
LAMBDS = (20.0, 3.0, 0.5)
COSTS = (0.2, 0.1, 0.05)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("report")
    trials = [
        a_trial(n, dict(zip(PATHS, (lambd, 0.8, 0.5), strict=True)), cost)
        for n, (lambd, cost) in enumerate(zip(LAMBDS, COSTS, strict=True))
    ]
    trials.append(a_trial(3, {}, float("nan"), outcome="failed"))
    html = render(a_sweep(trials, space=THREE), [], {}, confirmation="", test_set="")
    (folder / "report.html").write_text(html, encoding="utf-8")
    window = Browser(folder / "profile", f"file://{folder}")
    window.open("/report.html")
    try:
        yield window
    finally:
        window.close()


def column(page: Browser, number: int) -> list[str]:
    """What a column of the trials' table has, from top to bottom."""
    return [cell.text for cell in page.all(f"table.small.sortable tbody td:nth-child({number})")]


def test_numbers_are_sorted_by_size_up_then_down_with_empty_cells_last(page: Browser) -> None:
    page.press("λ")
    assert column(page, 6) == ["0.5", "3", "20", ""]
    page.press("λ")
    assert column(page, 6) == ["20", "3", "0.5", ""]
    page.press("dev cost")
    assert column(page, 1) == ["trial-0002", "trial-0001", "trial-0000", "trial-0003"]


def test_texts_are_sorted_by_alphabet(page: Browser) -> None:
    page.press("outcome")
    assert column(page, 2) == ["early stopped"] * 3 + ["failed"]
    page.press("outcome")
    assert column(page, 2) == ["failed"] + ["early stopped"] * 3


@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_the_page_is_no_wider_than_the_window(page: Browser, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.open("/report.html")
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
