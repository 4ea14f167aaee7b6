"""``index.html``: all recordings and wells of a batch on one page."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from spikelab.spike_sorting.report import _page, _plots, _words
from spikelab.spike_sorting.report._probe import mini_map
from spikelab.spike_sorting.report.recording_page import DONE, FIGURES, REPORT
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spikedata import SpikeData

INDEX = "index.html"


@dataclass(frozen=True)
class Summary:
    """Summary of a sorted recording: small enough to be kept for every recording of a batch."""

    n_units: int
    n_curated: int
    length_s: float
    n_channels: int
    rate_hz: float
    snr: float
    amplitude_uv: float
    spark: str = field(repr=False)
    map: str = field(repr=False)


@dataclass(frozen=True)
class IndexRow:
    """One recording of a batch."""

    name: str
    status: str  # status in its ``run.json``, or "not attempted"
    results: Path
    error: str = ""
    wall_s: float | None = None  # duration of its stages
    summary: Summary | None = None  # None where it was not sorted


def summarise(units: SpikeData, outcome: CurationOutcome) -> Summary:
    """Summarise a sorted recording; medians are over its curated units."""
    curated = outcome.sd_curated
    kept = set(curated.unit_ids)
    rows = [row for row in outcome.unit_metrics if row["unit_id"] in kept]
    locations = units.metadata["channel_locations"]
    return Summary(
        n_units=units.N,
        n_curated=curated.N,
        length_s=units.length / 1000,
        n_channels=len(locations),
        rate_hz=_median(rows, "firing_rate"),
        snr=_median(rows, "snr"),
        amplitude_uv=_median(curated.unit_attributes, "amplitude"),
        spark=_plots.sparkline(curated),
        map=mini_map(locations, curated.unit_attributes),
    )


def _median(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Return the median of the finite values of a column; NaN where there is none."""
    values = np.array([row[name] for row in rows], dtype=np.float64)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def write_index(folder: Path, sorter: str, rows: Sequence[IndexRow]) -> bool:
    """Write ``index.html`` into the overview folder, unless the page there is the same; returns whether it was written.

    The page shows the recordings in the order of `rows`, and the combined figures that lie in the folder.
    """
    page = folder / INDEX
    summaries = [row.summary for row in rows if row.summary is not None]
    cells = [_row(folder, row) for row in rows]
    html = _page.render(
        "index.html.j2",
        sorter=sorter,
        rows=cells,
        columns=COLUMNS,
        figures=_figures_in(folder),
        n_sorted=len(summaries),
        n_units=sum(summary.n_units for summary in summaries),
        n_curated=sum(summary.n_curated for summary in summaries),
        statuses=list(dict.fromkeys(row["badge"] for row in cells)),
    )
    if page.is_file() and page.read_bytes() == html.encode():
        files.sweep(folder)  # of what a killed batch left
        return False
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(page, html)
    return True


def _figures_in(folder: Path) -> list[tuple[str, str]]:
    return [(f"{name}.png", about) for name, about in FIGURES.items() if (folder / f"{name}.png").is_file()]


COLUMNS = (
    ("kept", "Units kept"),
    ("rate", "Median rate (Hz)"),
    ("snr", "Median SNR"),
    ("amplitude", "Median amplitude (uV)"),
    ("length", "Length"),
    ("channels", "Channels"),
    ("time", "Sorting took"),
)


def _row(folder: Path, row: IndexRow) -> dict[str, Any]:
    summary = row.summary
    share = 0.0 if summary is None else 100 * summary.n_curated / max(summary.n_units, 1)
    return {
        "name": row.name,
        "badge": _words.status_words(row.status)[0],
        "severity": _words.severity(row.status),
        "error": row.error,
        "link": _link(folder, row.results / REPORT),
        "share": round(share, 1),
        "cells": _cells(summary, row.wall_s),
        "spark": "" if summary is None else summary.spark,
        "map": "" if summary is None else summary.map,
        "done": row.status == DONE,
    }


def _cells(summary: Summary | None, wall_s: float | None) -> dict[str, tuple[str, str]]:
    """Return text and sort key of each column."""
    time = (_words.duration(wall_s), _words.sort_key(wall_s))
    if summary is None:
        return {name: ("", "") for name, _ in COLUMNS} | {"time": time}
    numbers = {
        "rate": summary.rate_hz,
        "snr": summary.snr,
        "amplitude": summary.amplitude_uv,
        "channels": summary.n_channels,
    }
    return {
        "kept": (
            f"{_words.format_number(summary.n_curated)} of {_words.format_number(summary.n_units)}",
            str(summary.n_curated),
        ),
        "length": (_words.duration(summary.length_s), str(summary.length_s)),
        "time": time,
        **{name: (_words.format_number(value), _words.sort_key(value)) for name, value in numbers.items()},
    }


def _link(folder: Path, target: Path) -> str | None:
    """Link from `folder` to `target`; None where there is no such file."""
    if not target.is_file():
        return None
    try:
        return quote(Path(os.path.relpath(target, folder)).as_posix())
    except ValueError:  # another drive
        return target.as_uri()
