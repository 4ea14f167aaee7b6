"""``index.html``: all recordings and wells of a batch on one page."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from spikelab.spike_sorting.curation import dropped
from spikelab.spike_sorting.curation.doubts import ways
from spikelab.spike_sorting.curation.dropped import together
from spikelab.spike_sorting.curation.palette import Palette
from spikelab.spike_sorting.data.outcomes import BIOLOGY, DONE
from spikelab.spike_sorting.report import _page, _plots, _words
from spikelab.spike_sorting.report._plate import Plate, place_name, plates
from spikelab.spike_sorting.report._probe import mini_map
from spikelab.spike_sorting.report.recording_page import FIGURES, REPORT
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.curation.doubts import Doubt
    from spikelab.spike_sorting.curation.dropped import Dropped
    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData

INDEX = "index.html"
UNITS = "units.csv"
MOST_CHOICES, MOST_GROUPS = 30, 60


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
    isi_violation: float
    std_norm: float
    spark: str = field(repr=False)
    map: str = field(repr=False)
    small_snr: tuple[float, ...] = ()  # of the units that are small but clean, and were dropped
    dropped: tuple[Dropped, ...] = ()  # units that were not kept, by what dropped them


@dataclass(frozen=True)
class IndexRow:
    """One recording of a batch."""

    name: str
    status: str  # status in its ``run.json``, or "not attempted"
    results: Path
    error: str = ""
    wall_s: float | None = None  # duration of its stages
    summary: Summary | None = None  # None where it was not sorted
    plate: str = ""  # plate and well, where the recording is that of a well
    well: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)  # what a list says of the recording, in values of JSON


def summarise(
    units: SpikeData, outcome: CurationOutcome, config: CurationConfig, doubted: Sequence[Doubt] = ()
) -> Summary:
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
        isi_violation=_median(rows, "isi_violation"),
        std_norm=_median(rows, "std_norm"),
        amplitude_uv=_median(curated.unit_attributes, "amplitude"),
        spark=_plots.sparkline(curated),
        map=mini_map(locations, curated.unit_attributes),
        dropped=tuple(dropped(outcome, config)),
        small_snr=tuple(row["snr"] for doubt in doubted if doubt.small for row in doubt.rows),
    )


def _median(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Return the median of the finite values of a column; NaN where there is none."""
    values = np.array([row[name] for row in rows], dtype=np.float64)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def write_index(folder: Path, sorter: str, rows: Sequence[IndexRow], palette: Palette | None = None) -> bool:
    """Write ``index.html`` into the overview folder, unless the page there is the same; returns whether it was written.

    The page shows the recordings in the order of `rows`, their plates, groups of them by what is noted, and the
    combined figures and the table of units that lie in the folder.
    """
    page = folder / INDEX
    found = plates([row.plate for row in rows], [row.well for row in rows])
    notes = _notes(rows)
    cells = [_row(folder, row, notes) for row in rows]
    html = _page.render(
        "index.html.j2",
        palette=palette or Palette(),
        sorter=sorter,
        rows=cells,
        columns=(*notes.items(), *COLUMNS),
        notes=notes,
        filters=_filters(notes, cells),
        measures=[*MEASURES, *_numbers(rows, notes)],
        plates=found,
        groups=_groups(rows, notes, found),
        tables=[UNITS] if (folder / UNITS).is_file() else [],
        figures=_figures_in(folder),
        **_totals(rows),
    )
    if page.is_file() and page.read_bytes() == html.encode():
        files.sweep(folder)  # of what a killed batch left
        return False
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(page, html)
    return True


def small_words(summaries: Sequence[Summary]) -> str:
    """Say how many units are small but clean, and what keeps them; "" without any."""
    values = [snr for summary in summaries for snr in summary.small_snr]
    if not values:
        return ""
    what = "unit was" if len(values) == 1 else "units were"
    lowest = math.floor(10 * min(values)) / 10
    return (
        f"{len(values)} small but clean {what} dropped for the SNR alone ({min(values):.3g} to {max(values):.3g}). To "
        f"keep {'it' if len(values) == 1 else 'them'}, {ways({'snr_min': lowest})}."
    )


def _figures_in(folder: Path) -> list[tuple[str, str]]:
    return [(f"{name}.png", about) for name, about in FIGURES.items() if (folder / f"{name}.png").is_file()]


COLUMNS = (
    ("kept", "Units kept"),
    ("dropped", "Not kept"),
    ("small", "Small but clean"),
    ("rate", "Median rate (Hz)"),
    ("snr", "Median SNR"),
    ("amplitude", "Median amplitude (uV)"),
    ("length", "Length"),
    ("channels", "Channels"),
    ("time", "Sorting took"),
)


# What a plate and groups can show of a recording, besides numbers that are noted of it.
MEASURES = (
    ("kept", "Units kept"),
    ("found", "Units found"),
    ("share", "Units kept (%)"),
    ("small", "Small but clean"),
    ("rate", "Median rate (Hz)"),
    ("snr", "Median SNR"),
    ("amplitude", "Median amplitude (uV)"),
    ("isi", "Median ISI violations"),
    ("std", "Median STD / amplitude"),
    ("length", "Length (s)"),
    ("channels", "Channels"),
    ("time", "Sorting took (s)"),
)


