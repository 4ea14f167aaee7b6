"""The figures in docs/rt_sort.md are those of the benchmarks' reports.

After a new run of a benchmark, ``python tests/docs/test_figures_quoted.py`` writes the tables again.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("SNR >= 5", "well", "false", "twice", "merged", "CPU s", "x real time", "MiB")
FAMILIES = {
    "grid": "8 x 8, 17.5 um, white noise",
    "column": "Neuropixels column, white noise",
    "hard": "12 x 12, axons, bursts, 12 um of drift, coloured noise",
    "hard_static": "... without drift",
    "hard2": "... up to SNR 45",
    "hard3": "... axons as large as somata",
    "large_small": "8 x 8, SNR of 20 to 60 beside 4 to 8",
    "positive": "8 x 8, 40 % with positive peaks",
    "come_and_go": "8 x 8, neurons appear and vanish",
    "quiet": "8 x 8, 15 minutes, 0.05 to 0.5 Hz",
    "quiet_hour": "... an hour, 0.02 to 0.5 Hz",
    "xl": "1000 electrodes, 20 s, 200 neurons",
    "bursts1000": "... 60 s, network bursts",
    "maxone": "... MaxOne counts, 100 neurons and 100 small ones",
    "drift0": "2 x 32 column, tissue lies still",
    "drift15": "... settles by 15 um",
    "drift40": "... by 40 um",
    "drift_step": "... jumps by 15 um",
    "drift_nonrigid": "... settles by 30 um at one end",
    "drift_column": "2 x 24 column, wanders by 15 um",
    "drift_long": "2 x 32 column, 10 minutes, 30 um, sizes by a factor of 2",
    "np": "384 contacts, 20 um, 150 neurons and 400 small ones",
    "stim_none": "8 x 8 with hum",
    "stim": "... 30 stimulation pulses on the rail, nothing told",
    "stim_few": "... on 4 of the electrodes alone",
    "stim_hard": "12 x 12, 30 such pulses",
    "shared0": "6 x 6, 40 um, independent noise",
    "shared30": "... 30 % of it common to all",
    "shared50": "... 50 %",
    "shared70": "... 70 %",
    "hum": "... 30 %, and the mains",
}


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]


def quoted_table() -> list[list[str]]:
    """What the page should say, from the report."""
    report = (ROOT / "benchmarks" / "results" / "rt_sort.md").read_text(encoding="utf-8")
    rows = [["recordings", "sorter", *COLUMNS], ["---"] * (2 + len(COLUMNS))]
    for family, words in FAMILIES.items():
        if f"\n## {family}\n" not in report:
            continue
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
