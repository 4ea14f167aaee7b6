"""``validation.html``, and what the panel of a unit says of it, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gallery import CASES, record_of
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.report import write_report


@pytest.fixture(scope="module", params=["validated", "validated_column"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (case,) = CASES[request.param]()
    made = tmp_path_factory.mktemp(request.param)
    write_report(made, record_of(case), SortingPipelineConfig(), case.shown)
    return made


def wait_for(browser: Any, what: str) -> None:
    """Wait until an expression of JavaScript is true."""
    browser.run(f"return (async () => {{ while (!({what})) await new Promise(done => setTimeout(done, 10)) }})()")


def test_the_page_fits_its_window_and_its_tables_sort(browser: Any, folder: Path) -> None:
    for width in (400, 700, 1280):
        browser.open(folder / "validation.html", width)
        assert browser.console() == []
        assert browser.overflow() == 0
    outside = """return [...document.querySelectorAll('svg.distribution, svg.probe')].flatMap(svg => {
        const frame = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text, circle, .diamond')].map(part => [part, part.getBoundingClientRect()])
            .filter(([part, box]) => box.left < frame.left - 1 || box.right > frame.right + 1
                || box.top < frame.top - 1 || box.bottom > frame.bottom + 1).map(([part]) => part.outerHTML)})"""
    assert browser.run(outside) == []
    browser.find("#injected thead [data-column=snr] button").click()
    snr = [float(value) for value in browser.column("injected", "snr")]
    assert len(snr) == 24
    assert snr == sorted(snr, reverse=True)
    browser.find("#expected thead [data-column=expected_accuracy] button").click()
    values = browser.column("expected", "expected_accuracy")
    known = [float(value) for value in values if value]
    assert known == sorted(known, reverse=True)
    assert "" in values
    assert values.index("") == len(known)  # what is not known comes last
    choice = browser.find("form[data-for=injected] select[name=found]")
    choice.find_element("css selector", "option[value=no]").click()
    assert 0 < len(browser.column("injected", "found")) < 24
    assert set(browser.column("injected", "found")) == {"no"}


def test_a_mark_opens_the_unit_whose_panel_says_what_to_expect(browser: Any, folder: Path) -> None:
    browser.open(folder / "report.html", 1280, "#unit-0")
    script = "return (document.querySelector('#evidence .expected') || {}).textContent || ''"
    wait_for(browser, "document.querySelector('#evidence .expected')")
    assert browser.run(script).startswith("Expected accuracy 0.")
    labels = browser.run("return [...document.querySelectorAll('#validation svg')].map(svg => svg.ariaLabel)")
    assert len(labels) == 3
    assert all(labels)
    browser.find("#validation a[href='#unit-1']").send_keys("\ue007")
    wait_for(browser, "document.querySelector('.evidence-body').dataset.unit === '1'")
    assert browser.console() == []
