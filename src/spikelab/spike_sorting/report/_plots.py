"""Pictures of a report as SVG, without matplotlib: small, sharp at any size, and quick to make."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.curation.histograms import (
    ISI_RANGE_MS,
    REFRACTORY_MS,
    Histogram,
    dead_periods,
    epoch_boundaries,
    isi_histogram,
    population_rate,
)
from spikelab.spike_sorting.curation.palette import Palette, mixed
from spikelab.spike_sorting.curation.rasters import activity_map
from spikelab.spike_sorting.report._svg import Frame, drawing, log_ticks, number, polyline, text, ticks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spikedata import SpikeData

    FloatArray = NDArray[np.float64]

ROW_PIXELS, RASTER_PIXELS, ID_PIXELS = (3, 16), 600, 11  # height of a row, of a raster at most, of the id of a unit
THUMB_WIDTH, THUMB_HEIGHT = 112.0, 50.0
DECADES_MS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
SPARK_BINS = 60
TRACE_COLUMNS = 500


def distribution(shown: Histogram) -> str:
    """Draw a histogram over units, curated ones below and failed ones on top, thresholds dotted."""
    if not len(shown.edges):
        return ""
    total = shown.curated + shown.failed
    top = float(max(total.max(), 1))
    edges = (float(shown.edges[0]), float(shown.edges[-1]))
    left = 40.0 + 7 * max(0, len(f"{top:.0f}") - 2)
    frame = Frame(280, 170, edges, (0, top * 1.05), left=left, x_log=shown.log)
    x_ticks = log_ticks(*edges) if shown.log else ticks(*edges, 4)
    content = (
        frame.bars(shown.edges, 0, shown.curated, "kept")
        + frame.bars(shown.edges, shown.curated, total, "failed")
        + "".join(frame.line_at(line, "threshold") for line in shown.thresholds)
        + frame.axes(shown.label, "Units", x_ticks, ticks(0, top, 4, whole=True))
    )
    return drawing(frame.width, frame.height, content, label=f"Histogram of {shown.label}", kind="distribution")


@dataclass(frozen=True)
class Activity:
    """Raster, or map of rates, and population rate over the same time."""

    raster: str  # data URI of a picture, one row per unit; "" without units
    row_height: int  # in pixels on the page
    ids: list[tuple[int, Any]]  # middle (pixels) and id of the rows that have room for it
    n_units: int
    bin_s: float  # seconds per column of the raster
    is_rate: bool
    by_depth: bool
    rate: str  # SVG path of the mean rate in a box of 1000 by 100, 100 being `rate_max`
    rate_max: float  # Hz per unit
    rate_bin_ms: float
    times: list[tuple[float, str]]  # place in percent and text of the time ticks
    boundaries: list[tuple[float, str]]  # place in percent and name of the second and later epochs
    dead: list[tuple[float, float]]  # place and width in percent of the periods of dead time


def activity(sd: SpikeData, palette: Palette | None = None) -> Activity:
    """Draw raster (the darker, the more spikes) and population rate of the units in `sd`."""
    edges, hertz, bin_ms = population_rate(sd)
    top = float(hertz.max()) or 1.0
    x = (edges - edges[0]) / (edges[-1] - edges[0]) * 1000
    y = 100 - hertz / top * 100
    steps = "".join(f"V{number(value)}H{number(right)}" for value, right in zip(y, x[1:], strict=True))
    shown = activity_map(sd)
    row = int(np.clip(RASTER_PIXELS // max(sd.N, 1), *ROW_PIXELS))
    labelled = range(0, sd.N, -(-ID_PIXELS // row))
    return Activity(
        raster=shaded_picture(shown.darkness, (palette or Palette()).kept) if sd.N else "",
        row_height=row,
        ids=[(int((place + 0.5) * row), sd.unit_ids[shown.order[place]]) for place in labelled],
        n_units=sd.N,
        bin_s=shown.column_s,
        is_rate=shown.is_rate,
        by_depth=shown.by_depth,
        rate=f"M0 100{steps}V100Z",
        rate_max=top,
        rate_bin_ms=bin_ms,
        times=_time_ticks(sd),
        boundaries=[
            (100 * (start - sd.start_time) / max(sd.length, 1e-9), name) for start, name in epoch_boundaries(sd)
        ],
        dead=[
            (100 * (start - sd.start_time) / max(sd.length, 1e-9), 100 * (end - start) / max(sd.length, 1e-9))
            for start, end in dead_periods(sd)
        ],
    )


def shaded_picture(darkness: FloatArray, color: str) -> str:
    """Encode shades between white (0) and `color` (1), shape (rows, columns), as the data URI of a PNG."""
    from PIL import Image

    png = BytesIO()
    image = Image.fromarray(np.rint(255 * (1 - darkness)).astype(np.uint8))
    image.putpalette(b"".join(bytes.fromhex(mixed(color, "#ffffff", step / 255)[1:]) for step in range(256)))
    image.save(png, "PNG", compress_level=2)  # a sixth of the time of 6 for a third more bytes
    return f"data:image/png;base64,{b64encode(png.getvalue()).decode()}"


def _time_ticks(sd: SpikeData) -> list[tuple[float, str]]:
    start, seconds = sd.start_time / 1000, max(sd.length / 1000, 1e-3)
    return [(100 * (tick - start) / seconds, f"{tick:g}") for tick in ticks(start, start + seconds, 5)]


def sparkline(sd: SpikeData) -> str:
    """Draw the population rate as a line scaled to its own maximum."""
    counts = sd.binned(max(sd.length, 1.0) / SPARK_BINS).astype(np.float64)
    top = counts.max() if sd.N and counts.max() > 0 else 1.0
    line = polyline(np.linspace(1, 119, len(counts)), 27 - counts / top * 25)
    return drawing(120, 28, f'<path class="line" d="{line}"/>', label="population rate", kind="spark")


def template_thumbnail(unit: dict[str, Any], metadata: dict[str, Any], kind: str, n_others: int = 3) -> str:
    """Draw the template on its main channel, and pale behind it on the next ones by amplitude, at one scale."""
    template, main = np.asarray(unit["template_full"]), unit["channel"]
    others = _strongest(np.asarray(unit["amplitudes"]), main, n_others)
    shown = template[:, [*others, main]].astype(np.float64)
    finite = shown[np.isfinite(shown)]
    if not len(finite):
        return _nothing("no template")
    low, high = min(0.0, finite.min()), max(0.0, finite.max())
    scale = (THUMB_HEIGHT - 6) / (high - low or 1.0)
    x = np.linspace(2, THUMB_WIDTH - 2, len(template))
    zero = 3 + high * scale
    lines = [f'<path class="zero" d="M0 {number(zero)}H{number(THUMB_WIDTH)}"/>']
    for channel, values in zip((*others, main), shown.T, strict=True):
        keep = np.isfinite(values)
        line = polyline(x[keep], zero - values[keep] * scale)
        lines.append(f'<path class="{"line " + kind if channel == main else "line pale"}" d="{line}"/>')
    milliseconds = len(template) * 1000 / metadata["fs_Hz"]
    label = f"template of unit {unit['unit_id']}, {milliseconds:.2g} ms"
    return drawing(THUMB_WIDTH, THUMB_HEIGHT, "".join(lines), label=label, kind="thumb")


def _strongest(amplitudes: NDArray[np.floating[Any]], main: int, count: int) -> list[int]:
    """List the channels to draw beside `main`, the strongest first, those of NaN last."""
    left = np.where(np.isnan(amplitudes), -1.0, amplitudes)
    left[main] = -np.inf
    found: list[int] = []
    for _ in range(min(count, len(left) - 1)):
        found.append(int(np.argmax(left)))
        left[found[-1]] = -np.inf
    return found


def isi_thumbnail(unit_id: Any, intervals: FloatArray, kind: str) -> str:
    """Draw the histogram of the intervals from 0.5 ms to 20 s; the dotted line is the refractory period."""
    counts, edges = isi_histogram(intervals)
    top = int(counts.max())
    if not top:
        return _nothing("no intervals")
    frame = Frame(
        THUMB_WIDTH, THUMB_HEIGHT, ISI_RANGE_MS, (0, float(top)), left=2, right=2, top=2, bottom=5, x_log=True
    )
    base = THUMB_HEIGHT - 5
    marks = "".join(f"M{number(place)} {base}v3" for place in frame.x(DECADES_MS).tolist())
    axis = f'<path class="axis" d="M2 {base}H{THUMB_WIDTH - 2}{marks}"/>'
    content = _skyline(frame, counts, edges, kind) + axis + frame.line_at(REFRACTORY_MS, "threshold")
    label = f"{len(intervals)} inter-spike intervals of unit {unit_id} from 0.5 ms to 20 s, largest bin {top}"
    return drawing(THUMB_WIDTH, THUMB_HEIGHT, content, label=label, kind="thumb")


def _skyline(frame: Frame, counts: NDArray[np.int64], edges: FloatArray, kind: str) -> str:
    """Draw all bars as one outline: half the text of separate bars."""
    x, y = np.rint(10 * frame.x(edges)) / 10, np.rint(10 * frame.y(counts)) / 10
    base = number(float(frame.y(0)))
    steps = 1 + np.flatnonzero(np.diff(y))
    turns = np.column_stack([x[steps], y[steps]]).ravel().tolist()
    outline = f"M{x[0]:g} {base}V{y[0]:g}" + "H%gV%g" * len(steps) % tuple(turns) + f"H{x[-1]:g}V{base}Z"
    return f'<path class="{kind}" d="{outline}"/>'


def _nothing(words: str) -> str:
    return f'<span class="none">{words}</span>'


def traces_picture(channels: list[tuple[str, FloatArray]], n_channels: int, seconds: float) -> str:
    """Draw filtered traces (uV) one below the other at one scale, as the extremes of up to 500 columns.

    `n_channels` are those of the recording: where there are more than are drawn, the picture says so.
    """
    row, left, width = 34.0, 70.0, 800.0
    peak = max([float(np.abs(trace).max(initial=0.0)) for _, trace in channels] + [1e-9])
    scale = 0.5 * row / peak
    parts = []
    for index, (name, trace) in enumerate(channels):
        base = row * (index + 0.7)
        edges = np.unique(np.linspace(0, len(trace), TRACE_COLUMNS + 1).astype(np.int64))[:-1]
        low, high = np.minimum.reduceat(trace, edges), np.maximum.reduceat(trace, edges)
        x = left + edges / max(len(trace), 1) * (width - left)
        line = polyline(np.repeat(x, 2), (base - np.column_stack([low, high]) * scale).ravel())
        parts.append(text(left - 6, base + 3, name, anchor="end"))
        parts.append(f'<path class="line thin" d="{line}"/>')
    height = row * (len(channels) + 0.8)
    bar = max(ticks(0, peak, 2))
    parts.append(f'<path class="axis thick" d="M{left:g} {number(height - 4)}v{number(-bar * scale)}"/>')
    words = f"{bar:g} uV; {seconds:g} s from left to right"
    if len(channels) < n_channels:
        words += f"; {len(channels)} of {n_channels} channels"
    parts.append(f'<text class="tick" x="{left + 6:g}" y="{number(height - 6)}">{words}</text>')
    return drawing(width, height, "".join(parts), label="filtered traces", kind="wide")
