"""Distributions of the quality metrics, with the thresholds of curation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from spikelab.spike_sorting.curation.criteria import metrics
from spikelab.spike_sorting.curation.histograms import metric_histogram
from spikelab.spike_sorting.curation.palette import palette_of
from spikelab.spike_sorting.figures._canvas import figure_of, new_figure, set_labels, whole_numbers, write_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spikelab.spike_sorting.curation.criteria import Metric
    from spikelab.spike_sorting.figures._canvas import FigureRecording
    from spikelab.spike_sorting.settings.schema import CurationConfig, FigureConfig

COLUMNS = 3


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
    in the title. `axes` holds one for each metric; by default those of a new figure.
    """
    own = axes is None
    shown = metrics(curation)
    axes = _grid(config, len(shown)) if axes is None else axes
    for ax, metric in zip(axes, shown, strict=True):
        _draw_metric(ax, metric, recordings, curation, config)
    _draw_legend(axes[0], config, below=own)
    return figure_of(axes[0])


def _grid(config: FigureConfig, count: int) -> list[Axes]:
    """Make the axes of the metrics in rows of three."""
    rows = -(-count // COLUMNS)
    axes = list(new_figure(config, 11.0, 0.4 + 3.25 * rows).subplots(rows, COLUMNS, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return axes[:count]


def _draw_legend(ax: Axes, config: FigureConfig, *, below: bool) -> None:
    """Explain the colours and the dotted lines, below all axes of a figure or in the one that is given."""
    palette = palette_of(config)
    handles = [
        Patch(color=palette.kept, label="curated"),
        Patch(**_failed_style(config), label="failed"),
        Line2D([], [], color=palette.threshold, linestyle=":", label="threshold"),
    ]
    style: dict[str, Any] = {"handles": handles, "fontsize": config.font_size * 0.9, "frameon": False}
    if below:
        figure_of(ax).legend(loc="outside lower center", ncols=len(handles), **style)
    else:
        ax.legend(loc="upper left", **style)


def _failed_style(config: FigureConfig) -> dict[str, Any]:
    """Return the style of failed units: hatched, to differ from curated units without colour too."""
    palette = palette_of(config)
    return {"facecolor": palette.failed_pale, "edgecolor": palette.failed, "hatch": "////", "linewidth": 0.6}


def _draw_metric(
    ax: Axes,
    metric: Metric,
    recordings: Sequence[FigureRecording],
    curation: CurationConfig,
    config: FigureConfig,
) -> None:
    curated = [r.metric(metric.name, r.curated_ids) for r in recordings]
    failed = [r.metric(metric.name, set(r.sd_all.unit_ids) - r.curated_ids) for r in recordings]
    none = np.empty(0)
    shown = metric_histogram(metric, np.concatenate([none, *curated]), np.concatenate([none, *failed]), curation)
    if not len(shown.edges):
        ax.set_axis_off()
        write_note(ax, config, f"{metric.short_label}:\nno values")
        return
    set_labels(ax, config, x=shown.label, y="Units", title=shown.note, scale=0.9)
    palette = palette_of(config)
    left, width = shown.edges[:-1], np.diff(shown.edges)
    ax.bar(left, shown.curated, width, align="edge", color=palette.kept, edgecolor="white", lw=0.4)
    some = shown.failed > 0  # an empty bar would leave its edge on the one below
    ax.bar(
        left[some], shown.failed[some], width[some], bottom=shown.curated[some], align="edge", **_failed_style(config)
    )
    ax.set_xscale("log" if shown.log else "linear")
    ax.set_xlim(shown.edges[0], shown.edges[-1])
    if shown.log:
        ax.xaxis.set_major_formatter("{x:g}")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.set_ylim(0, 1.06 * max(1, int((shown.curated + shown.failed).max())))
    whole_numbers(ax)
    for threshold in shown.thresholds:
        ax.axvline(threshold, color=palette.threshold, linestyle=":", linewidth=1.4)
