"""How the quality metrics are distributed, with the thresholds that curation applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from spikelab.spike_sorting.curation.histograms import METRICS, Metric, histogram
from spikelab.spike_sorting.figures._canvas import FAILED_HATCH, figure_of, finish, new_figure, say, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spikelab.spike_sorting.figures.recordings import FigureRecording
    from spikelab.spike_sorting.settings.schema import CurationConfig, FigureConfig


def quality_distributions(
    recordings: Sequence[FigureRecording],
    curation: CurationConfig,
    config: FigureConfig,
    *,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw one histogram per metric over all units of all recordings, curated units below, failed ones on top.

    Thresholds that were in force are dotted. Spike count and firing rate have a logarithmic axis where they and their
    thresholds span more than a factor of 50. Values that are not finite, and zeros on a logarithmic axis, are counted
    in the title.

    Parameters
    ----------
    recordings : sequence of FigureRecording
    curation : CurationConfig
        Thresholds.
    config : FigureConfig
        ``font_size``, ``dpi`` and the ``templates_color_*`` of curated and failed units.
    axes : sequence of five matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if axes is None:
        figure = new_figure(config, 11.0, 6.5)
        grid = figure.subplots(2, 3)
        grid[1, 2].set_axis_off()
        axes, key = list(grid.flat)[: len(METRICS)], grid[1, 2]
    else:
        key = axes[0]
    for ax, metric in zip(axes, METRICS, strict=True):
        _draw(ax, metric, recordings, curation, config)
    _explain(key, config)
    return figure_of(axes[0])


def _explain(ax: Axes, config: FigureConfig) -> None:
    """Say what the colours and the dotted lines are."""
    handles = [
        Patch(color=config.templates_color_curated, label="curated"),
        Patch(**_failed_look(config), label="failed"),
        Line2D([], [], color="0.4", linestyle=":", label="threshold"),
    ]
    ax.legend(handles=handles, fontsize=config.font_size * 0.9, frameon=False, loc="upper left")


def _failed_look(config: FigureConfig) -> dict[str, Any]:
    """Hatched in white, so that it differs from curated units without its colour too."""
    return {"facecolor": config.templates_color_failed, "edgecolor": "white", "hatch": FAILED_HATCH, "linewidth": 0}


def _draw(
    ax: Axes,
    metric: Metric,
    recordings: Sequence[FigureRecording],
    curation: CurationConfig,
    config: FigureConfig,
) -> None:
    curated = _pool(r.metric(metric.name, r.curated_ids) for r in recordings)
    failed = _pool(r.metric(metric.name, set(r.sd_all.unit_ids) - r.curated_ids) for r in recordings)
    shown = histogram(metric, curated, failed, curation)
    finish(ax, config, x=shown.label, y="Units", title=shown.note, scale=0.9)
    if not len(shown.edges):
        say(ax, config, "no values")
        return
    left, width = shown.edges[:-1], np.diff(shown.edges)
    ax.bar(left, shown.curated, width, align="edge", color=config.templates_color_curated, edgecolor="white", lw=0.4)
    ax.bar(left, shown.failed, width, bottom=shown.curated, align="edge", **_failed_look(config))
    ax.set_xscale("log" if shown.log else "linear")
    ax.set_xlim(shown.edges[0], shown.edges[-1])
    if not shown.log:
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.set_ylim(0, 1.06 * max(1, int((shown.curated + shown.failed).max())))
    whole_numbers(ax)
    for line in shown.lines:
        ax.axvline(line, color="0.4", linestyle=":", linewidth=1.4)


def _pool(arrays: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([np.empty(0), *arrays])