def _notes(rows: Sequence[IndexRow]) -> dict[str, str]:
    """Name the columns of the notes by a key that is safe in HTML, in the order in which they appear."""
    names = dict.fromkeys(name for row in rows for name in row.notes)
    return {f"note{number}": name for number, name in enumerate(names)}


def _totals(rows: Sequence[IndexRow]) -> dict[str, Any]:
    summaries = [row.summary for row in rows if row.summary is not None]
    units = ((summary.n_units, summary.n_curated) for summary in summaries)
    n_units, n_curated = map(sum, zip((0, 0), *units, strict=True))
    small = small_words(summaries)
    reasons = ", ".join(map(str, together(summary.dropped for summary in summaries)))
    return {
        "n_sorted": len(summaries), "n_units": n_units, "n_curated": n_curated, "dropped": reasons, "small": small
    }  # fmt: skip


def _numbers(rows: Sequence[IndexRow], notes: Mapping[str, str]) -> list[tuple[str, str]]:
    """List the notes that are numbers wherever there is one."""
    values = {name: [row.notes[name] for row in rows if name in row.notes] for name in notes.values()}
    return [(key, name) for key, name in notes.items() if all(map(_is_number, values[name]))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _filters(notes: Mapping[str, str], cells: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, list[str]]]:
    """List the choices above the table: the status, and the notes that have few values."""
    values = {key: list(dict.fromkeys(row["notes"][key] for row in cells if row["notes"][key])) for key in notes}
    few = [(key, notes[key], "any", found) for key, found in values.items() if 2 <= len(found) <= MOST_CHOICES]
    return [("status", "Show", "all", list(dict.fromkeys(row["badge"] for row in cells))), *few]


def _groups(rows: Sequence[IndexRow], notes: Mapping[str, str], found: Sequence[Plate]) -> list[dict[str, Any]]:
    """List by what the recordings can be grouped: a name, and the group of each recording, "" for none."""
    by = {name: [_text(row.notes.get(name)) for row in rows] for name in notes.values()}
    by |= _by_place(found, len(rows))
    few = {name: values for name, values in by.items() if 2 <= len(set(values) - {""}) <= MOST_GROUPS}
    return [{"name": name, "of": values} for name, values in few.items()]


def _by_place(found: Sequence[Plate], count: int) -> dict[str, list[str]]:
    """Group recordings by plate, and by row and column of their well."""
    by = {name: [""] * count for name in ("Plate", "Row of the plate", "Column of the plate")}
    for plate in found:
        for place, index in plate.wells.items():
            name = place_name(place)
            for group, value in zip(by.values(), (plate.name, name[:1], name[1:]), strict=True):
                group[index] = value
    return by


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _row(folder: Path, row: IndexRow, notes: Mapping[str, str]) -> dict[str, Any]:
    values = _values(row)
    noted = {key: _text(row.notes.get(name)) for key, name in notes.items()}
    cells = _cells(row.summary, row.wall_s) | {key: (text, text) for key, text in noted.items()}
    numbers = {key: row.notes.get(name) for key, name in notes.items()}
    return {
        "name": row.name,
        "badge": _words.status_words(row.status)[0],
        "severity": _words.severity(row.status),
        "error": row.error,
        "link": _link(folder, row.results / REPORT),
        "share": round(values.get("share") or 0.0, 1),
        "cells": cells,
        "notes": noted,
        "values": {key: value for key, value in (values | numbers).items() if _is_finite(value)},
        "spark": "" if row.summary is None else row.summary.spark,
        "map": "" if row.summary is None else row.summary.map,
        "done": row.status == DONE,
    }


def _values(row: IndexRow) -> dict[str, float | None]:
    """Return the number of each of `MEASURES`, as far as it is known."""
    summary = row.summary
    if summary is None:  # a silent recording has no unit: that is a value, and the others are not known
        return dict.fromkeys(("kept", "found", "small"), 0) if row.status == BIOLOGY else {}
    return {
        "kept": summary.n_curated,
        "found": summary.n_units,
        "small": len(summary.small_snr),
        "share": 100 * summary.n_curated / summary.n_units if summary.n_units else None,
        "rate": summary.rate_hz,
        "snr": summary.snr,
        "amplitude": summary.amplitude_uv,
        "isi": summary.isi_violation,
        "std": summary.std_norm,
        "length": summary.length_s,
        "channels": summary.n_channels,
        "time": row.wall_s,
    }


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


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
        "small": len(summary.small_snr),
    }
    return {
        "kept": (
            f"{_words.format_number(summary.n_curated)} of {_words.format_number(summary.n_units)}",
            str(summary.n_curated),
        ),
        "dropped": (_dropped_words(summary), str(summary.n_units - summary.n_curated)),
        "length": (_words.duration(summary.length_s), str(summary.length_s)),
        "time": time,
        **{name: (_words.format_number(value), _words.sort_key(value)) for name, value in numbers.items()},
    }


def _dropped_words(summary: Summary) -> str:
    """Count the units that were not kept by metric: both rounds have a threshold on the number of spikes."""
    return ", ".join(one.brief() for one in together([[replace(one, limit="") for one in summary.dropped]]))


def _link(folder: Path, target: Path) -> str | None:
    """Link from `folder` to `target`; None where there is no such file."""
    if not target.is_file():
        return None
    try:
        return quote(Path(os.path.relpath(target, folder)).as_posix())
    except ValueError:  # another drive
        return target.as_uri()
