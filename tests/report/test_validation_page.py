"""How right a sort is, as the report, the panel of a unit and ``validation.html`` tell it."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gallery import CASES, Case, make_case, record_of
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.curation.palette import Palette
from spikelab.spike_sorting.data import Validation
from spikelab.spike_sorting.report import _validation_plots as plots
from spikelab.spike_sorting.report import render_report, write_report
from spikelab.spike_sorting.report._validation import expected_words, summary_words
from spikelab.spike_sorting.report.evidence import EvidenceSource, about_of, evidence_of
from spikelab.spike_sorting.report.validation_page import VALIDATION_PAGE, render_validation
from spikelab.spike_sorting.validation.rounds import Round, summary_of

CONFIG = SortingPipelineConfig()


@pytest.fixture(scope="module")
def case() -> Case:
    (made,) = CASES["validated"]()
    return made


def told(case: Case, **summary: Any) -> Validation:
    """The validation of a case, with another summary."""
    assert case.validation is not None
    return replace(case.validation, summary=case.validation.summary | summary)


def kept_of(case: Case) -> set[int]:
    return set(case.outcome.sd_curated.unit_ids)


def words(html: str) -> str:
    """What a reader sees, on one line."""
    text = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def page_of(case: Case) -> str:
    return render_report(Path("/results"), record_of(case), CONFIG, case.shown)


def validation_page(case: Case, found: Validation | None = None) -> str:
    return render_validation(case.name, found or told(case), case.units, case.outcome, Palette())


# ---- the section of the report ----


def test_the_report_says_how_right_a_sort_is_only_where_that_is_known(case: Case) -> None:
    html = page_of(case)
    assert 'id="validation"' in html
    assert 'href="#validation"' in html
    assert 'href="validation.html"' in html
    for sentence in summary_words(told(case), kept_of(case)):
        assert sentence in words(html)
    plain = page_of(make_case())
    assert "validation" not in re.sub(r"<(style|script)\b.*?</\1>", "", plain, flags=re.DOTALL)


def test_the_summary_is_told_in_plain_words(case: Case) -> None:
    found = told(case, n_injected=24, n_found=11, smallest_snr=[9.5, 8.25, 11.0], n_new=0.5)
    known, smallest, expected, stable = summary_words(found, set(found.units))
    assert known.endswith("sorted 2 times more, each time with others of them. 11 of them were found with an accuracy "
                          "of 0.8 or more.")  # fmt: skip
    assert smallest == "From an SNR of 9.50 on, 80 % are found (90 % interval 8.25 to 11)."
    assert "0.66, the mean over the 10 units that it is known of. Of 2 units no neuron alike was put in" in expected
    assert "by 0.90 on average; 0.5 units that were neither there before nor put in came up each time." in stable


def test_units_that_curation_dropped_do_not_count_but_are_told(case: Case) -> None:
    units = {
        unit: values
        | {"expected_accuracy": 0.9 if unit in (3, 4) else 0.4, "stability": 1.0 if unit in (3, 4) else 0.7}
        for unit, values in told(case).units.items()
    }
    found = replace(told(case), units=units)
    _, _, expected, stable = summary_words(found, {3, 4})
    assert "0.90, the mean over 2 units that were kept; over all 12 that it is known of" in expected
    assert expected.endswith("did not keep, it is 0.48.")
    assert stable.startswith("The units that were kept agree with themselves in the new sort by 1.00 on average, all")
    assert "by 0.75; " in stable
    unknown = units | {unit: units[unit] | {"expected_accuracy": np.nan} for unit in (3, 4)}
    assert "were kept is not known; over all 10" in summary_words(replace(found, units=unknown), {3, 4})[2]
    _, _, expected, stable = summary_words(found, ())
    assert "is not known; over all 12" in expected
    assert "by 0.75 on average" in stable


@pytest.mark.parametrize(
    ("n_found", "known", "reason"),
    [
        (24, "All of them were found", "all of them were."),
        (0, "None of them was found", "none of them was."),
        (1, "1 of them was found", "not larger than those that were not."),
    ],
)
def test_where_no_smallest_snr_is_known_the_words_say_why(case: Case, n_found: int, known: str, reason: str) -> None:
    sentences = summary_words(told(case, n_found=n_found, smallest_snr=None, rounds=1, n_new=0.0), ())
    assert known in sentences[0]
    assert "which was sorted again." in sentences[0]
    assert sentences[1].endswith(reason)
    assert sentences[3].endswith("no unit came up that was neither there before nor put in.")


def test_nothing_is_expected_where_nothing_alike_was_put_in(case: Case) -> None:
    unknown = {unit: values | {"expected_accuracy": np.nan} for unit, values in told(case).units.items()}
    found = replace(told(case), units=unknown)
    assert "not known. Of 12 units no neuron alike" in summary_words(found, kept_of(case))[2]
    html = validation_page(case, found)
    assert "Expected accuracy of" not in html
    assert "Short lines high up" not in html


# ---- the pictures ----


def test_the_curve_is_80_percent_where_the_words_say_so(case: Case) -> None:
    found = told(case)
    frame = plots._frame(plots.SMALL, (2.0, 30.0), x_log=True)
    path = re.search(r'd="m(.*?)"', plots._curve(frame, found.summary["curve"]))
    assert path is not None
    points = np.array(re.findall(r"(-?[\d.e-]+) (-?[\d.e-]+)", path[1]), dtype=float).cumsum(axis=0)
    assert (np.diff(points[:, 1]) <= 0).all()
    crossing = np.interp(-float(frame.y(0.8)), -points[:, 1], points[:, 0])
    assert crossing == pytest.approx(float(frame.x(found.summary["smallest_snr"][0])), abs=1.5)


def test_every_known_neuron_is_a_mark_full_where_it_was_found(case: Case) -> None:
    found = told(case)
    for measure, along in (("accuracy", "snr"), ("recall", "snr"), ("precision", "rate")):
        picture = plots.over(found, measure, along)
        assert picture.count('class="known found"') == found.summary["n_found"]
        assert picture.count('class="known missed"') == 24 - found.summary["n_found"]
        assert ('class="line curve"' in picture) == (measure == "accuracy")
    heights = re.findall(r'class="known \w+" cx="[\d.]+" cy="([\d.]+)"', plots.over(found, "recall", "rate"))
    frame = plots._frame(plots.SMALL, (1.0, 2.0))
    np.testing.assert_allclose(
        np.array(heights, dtype=float), frame.y([row["recall"] for row in found.injected]), atol=0.06
    )


def test_units_stand_in_the_order_of_their_expected_accuracy_and_lead_to_their_rows(case: Case) -> None:
    found = told(case)
    picture, n_known = plots.expected_picture(found, set(case.outcome.sd_curated.unit_ids), page="report.html")
    units = [int(unit) for unit in re.findall(r'href="report.html#unit-(\d+)"', picture)]
    assert n_known == len(units) == 10
    assert not {4, 9} & set(units)  # nothing alike was put in
    assert all(found.units[a]["expected_accuracy"] >= found.units[b]["expected_accuracy"] for a, b in pairwise(units))
    kept = set(case.outcome.sd_curated.unit_ids)
    assert picture.count("known found") == len(kept & set(units))


def test_known_neurons_of_one_electrode_do_not_hide_each_other(case: Case) -> None:
    found = told(case)
    drawn = plots.place_map(found, case.recording.locations, case.units.unit_attributes)
    places = re.findall(r'class="diamond" style="fill:(#\w+)" d="M([\d.]+) ([\d.]+)l', drawn.svg)
    assert len({(x, y) for _, x, y in places}) == 24
    assert [shade for shade, *_ in places] == [plots.shade(row["accuracy"]) for row in found.injected]
    assert drawn.svg.count('class="beside"') == 12
    shades = [sum(bytes.fromhex(plots.shade(share)[1:])) for share in np.linspace(0, 1, 11)]
    assert shades == sorted(shades, reverse=True)
    assert not drawn.wide


def test_a_short_range_has_ticks_too(case: Case) -> None:
    few = replace(told(case), injected=[row | {"snr": 18 + index} for index, row in enumerate(told(case).injected[:4])])
    assert len(re.findall(r'text-anchor="middle">[\d.]+<', plots.over(few, "recall", "snr"))) >= 2


# ---- the panel of a unit, and the table ----


def test_the_panel_says_what_to_expect_of_a_unit_in_one_line(case: Case) -> None:
    source = EvidenceSource(case.units, case.outcome, CONFIG.curation, validation=told(case))
    values = told(case).units[0] | {"expected_accuracy": 0.93, "expected_accuracy_low": 0.8}
    assert expected_words(values | {"expected_accuracy_high": 0.99, "expected_recall": 0.95, "alike": 1.0}) == (
        f"Expected accuracy 0.93 (90 % interval 0.80 to 0.99): recall 0.95, precision "
        f"{values['expected_precision']:.2f}; stability 0.90; from 1 known neuron alike."
    )
    assert evidence_of(source, 0).expected == expected_words(told(case).units[0])
    assert evidence_of(source, 4).expected == (
        "Expected accuracy: not known, as no neuron alike was put in and found; stability 0.90."
    )
    assert evidence_of(source, 99, [0, 1, 2]).expected == ""
    assert evidence_of(replace(source, validation=None), 0).expected == ""
    listed = {metric["name"] for metric in about_of(source)["metrics"]}
    assert "expected_accuracy" in listed
    assert not {"expected_recall", "expected_accuracy_low", "stability"} & listed


def test_the_table_of_units_has_the_expected_accuracy_alone(case: Case) -> None:
    html = page_of(case)
    columns = re.findall(r'<th scope="col" data-column="(\w+)"', html)
    assert [name for name in columns if "expected" in name or name == "stability"] == ["expected_accuracy"]
    cells = re.findall(r'data-column="expected_accuracy" data-value="([^"]*)"[^>]*>([^<]*)</td>', html)
    assert len(cells) == 12
    assert cells[4] == ("", "n/a")
    assert float(cells[0][0]) == told(case).units[0]["expected_accuracy"]
    assert "expected_accuracy" not in words(page_of(make_case()))


# ---- the page ----


@pytest.mark.parametrize("name", ["validated", "validated_column"])
def test_the_page_has_every_neuron_and_every_unit(name: str) -> None:
    (case,) = CASES[name]()
    html = validation_page(case)
    injected, units = re.findall(r"<tbody>(.*?)</tbody>", html, flags=re.DOTALL)
    assert injected.count("<tr ") == 24
    assert re.findall(r'href="report.html#unit-(\d+)"', units) == [str(unit) for unit in case.units.unit_ids]
    rounds = re.findall(r'data-column="round" data-value="(\d)"', injected)
    assert rounds == ["1", "2"] * 12
    unknown = re.findall(r'data-column="expected_accuracy" data-value="([^"]*)"[^>]*>([^<]*)<', units)[4]
    assert unknown == ("", "\N{EN DASH}")
    assert "It cannot show" in words(html)
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*//', html)
    drawn = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"\b(nan|NaN|inf)\b", drawn)


def test_the_round_is_a_column_only_where_there_are_several(case: Case) -> None:
    assert 'data-column="round"' not in validation_page(case, told(case, rounds=1))


def test_names_cannot_break_the_page(case: Case) -> None:
    hostile = '<img src=x onerror="alert(1)">'
    found = told(case)
    rows = [row | {"channel": hostile} for row in found.injected]
    html = validation_page(replace(case, name=hostile), replace(found, injected=rows))
    assert "<img src=x" not in html


def test_the_page_is_written_once_and_goes_with_the_validation(case: Case, tmp_path: Path) -> None:
    page = tmp_path / VALIDATION_PAGE
    record = record_of(case)
    assert write_report(tmp_path, record, CONFIG, case.shown)
    assert f'<li><a href="{VALIDATION_PAGE}"' in (tmp_path / "report.html").read_text()
    before = page.stat().st_mtime_ns
    assert not write_report(tmp_path, record, CONFIG, case.shown)
    assert page.stat().st_mtime_ns == before
    page.unlink()
    write_report(tmp_path, record, CONFIG, case.shown)
    assert page.exists()
    failed = record | {"status": "failed"}
    write_report(tmp_path, failed, CONFIG, replace(case.shown, validation=None))
    assert page.exists()
    write_report(tmp_path, record, CONFIG, replace(case.shown, validation=None))
    assert not page.exists()
    assert VALIDATION_PAGE not in (tmp_path / "report.html").read_text()


# ---- where the summary is made ----


def test_the_summary_has_the_curve_that_the_smallest_snr_is_read_from() -> None:
    snr, accuracy = np.geomspace(2, 20, 12), np.tile([0.2, 0.2, 0.9, 0.2, 0.9, 0.9], 2)
    accuracy[:4], accuracy[8:] = 0.1, 0.95
    none = np.zeros(12)
    one = Round(0, none.astype(int), none.astype(int), snr, none, none.astype(int), np.stack([accuracy] * 3, axis=1),
                np.zeros((0, 3)), np.zeros((0, 6)), np.ones(1), 0)  # fmt: skip
    units = {0: {"expected_accuracy": 0.9, "stability": 1.0}}
    summary = summary_of([one], units)
    offset, slope = summary["curve"]
    assert offset + slope * np.log(summary["smallest_snr"][0]) == pytest.approx(np.log(4))
    every = replace(one, scores=np.ones((12, 3)))
    assert summary_of([every], units)["curve"] is None
