"""Page of a unit: intervals, footprint and waveforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection

from spikelab.spike_sorting.curation.criteria import metrics
from spikelab.spike_sorting.curation.histograms import REFRACTORY_MS, isi_histogram
from spikelab.spike_sorting.curation.palette import palette_of
from spikelab.spike_sorting.figures._canvas import figure_of, new_figure, set_labels, short, whole_numbers, write_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spikelab.spike_sorting.settings.schema import FigureConfig
    from spikelab.spikedata import SpikeData

MAX_CHANNELS = 30
MAX_WAVEFORMS = 100


def unit_page(
    sd: SpikeData,
    index: int,
    row: dict[str, Any],
    config: FigureConfig,
    *,
    waveforms: NDArray[np.float32] | None = None,
    figure: Figure | None = None,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw the intervals, the footprint and the main-channel waveforms of the unit at position `index` of `sd`.

    `row` is the unit's row in ``CurationOutcome.unit_metrics``. Of `waveforms` (spikes, samples, channels) in
    microvolts, over the window of ``template_full``, at most 100 are drawn behind the template. `figure` is the page
    of another unit, to be drawn over: axes and ticks take longer than their content. `axes` are three to draw in
    instead of a page; the title of their figure is left unchanged.
    """
    own = axes is None
    if axes is None:
        axes = (_empty_page(config) if figure is None else _cleared(figure)).axes
    isi, footprint, waveform = axes
    unit = sd.unit_attributes[index]
    passed = row["passed"]
    palette = palette_of(config)
    color = palette.kept if passed else palette.failed
    _draw_isi(isi, sd, index, color, config)
    _draw_footprint(footprint, unit, sd.metadata, color, config)
    _draw_waveforms(waveform, unit, sd.metadata, waveforms, color, config)
    figure = figure_of(isi)
    if own:
        figure.suptitle(_title(unit, row), fontsize=config.font_size * 0.9, y=0.98, va="top")
    return figure


def _empty_page(config: FigureConfig) -> Figure:
    # The margins are fixed: a constrained layout takes longer than all the drawing.
    figure = new_figure(config, 11.0, 4.0, constrained=False)
    for ax in figure.subplots(1, 3)[1:]:
        ax.locator_params(nbins=5)
    whole_numbers(figure.axes[0])
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.16, top=0.80, wspace=0.32)
    return figure


def _cleared(figure: Figure) -> Figure:
    """Remove all artists and keep the axes."""
    for ax in figure.axes:
        for artist in (*ax.lines, *ax.collections, *ax.patches, *ax.texts):
            artist.remove()
    return figure


def _title(unit: dict[str, Any], row: dict[str, Any]) -> str:
    verdict = "curated"
    if row.get("merged_into") is not None:
        verdict = f"merged into unit {row['merged_into']}"
    elif row["failed_round"] == "hand":
        verdict = "dropped by hand"
    elif row.get("decided") == "keep":
        verdict = "kept by hand"
    elif not row["passed"]:
        verdict = f"failed {row['failed_criterion']} ({row['failed_round']} round)"
    place = f"channel {short(str(unit['channel_id']))} at ({unit['x']:g}, {unit['y']:g}) um"
    values = ", ".join(metric.brief.format(row[metric.name]) for metric in metrics())
    return f"Unit {unit['unit_id']}: {verdict}, {place}\n{values}"


def _draw_isi(ax: Axes, sd: SpikeData, index: int, color: str, config: FigureConfig) -> None:
    intervals = sd.subset([index]).interspike_intervals()[0]
    counts, edges = isi_histogram(intervals)
    ax.stairs(counts, edges, fill=True, color=color)
    ax.axvline(REFRACTORY_MS, color=palette_of(config).threshold, linestyle=":", linewidth=1.2)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, max(1.0, counts.max() * 1.05))
    short_ones = int(np.sum(intervals < REFRACTORY_MS))
    title = f"{len(intervals)} intervals, {short_ones} below {REFRACTORY_MS:g} ms"
    set_labels(ax, config, x="Inter-spike interval (ms)", y="Intervals", title=title, scale=0.85)
    if not len(intervals):
        write_note(ax, config, "no intervals")


