"""Rasters and rates of units around stimulation pulses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.report._svg import Frame, drawing, number
from spikelab.spike_sorting.report._words import format_number

if TYPE_CHECKING:
    from spikelab.spikedata import SpikeData
    from spikelab.spikedata._aligned import AlignedSpikes

BEFORE_MS, AFTER_MS, BIN_MS = 20.0, 100.0, 2.0
MOST_PULSES, MOST_UNITS = 100, 200  # rows of a raster, and units, that are drawn
WIDTH, HEIGHT, RASTER_BOTTOM = 280.0, 170.0, 90.0
TICKS_MS = (0.0, 50.0, 100.0)


@dataclass(frozen=True)
class AroundPulses:
    """What the page shows of the pulses of one site.

    Attributes
    ----------
    title : str
        Site and number of pulses.
    drawings : list of (unit id, SVG)
    n_left_out : int
        Units that are not drawn.
    """

    title: str
    drawings: list[tuple[Any, str]]
    n_left_out: int


def around_pulses(sd: SpikeData) -> list[AroundPulses]:
    """Draw the units around the pulses of each site; nothing where there are no pulses."""
    times = sd.stim_times()
    if not len(times) or not sd.N or sd.length < BEFORE_MS + AFTER_MS:
        return []
    sites = list(dict.fromkeys(sd.metadata.get("stim_sites", ()))) or [None]
    found = []
    for site in sites:
        aligned = sd.align_to(sd.stim_times(site), BEFORE_MS, AFTER_MS)
        if len(aligned):
            rates = aligned.rates(BIN_MS)
            drawn = [(sd.unit_ids[unit], _drawing(aligned, unit, rates[unit])) for unit in range(min(sd.N, MOST_UNITS))]
            pulses = f"{format_number(len(aligned))} pulses" if len(aligned) > 1 else "1 pulse"
            found.append(AroundPulses(f"{site}: {pulses}" if site else pulses, drawn, max(0, sd.N - MOST_UNITS)))
    return found


def _drawing(aligned: AlignedSpikes[SpikeData], unit: int, rates: Any) -> str:
    """Draw a row of dots for each of some pulses, and the mean rate below."""
    top = float(np.nanmax(rates, initial=0.0)) or 1.0
    frame = Frame(WIDTH, HEIGHT, (-BEFORE_MS, AFTER_MS), (0.0, top), top=RASTER_BOTTOM + 6, left=46)
    shown = np.unique(np.linspace(0, len(aligned) - 1, min(MOST_PULSES, len(aligned))).astype(np.int64))
    rows = {int(event): row for row, event in enumerate(shown)}
    events, times = aligned.raster(unit)
    height = (RASTER_BOTTOM - 4) / len(shown)
    dots = [
        f"M{number(x)} {number(4 + rows[event] * height)}v{max(height, 0.8):.2g}"
        for event, x in zip(events.tolist(), frame.x(times).tolist(), strict=True)
        if event in rows
    ]
    edges = aligned.edges(BIN_MS)
    content = (
        f'<path class="line" d="{"".join(dots)}"/>'
        + frame.bars(edges, 0, np.nan_to_num(rates), "kept")
        + f'<path class="threshold" d="M{number(float(frame.x(0.0)))} 2V{number(HEIGHT - frame.bottom)}"/>'
        + frame.axes("Time after the pulse (ms)", "Hz", TICKS_MS, (0.0, float(f"{top:.2g}")))
    )
    unit_id = aligned.unit_ids[unit]
    label = f"spikes of unit {unit_id} around {len(aligned)} pulses, at most {top:.3g} Hz"
    return drawing(WIDTH, HEIGHT, content, label=label, kind="distribution")
