"""The served page and the report alone in a real browser: by keyboard and mouse, from opening a unit to applying."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulated import save_recording, simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.decisions import read, state_of
from spikelab.spike_sorting.run.results import Results

SETTINGS = {"sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1, "create_figures": False}
SLOW = """const given = window.spikelab.source, later = (resolve) => setTimeout(resolve, 500);
window.spikelab.source = async (id) => { await new Promise(later); return given(id); };"""
SAID, TROUBLE = ".decisions .said", ".decisions .trouble"


class Page:
    """What a person does with the page."""

    def __init__(self, browser: Any) -> None:
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        self.browser, self.keys, self._chain = browser, Keys, lambda: ActionChains(browser.driver)

    def press(self, *keys: str) -> None:
        """Press the last key while the others are held."""
        chain = self._chain()
        for key in keys[:-1]:
            chain.key_down(key)
        chain.send_keys(keys[-1])
        for key in reversed(keys[:-1]):
            chain.key_up(key)
        chain.perform()

    def until(self, script: str, *arguments: Any, seconds: float = 120.0) -> Any:
        """Value of a script as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.browser.run(f"return {script}", *arguments)):
            assert time.monotonic() < end, (script, self.said(), self.browser.find(TROUBLE).text)
            time.sleep(0.02)
        return value

    def said(self) -> str:
        return str(self.browser.find(SAID).text)

    def state(self) -> Any:
        return self.browser.run("return window.spikelab.decided()")

    def steps(self, number: int) -> Any:
        """State after so many steps count and have been drawn."""
        self.until(
            "window.spikelab.decided()?.done === arguments[0] && !document.querySelector('.decisions').ariaBusy", number
        )
        return self.state()

    def shown(self, unit: int) -> None:
        self.until(
            "window.spikelab.shown === arguments[0]"
            " && document.querySelector('.evidence-body').dataset.unit == arguments[0]",
            unit,
        )

    def open(self, unit: int) -> None:
        self.browser.run("document.querySelector(`#unit-${arguments[0]} button.open`).click()", unit)
        self.shown(unit)

    def alive(self) -> list[int]:
        return [unit["id"] for unit in self.state()["units"]]

    def rows(self) -> list[int]:
        return sorted(map(int, self.browser.column("unit-table", "id")))


@pytest.fixture
def page(browser: Any) -> Page:
    return Page(browser)


def test_from_the_first_unit_to_all_steps_undone_and_done_again(
    page: Page, browser: Any, copied: Path, served: Callable[..., Any]
) -> None:
    address = served(copied).address
    browser.visit(address, 1280)
    start = page.steps(0)
    first, second, third, fourth = page.alive()[:4]
    assert "token" not in browser.driver.current_url
    page.open(first)
    page.press(page.keys.ALT, "g")  # keyboard: good
    assert page.steps(1)["units"][0] == {
        "id": first,
        "n": start["units"][0]["n"],
        "verdict": "keep",
        "label": "good",
        "from": {str(first): start["units"][0]["n"]},
        "made": "",
    }
    assert "keep, by hand" in browser.find(f"#unit-{first} .chips").text
    page.press(page.keys.ARROW_DOWN)  # walk
    page.shown(second)
    for unit in (first, third):  # merge three: two by the mouse, the one that is shown
        browser.run("document.querySelector(`#unit-${arguments[0]} input.select`).click()", unit)
    page.press("g")
    merged = start["next_id"]
    page.steps(2)
    page.shown(merged)
    assert page.rows() == page.alive()
    assert {first, second, third}.isdisjoint(page.alive())
    assert f"merged from {first}, {second}, {third}" in browser.find(f"#unit-{merged} .chips").text
    page.until(
        "document.querySelector('.evidence-body canvas.traces')?.width > 300"
        " && document.querySelector('.evidence-body .traces .note').textContent.includes('uV from line to line')"
    )
    assert f"{merged} (" in browser.find(".evidence-body .part.traces .note").text  # its spikes are on the traces
    page.press("k")  # split by a line with the mouse
    page.until("document.querySelector('#split-dialog .said').textContent.includes('spikes')")
    canvas = browser.find("#split-dialog canvas")
    page._chain().move_to_element_with_offset(canvas, -200, -20).click_and_hold().move_by_offset(200, 0).move_by_offset(
        200, 0
    ).release().perform()
    browser.run(SLOW)
    browser.find("#split-dialog button[name=split]").click()
    page.until("window.spikelab.decided()?.done === 3")
    page.open(fourth)  # while the evidence on the parts is on its way: it stays open
    parts = page.steps(3)["steps"][2]["into"]
    assert parts == [merged + 1, merged + 2]
    time.sleep(0.1)
    page.shown(fourth)
    page.press("l")
    browser.find("#label-dialog input").send_keys("inter<b>neuron</b>", page.keys.ENTER)
    end = page.steps(4)
    assert browser.find(f"#unit-{fourth} .chip.label").text == "inter<b>neuron</b>"
    for number in (3, 2, 1, 0):  # undo all, redo all
        page.press(page.keys.CONTROL, "z")
        undone = page.steps(number)
    assert undone["units"] == start["units"]
    assert page.rows() == page.alive()
    for number in (1, 2, 3, 4):
        page.press(page.keys.CONTROL, "y")
        again = page.steps(number)
    assert again["units"] == end["units"]
    assert browser.console() == []
    asked = browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert asked
    assert browser.overflow() == 0
    assert all(name.startswith((address.partition("?")[0], "data:", "blob:")) for name in asked)


