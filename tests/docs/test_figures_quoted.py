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


def streaming_table() -> list[list[str]]:
    """The rows of one thread, without what they have in common."""
    report = (ROOT / "benchmarks" / "results" / "rt_sort_streaming.md").read_text(encoding="utf-8")
    head, rule, *body = rows_of(report)
    wanted = [head.index(column) for column in ("channels", "sequences", "p50, ms", "p99, ms", "max, ms")]
    chosen = [row for row in body if row[head.index("threads")] == "1"]
    return [[row[i] for i in wanted] for row in (head, rule, *chosen)]


PAGE = ROOT / "docs" / "rt_sort.md"
TABLES = {"figures": quoted_table, "streaming": streaming_table}


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
