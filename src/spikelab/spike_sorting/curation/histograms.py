"""Histograms that figures and report draw: metrics with their thresholds, intervals, spikes over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.curation.criteria import in_force
from spikelab.spike_sorting.data.epochs import measured_epochs
from spikelab.spikedata._dead_time import dead_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.curation.criteria import Metric
    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

N_BINS = 30
LOG_RATIO = 50.0
ISI_RANGE_MS = (0.5, 20_000.0)
ISI_BINS_PER_DECADE = (4, 16)  # of few and of many intervals
REFRACTORY_MS = 1.5
RATE_BINS = 500
MIN_RATE_BIN_MS = 20.0
LEAST_LIVE = 0.1  # share of a bin of which a rate can be told


@dataclass(frozen=True)
class Histogram:
    """Distribution of a metric over units."""

    label: str  # of the axis
    edges: FloatArray  # of the bins (bins + 1,); empty where there is no value to draw
    curated: IntArray  # number of units that were kept (bins,)
    failed: IntArray  # number of units that were not
    thresholds: list[float]  # in force
    log: bool  # whether the axis is logarithmic
    n_missing: int  # units whose value cannot be drawn: not finite, or zero on a logarithmic axis
    n_units: int

    @property
    def note(self) -> str:
        """Number of units that are not drawn, in words; "" where all are."""
        return f"{self.n_missing} of {self.n_units} units not drawn" if self.n_missing else ""


def metric_histogram(metric: Metric, curated: FloatArray, failed: FloatArray, config: CurationConfig) -> Histogram:
    """Count the kept and the failed units, given their metric, in bins none of which crosses a threshold in force."""
    drawn = _thresholds(metric, config)
    thresholds = np.array([threshold for threshold, _ in drawn])
    values = np.concatenate([curated, failed])
    log = metric.log and _is_wide(np.concatenate([values, thresholds]))
    drawable = np.isfinite(values) & ((values > 0) | (not log))
    edges = np.empty(0)
    if drawable.any():
        bins = _bins(np.concatenate([values[drawable], thresholds[(thresholds > 0) | (not log)]]), log=log)
        edges = _with_edges(bins, [edge for _, edge in drawn])
    return Histogram(
        label=metric.label(config),
        edges=edges,
        curated=_counts(curated, edges),
        failed=_counts(failed, edges),
        thresholds=thresholds.tolist(),
        log=log,
        n_missing=int(np.sum(~drawable)),
        n_units=len(values),
    )


def _thresholds(metric: Metric, config: CurationConfig) -> list[tuple[float, float]]:
    """List the thresholds in force that can be drawn, and the edge of the bins at each.

    The highest value that passes lies below its edge, the lowest one on it.
    """
    bounds = [criterion.bounds(threshold) for criterion, threshold in in_force(config) if criterion.metric == metric]
    lowest = [(float(low), float(low)) for low, _ in bounds if low is not None]
    highest = [(float(high), float(np.nextafter(high, np.inf))) for _, high in bounds if high is not None]
    return [(value, edge) for value, edge in lowest + highest if np.isfinite(value)]


def isi_histogram(intervals: FloatArray) -> tuple[IntArray, FloatArray]:
    """Count intervals (ms) from 0.5 ms to 20 s in bins of equal ratio: counts and edges, one of them at 1.5 ms.

    The bins are as wide as the number of intervals calls for. What is shorter or longer is in the outermost ones.
    """
    low, high = ISI_RANGE_MS
    per_decade = int(np.clip(round(len(intervals) ** (1 / 3)), *ISI_BINS_PER_DECADE))
    below, above = (int(np.floor(per_decade * abs(np.log10(end / REFRACTORY_MS)))) for end in (low, high))
    inner = REFRACTORY_MS * 10.0 ** (np.arange(-below, above + 1) / per_decade)
    inner = inner[(inner > low * 1.01) & (inner < high * 0.99)]
    bins = np.searchsorted(inner, intervals, side="right")
    return np.bincount(bins, minlength=len(inner) + 1).astype(np.int64, copy=False), np.array([low, *inner, high])


def population_rate(sd: SpikeData) -> tuple[FloatArray, FloatArray, float]:
    """Bin the spikes of all units over time: edges (s), mean rate per unit (Hz), width of the about 500 bins (ms).

    Rates are per live time; 0 in bins of which less than a tenth is.
    """
    nice = np.sort(np.array([1, 2, 5])[:, None] * 10.0 ** np.arange(1, 9), axis=None)
    wanted = max(MIN_RATE_BIN_MS, sd.length / RATE_BINS)
    bin_ms = float(nice[min(int(np.searchsorted(nice, wanted)), len(nice) - 1)])
    counts = sd.binned(bin_ms) if sd.length > 0 else np.zeros(1, dtype=np.int64)
    edges = np.append(np.arange(len(counts)) * bin_ms, max(sd.length, 1.0))
    width = np.diff(edges)
    live = width - dead_in(sd.metadata, edges + sd.start_time)
    hertz = np.where(live < LEAST_LIVE * width, 0.0, 1000 * counts / max(sd.N, 1) / np.maximum(live, 1e-9))
    return (edges + sd.start_time) / 1000, hertz, bin_ms


def epoch_boundaries(sd: SpikeData) -> list[tuple[float, str]]:
    """Return start (ms) and name of the second and later epochs; none of very many, whose lines hide all else."""
    chunks = sd.metadata.get("rec_chunks_ms", [])
    names = sd.metadata.get("rec_chunk_names") or [""] * len(chunks)
    later = zip(chunks[1:], names[1:], strict=False)
    return [(start, str(name)) for (start, _), name in later] if measured_epochs(len(chunks)) else []


def dead_periods(sd: SpikeData) -> list[tuple[float, float]]:
    """Return start and end (ms) of the periods of dead time, as figures and report shade them."""
    return [(1000 * start, 1000 * end) for start, end in sd.metadata.get("dead_time_s", ())]


def _counts(values: FloatArray, edges: FloatArray) -> IntArray:
    if not len(edges):
        return np.empty(0, dtype=np.int64)
    return np.histogram(values[np.isfinite(values)], edges)[0].astype(np.int64)


def _is_wide(values: FloatArray) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(len(positive)) and positive.max() > LOG_RATIO * positive.min()


def _bins(values: FloatArray, *, log: bool) -> FloatArray:
    """Place the edges around all `values`, the outermost further out, so that no threshold lies on the frame."""
    if log:
        low, high = np.log10(values.min()), np.log10(values.max())
        margin = 0.05 * (high - low)
        return np.logspace(low - margin, high + margin, N_BINS + 1)
    low, high = min(0.0, values.min()), values.max()
    return np.linspace(low, high + 0.05 * (high - low) if high > low else low + 1.0, N_BINS + 1)


def _with_edges(bins: FloatArray, wanted: Sequence[float]) -> FloatArray:
    """Move the nearest edges to the thresholds."""
    for edge in wanted:
        others = [i for i in range(1, len(bins) - 1) if bins[i] not in wanted]
        if others and bins[0] < edge < bins[-1]:
            bins[min(others, key=lambda i: abs(bins[i] - edge))] = edge
            bins.sort()
    return bins
