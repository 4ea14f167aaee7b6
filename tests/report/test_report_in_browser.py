"""The pages in a real browser: nothing on the console, sorting and filtering clicked, narrow windows, print."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gallery import CASES, make_case, measured, record_of, rows_of
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.report import ReportData, write_index, write_report
from spikelab.spike_sorting.report.recording_page import FIGURES

TABLE = "unit-table"
HOSTILE = "</script><img src=x onerror=\"document.title='run'\">"
ONE_RECORDING = [name for name in CASES if not name.startswith(("seven", "plate"))]


def written(folder: Path, name: str = "typical", **settings: Any) -> Path:
    """The page of a case, without its figures."""
    (case,) = CASES[name]()
    folder.mkdir(parents=True, exist_ok=True)
    config = SortingPipelineConfig.from_kwargs(sorter_name="kilosort4", **settings)
    write_report(folder, record_of(case), config, case.shown)
    return folder / "report.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The page of a case by its name, written once."""
    return cache(lambda name: written(tmp_path_factory.mktemp(name), name))


@pytest.fixture(scope="module")
def typical(pages: Callable[[str], Path]) -> Path:
    return pages("typical")


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    rows = rows_of(CASES["seven_recordings"](), folder)
    rows[2] = replace(rows[2], status="biological failure", error="no spikes\nat all", summary=None, wall_s=None)
    for name in FIGURES:
        Image.new("L", (900, 300)).save(folder / f"{name}.png")
    write_index(folder, "kilosort4", rows)
    return folder / "index.html"


@pytest.mark.parametrize("name", ONE_RECORDING)
def test_console_is_clean_and_nothing_is_wider_than_the_window(
    browser: Any, pages: Callable[[str], Path], name: str
) -> None:
    cut = """return [...document.querySelectorAll('h1, h2, p, li, dd, label, button, select, pre, output')]
        .filter(element => element.offsetParent && element.getBoundingClientRect().right > innerWidth + 1
            && !element.closest('.scroll')).map(element => element.outerHTML.slice(0, 80))"""
    page = pages(name)
    for width in (1200, 400):
        browser.open(page, width)
        assert browser.console() == []
        assert browser.overflow() == 0
        assert browser.run(cut) == []


def test_pictures_of_the_page_are_inside_of_their_frames(browser: Any, typical: Path) -> None:
    browser.open(typical)
    outside = """return [...document.querySelectorAll('svg.distribution, svg.probe')].flatMap(svg => {
        const frame = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text, circle, rect')].map(part => [part, part.getBoundingClientRect()])
            .filter(([part, box]) => box.left < frame.left - 1 || box.right > frame.right + 1
                || box.top < frame.top - 1 || box.bottom > frame.bottom + 1).map(([part]) => part.outerHTML)})"""
    assert browser.run(outside) == []


@pytest.mark.parametrize("name", ["200_units", "array_2d", "neuropixels_column", "typical"])
def test_labels_of_an_axis_do_not_touch(browser: Any, pages: Callable[[str], Path], name: str) -> None:
    browser.open(pages(name))
    touching = """return [...document.querySelectorAll('svg.distribution, svg.probe, .times')].flatMap(frame => {
        const parts = [...frame.querySelectorAll('text, span')];
        const boxes = parts.map(part => [part.textContent, part.getBoundingClientRect()]);
        return boxes.flatMap(([a, p], i) => boxes.slice(i + 1)
            .filter(([b, q]) => p.left < q.right && q.left < p.right && p.top < q.bottom - 2 && q.top < p.bottom - 2)
            .map(([b]) => `${a} | ${b}`))})"""
    assert browser.run(touching) == []


def test_a_click_on_a_heading_sorts(browser: Any, typical: Path) -> None:
    browser.open(typical)
    ids = browser.column(TABLE, "id")
    assert ids == sorted(ids, key=int)
    heading = browser.find(f"#{TABLE} [data-column=snr]")
    heading.find_element("css selector", "button").click()
    snr = [float(value) for value in browser.column(TABLE, "snr")]
    assert snr == sorted(snr, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    heading.find_element("css selector", "button").click()
    assert [float(value) for value in browser.column(TABLE, "snr")] == sorted(snr)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert browser.run("return document.querySelectorAll('[aria-sort]').length") == 1


def test_what_has_no_value_comes_last_in_both_orders(browser: Any, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "nan_metrics"))
    button = browser.find(f"#{TABLE} [data-column=snr] button")
    for _ in range(2):
        button.click()
        values = browser.column(TABLE, "snr")
        assert values[-6:] == [""] * 6
        assert "" not in values[:-6]


