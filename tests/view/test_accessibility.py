"""What axe-core finds on the pages, in each state that a person can bring them to.

axe-core is no part of this repository: the environment variable SPIKELAB_AXE names its file, or npm fetches it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gallery import CASES, rows_of
from simulated import save_recording, simulate
from spikelab import SpikeData
from spikelab.spike_sorting import compare_sorts, sort_recording
from spikelab.spike_sorting.report import write_index

pytestmark = pytest.mark.slow
N_UNITS = 12
SETTINGS = {"sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1, "create_figures": False}
RUN = """const done = arguments[0];
axe.run(document).then((found) => done([found.passes.length, found.violations.map((one) =>
  `${one.impact}: ${one.help} (${one.id}): ${one.nodes.map((node) => node.html.slice(0, 200)).join("; ")}`)]));"""
READY = """const done = arguments[0];
window.spikelab.ready.then(function look() {
  return window.spikelab.decided() && !document.querySelector(".decisions").ariaBusy ? done() : setTimeout(look, 20);
});"""


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program that looks for faults of accessibility."""
    if named := os.environ.get("SPIKELAB_AXE"):
        return Path(named).read_text(encoding="utf-8")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs axe-core: SPIKELAB_AXE=FILE, or npm (Debian: apt-get install npm)")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--no-save", "--no-audit", "--ignore-scripts", "--prefix", str(folder), "axe-core@4"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"needs axe-core, which npm could not fetch: {error}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def faults(browser: Any, axe: str) -> Callable[[], list[str]]:
    """A function that lists the faults of the page as it is now."""

    def look() -> list[str]:
        if not browser.run("return Boolean(window.axe)"):
            browser.run(f"{axe}; window.axe ??= axe;")
        n_passed, found = browser.driver.execute_async_script(RUN)
        assert n_passed > 10
        return list(found)

    return look


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of twelve units."""
    folder = tmp_path_factory.mktemp("twelve")
    recording = save_recording(simulate(n_units=N_UNITS, n_channels=N_UNITS, duration_s=4.0).recording, folder / "dish")
    out = folder / "out"
    sort_recording(
        [recording], results_folders=[out], delete_inter=False, intermediate_folders=[out / "intermediate"], **SETTINGS
    )
    return out


def states(browser: Any) -> Any:
    """Bring a page of units into one state after the other, and yield the name of each."""
    browser.driver.execute_async_script(READY)
    run = browser.run
    first, second, third, *_ = run("return window.spikelab.order()")
    yield "table"
    browser.driver.execute_async_script("window.spikelab.show(arguments[0], {}).then(arguments[1])", first)
    yield "panel"
    for key in ("Alt+g", "x"):
        run("window.spikelab.keys.get(arguments[0]).run()", key)
        browser.driver.execute_async_script(READY)
    for unit, key in ((second, "Alt+n"), (third, "Alt+m")):
        browser.driver.execute_async_script("window.spikelab.show(arguments[0], {}).then(arguments[1])", unit)
        run("window.spikelab.keys.get(arguments[0]).run()", key)
        browser.driver.execute_async_script(READY)
    run("document.querySelectorAll('#evidence .keys, .decisions details').forEach((one) => { one.open = true; })")
    yield "labels"
    run("window.spikelab.keys.get('g').run()")
    browser.driver.execute_async_script(READY)
    yield "merged"
    run("window.spikelab.keys.get('l').run()")
    yield "label dialog"
    run("document.querySelector('#label-dialog').close(); window.spikelab.keys.get('k').run()")
    for radio in browser.driver.find_elements("css selector", "#split-dialog input[name=by]"):
        if radio.is_displayed():
            radio.click()
            yield f"split dialog by {radio.get_attribute('value')}"
    run("document.querySelector('#split-dialog').close()")


@pytest.mark.parametrize("width", [1280, 700])
@pytest.mark.parametrize("is_served", [False, True])
def test_the_report_and_the_served_page(
    browser: Any, faults: Any, results: Path, served: Callable[..., Any], width: int, is_served: bool
) -> None:
    if is_served:
        (results / "decisions.json").unlink(missing_ok=True)
        browser.visit(served(results).address, width)
    else:
        browser.open(results / "report.html", width)
        browser.run("localStorage.clear()")
        browser.open(results / "report.html", width)
    assert {state: found for state in states(browser) if (found := faults())} == {}


def test_the_page_of_a_comparison(browser: Any, faults: Any, results: Path, tmp_path: Path) -> None:
    units = SpikeData.load(results / "sorted_spikedata_curated.npz")
    some = units.subset(list(range(0, units.N, 2)))
    for truth in (False, True):
        compared = compare_sorts(results, some, units, units="all", names=["all", "some", "true"], truth=truth)
        for width in (1280, 700):
            browser.open(compared.to_html(tmp_path / "compared.html"), width)
            assert faults() == []


@pytest.mark.parametrize("name", ["seven_recordings", "plate_of_24"])
def test_the_page_of_a_batch(browser: Any, faults: Any, tmp_path: Path, name: str) -> None:
    write_index(tmp_path, "kilosort4", rows_of(CASES[name](), tmp_path))
    for width in (1280, 700):
        browser.open(tmp_path / "index.html", width)
        assert faults() == []
