"""Plates, groups and the table of all units of a batch."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from gallery import Case, make_case, rows_of
from spikelab.spike_sorting.batch.units_table import write_units
from spikelab.spike_sorting.report import IndexRow, write_index
from spikelab.spike_sorting.report._plate import Plate, place_name, plates

HOSTILE = "</script><img src=x onerror=\"alert('x')\">"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(f"plate7_well{i:03d}", 3, seconds=5.0, seed=i) for i in (0, 1, 23)]


def page_of(folder: Path, rows: list[IndexRow]) -> str:
    write_index(folder, "threshold", rows)
    return (folder / "index.html").read_text(encoding="utf-8")


def test_a_silent_well_counts_as_no_unit_in_its_group(cases: list[Case], tmp_path: Path) -> None:
    rows = rows_of(cases, tmp_path)
    for status, kept in (("biological failure", 0), ("environment failure", None)):
        rows[1] = replace(rows[1], status=status, summary=None)
        html = page_of(tmp_path / status.partition(" ")[0], rows)
        values = [json.loads(unescape(text)) for text in re.findall(r'data-values="(.*?)"', html)]
        assert values[1].get("kept") == kept
        assert "snr" not in values[1]


# ---- which well is where ----


@pytest.mark.parametrize(
    ("wells", "size", "places"),
    [
        (["well000", "well005"], (2, 3), ["A1", "B3"]),
        (["well000", "well006", "well023"], (4, 6), ["A1", "B1", "D6"]),
        (["well012", "well095"], (8, 12), ["B1", "H12"]),
        (["A1", "b03"], (2, 3), ["A1", "B3"]),
        (["A1", "C4"], (3, 4), ["A1", "C4"]),
        (["well_D6", "Well A1"], (4, 6), ["D6", "A1"]),
        (["A1", "H12"], (8, 12), ["A1", "H12"]),
        (["A1", "P24"], (16, 24), ["A1", "P24"]),
    ],
)
def test_wells_are_placed_by_their_names(wells: list[str], size: tuple[int, int], places: list[str]) -> None:
    (plate,) = plates(["p"] * len(wells), wells)
    assert (plate.n_rows, plate.n_columns) == size
    assert [place_name(place) for place in plate.wells] == places
    assert list(plate.wells.values()) == list(range(len(wells)))


@pytest.mark.parametrize(
    "wells", [["", ""], ["imec0.ap", "imec0.lf"], ["well000", ""], ["well096", "well000"], ["A25", "B1"]]
)
def test_what_is_no_well_is_on_no_plate(wells: list[str]) -> None:
    assert plates(["p", "p"], wells) == []


def test_a_well_that_was_recorded_twice_is_on_two_plates() -> None:
    one, two = plates(["p"] * 4, ["A1", "B2", "A1", "B2"])
    assert (one.name, one.wells) == ("p", {(0, 0): 0, (1, 1): 1})
    assert (two.name, two.wells) == ("p (2)", {(0, 0): 2, (1, 1): 3})
    assert [plate.name for plate in plates(["a", "a", "b", "b"], ["A1", "A2", "A1", "A2"])] == ["a", "b"]
    assert Plate("p", 2, 3).row_names == ["A", "B"]


# ---- the page ----


def test_a_page_has_a_plate_and_groups(cases: list[Case], tmp_path: Path) -> None:
    html = page_of(tmp_path, rows_of(cases, tmp_path))
    assert html.count('<table class="plate">') == 1
    assert re.findall(r'<td data-row="(\d)" title="(\w+): (\w+), done">', html) == [
        ("0", "A1", "plate7_well000"), ("1", "A2", "plate7_well001"), ("2", "D6", "plate7_well023"),
    ]  # fmt: skip
    groups = json.loads(unescape(re.findall(r'data-groups="(.*?)"', html)[0]))
    assert groups[0] == {"name": "condition", "of": ["control", "drug A", "drug B"]}
    assert [group["name"] for group in groups] == ["condition", "Row of the plate", "Column of the plate"]
    values = json.loads(unescape(re.findall(r'data-values="(.*?)"', html)[0]))
    assert (values["kept"], values["found"]) == (cases[0].outcome.sd_curated.N, 3)
    assert values["note1"] == 7  # the day, a number, can be shown as a colour
    assert 'data-column="note0" data-value="drug A"' in html


def test_a_batch_without_notes_and_wells_has_neither(cases: list[Case], tmp_path: Path) -> None:
    rows = [replace(row, notes={}, well="") for row in rows_of(cases, tmp_path)]
    html = page_of(tmp_path, rows)
    assert 'id="plates"' not in html
    assert 'id="groups"' not in html


def test_notes_cannot_break_the_page(cases: list[Case], tmp_path: Path) -> None:
    rows = rows_of(cases, tmp_path)
    rows[1] = replace(rows[1], notes={HOSTILE: HOSTILE, "\x00": "\ud800x"[1:]}, name=HOSTILE, plate=HOSTILE)
    html = page_of(tmp_path, rows)
    assert "<img src=x" not in html
    assert html.count("</script>") == html.count("<script>") == 2
    assert not re.findall(r"data-[^=\s]*[<>\"'][^=\s]*=", html)


def test_the_error_is_shown_to_its_last_word(tmp_path: Path) -> None:
    error = "\n".join([*(f"line {i} of what happened" for i in range(30)), "do this"])
    html = page_of(tmp_path, [IndexRow("a", "failed", tmp_path, error), IndexRow("b", "to come", tmp_path)])
    assert f">{error}</td>" in html
    style = re.findall(r"\n\.error \{([^}]*)\}", html)
    assert len(style) == 1
    assert "height" not in style[0]
    assert "overflow: hidden" not in style[0]


# ---- the table of units ----


def written(folder: Path, recordings: list[tuple[dict[str, Any], str]]) -> list[dict[str, str]]:
    tables = []
    for number, (cells, text) in enumerate(recordings):
        (folder / f"{number}.csv").write_text(text, encoding="utf-8")
        tables.append((cells, folder / f"{number}.csv"))
    tables.append(({"recording": "gone"}, folder / "missing.csv"))
    assert write_units(folder / "units.csv", tables) == len(recordings)
    with (folder / "units.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def test_every_unit_of_every_recording_is_a_row(tmp_path: Path) -> None:
    first, second, third = written(
        tmp_path,
        [
            ({"recording": "a", "well": "well000", "condition": "=cmd()"}, "unit_id,snr\n3,7.5\n4,nan\n"),
            ({"recording": "b", "well": "B2", "day": 7}, "unit_id,si_x,snr\n0,'=1,2\n"),
            ({"recording": "empty", "well": ""}, "unit_id,snr\n"),
        ],
    )
    assert list(first) == ["recording", "well", "condition", "day", "unit_id", "snr", "si_x"]
    assert list(first.values()) == ["a", "well000", "'=cmd()", "", "3", "7.5", ""]
    assert second["snr"] == "nan"
    assert list(third.values()) == ["b", "B2", "", "7", "0", "2", "'=1"]


def test_a_column_of_the_list_keeps_its_name(tmp_path: Path) -> None:
    (row,) = written(
        tmp_path, [({"recording": "a", "group": "treated", "=SUM(A1)": 1}, "unit_id,group,snr\n3,shank 0,7.5\n")]
    )
    assert list(row) == ["recording", "well", "group", "'=SUM(A1)", "unit_id", "unit_group", "snr"]
    assert (row["group"], row["unit_group"]) == ("treated", "shank 0")
