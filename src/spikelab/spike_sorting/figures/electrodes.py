"""Electrodes of recordings, before they are sorted: where each is, and in which group it is sorted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from spikelab.spike_sorting.figures._canvas import DEFAULT_DPI, short
from spikelab.system.quoting import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Geometry

PANEL_INCHES, ACROSS = 5.0, 4
NAMED = 12  # groups that the legend names
MARKERS = "osD^v"  # a colour that comes again has another form
# Channels are written beside their electrodes where the panel is not wider than so many of the shortest distances.
LABELLED = 20


def electrodes_figure(recordings: Sequence[tuple[str, Geometry, Sequence[str]]]) -> Figure:
    """Draw the electrodes of each recording, one panel each, x and y at one scale, a colour for each group.

    Parameters
    ----------
    recordings : sequence of (str, Geometry, sequence of str)
        Name, electrodes, and channel ids, which are written beside the electrodes where there is room.
    """
    across = min(len(recordings), ACROSS)
    down = -(-len(recordings) // across)
    figure = Figure(figsize=(PANEL_INCHES * across, PANEL_INCHES * down), dpi=DEFAULT_DPI, layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in panels[len(recordings) :]:
        unused.set_axis_off()
    for axes, (name, geometry, channels) in zip(panels, recordings, strict=False):
        _draw(axes, geometry, channels)
        axes.set_title(short(printable(name)), fontsize=10)
    return figure


def _draw(axes: Axes, geometry: Geometry, channels: Sequence[str]) -> None:
    x, y = geometry.places.T
    for group, rows in enumerate(geometry.channels_of_groups()):
        label = f"{geometry.group_names[group] or 'electrodes'} ({len(rows)})"
        color, marker = f"C{group % 10}", MARKERS[group // 10 % len(MARKERS)]
        named = label if group < NAMED else None
        axes.scatter(x[rows], y[rows], s=18, color=color, marker=marker, label=named, zorder=2)
    if _has_room(geometry.places):
        for place, channel in zip(geometry.places.tolist(), channels, strict=True):
            axes.annotate(printable(channel), place, xytext=(4, 0), textcoords="offset points", va="center", fontsize=5)
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel("x (um)")
    axes.set_ylabel("y (um)")
    axes.margins(0.1 if np.ptp(x) or np.ptp(y) else 0.5)
    if geometry.n_groups > 1:
        first = f"; the first {NAMED}" if geometry.n_groups > NAMED else ""
        title = f"{geometry.n_groups} groups, sorted apart{first}"
        axes.legend(
            title=title,
            fontsize=7,
            title_fontsize=8,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            ncols=2,
            borderaxespad=5.5,
        )


def _has_room(places: NDArray[np.float64]) -> bool:
    from scipy.spatial import cKDTree

    if len(places) < 2:
        return True
    nearest = np.asarray(cKDTree(places).query(places, k=2)[0])[:, 1].min()
    return bool(np.ptp(places, axis=0).max() <= LABELLED * nearest)
