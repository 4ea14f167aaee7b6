"""``units.csv`` of a batch: one row per unit of all recordings, with what is noted of its recording."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from spikelab.system import files
from spikelab.system.quoting import in_spreadsheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OWN = ("recording", "well")
UNIT_PREFIX = "unit_"  # of a column of the units whose name a column of the list has


def write_units(path: Path, recordings: Sequence[tuple[Mapping[str, Any], Path]]) -> int:
    """Write the tables of the units of several recordings as one; returns the number of recordings in it.

    Each recording has its cells (``recording``, ``well`` and what is noted of it) and the path of its own
    ``unit_metrics.csv``, whose cells are taken as they are; one that cannot be read is left out. A column that some
    recordings lack is empty there. Text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    tables = [(cells, rows) for cells, table in recordings if (rows := _rows(table)) is not None]
    text = _joined(tables)
    if not path.is_file() or path.read_bytes() != text.encode():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, text)
    return len(tables)


def _joined(tables: Sequence[tuple[Mapping[str, Any], list[dict[str, str]]]]) -> str:
    noted: dict[str, None] = dict.fromkeys(OWN)
    measured: dict[str, None] = {}
    for cells, rows in tables:
        noted |= dict.fromkeys(cells)
        measured |= dict.fromkeys(rows[0] if rows else ())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    headings = list(map(in_spreadsheet, noted))
    writer.writerow([*headings, *(f"{UNIT_PREFIX}{name}" if name in headings else name for name in measured)])
    for cells, rows in tables:
        first = [in_spreadsheet(cells.get(name, "")) for name in noted]
        writer.writerows([*first, *(row.get(name, "") for name in measured)] for row in rows)
    return text.getvalue()


def _rows(path: Path) -> list[dict[str, str]] | None:
    try:
        with path.open(encoding="utf-8", newline="") as table:
            return list(csv.DictReader(table, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
