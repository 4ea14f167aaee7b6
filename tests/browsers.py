"""A headless Chromium that looks at our pages. Where there is none, its tests are skipped, visibly."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """What the tests do with a page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1200, fragment: str = "", height: int = 900) -> None:
        """Load a page in a window of `width` pixels; what an earlier page said on the console is forgotten."""
        self.visit(page.as_uri() + fragment, width, height)

    def visit(self, address: str, width: int = 1200, height: int = 900) -> None:
        """Load what is at an address."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(address)

    def console(self) -> list[str]:
        """Messages since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def run(self, script: str, *arguments: Any) -> Any:
        """Value of a piece of JavaScript."""
        return self.driver.execute_script(script, *arguments)

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def find(self, selector: str) -> Any:
        """The first element that a CSS selector matches."""
        return self.driver.find_element("css selector", selector)

    def column(self, table: str, name: str) -> list[str]:
        """Values of a column, of the rows that are shown, from top to bottom."""
        script = """return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].filter(row => row.offsetHeight)
            .map(row => row.querySelector(`[data-column="${arguments[1]}"]`).dataset.value)"""
        return list(self.run(script, table, name))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        import base64

        answer = self.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        return base64.b64decode(answer["data"])


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no network but what a test serves
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    driver.set_page_load_timeout(60)
    yield Browser(driver)
    driver.quit()
