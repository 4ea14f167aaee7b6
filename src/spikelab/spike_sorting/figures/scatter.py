"""Scatter plot of spike count and normalised standard deviation, the metrics of the second round of curation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.curation.palette import palette_of
from spikelab.spike_sorting.figures._canvas import axes_for, figure_of, legend, set_labels, short, write_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spikelab.spike_sorting.figures._canvas import FigureRecording
    from spikelab.spike_sorting.settings.schema import CurationConfig, FigureConfig

MARKERS = "osD^v<>Pph*"
CROSS = "x"  # of units that failed in the first round, in all recordings
KEPT, FAILED_SECOND, FAILED_FIRST = 2, 1, 0
ENTRIES_PER_COLUMN = 20
SEED = 0
LAYERS = 8  # in which recordings are drawn in turn, so that none hides another


@dataclass(frozen=True)
class _Units:
    points: NDArray[np.float64]  # spike count and std_norm (n, 2)
    verdicts: NDArray[np.int64]  # one of KEPT, FAILED_SECOND, FAILED_FIRST
    name: str
    note: str  # on units that are not drawn
    by_hand: bool  # whether a person decided on some


def std_scatter_plot(
    recordings: Sequence[FigureRecording],
    curation: CurationConfig,
    config: FigureConfig,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Draw all units, in `ax` or a new figure: full markers were kept, hollow ones failed, crosses in the first round.

    The edge of a marker has the colour of kept or failed units, its face that of the recording, where there are
    several. Thresholds of the second round are dotted; one that is off (None, or ``curate_second=False``) is not
    drawn, and a std_norm that no unit comes near is only written into the legend. Units whose std_norm is not finite
    cannot be drawn and are counted in the legend. ``scatter_std_max_units_per_recording`` draws a seeded sample.
    """
    columns = 1 + len(recordings) // ENTRIES_PER_COLUMN
    ax = axes_for(config, ax, 5.0 + 2.5 * columns, 5.0)
    units = [_units(recording, config.scatter_std_max_units_per_recording) for recording in recordings]
    for index, one in enumerate(units):
        _draw(ax, index, one, config, several=len(units) > 1)
    points = np.concatenate([np.empty((0, 2)), *(one.points for one in units)])
    spikes_min = _in_force(curation, curation.spikes_min_second)
    std_max = _in_force(curation, curation.std_norm_max)
    top = points[:, 1].max(initial=0.0) + config.scatter_y_max_buffer
    ax.set_xlim(0, max([spikes_min or 0, *points[:, 0]]) + config.scatter_x_max_buffer)
    ax.set_ylim(0, top)
    threshold: dict[str, Any] = {"color": palette_of(config).threshold, "linestyle": ":", "linewidth": 1.2}
    if spikes_min is not None:
        ax.axvline(spikes_min, label=f"at least {spikes_min:g} spikes", **threshold)
    if std_max is not None and std_max <= top:
        ax.axhline(std_max, label=f"STD / amplitude at most {std_max:g}", **threshold)
    elif std_max is not None:
        ax.plot([], [], " ", label=f"STD / amplitude at most {std_max:g}: all are")
    _explain_markers(ax, units, config)
    set_labels(ax, config, x=config.scatter_x_label, y=config.scatter_y_label)
    legend(ax, config, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, ncols=columns)
    if not len(points):
        write_note(ax, config, "no units")
    return figure_of(ax)


def _in_force(curation: CurationConfig, threshold: float | None) -> float | None:
    """Return a threshold of the second round, or None where there is none to draw."""
    drawable = curation.curate_second and threshold is not None and np.isfinite(threshold)
    return threshold if drawable else None


def _draw(ax: Axes, index: int, units: _Units, config: FigureConfig, *, several: bool) -> None:
    """Draw one recording in layers, which those of other recordings come between."""
    palette, colors = palette_of(config), config.scatter_recording_colors
    color = palette.recording(colors[index % len(colors)])
    marker = MARKERS[(index + index // len(colors)) % len(MARKERS)]
    style: dict[str, Any] = {"alpha": config.scatter_recording_alpha, "markersize": 6, "linestyle": ""}
    kinds: dict[int, dict[str, Any]] = {
        FAILED_FIRST: {"marker": CROSS, "color": palette.failed, "markeredgewidth": 1.0},
        FAILED_SECOND: {"marker": marker, "color": palette.failed, "markerfacecolor": "none", "markeredgewidth": 1.4},
        KEPT: {"marker": marker, "color": color, "markeredgecolor": palette.kept, "markeredgewidth": 0.7},
    }
    if several:
        label = f"{units.name} ({units.note})" if units.note else units.name
        ax.plot([], [], label=label, **style, **kinds[KEPT])
    for verdict, kind in kinds.items():
        points = units.points[units.verdicts == verdict]
        for layer in range(LAYERS):
            if len(part := points[layer::LAYERS]):
                ax.plot(*part.T, zorder=2 + verdict + layer / (LAYERS + 1), **style, **kind)


def _explain_markers(ax: Axes, units: Sequence[_Units], config: FigureConfig) -> None:
    """Say in the legend what the kinds of markers are, and how many units each stands for."""
    palette = palette_of(config)
    counts = np.bincount(np.concatenate([np.empty(0, np.int64), *(one.verdicts for one in units)]), minlength=3)
    face = palette.recording(config.scatter_recording_colors[0]) if len(units) == 1 else "none"
    second = "failed later, or by hand" if any(one.by_hand for one in units) else "failed second round"
    marks: tuple[tuple[int, str, dict[str, Any]], ...] = (
        (KEPT, "kept", {"marker": "o", "color": palette.kept, "markerfacecolor": face}),
        (FAILED_SECOND, second, {"marker": "o", "color": palette.failed, "markerfacecolor": "none"}),
        (FAILED_FIRST, "failed first round", {"marker": CROSS, "color": palette.failed}),
    )
    for verdict, words, style in marks:
        if units:
            ax.plot([], [], linestyle="", markersize=6, label=f"{words} ({counts[verdict]})", **style)
    if len(units) == 1 and units[0].note:
        ax.plot([], [], " ", label=units[0].note)


def _units(recording: FigureRecording, limit: int | None) -> _Units:
    """Collect the points, their verdicts, and the text of the legend."""
    rows = recording.outcome.unit_metrics
    first, curated = set(recording.outcome.sd_first.unit_ids), recording.curated_ids
    points = np.array([(row["spike_count"], row["std_norm"]) for row in rows], dtype=np.float64).reshape(-1, 2)
    verdicts = np.array(
        [
            KEPT if row["unit_id"] in curated else FAILED_SECOND if row["unit_id"] in first else FAILED_FIRST
            for row in rows
        ],
        dtype=np.int64,
    )
    keep = np.flatnonzero(np.isfinite(points).all(axis=1))
    notes = []
    if len(keep) < len(points):
        notes.append(f"{len(points) - len(keep)} without std")
    if limit is not None and len(keep) > limit:
        notes.append(f"{limit} of {len(keep)} units")
        keep = np.sort(np.random.default_rng(SEED).choice(keep, limit, replace=False))
    by_hand = bool(recording.outcome.by_hand)
    return _Units(points[keep], verdicts[keep], short(recording.name), ", ".join(notes), by_hand)
