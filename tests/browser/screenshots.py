"""Makes the pictures in `docs/` anew, from a default sweep:  python -m tests.browser.screenshots."""

import shutil
import sys
import tempfile
from pathlib import Path

from tests.browser.pages import Browser, mlflow_ui
from tests.end_to_end.sweeps import ROOT, run, stored

DOCS = ROOT / "docs"
VIEW = "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey="
LARGEST = 300_000
"""Bytes that a picture may have."""


def main() -> None:
    """Run the default sweep, look at it in the UI, and keep three pictures."""
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "mlruns"
        ended = run(store, "sweep", "study.name=digits", "workers.count=1", timeout=600)
        assert ended.returncode == 0, ended.stderr
        with mlflow_ui(store) as address:
            browser = Browser(Path(folder) / "profile", address)
            try:
                _run_list(browser)
                _comparison(browser)
            finally:
                browser.close()
        (parent,) = stored(store).of_kind("sweep")
        pictures = store / "artifacts" / parent.info.run_id / "artifacts" / "pictures"
        shutil.copy(pictures / "learning-curves.png", DOCS / "learning-curves.png")
    for picture in (DOCS / f"{name}.png" for name in ("compare", "learning-curves", "runs")):
        _compress(picture)
        print(picture, f"{picture.stat().st_size:,} bytes")
        assert picture.stat().st_size < LARGEST


def _run_list(browser: Browser) -> None:
    """The run list as `make ui` shows it, the sweep opened to its trials."""
    browser.driver.set_window_size(1980, 1050)
    browser.open(f"{VIEW}sweeps")
    browser.until(lambda: browser.rows("digits"), "the sweep's row")
    browser.until(lambda: "outcome" in browser.headings(), "the view's columns")
    browser.dismiss_banner()
    browser.rows("digits")[0].find_element("css selector", "button").click()
    browser.until(lambda: browser.rows("trial-"), "trials")
    browser.driver.save_screenshot(str(DOCS / "runs.png"))


def _comparison(browser: Browser) -> None:
    """Parallel coordinates of the searched values above the overlaid curves of the best runs."""
    browser.driver.set_window_size(1500, 1480)
    browser.open(f"{VIEW}digits&compareRunsMode=CHART")
    browser.wait_for("Parallel Coordinates")
    browser.dismiss_banner()
    browser.until(lambda: browser.all(".scatterlayer .trace"), "curves")
    browser.until(lambda: "regularization.lambd" in browser.text, "the axes")
    browser.driver.save_screenshot(str(DOCS / "compare.png"))


def _compress(path: Path) -> None:
    """Bring a picture to 256 colours, which is enough for charts."""
    from PIL import Image

    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
