"""Tables are read as people and spreadsheets write them, or refused with file, line and the right form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spikelab.spike_sorting.distributed import ManifestError, read_manifest
from spikelab.system.tables import known_name, numbers, read_rows, whole_number


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "table",
    [
        "name,depth\nCA1,5",
        "name;depth\nCA1;5",
        "name\tdepth\nCA1\t5",
        '"name";"depth"\n"CA1";"5"',
        " name , depth \n\n  CA1,  5\n,\n",
        "sep=;\nname;depth\nCA1;5",
        "sep=\t\nname\tdepth\nCA1\t5",
        '"na,me";depth\nCA1;5',
    ],
)
def test_tables_are_read_as_they_are_meant(table: str, end: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(table.replace("\n", end).encode(encoding))
    header, row = read_rows(path, "a table")
    assert [header.cells[0].replace(",", ""), header.cells[1]] == ["name", "depth"]
    assert row.cells == ["CA1", "5"]


def test_rows_have_the_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("sep=;\n\nx;y\n;\n0;20\n", encoding="utf-8")
    assert [row.line for row in read_rows(tmp_path / "table.csv", "a table")] == [3, 5]


def test_blanks_separate_where_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("0.0  20.0\n 17.5 20.0\n", encoding="utf-8")
    rows = read_rows(tmp_path / "table.txt", "a table", blanks=True)
    assert [row.cells for row in rows] == [["0.0", "20.0"], ["17.5", "20.0"]]


def test_numbers_have_a_point_or_a_comma() -> None:
    assert numbers(["17,5", "0", "-3"]) == [17.5, 0, -3]
    assert numbers(["1,250", "17,5"]) == [1.25, 17.5]
    assert numbers(["0,250"]) == [0.25]
    with pytest.raises(ValueError, match=re.escape("'1,250' may be 1.250 or 1250")):
        numbers(["1,250", "3"])
    with pytest.raises(ValueError, match="has a comma and other numbers have a point"):
        numbers(["17,5", "17.5"])
    for cell in ("CA1", "", "1.234,5", "nan", "1_000"):
        with pytest.raises(ValueError, match="expected a number such as"):
            numbers([cell])


def test_whole_numbers_are_those_of_spreadsheets_too() -> None:
    assert [whole_number(cell) for cell in ("3", "3.0", "3,0", "1e3", "-1")] == [3, 3, 3, 1000, -1]
    assert [whole_number(cell) for cell in ("3.5", "CA1", "", "1,250", "1e300")] == [None] * 5


def test_names_of_columns_may_differ_in_case_and_blanks() -> None:
    known = ("file", "cluster_id")
    assert [known_name(name, known) for name in ("File", "Cluster ID", "cluster-id", "region")] == [
        "file", "cluster_id", "cluster_id", "region",
    ]  # fmt: skip


def test_a_list_of_recordings_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "day1.dat").touch()
    rows = "File;SORTER ;Config;;\r\nday1.dat;threshold;snr_min=4;;\r\n;;;;\r\n"
    (tmp_path / "list.csv").write_bytes(rows.encode("utf-16"))
    (job,) = read_manifest(tmp_path / "list.csv")
    assert (job.name, job.config.sorter.sorter_name, job.config.curation.snr_min) == ("day1", "threshold", 4)


def test_a_value_below_no_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "day1.dat").touch()
    (tmp_path / "list.csv").write_text("file,,sorter\nday1.dat,kilosort4,threshold\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="entry 1, line 2: 'kilosort4' is in a column without a name"):
        read_manifest(tmp_path / "list.csv")
