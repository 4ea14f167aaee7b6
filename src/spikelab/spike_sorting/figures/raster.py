"""Spike raster of the curated units and their population rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.curation.histograms import epoch_boundaries, population_rate
from spikelab.spike_sorting.figures._canvas import figure_of, new_figure, set_labels, short, whole_numbers, write_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spikelab.spike_sorting.figures._canvas import FigureRecording
    from spikelab.spike_sorting.settings.schema import FigureConfig
    from spikelab.spikedata import SpikeData

COLUMNS = 4000
PIXEL_COLUMNS = 1000
# Largest number of recordings, columns, height of a recording in inches.
LAYOUTS = ((2, 1, 4.5), (6, 1, 3.2), (24, 2, 2.8), (np.inf, 3, 2.4))
RASTER_POINTS = 150.0  # height of the raster in typographic points, less the gaps between units


def raster_pop_rate(
    recordings: Sequence[FigureRecording],
    config: FigureConfig,
    *,
    axes: Sequence[tuple[Axes, Axes]] | None = None,
) -> Figure:
    """Draw for each recording, in a pair of `axes` or of a new figure, the raster of its curated units and their rate.

    Units are in the order of the sort; the axis has their ids. Epoch boundaries are dotted. Spikes on the same spot of
    the figure are drawn once, darker where there are many. Many recordings are arranged in two or three columns.
    """
    if axes is None:
        axes = _grid(max(1, len(recordings)), config)
    for (raster, rate), recording in zip(axes, recordings, strict=False):
        _draw(raster, rate, recording, config)
    if not recordings:
        write_note(axes[0][0], config, "no recordings")
    return figure_of(axes[0][0])


def _grid(count: int, config: FigureConfig) -> list[tuple[Axes, Axes]]:
    """Make a pair of axes per recording, from top to bottom; the more recordings, the smaller."""
    across, height = next(layout for most, *layout in LAYOUTS if count <= most)
    down = -(-count // int(across))
    figure = new_figure(config, 11.0 * max(1.0, 0.6 * across), height * down)
    ratios = [2.5, 1] * down
    grid = figure.subplots(2 * down, int(across), squeeze=False, gridspec_kw={"height_ratios": ratios})
    pairs = [(grid[2 * row, column], grid[2 * row + 1, column]) for row in range(down) for column in range(int(across))]
    for pair in pairs[count:]:
        for ax in pair:
            ax.set_axis_off()
    return pairs[:count]


def _draw(raster: Axes, rate: Axes, recording: FigureRecording, config: FigureConfig) -> None:
    sd = recording.outcome.sd_curated
    start, seconds = sd.start_time / 1000, max(sd.length / 1000, 1e-3)
    times, rows = raster_points(sd)
    size = float(np.clip(RASTER_POINTS / max(sd.N, 1), 0.5, 6.0))
    # Spikes of a unit that share a pixel add up to a grey.
    per_pixel = len(times) / max(sd.N, 1) / PIXEL_COLUMNS
    alpha = float(np.clip(0.5 / max(per_pixel, 1e-9), 0.2, 1.0))
    raster.plot(times, rows, "|", color="black", alpha=alpha, markersize=size, markeredgewidth=0.6 if size > 1 else 0.3)
    raster.set_ylim(sd.N - 0.5 if sd.N else 0.5, -0.5)
    whole_numbers(raster)
    ids = [str(unit) for unit in sd.unit_ids]
    raster.yaxis.set_major_formatter(lambda row, _: ids[int(row)] if row in range(len(ids)) else "")
    units = "unit" if sd.N == 1 else "units"
    set_labels(raster, config, y="Unit id", title=f"{short(recording.name)}: {sd.N} curated {units}")
    raster.tick_params(labelbottom=False)
    edges, hertz, bin_ms = population_rate(sd)
    rate.stairs(hertz, edges, color="black", fill=True)
    rate.set_ylim(0, max(1e-3, hertz.max() * 1.05) if sd.N else 1)
    set_labels(rate, config, x=f"Time (s); mean rate in bins of {bin_ms:g} ms", y="Hz / unit")
    for ax in (raster, rate):
        ax.set_xlim(start, start + seconds)
        for boundary, _ in epoch_boundaries(sd):
            ax.axvline(boundary / 1000, color="tab:blue", linestyle=":", linewidth=1)
    if not sd.N:
        raster.set_yticks([])
        write_note(raster, config, "no curated units")


def raster_points(sd: SpikeData) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return times (s) and unit rows of a raster, at most one spike per unit and 1/4000 of the length."""
    times = [np.empty(0)]
    rows = [np.empty(0, dtype=np.int64)]
    for row, train in enumerate(sd.train):
        column = ((train - sd.start_time) * (COLUMNS / max(sd.length, 1e-9))).astype(np.int64)
        first = np.flatnonzero(np.diff(column, prepend=-1))
        times.append(train[first] / 1000)
        rows.append(np.full(len(first), row, dtype=np.int64))
    return np.concatenate(times), np.concatenate(rows)
