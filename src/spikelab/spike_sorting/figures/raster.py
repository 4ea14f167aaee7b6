"""Spike raster of the curated units and their population rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting._shown import population_rate
from spikelab.spike_sorting.figures._canvas import figure_of, finish, new_figure, say, short, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spikelab.spike_sorting.config import FigureConfig
    from spikelab.spike_sorting.figures.recordings import FigureRecording
    from spikelab.spikedata import SpikeData

COLUMNS = 4000
RASTER_POINTS = 150.0  # height of the raster in typographic points, less the gaps between units


def raster_pop_rate(
    recordings: Sequence[FigureRecording],
    config: FigureConfig,
    *,
    axes: Sequence[tuple[Axes, Axes]] | None = None,
) -> Figure:
    """Draw for each recording the raster of its curated units above their mean firing rate.

    Units are in the order of the sort. Epoch boundaries are dotted. Spikes that would fall on the same spot of the
    figure are drawn once.

    Parameters
    ----------
    recordings : sequence of FigureRecording
    config : FigureConfig
        ``font_size`` and ``dpi``.
    axes : sequence of (Axes, Axes), optional
        A pair for raster and rate of each recording; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if axes is None:
        figure = new_figure(config, 11.0, 4.5 * max(1, len(recordings)))
        rows = 2 * max(1, len(recordings))
        grid = figure.subplots(rows, 1, gridspec_kw={"height_ratios": [2.5, 1] * (rows // 2)})
        axes = list(zip(grid[::2], grid[1::2], strict=True))
    for (raster, rate), recording in zip(axes, recordings, strict=False):
        _draw(raster, rate, recording, config)
    if not recordings:
        say(axes[0][0], config, "no recordings")
    return figure_of(axes[0][0])


def _draw(raster: Axes, rate: Axes, recording: FigureRecording, config: FigureConfig) -> None:
    sd = recording.outcome.sd_curated
    start, seconds = sd.start_time / 1000, max(sd.length / 1000, 1e-3)
    times, rows = raster_points(sd)
    size = float(np.clip(RASTER_POINTS / max(sd.N, 1), 0.5, 6.0))
    raster.plot(times, rows, "|", color="black", markersize=size, markeredgewidth=0.6 if size > 1 else 0.3)
    raster.set_ylim(sd.N - 0.5 if sd.N else 0.5, -0.5)
    whole_numbers(raster)
    units = "unit" if sd.N == 1 else "units"
    finish(raster, config, y="Curated unit", title=f"{short(recording.name)}: {sd.N} curated {units}")
    raster.tick_params(labelbottom=False)
    edges, hertz, bin_ms = population_rate(sd)
    rate.stairs(hertz, edges, color="black", fill=True)
    rate.set_ylim(0, max(1e-3, hertz.max() * 1.05) if sd.N else 1)
    finish(rate, config, x=f"Time (s); mean rate in bins of {bin_ms:g} ms", y="Hz / unit")
    for ax in (raster, rate):
        ax.set_xlim(start, start + seconds)
        for boundary, _ in sd.metadata.get("rec_chunks_ms", [])[1:]:
            ax.axvline(boundary / 1000, color="tab:blue", linestyle=":", linewidth=1)
    if not sd.N:
        raster.set_yticks([])
        say(raster, config, "no curated units")


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