@pytest.mark.slow
def test_apply_runs_what_follows_and_opens_the_new_report(
    page: Page, browser: Any, copied: Path, served: Callable[..., Any]
) -> None:
    client = served(copied)
    browser.visit(client.address, 1280)
    first, second, third, fourth = page.steps(0)["units"][:4]
    client.act(do="merge", units=[first["id"], second["id"]])
    client.act(do="split", unit=third["id"], by="time", at_s=3.0)
    client.act(do="mark", units=[fourth["id"]], verdict="keep", label="inter<b>neuron</b>")
    end = client.act(do="mark", units=[client.get("state")["next_id"] - 1], verdict="drop")
    browser.visit(client.address.partition("?")[0], 1280)  # the cookie is enough
    page.steps(4)
    browser.find(".decisions button[name=apply]").click()
    page.until(
        "document.readyState === 'complete' && window.spikelab?.decided?.()?.done === 4"
        " && document.querySelector('.decisions .said').textContent.includes('4 steps, applied')",
        seconds=300,
    )
    results = Results.open(copied)
    assert results.units.unit_ids == [unit["id"] for unit in end["units"]]
    assert results.units.unit_attributes[results.units.unit_ids.index(fourth["id"])]["label"] == "inter<b>neuron</b>"
    assert page.rows() == page.alive()
    assert browser.console() == []
    assert browser.overflow() == 0
    kept = {
        unit for unit, row in zip(results.units.unit_ids, results.curation.unit_metrics, strict=True) if row["passed"]
    }
    assert fourth["id"] in kept
    assert end["units"][-1]["id"] not in kept


@pytest.mark.slow
@pytest.mark.parametrize("number", [200, 1000])
def test_many_units(page: Page, browser: Any, served: Callable[..., Any], tmp_path: Path, number: int) -> None:
    settings = SETTINGS | {"save_waveform_files": False}  # of so many units they are gigabytes
    recording = simulate(n_units=number, n_channels=number, duration_s=4.0, rate_hz=15.0).recording
    out = tmp_path / "out"
    sort_recording(
        [save_recording(recording, tmp_path / "dish")], results_folders=[out], delete_inter=False,
        intermediate_folders=[out / "intermediate"], **settings,
    )  # fmt: skip
    browser.visit(served(out).address, 1280)
    start = page.steps(0)
    units = page.alive()
    assert len(units) == number
    page.open(units[0])
    page.press(page.keys.ALT, "g")
    page.steps(1)
    for unit in units[1:6]:
        page.press(page.keys.ARROW_DOWN)
        page.shown(unit)
    for unit in units[7:9]:
        browser.run("document.querySelector(`#unit-${arguments[0]} input.select`).click()", unit)
    page.press("g")
    page.steps(2)
    page.shown(start["next_id"])
    assert page.rows() == page.alive()
    for key, done in (("z", 1), ("z", 0), ("y", 1), ("y", 2)):
        page.press(page.keys.CONTROL, key)
        page.steps(done)
    browser.find("input[type=search]").send_keys(f"merged from {units[5]}")
    assert page.rows() == [start["next_id"]]
    assert browser.console() == []
    for width in (1280, 700):
        browser.driver.set_window_size(width, 900)
        assert browser.overflow() == 0


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (1280, 700), (700, 900), (700, 500)])
def test_the_bar_of_decisions_covers_nothing_of_the_panel(
    page: Page, browser: Any, looked_at: Path, width: int, height: int
) -> None:
    browser.open(looked_at / "report.html", width, height=height)
    browser.run("localStorage.clear()")
    browser.open(looked_at / "report.html", width, height=height)
    page.steps(0)
    for unit in (page.alive()[0], page.alive()[-1]):
        page.open(unit)
        for _ in range(2):
            page.until(
                "document.querySelector('#evidence').getBoundingClientRect().bottom"
                " <= Math.min(innerHeight, document.querySelector('.decisions').getBoundingClientRect().top) + 0.5",
                seconds=5,
            )
            assert browser.run("return document.querySelector('#evidence').clientHeight") >= 0.3 * height
            browser.run("document.querySelector('.decisions details').open = true; scrollBy(0, -60)")


