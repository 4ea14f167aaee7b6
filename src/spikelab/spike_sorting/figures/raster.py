"""Spike raster of the curated units and their population rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.curation.histograms import dead_periods, epoch_boundaries, population_rate
from spikelab.spike_sorting.curation.palette import palette_of
from spikelab.spike_sorting.curation.rasters import ActivityMap, activity_map
from spikelab.spike_sorting.figures._canvas import figure_of, new_figure, set_labels, short, write_note

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
ROW_INCHES, TALLEST = 0.14, 9.0  # of a unit where there is one recording
RATE_INCHES = 1.3
ROW_SHARE = 0.72  # of a row that marks fill; the rest is the gap to the next one
IDS_PER_INCH = 6.0
DEAD_TIME = "0.8"  # grey


def raster_pop_rate(
    recordings: Sequence[FigureRecording],
    config: FigureConfig,
    *,
    axes: Sequence[tuple[Axes, Axes]] | None = None,
) -> Figure:
    """Draw for each recording, in a pair of `axes` or of a new figure, the raster of its curated units and their rate.

    Units are in the order of the sort, on a probe that is a column from its top down; the axis has their ids. Epoch
    boundaries are dotted. Spikes on the same spot of the figure are drawn once. Where spikes would fill the rows, a row
    is a map of its unit's rate, black where this is highest. Many recordings are arranged in two or three columns.
    """
    if axes is None:
        most = max([recording.outcome.sd_curated.N for recording in recordings] or [0])
        axes = _grid(max(1, len(recordings)), most, config)
    for (raster, rate), recording in zip(axes, recordings, strict=False):
        _draw(raster, rate, recording, config)
    if not recordings:
        write_note(axes[0][0], config, "no recordings")
    return figure_of(axes[0][0])


def _grid(count: int, units: int, config: FigureConfig) -> list[tuple[Axes, Axes]]:
    """Make a pair of axes per recording, from top to bottom; the more recordings, the smaller."""
    across, height = next(layout for most, *layout in LAYOUTS if count <= most)
    if count == 1:
        height = float(np.clip(2.2 + ROW_INCHES * units, height, TALLEST))
    down = -(-count // int(across))
    figure = new_figure(config, 11.0 * max(1.0, 0.6 * across), height * down)
    ratios = [max(2.5, height / RATE_INCHES - 1), 1] * down
    grid = figure.subplots(2 * down, int(across), squeeze=False, gridspec_kw={"height_ratios": ratios})
    pairs = [(grid[2 * row, column], grid[2 * row + 1, column]) for row in range(down) for column in range(int(across))]
    for pair in pairs[count:]:
        for ax in pair:
            ax.set_axis_off()
    return pairs[:count]


def _draw(raster: Axes, rate: Axes, recording: FigureRecording, config: FigureConfig) -> None:
    sd = recording.outcome.sd_curated
    start, seconds = sd.start_time / 1000, max(sd.length / 1000, 1e-3)
    shown = activity_map(sd)
    palette = palette_of(config)
    row_points = raster.get_window_extent().height * 72 / figure_of(raster).dpi / max(sd.N, 1)
    if shown.is_rate:
        _draw_rates(raster, shown, (start, start + seconds), palette.kept)
    else:
        _draw_spikes(raster, sd, shown.order, row_points, palette.kept)
    raster.set_ylim(sd.N - 0.5 if sd.N else 0.5, -0.5)
    _label_rows(raster, [str(sd.unit_ids[row]) for row in shown.order], row_points)
    units = "unit" if sd.N == 1 else "units"
    how = f", rates in columns of {shown.column_s:.2g} s, each row to its own maximum" if shown.is_rate else ""
    set_labels(raster, config, y="Unit id", title=f"{short(recording.name)}: {sd.N} curated {units}{how}")
    raster.tick_params(labelbottom=False)
    raster.tick_params(axis="y", labelsize=float(np.clip(72 / IDS_PER_INCH * 0.62, 5, config.font_size * 0.85)))
    edges, hertz, bin_ms = population_rate(sd)
    rate.stairs(hertz, edges, color=palette.kept, fill=True)
    rate.set_ylim(0, max(1e-3, hertz.max() * 1.05) if sd.N else 1)
    set_labels(rate, config, x=f"Time (s); mean rate in bins of {bin_ms:g} ms", y="Hz / unit")
    for ax in (raster, rate):
        ax.set_xlim(start, start + seconds)
        _mark_periods(ax, sd, palette.epoch)
    if not sd.N:
        raster.set_yticks([])
        write_note(raster, config, "no curated units")


def _mark_periods(ax: Axes, sd: SpikeData, epoch_color: str) -> None:
    for boundary, _ in epoch_boundaries(sd):
        ax.axvline(boundary / 1000, color=epoch_color, linestyle=":", linewidth=1.4)
    for start, end in dead_periods(sd):
        ax.axvspan(start / 1000, end / 1000, color=DEAD_TIME, linewidth=0.5, zorder=0)


def _draw_spikes(ax: Axes, sd: SpikeData, order: list[int], row_points: float, color: str) -> None:
    times, rows = raster_points(sd)
    place = np.empty(sd.N, dtype=np.int64)
    place[order] = np.arange(sd.N)
    # Spikes of a unit that share a pixel add up to a grey.
    per_pixel = len(times) / max(sd.N, 1) / PIXEL_COLUMNS
    alpha = float(np.clip(0.5 / max(per_pixel, 1e-9), 0.35, 1.0))
    size = float(np.clip(ROW_SHARE * row_points, 0.5, 14.0))
    width = 0.6 if size > 1 else 0.3
    ax.plot(times, place[rows], "|", color=color, alpha=alpha, markersize=size, markeredgewidth=width)


def _draw_rates(ax: Axes, shown: ActivityMap, seconds: tuple[float, float], color: str) -> None:
    """Draw the rates as shades between white and `color`, with gaps between the rows."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("rate", ["white", color])
    rows = len(shown.darkness)
    extent = (*seconds, rows - 0.5, -0.5)
    ax.imshow(shown.darkness, cmap=shades, vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=extent)
    ax.hlines(np.arange(1, rows) - 0.5, *seconds, color="white", linewidth=0.8)


def _label_rows(ax: Axes, ids: list[str], row_points: float) -> None:
    """Write the ids of the units at their rows, as many as there is room for."""
    step = max(1, int(np.ceil(72 / IDS_PER_INCH / max(row_points, 1e-9))))
    rows = range(0, len(ids), step)
    ax.set_yticks(rows, [ids[row] for row in rows])


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
