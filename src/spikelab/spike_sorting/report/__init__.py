"""Pages: ``report.html`` of one recording, ``index.html`` of a batch. They need no network."""

from __future__ import annotations

from ._content import ReportData
from ._decided import counted
from ._drift import Drift
from ._page import scripts
from ._plate import place_of
from .batch_page import INDEX, UNITS, IndexRow, Summary, small_words, summarise, write_index
from .recording_page import REPORT, render_report, write_report

__all__ = [
    "INDEX",
    "REPORT",
    "UNITS",
    "Drift",
    "IndexRow",
    "ReportData",
    "Summary",
    "counted",
    "place_of",
    "render_report",
    "scripts",
    "small_words",
    "summarise",
    "write_index",
    "write_report",
]