def _draw_footprint(ax: Axes, unit: dict[str, Any], metadata: dict[str, Any], color: str, config: FigureConfig) -> None:
    """Draw the template of each channel around the main one at the channel's position."""
    locations = np.asarray(metadata["channel_locations"], dtype=np.float64)
    template = unit["template"]
    near = nearest_channels(locations, unit["channel"])
    pitch = _pitch(locations[near])
    span = np.nanmax(np.abs(template[:, near]), initial=0.0)
    gain = 0.0 if not np.isfinite(span) or span == 0 else 0.8 * pitch / span
    time = np.linspace(-0.42, 0.42, len(template)) * pitch
    lines = [
        np.column_stack([x + time, y + template[:, c] * gain]) for c, (x, y) in zip(near, locations[near], strict=True)
    ]
    widths = [1.6 if channel == unit["channel"] else 0.7 for channel in near]
    ax.add_collection(LineCollection(lines, colors=color, linewidths=widths))
    ax.plot(*locations[near].T, ".", color="0.75", markersize=3, zorder=0)
    low, high = locations[near].min(axis=0), locations[near].max(axis=0)
    ax.set_xlim(low[0] - 0.7 * pitch, high[0] + 0.7 * pitch)
    ax.set_ylim(low[1] - pitch, high[1] + pitch)
    what = "footprint" if len(near) == len(locations) else f"nearest {len(near)} of {len(locations)} channels"
    title = f"{what}, largest {span:.3g} uV" if gain else what
    set_labels(ax, config, x="x (um)", y="y (um)", title=title, scale=0.85)
    if not gain:
        write_note(ax, config, "no template")


def nearest_channels(locations: NDArray[np.float64], main: int) -> NDArray[np.int64]:
    """Return the 30 channels nearest to the main one, itself among them."""
    distance = np.linalg.norm(locations - locations[main], axis=1)
    return np.sort(np.argsort(distance, kind="stable")[:MAX_CHANNELS])


def _pitch(locations: NDArray[np.float64]) -> float:
    """Return the typical distance of a contact to its nearest neighbour; 1 um where there is no other."""
    distance = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    distance[distance == 0] = np.inf
    nearest = distance.min(axis=1)
    return float(np.median(nearest)) if np.isfinite(nearest).all() else 1.0


def _draw_waveforms(
    ax: Axes,
    unit: dict[str, Any],
    metadata: dict[str, Any],
    waveforms: NDArray[np.float32] | None,
    color: str,
    config: FigureConfig,
) -> None:
    channel, template = unit["channel"], unit["template_full"]
    peak = metadata.get("template_full_peak_ind", unit["template_peak_ind"])
    time = (np.arange(len(template)) - peak) * 1000.0 / metadata["fs_Hz"]
    shown, drawn = 0, [template[:, channel]]
    if waveforms is not None and len(waveforms):
        chosen = np.linspace(0, len(waveforms) - 1, min(MAX_WAVEFORMS, len(waveforms))).astype(np.int64)
        traces = np.asarray(waveforms[chosen, :, channel])
        shown, drawn = len(traces), [*drawn, *traces]
        lines = [np.column_stack([time, trace]) for trace in traces]
        ax.add_collection(LineCollection(lines, colors="0.7", linewidths=0.4))
    ax.plot(time, template[:, channel], color=color, linewidth=1.8)
    ax.set_xlim(time[0], time[-1])
    low, high = np.nanmin(np.array(drawn), initial=-1.0), np.nanmax(np.array(drawn), initial=1.0)
    ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    of = "" if waveforms is None or shown == len(waveforms) else f" of {len(waveforms)}"
    title = f"template and {shown}{of} waveforms" if shown else "template"
    set_labels(ax, config, x=config.templates_x_label, y="Voltage (uV)", title=title, scale=0.85)
    if not np.isfinite(template[:, channel]).any():
        write_note(ax, config, "no template")
