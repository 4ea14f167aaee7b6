"""The figures in docs/rt_sort.md are those of the benchmarks' reports.

After a new run of a benchmark, ``python tests/docs/test_figures_quoted.py`` writes the tables again.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("accuracy", "SNR >= 5", "well", "false", "twice", "merged", "CPU s", "MiB")
FAMILIES = {
    "grid": "8 x 8, 17.5 um, white noise",
    "column": "Neuropixels column, white noise",
    "hard": "12 x 12, axons, bursts, drift, coloured noise",
}


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]


def quoted_table() -> list[list[str]]:
    """What the page should say, from the report."""
    report = (ROOT / "benchmarks" / "results" / "rt_sort.md").read_text(encoding="utf-8")
    rows = [["recordings", "sorter", *COLUMNS], ["---"] * (2 + len(COLUMNS))]
    for family, words in FAMILIES.items():
        section = re.split(r"^## ", report.split(f"\n## {family}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
        head, _, *body = rows_of(section)
        for place, row in enumerate(row for row in body if len(row) == len(head)):
            cells = [row[head.index(column)].split(" (")[0] for column in COLUMNS]
            rows.append([words if place == 0 else "", row[0], *cells])
    return rows


def as_markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def streaming(section: str, columns: tuple[str, ...]) -> list[list[str]]:
    """Some columns of one table of the report on streaming: head, rule and rows."""
    report = (ROOT / "benchmarks" / "results" / "rt_sort_streaming.md").read_text(encoding="utf-8")
    head, *rest = rows_of(report.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0])
    return [[row[head.index(column)] for column in columns] for row in (head, *rest)]


def time_table() -> list[list[str]]:
    """One thread; the filter alone is not shown."""
    columns = ("channels", "threads", "frames", "sequences", "p50, ms", "p99, ms", "max, ms")
    head, rule, *body = streaming("Time", columns)
    chosen = [row for row in body if row[1] == "1" and row[2] != "filter"]
    return [[*row[:1], *row[2:]] for row in (head, rule, *chosen)]


def ahead_table() -> list[list[str]]:
    """What filtering without the future costs, on recordings that nothing was tuned on."""
    columns = ("recording", "seed", "filter", "latency, ms", "accuracy", "SNR >= 5", "spikes as offline")
    head, rule, *body = streaming("Accuracy of unfiltered frames", columns)
    chosen = [row for row in body if int(row[1]) < 100]
    return [[*row[:1], *row[2:]] for row in (head, rule, *chosen)]


PAGE = ROOT / "docs" / "rt_sort.md"
TABLES = {"figures": quoted_table, "streaming": time_table, "ahead": ahead_table}


def parts(page: str, name: str) -> tuple[str, str, str]:
    """The page before, in and after the table of this name."""
    before, rest = page.split(f"<!-- {name}: begin -->\n", 1)
    table, after = rest.split(f"\n<!-- {name}: end -->", 1)
    return before, table, after


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_those_of_the_reports(name: str) -> None:
    assert parts(PAGE.read_text(encoding="utf-8"), name)[1] == as_markdown(TABLES[name]()), f"run python {__file__}"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        before, _, after = parts(text, name)
        text = f"{before}<!-- {name}: begin -->\n{as_markdown(make())}\n<!-- {name}: end -->{after}"
    PAGE.write_text(text, encoding="utf-8")
