"""Drives the pages of the MLflow UI in a headless Chromium."""

import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from pipeline.commands.ui import HOST
from tests.end_to_end.sweeps import ROOT, command
from tests.servers import free_port, wait_until

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE_S = 180
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@contextmanager
def mlflow_ui(store: Path) -> Iterator[str]:
    """What `make ui` serves over a store, for the time of the block; gives the address."""
    port, log = free_port(), store / "ui.log"
    address = f"http://{HOST}:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(store, "ui", f"port={port}"), cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(lambda: _answers(address), process, log)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False


class Browser:
    """One window, with the few things a person does in it."""

    def __init__(self, profile: Path, address: str, width: int = 1700, height: int = 1100) -> None:
        options = Options()
        options.binary_location = CHROMIUM or ""
        for flag in (*FLAGS.split(), f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.address = address
        # The panel of MLflow's assistant opens by itself on the first visit, and covers a quarter of the page.
        closed = "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
        closed += "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
        source = f"if (location.protocol === 'http:') {{ {closed} }}"
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})

    def open(self, path: str) -> None:
        """Go to a page and load it anew."""
        self.driver.get("about:blank")  # else a change behind the # alone would load nothing
        self.driver.get(self.address + path)

    @property
    def text(self) -> str:
        """All text that can be read at present."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def wait_for(self, what: str) -> None:
        """Wait until a text can be read."""
        self.until(lambda: what in self.text, what)

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until something is there, and return it."""
        from selenium.common.exceptions import StaleElementReferenceException

        wait = WebDriverWait(self.driver, PATIENCE_S, ignored_exceptions=[StaleElementReferenceException])
        return wait.until(lambda _: holds(), f"{what} is not on the page: {self.text[:1500]}")

    def all(self, selector: str) -> list[WebElement]:
        """Elements by CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def rows(self, word: str) -> list[WebElement]:
        """Rows of the run list whose name has a word in it."""
        return [row for row in self.all(".ag-pinned-left-cols-container .ag-row") if word in row.text]

    def headings(self) -> list[str]:
        """Column headings of the run list that can be seen."""
        return [cell.text for cell in self.all(".ag-header-cell") if cell.text]

    def press(self, name: str) -> None:
        """Press the button with this name."""
        self.until(lambda: [b for b in self.all("button") if b.text == name], f"button {name}")[0].click()

    def dismiss_banner(self) -> None:
        """Put the note on shared views away."""
        for button in self.all('[data-component-id="mlflow.experiment_page.shared_view.dismiss"]'):
            button.click()

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()
