"""Units per recording: found, after the rounds of curation, and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.curation.palette import palette_of
from spikelab.spike_sorting.figures._canvas import (
    axes_for,
    figure_of,
    legend,
    set_labels,
    short,
    whole_numbers,
    write_note,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spikelab.spike_sorting.figures._canvas import FigureRecording
    from spikelab.spike_sorting.settings.schema import FigureConfig

BARS_WIDTH = 0.81  # of all bars of a recording, whose distance is 1
MAX_WIDTH = 40.0  # inches; names of recordings are upright where they do not fit side by side
FOUND, SECOND = "Found", "Second Curation"


def curation_bar_plot(recordings: Sequence[FigureRecording], config: FigureConfig, *, ax: Axes | None = None) -> Figure:
    """Draw bars for each recording, in `ax` or a new figure: units found, after the first round, and kept.

    Where ``metric_limits``, decisions by hand or a merge of duplicates follow the second round, it has a bar too.
    """
    names = [short(recording.name) for recording in recordings]
    rotation = config.bar_label_rotation if _width(names, config.bar_label_rotation, config) <= MAX_WIDTH else 90.0
    ax = axes_for(config, ax, _width(names, rotation, config), 4.5)
    shown = _rounds_shown(recordings, config)
    position, width = np.arange(len(names)), BARS_WIDTH / len(shown)
    for place, (counts, label, color) in enumerate(shown):
        bars = ax.bar(position + (place - (len(shown) - 1) / 2) * width, counts, width, label=label, color=color)
        ax.bar_label(bars, fontsize=config.font_size * 0.8, padding=2)
    ax.set_xlim(-0.8, max(len(names), 1) - 0.2)
    ax.set_ylim(0, max([1, *shown[0][0]]) * 1.12)
    whole_numbers(ax)
    set_labels(ax, config, x=config.bar_x_label, y=config.bar_y_label)
    ax.set_xticks(position, names, rotation=rotation, ha="center" if rotation % 90 == 0 else "right")
    if names:
        legend(ax, config, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3 if len(shown) == 3 else 2)
    else:
        write_note(ax, config, "no recordings")
    return figure_of(ax)


def _rounds_shown(recordings: Sequence[FigureRecording], config: FigureConfig) -> list[tuple[list[int], str, str]]:
    """Return the bars of each recording: counts, label and colour."""
    palette = palette_of(config)
    outcomes = [recording.outcome for recording in recordings]
    shown = [
        ([recording.sd_all.N for recording in recordings], FOUND, palette.found),
        ([outcome.sd_first.N for outcome in outcomes], config.bar_total_label, palette.first),
        ([outcome.sd_curated.N for outcome in outcomes], config.bar_selected_label, palette.kept),
    ]
    if any(outcome.limits or outcome.merged or outcome.by_hand for outcome in outcomes):
        shown.insert(2, ([outcome.n_second for outcome in outcomes], SECOND, palette.second))
    return shown


def _width(names: Sequence[str], rotation: float, config: FigureConfig) -> float:
    """Return the width of the figure in inches: level labels do not touch, many recordings have narrower bars."""
    letters = max([len(name) for name in names] or [0]) if rotation % 180 == 0 else 0
    per_recording = max(1.0 if len(names) <= 24 else 0.55, letters * 0.0085 * config.font_size)
    return max(5.0, 1.5 + per_recording * len(names))