def test_filters_narrow_the_table_and_are_taken_back(browser: Any, typical: Path) -> None:
    browser.open(typical)
    kept = [row["unit_id"] for row in make_case().outcome.unit_metrics if row["passed"]]
    output = browser.find("output")
    assert output.text == "12 of 12 shown"
    browser.find("select[name=kind] option[value=kept]").click()
    assert [int(value) for value in browser.column(TABLE, "id")] == kept
    assert output.text == f"{len(kept)} of 12 shown"
    browser.find("button[type=reset]").click()
    browser.run("return new Promise(resolve => setTimeout(resolve, 50))")
    assert output.text == "12 of 12 shown"
    browser.find("input[type=search]").send_keys("snr")
    shown = {row["unit_id"] for row in make_case().outcome.unit_metrics if row["failed_criterion"] == "snr"}
    assert {int(value) for value in browser.column(TABLE, "id")} == shown != set()
    browser.find("input[type=search]").send_keys(" nothing like it")
    assert browser.column(TABLE, "id") == []


def test_keyboard_alone_sorts(browser: Any, typical: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(typical)
    browser.find(f"#{TABLE} [data-column=amplitude] button").send_keys(Keys.ENTER)
    values = [float(value) for value in browser.column(TABLE, "amplitude")]
    assert values == sorted(values, reverse=True)


def test_a_unit_on_the_map_leads_to_its_row_even_where_it_is_filtered_out(browser: Any, typical: Path) -> None:
    browser.open(typical)
    browser.find("select[name=kind] option[value=failed]").click()
    assert "0" not in browser.column(TABLE, "id")
    browser.run("document.querySelector('svg.probe a[href=\"#unit-0\"]').dispatchEvent(new MouseEvent('click'))")
    browser.run("return new Promise(resolve => setTimeout(resolve, 200))")
    assert "0" in browser.column(TABLE, "id")
    assert browser.run("return document.querySelector('tr:target').id") == "unit-0"


def test_a_narrow_window_has_its_own_way_to_sort(browser: Any, typical: Path) -> None:
    browser.open(typical, 400)
    assert browser.run("return getComputedStyle(document.querySelector('thead')).display")
    browser.find(f"form[data-for={TABLE}] select[name=order] option[value=snr]").click()
    snr = [float(value) for value in browser.column(TABLE, "snr")]
    assert snr == sorted(snr)
    browser.find("button[name=reverse]").click()
    assert [float(value) for value in browser.column(TABLE, "snr")] == sorted(snr, reverse=True)


def test_print_has_every_unit(browser: Any, typical: Path) -> None:
    browser.open(typical)
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 10
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.run("return document.querySelector('.controls').offsetHeight") == 0
    assert len(browser.column(TABLE, "id")) == 12
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_labels_of_an_import_are_found_and_all_columns_are_on_paper(browser: Any, tmp_path: Path) -> None:
    told = {"group": "shank 1", "sorter_unit_id": "clu_1024", "moved_um": 12.0}
    case = make_case(change=lambda unit: {**unit, **told, "imported_label": "mua" if unit["unit_id"] == 3 else "good"})
    write_report(tmp_path, record_of(case), SortingPipelineConfig(), case.shown)
    browser.open(tmp_path / "report.html")
    assert browser.column(TABLE, "imported").count("good") == 11
    browser.find("input[type=search]").send_keys("mua")
    assert browser.column(TABLE, "id") == ["3"]
    browser.open(tmp_path / "report.html", 703)  # A4 without its margins
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.find(f"#{TABLE}").value_of_css_property("display") == "table"
    assert browser.overflow() == 0
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("width", [1200, 400])
def test_page_of_a_batch(browser: Any, batch: Path, width: int) -> None:
    browser.open(batch, width)
    assert browser.console() == []
    assert browser.overflow() == 0
    loaded = "return [...document.images].filter(image => image.complete && !image.naturalWidth).length"
    assert browser.run(loaded) == 0
    browser.find("select[name=status] option[value='nothing to sort']").click()
    assert browser.column("recording-table", "name") == ["culture_2_day2"]


def test_page_of_a_failure(browser: Any, tmp_path: Path) -> None:
    case = make_case()
    record = record_of(
        case, status="biological failure", error={"class": "InsufficientActivityError", "message": "x" * 500}
    )
    write_report(tmp_path, record, SortingPipelineConfig(), ReportData(case.recording))
    for width in (1200, 400):
        browser.open(tmp_path / "report.html", width)
        assert browser.console() == []
        assert browser.overflow() == 0


# ---- the evidence on a unit ----


@pytest.fixture(scope="module")
def evident(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with measured spikes, epochs, dead time, and hostile names of all that has one."""
    folder = tmp_path_factory.mktemp("evident")
    case = make_case(
        HOSTILE, seconds=60.0, epochs=2, change=lambda unit: {**unit, "channel_id": HOSTILE, "label": HOSTILE}
    )
    case.units.metadata["dead_time_s"] = [[10.0, 12.0]]
    case.units.metadata["rec_chunk_names"] = [HOSTILE, HOSTILE]
    shown = replace(case.shown, evidence=measured(case))
    shown.recording = replace(case.recording, channel_ids=(HOSTILE,) * case.recording.n_channels)
    write_report(folder, record_of(case), SortingPipelineConfig.from_kwargs(sorter_name="kilosort4"), shown)
    return folder / "report.html"


def settled(browser: Any, unit: int) -> None:
    """Wait until a unit is drawn."""
    drawn = f"document.querySelector('.evidence-body').dataset.unit === '{unit}'"
    browser.run(f"return (async () => {{ while (!({drawn})) await new Promise(done => setTimeout(done, 10)) }})()")


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser.driver).send_keys(*keys).perform()


@pytest.mark.parametrize("width", [1280, 700])
def test_a_unit_opens_in_the_window_and_runs_no_name(browser: Any, evident: Path, width: int) -> None:
    browser.open(evident, width, "#unit-3")
    settled(browser, 3)
    titles = browser.run("return [...document.querySelectorAll('#evidence h4')].map(e => e.textContent)")
    assert titles[-8:] == [
        "Footprint", "Amplitude on all electrodes", "Auto-correlogram", "Intervals", "Amplitude over time",
        "Position over time", "Most similar units", "Metrics among all units",
    ]  # fmt: skip
    assert browser.console() == []
    assert browser.overflow() == 0
    assert browser.driver.title != "run"
    assert browser.run("return document.querySelectorAll('img[src=\"x\"]').length") == 0
    assert HOSTILE in browser.find("#evidence").text
    box = browser.run(
        "const b = document.querySelector('#evidence h3').getBoundingClientRect(); return [b.top, b.bottom]"
    )
    assert 0 <= box[0] < box[1] <= 900
    row = browser.run("const b = document.querySelector('tr.opened').getBoundingClientRect(); return [b.top, b.bottom]")
    assert row[0] >= 0
    assert browser.run("return document.querySelectorAll('rect.dead').length") == 3  # in each picture over time
    assert browser.run("return document.querySelectorAll('#evidence-traces canvas').length") == 1


@pytest.mark.parametrize("width", [1280, 700])
def test_the_list_of_keys_comes_into_view(browser: Any, evident: Path, width: int) -> None:
    browser.open(evident, width, "#unit-3")
    settled(browser, 3)
    press(browser, "?")
    top, bottom, height = browser.run(
        "const b = document.querySelector('details.keys dt').getBoundingClientRect();"
        " return [b.top, b.bottom, innerHeight]"
    )
    assert 0 <= top < bottom <= height
    press(browser, "?")
    assert not browser.run("return document.querySelector('details.keys').open")


def test_keys_walk_through_the_table_as_it_is_sorted_and_filtered(browser: Any, evident: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(evident)
    browser.find("select[name=kind] option[value=kept]").click()
    browser.find(f"#{TABLE} [data-column=snr] button").click()
    order = [int(value) for value in browser.column(TABLE, "id")]
    browser.find(f"#unit-{order[0]} button.open").send_keys(Keys.ENTER)
    settled(browser, order[0])
    press(browser, "j", Keys.ARROW_DOWN)
    settled(browser, order[2])
    assert browser.run("return location.hash") == f"#unit-{order[2]}"
    press(browser, Keys.ARROW_UP)
    settled(browser, order[1])
    assert browser.find("tr.opened").get_attribute("id") == f"unit-{order[1]}"
    browser.find("input[type=search]").send_keys("k")  # a field takes what is typed
    assert browser.run("return spikelab.shown") == order[1]
    browser.run("document.activeElement.blur()")
    press(browser, Keys.ESCAPE)
    assert browser.run("return [spikelab.shown, document.querySelector('#evidence').hidden]") == [None, True]
    assert browser.run("return document.activeElement.closest('tr').id") == f"unit-{order[1]}"


def test_units_can_be_added_and_taken_away(browser: Any, evident: Path) -> None:
    browser.open(evident)
    browser.run("""return spikelab.ready.then(() => spikelab.evidence(2)).then((data) => {
        const row = document.getElementById('unit-2').cloneNode(true);
        row.id = 'unit-70';
        row.dataset.unit = 70;
        row.querySelector('[data-column=id]').dataset.value = 70;
        spikelab.put({...data, id: 70, kept: null, why: [], attributes: {merged_from: [2, 4]}}, row);
        spikelab.drop(2);
        return spikelab.show(70);
    })""")
    settled(browser, 70)
    assert "merged from units" in browser.find("#evidence").text
    browser.find(f"#{TABLE} [data-column=id] button").click()
    ids = browser.column(TABLE, "id")
    assert "70" in (ids[0], ids[-1])
    assert "2" not in ids
    browser.run("spikelab.put(null, document.getElementById('unit-3').cloneNode(true))")


def test_print_has_the_unit_that_is_open(browser: Any, evident: Path) -> None:
    browser.open(evident, fragment="#unit-1")
    settled(browser, 1)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = """const e = document.getElementById('evidence');
        return [e.scrollHeight <= e.clientHeight + 1, getComputedStyle(e).position]"""
    assert browser.run(shown) == [True, "static"]
    assert len(re.findall(rb"/Type\s*/Page\b", browser.pdf())) <= 12
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


# ---- plates and groups ----


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plate")
    rows = rows_of([make_case(f"p_well{i:03d}", 4 + i % 5, seconds=5.0, seed=i) for i in range(12)], folder)
    rows[2] = replace(rows[2], status="failed", error="first line\nlast line", summary=None)
    rows[3] = replace(rows[3], notes={**rows[3].notes, HOSTILE: HOSTILE})
    write_index(folder, "threshold", rows)
    return folder / "index.html"


@pytest.mark.parametrize("width", [1280, 700, 400])
def test_a_plate_fits_its_window_and_runs_no_note(browser: Any, plate: Path, width: int) -> None:
    browser.open(plate, width)
    assert browser.console() == []
    assert browser.overflow() == 0
    assert browser.driver.title == "12 recordings sorted with threshold"
    assert browser.run("return document.images.length") == 0
    hidden = """return [...document.querySelectorAll('#plates .scroll, #groups .scroll')]
        .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.scrollWidth)"""
    assert browser.run(hidden) == []  # all columns are seen without scrolling
    ticks = browser.run("return [...document.querySelectorAll('.strip text:not(.label)')].map(e => e.textContent)")
    assert ticks
    assert all(tick.isdigit() for tick in ticks)  # units are counted
    error = "return [...document.querySelectorAll('.error')].map(e => [e.scrollHeight <= e.clientHeight, e.innerText])"
    assert browser.run(error) == [[True, "first line\nlast line"]]


def test_a_plate_shows_the_measure_that_is_chosen(browser: Any, plate: Path) -> None:
    browser.open(plate)
    wells = "return [...document.querySelectorAll('.plate [data-row]')].map(cell => cell.textContent)"
    colours = "return [...document.querySelectorAll('.plate [data-row]')].map(cell => cell.style.backgroundColor)"
    found = browser.column("recording-table", "kept")
    assert browser.run(wells) == [value or "\N{MULTIPLICATION SIGN}" for value in found]
    painted = browser.run(colours)
    assert painted[2] == ""
    values = [int(value) for value in found if value]
    most, least = (found.index(str(end)) for end in (max(values), min(values)))
    assert (painted[most], painted[least]) == ("rgb(18, 40, 100)", "rgb(255, 247, 214)")
    browser.find("#plates select option[value=note0]").click()
    assert browser.run(wells)[:3] == ["control", "drug A", "drug B"]
    assert browser.run(colours)[:3] == browser.run(colours)[3:6]
    browser.find("#recording-table [data-column=snr] button").click()  # the order of the table is another matter
    browser.find("#plates select option[value=note0]").click()
    assert browser.run(wells)[:3] == ["control", "drug A", "drug B"]


def test_groups_have_a_dot_for_each_recording_and_their_spread(browser: Any, plate: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(plate)
    table = (
        "return [...document.querySelectorAll('.spread tbody tr')].map(row => [...row.cells].map(c => c.textContent))"
    )
    rows = browser.run(table)
    assert [(row[0], row[1], row[5]) for row in rows] == [
        ("control", "4", ""), ("drug A", "4", ""), ("drug B", "3", "1"),
    ]  # fmt: skip
    kept = browser.column("recording-table", "kept")
    assert float(rows[0][2]) == np.median([int(kept[i]) for i in (0, 3, 6, 9)])
    assert browser.run("return document.querySelectorAll('.strip .dot').length") == 11
    browser.find("#groups select[name=by]").send_keys(Keys.ARROW_DOWN)  # the keyboard alone
    assert [row[0] for row in browser.run(table)] == ["7", "14"]
    assert browser.find(".spread th").text == "day"
    assert browser.run("return document.querySelector('.strip svg').getAttribute('aria-label')").startswith(
        "Units kept"
    )


def test_a_printed_plate_says_what_it_shows(browser: Any, plate: Path) -> None:
    browser.open(plate)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.run("return document.querySelector('#plates .controls').offsetHeight") == 0
    assert browser.find("#plates .scale").text.startswith("Units kept:")
    assert browser.run("return document.querySelector('.plate').offsetHeight") > 50
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