@pytest.mark.slow
def test_a_second_window_is_told_of_what_the_first_did(
    page: Page, browser: Any, copied: Path, served: Callable[..., Any]
) -> None:
    client = served(copied)
    browser.visit(client.address)
    unit = page.steps(0)["units"][0]["id"]
    page.open(unit)
    client.act(do="mark", units=[unit], label="the other window's")
    page.press(page.keys.ALT, "n")
    page.until("!document.querySelector('.decisions .trouble').hidden")
    assert "yours was not kept" in browser.find(TROUBLE).text
    assert page.steps(1)["units"][0]["label"] == "the other window's"
    page.press(page.keys.ALT, "n")
    assert page.steps(2)["units"][0]["label"] == "noise"


def test_the_report_alone_replays_steps_as_the_package_does_and_saves_a_file(
    page: Page, browser: Any, copied: Path, tmp_path: Path
) -> None:
    browser.driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.open(copied / "report.html", 700)
    browser.run("localStorage.clear()")
    browser.open(copied / "report.html", 700)
    start = page.steps(0)
    first, second, third = page.alive()[:3]
    page.open(first)
    page.press(page.keys.ALT, "m")
    page.steps(1)
    page.press("k")
    assert (
        browser.run("return [...document.querySelectorAll('#split-dialog .live')].some(e => e.offsetHeight)") is False
    )
    browser.find("#split-dialog input[name=at]").send_keys("3")
    browser.find("#split-dialog button[name=split]").click()
    page.steps(2)
    page.shown(start["next_id"])
    browser.run("document.querySelector(`#unit-${arguments[0]} input.select`).click()", second)
    page.press("g")
    page.steps(3)
    page.open(third)
    page.press(page.keys.ALT, "g")
    page.steps(4)
    page.press(page.keys.CONTROL, "z")
    found = page.steps(3)
    browser.open(copied / "report.html", 700)  # closed and opened again: the browser has kept them
    assert page.steps(3)["units"] == found["units"]
    assert browser.console() == []
    assert browser.overflow() == 0
    browser.find(".decisions button[name=save]").click()
    end = time.monotonic() + 30
    while not (tmp_path / "decisions.json").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "3 steps, 1 undone, saved." in page.said()
    page.press(page.keys.CONTROL, "y")
    page.steps(4)
    assert "4 steps, not saved." in page.said()
    browser.open(copied / "report.html", 700)  # it is known what was saved
    page.steps(4)
    assert "4 steps, not saved." in page.said()
    page.press(page.keys.CONTROL, "z")
    page.steps(3)
    browser.open(copied / "report.html", 700)
    page.steps(3)
    assert "3 steps, 1 undone, saved." in page.said()
    decisions, results = read(tmp_path / "decisions.json"), Results.open(copied)
    assert (len(decisions.steps), decisions.done) == (4, 3)
    state = state_of(decisions, results.trains, results.recording.sampling_frequency)
    assert [
        (unit["id"], unit["verdict"], unit["label"], sorted(map(int, unit["from"]))) for unit in found["units"]
    ] == [(unit.unit_id, unit.verdict, unit.label, sorted(unit.spikes_from)) for unit in state.units.values()]
    assert found["next_id"] == state.next_id
