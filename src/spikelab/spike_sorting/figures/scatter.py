"""Scatter plot of spike count and normalised standard deviation, the metrics of the second round of curation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.figures._canvas import axes_for, figure_of, legend, set_labels, short, write_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spikelab.spike_sorting.figures._canvas import FigureRecording
    from spikelab.spike_sorting.settings.schema import CurationConfig, FigureConfig

MARKERS = "osD^v<>PphX"
ENTRIES_PER_COLUMN = 20
OUTLINE = "0.25"
SEED = 0


def std_scatter_plot(
    recordings: Sequence[FigureRecording],
    curation: CurationConfig,
    config: FigureConfig,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Draw the units that passed the first round, in `ax` or a new figure: full markers passed the second one too.

    Thresholds of the second round are dotted; one that is off (None, or ``curate_second=False``) is not drawn. Units
    whose std_norm is not finite cannot be drawn and are counted in the legend. Every recording has its own combination
    of marker and colour; ``scatter_std_max_units_per_recording`` draws a seeded sample of that many units.
    """
    columns = 1 + len(recordings) // ENTRIES_PER_COLUMN
    ax = axes_for(config, ax, 5.0 + 2.5 * columns, 5.0)
    drawn = [_draw(ax, index, recording, config) for index, recording in enumerate(recordings)]
    points = np.concatenate([np.empty((0, 2)), *drawn])
    spikes_min = _in_force(curation, curation.spikes_min_second)
    std_max = _in_force(curation, curation.std_norm_max)
    if spikes_min is not None:
        ax.axvline(spikes_min, color="0.3", linestyle=":", linewidth=1.2, label=f"at least {spikes_min:g} spikes")
    if std_max is not None:
        ax.axhline(std_max, color="0.3", linestyle=":", linewidth=1.2, label=f"STD / amplitude at most {std_max:g}")
    ax.set_xlim(0, max([spikes_min or 0, *points[:, 0]]) + config.scatter_x_max_buffer)
    ax.set_ylim(0, max([std_max or 0, *points[:, 1]]) + config.scatter_y_max_buffer)
    if recordings:
        ax.plot([], [], "o", color="0.4", markerfacecolor="none", markersize=6, label="hollow: failed second round")
    set_labels(ax, config, x=config.scatter_x_label, y=config.scatter_y_label)
    legend(ax, config, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, ncols=columns)
    if not len(points):
        write_note(ax, config, "no units after the first round")
    return figure_of(ax)


def _in_force(curation: CurationConfig, threshold: float | None) -> float | None:
    """Return a threshold of the second round, or None where there is none to draw."""
    drawable = curation.curate_second and threshold is not None and np.isfinite(threshold)
    return threshold if drawable else None


def _draw(ax: Axes, index: int, recording: FigureRecording, config: FigureConfig) -> NDArray[np.float64]:
    """Draw one recording; returns the points drawn, shape (n, 2)."""
    points, passed, label = _points(recording, config.scatter_std_max_units_per_recording)
    colors = config.scatter_recording_colors
    color, marker = colors[index % len(colors)], MARKERS[(index + index // len(colors)) % len(MARKERS)]
    style: dict[str, Any] = {"color": color, "alpha": config.scatter_recording_alpha, "markersize": 6}
    full: dict[str, Any] = {"label": label, "markeredgecolor": OUTLINE, "markeredgewidth": 0.5}
    hollow: dict[str, Any] = {"markerfacecolor": "none", "markeredgewidth": 1.4}
    for chosen, kind in ((passed, full), (~passed, hollow)):
        # A line without points that is not clipped would count as lying at the figure's corner.
        ax.plot(*points[chosen].T, marker, clip_on=not chosen.any(), **style, **kind)
    return points


def _points(recording: FigureRecording, limit: int | None) -> tuple[NDArray[np.float64], NDArray[np.bool_], str]:
    """Collect the points (n, 2), whether each passed, and the text of the legend."""
    ids = set(recording.outcome.sd_first.unit_ids)
    counts, std_norm = recording.metric("spike_count", ids), recording.metric("std_norm", ids)
    curated = recording.curated_ids
    passed = np.array([row["unit_id"] in curated for row in recording.outcome.unit_metrics if row["unit_id"] in ids])
    keep = np.flatnonzero(np.isfinite(std_norm) & np.isfinite(counts))
    notes = []
    if len(keep) < len(counts):
        notes.append(f"{len(counts) - len(keep)} without std")
    if limit is not None and len(keep) > limit:
        notes.append(f"{limit} of {len(keep)} units")
        keep = np.sort(np.random.default_rng(SEED).choice(keep, limit, replace=False))
    label = short(recording.name) + (f" ({', '.join(notes)})" if notes else "")
    return np.column_stack([counts, std_norm])[keep], passed.astype(bool)[keep], label
