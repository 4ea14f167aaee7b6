"""Stacked templates on their main channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from spikelab.spike_sorting.figures._canvas import figure_of, new_figure, set_labels, short, write_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spikelab.spike_sorting.figures._canvas import FigureRecording
    from spikelab.spike_sorting.settings.schema import FigureConfig

COLUMN_WIDTH, FEW_COLUMNS_WIDTH = 2.3, 7.5  # inches: of a column, and of a figure of one or two
COLUMNS_PER_ROW = 10
ROW_HEIGHT = 0.17


@dataclass(frozen=True)
class _Trace:
    unit_id: int
    times_ms: NDArray[np.float64]
    voltage: NDArray[np.float32]
    curated: bool


@dataclass(frozen=True)
class _Column:
    title: str
    traces: list[_Trace]


def all_templates_plot(
    recordings: Sequence[FigureRecording], config: FigureConfig, *, ax: Axes | None = None
) -> Figure:
    """Stack the main-channel template of every unit, largest amplitude on top, negative peaks before positive ones.

    Curated units are drawn in ``templates_color_curated``, the others in ``templates_color_failed``. The unit id stands
    left of its trace. Dotted lines stand ``templates_line_ms_before`` and ``templates_line_ms_after`` the peak, where
    they lie in the shown window: ``templates_window_ms_*``, no more than what the templates reach.
    In an `ax` of the caller all traces stand in one column (``templates_per_column`` does not apply).
    """
    columns = _columns(recordings, config, one=ax is not None)
    axes = [ax] if ax is not None else _grid(columns, config)
    window = _window(columns, config)
    limits = _limits(columns, config, window)
    scale = limits[0] + config.templates_y_lim_buffer + np.array([0.0, config.templates_y_spacing])
    for axis, column in zip(axes, columns, strict=True):
        _draw_column(axis, column, config, window)
        axis.set_ylim(*limits)
        axis.set_yticks(scale, ["0", f"{config.templates_y_spacing:g} uV"])
    if ax is None:
        _draw_legend(figure_of(axes[0]), config)
    return figure_of(axes[0])


def _grid(columns: Sequence[_Column], config: FigureConfig) -> list[Axes]:
    """Make one axes per column of traces, at most 10 side by side, wide enough for their titles."""
    letters = max(len(line) for column in columns for line in column.title.split("\n"))
    width = max(COLUMN_WIDTH, 0.3 + letters * 0.0075 * config.font_size)
    height = 1.7 + ROW_HEIGHT * max([len(column.traces) for column in columns] + [12])
    across = min(len(columns), COLUMNS_PER_ROW)
    down = -(-len(columns) // across)
    figure = new_figure(config, max(FEW_COLUMNS_WIDTH, width * across), height * down)
    grid = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    for unused in grid[len(columns) :]:
        unused.set_axis_off()
    return grid[: len(columns)]


def _columns(recordings: Sequence[FigureRecording], config: FigureConfig, *, one: bool) -> list[_Column]:
    """Arrange the traces in columns: by recording and sign, at most ``templates_per_column`` in each, or all in one."""
    columns = []
    for recording in recordings:
        name = f"{short(recording.name)}\n" if len(recordings) > 1 else ""
        for positive, sign in ((False, "negative"), (True, "positive")):
            traces, size = _traces(recording, positive=positive), config.templates_per_column
            columns += [_Column(f"{name}{sign} peaks", traces[i : i + size]) for i in range(0, len(traces), size)]
    if one:
        return [_Column("", [trace for column in columns for trace in column.traces])]
    return columns or [_Column("", [])]


def _traces(recording: FigureRecording, *, positive: bool) -> list[_Trace]:
    """Collect the templates of one sign, largest amplitude first."""
    units = [unit for unit in recording.sd_all.unit_attributes if unit["has_pos_peak"] == positive]
    curated = recording.curated_ids
    return [_trace(unit, recording.sd_all.metadata, unit["unit_id"] in curated) for unit in sorted(units, key=_rank)]


def _rank(unit: dict[str, Any]) -> tuple[bool, float, int]:
    """Return the sort key of a unit: largest amplitude first, units without one last."""
    unknown = not np.isfinite(unit["amplitude"])
    return unknown, 0.0 if unknown else -unit["amplitude"], unit["unit_id"]


def _trace(unit: dict[str, Any], metadata: dict[str, Any], curated: bool) -> _Trace:
    template = unit["template_full"][:, unit["channel"]]
    peak = metadata.get("template_full_peak_ind", unit["template_peak_ind"])
    return _Trace(unit["unit_id"], (np.arange(len(template)) - peak) * 1000.0 / metadata["fs_Hz"], template, curated)


def _window(columns: Sequence[_Column], config: FigureConfig) -> tuple[float, float]:
    times = [trace.times_ms[[0, -1]] for column in columns for trace in column.traces] or [np.array([-1.0, 1.0])]
    first, last = np.min(times), np.max(times)
    return (
        max(-config.templates_window_ms_before, first),
        min(config.templates_window_ms_after, last),
    )


def _limits(columns: Sequence[_Column], config: FigureConfig, window: tuple[float, float]) -> tuple[float, float]:
    """Find the lowest and the highest voltage in the window, with a buffer."""
    low, high = 0.0, 0.0
    for column in columns:
        for row, trace in enumerate(column.traces):
            shown = trace.voltage[(trace.times_ms >= window[0]) & (trace.times_ms <= window[1])]
            shown = shown[np.isfinite(shown)]
            base = -row * config.templates_y_spacing
            low = min(low, base + float(shown.min(initial=0)))
            high = max(high, base + float(shown.max(initial=0)))
    return low - config.templates_y_lim_buffer, high + config.templates_y_lim_buffer


def _line_style(config: FigureConfig, *, curated: bool) -> dict[str, Any]:
    """Return the style of a trace: dashed where the unit failed, to differ without colour too."""
    if curated:
        return {"color": config.templates_color_curated, "linewidth": 0.9, "linestyle": "-"}
    return {"color": config.templates_color_failed, "linewidth": 0.9, "linestyle": (0, (4, 1))}


def _draw_legend(figure: Figure, config: FigureConfig) -> None:
    """Explain the colours below the columns."""
    handles = [
        Line2D([], [], label=label, **_line_style(config, curated=curated))
        for curated, label in ((True, "curated"), (False, "failed"))
    ]
    figure.legend(handles=handles, fontsize=config.font_size * 0.8, frameon=False, ncols=2, loc="outside lower center")


def _draw_column(ax: Axes, column: _Column, config: FigureConfig, window: tuple[float, float]) -> None:
    for row, trace in enumerate(column.traces):
        style = _line_style(config, curated=trace.curated)
        base = -row * config.templates_y_spacing
        ax.plot(trace.times_ms, trace.voltage + base, **style)
        name = f"{trace.unit_id}" if np.isfinite(trace.voltage).any() else f"{trace.unit_id} (no template)"
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "bottom"}
        ax.annotate(name, (0, base), (2, 0), fontsize=config.font_size * 0.5, color=style["color"], **place)
    for line in (-config.templates_line_ms_before, config.templates_line_ms_after):
        if window[0] <= line <= window[1]:
            ax.axvline(line, color="0.5", linestyle=":", linewidth=1)
    ax.set_xlim(*window)
    set_labels(ax, config, x=config.templates_x_label, title=column.title, scale=0.8)
    if not column.traces:
        write_note(ax, config, "no units")
