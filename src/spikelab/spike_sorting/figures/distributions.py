"""How the quality metrics are distributed, with the thresholds that curation applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from spikelab.spike_sorting.figures._canvas import figure_of, finish, new_figure, say, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spikelab.spike_sorting.config import CurationConfig, FigureConfig
    from spikelab.spike_sorting.figures.recordings import FigureRecording

N_BINS = 30
LOG_RATIO = 50.0
METHODS = {"percent": "per spike", "hill": "contamination, Hill"}


@dataclass(frozen=True)
class _Metric:
    name: str
    label: str
    log: bool
    first_field: str | None
    second_field: str | None
    upper: bool = False  # the threshold is the highest value that passes


METRICS = (
    _Metric("spike_count", "Spikes", True, "spikes_min_first", "spikes_min_second"),
    _Metric("firing_rate", "Firing rate (Hz)", True, "fr_min", None),
    _Metric("isi_violation", "ISI violations ({method})", False, "isi_viol_max", None, upper=True),
    _Metric("snr", "SNR", False, "snr_min", None),
    _Metric("std_norm", "STD / amplitude", False, None, "std_norm_max", upper=True),
)


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
        Patch(color=config.templates_color_failed, label="failed"),
        Line2D([], [], color="0.4", linestyle=":", label="threshold"),
    ]
    ax.legend(handles=handles, fontsize=config.font_size * 0.9, frameon=False, loc="upper left")


def thresholds(metric: _Metric, curation: CurationConfig) -> list[float]:
    """Thresholds of a metric that were in force and can be drawn."""
    rounds = ((curation.curate_first, metric.first_field), (curation.curate_second, metric.second_field))
    values = [getattr(curation, field) for on, field in rounds if on and field is not None]
    return [float(value) for value in values if value is not None and np.isfinite(value)]


def _draw(
    ax: Axes,
    metric: _Metric,
    recordings: Sequence[FigureRecording],
    curation: CurationConfig,
    config: FigureConfig,
) -> None:
    curated = _pool(r.metric(metric.name, r.curated_ids) for r in recordings)
    failed = _pool(r.metric(metric.name, set(r.sd_all.unit_ids) - r.curated_ids) for r in recordings)
    values = np.concatenate([curated, failed])
    lines = thresholds(metric, curation)
    log = metric.log and _wide(np.concatenate([values, lines]))
    drawable = np.isfinite(values) & ((values > 0) | (not log))
    missing = int(np.sum(~drawable))
    title = f"{missing} of {len(values)} units not drawn" if missing else ""
    finish(
        ax,
        config,
        x=metric.label.format(method=METHODS[curation.isi_violation_method]),
        y="Units",
        title=title,
        scale=0.9,
    )
    if not drawable.any():
        say(ax, config, "no values")
        return
    bins = _bins(np.concatenate([values[drawable], lines]), log=log)
    bins = _with_edges(bins, [np.nextafter(line, np.inf) for line in lines] if metric.upper else lines)
    ax.hist(
        [curated, failed],
        bins=bins.tolist(),
        stacked=True,
        color=[config.templates_color_curated, config.templates_color_failed],
    )
    ax.set_xscale("log" if log else "linear")
    ax.set_xlim(bins[0], bins[-1])
    if not log:
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    whole_numbers(ax)
    for line in lines:
        ax.axvline(line, color="0.4", linestyle=":", linewidth=1.4)


def _pool(arrays: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([np.empty(0), *arrays])


def _wide(values: NDArray[np.float64]) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(len(positive)) and positive.max() > LOG_RATIO * positive.min()


def _bins(values: NDArray[np.float64], *, log: bool) -> NDArray[np.float64]:
    """Edges around all `values`, the outermost a little further out so that a threshold is never the frame."""
    if log:
        low, high = np.log10(values[values > 0].min()), np.log10(values.max())
        margin = 0.05 * (high - low)
        return np.logspace(low - margin, high + margin, N_BINS + 1)
    low, high = min(0.0, values.min()), values.max()
    return np.linspace(low, high + 0.05 * (high - low) if high > low else low + 1.0, N_BINS + 1)


def _with_edges(bins: NDArray[np.float64], wanted: Sequence[float]) -> NDArray[np.float64]:
    """Put edges where the thresholds are: no bar then holds units from both sides of one."""
    for edge in wanted:
        others = [i for i in range(1, len(bins) - 1) if bins[i] not in wanted]
        if others and bins[0] < edge < bins[-1]:
            bins[min(others, key=lambda i: abs(bins[i] - edge))] = edge
            bins.sort()
    return bins
