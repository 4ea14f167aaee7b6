"""What figures and report both show, as numbers: histograms with thresholds, intervals, population rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

N_BINS = 30
LOG_RATIO = 50.0
METHODS = {"percent": "per spike", "hill": "contamination, Hill"}
MAX_ISI_MS = 50.0
ISI_BIN_MS = 0.5
REFRACTORY_MS = 1.5
RATE_BINS = 500
MIN_RATE_BIN_MS = 20.0


@dataclass(frozen=True)
class Metric:
    """A metric that curation judges.

    Attributes
    ----------
    name : str
        As in the table of unit metrics.
    text : str
        Label of its axis, in the unit that thresholds are given in; ``{method}`` is how ISI violations are counted.
    log : bool
        Values may span orders of magnitude.
    first_field, second_field : str or None
        The fields of ``CurationConfig`` that are its thresholds in the two rounds.
    upper : bool
        The threshold is the highest value that passes, not the lowest.
    """

    name: str
    text: str
    log: bool
    first_field: str | None
    second_field: str | None
    upper: bool = False

    def label(self, curation: CurationConfig) -> str:
        """Label of its axis."""
        return self.text.format(method=METHODS[curation.isi_violation_method])

    def threshold(self, curation: CurationConfig, which: str) -> float | None:
        """The threshold of the round `which` ("first", "second"); None where none was in force."""
        field = self.first_field if which == "first" else self.second_field
        on = curation.curate_first if which == "first" else curation.curate_second
        value = getattr(curation, field) if on and field is not None else None
        return None if value is None else float(value)


METRICS = (
    Metric("spike_count", "Spikes", True, "spikes_min_first", "spikes_min_second"),
    Metric("firing_rate", "Firing rate (Hz)", True, "fr_min", None),
    Metric("isi_violation", "ISI violations ({method})", False, "isi_viol_max", None, upper=True),
    Metric("snr", "SNR", False, "snr_min", None),
    Metric("std_norm", "STD / amplitude", False, None, "std_norm_max", upper=True),
)


@dataclass(frozen=True)
class Histogram:
    """How a metric is distributed over units.

    Attributes
    ----------
    label : str
        Of the axis.
    edges : numpy.ndarray, shape (bins + 1,)
        Empty where there is no value to draw.
    curated, failed : numpy.ndarray of int, shape (bins,)
        Units that were kept, and units that were not.
    lines : list of float
        Thresholds that were in force.
    log : bool
        The axis is logarithmic.
    n_missing, n_units : int
        Units whose value cannot be drawn (not finite, or zero on a logarithmic axis), and all units.
    """

    label: str
    edges: FloatArray
    curated: IntArray
    failed: IntArray
    lines: list[float]
    log: bool
    n_missing: int
    n_units: int

    @property
    def note(self) -> str:
        """What the histogram does not show, in words; "" where it shows everything."""
        return f"{self.n_missing} of {self.n_units} units not drawn" if self.n_missing else ""


def histogram(metric: Metric, curated: FloatArray, failed: FloatArray, curation: CurationConfig) -> Histogram:
    """Count the units of each bin; bins end at the thresholds, so that none holds units from both sides of one."""
    values = np.concatenate([curated, failed])
    lines = thresholds(metric, curation)
    log = metric.log and _is_wide(np.concatenate([values, lines]))
    drawable = np.isfinite(values) & ((values > 0) | (not log))
    edges = np.empty(0)
    if drawable.any():
        edges = _bins(np.concatenate([values[drawable], [line for line in lines if line > 0 or not log]]), log=log)
        edges = _with_edges(edges, [np.nextafter(line, np.inf) for line in lines] if metric.upper else lines)
    return Histogram(
        label=metric.label(curation),
        edges=edges,
        curated=_counts(curated, edges),
        failed=_counts(failed, edges),
        lines=lines,
        log=log,
        n_missing=int(np.sum(~drawable)),
        n_units=len(values),
    )


def thresholds(metric: Metric, curation: CurationConfig) -> list[float]:
    """Thresholds of a metric that were in force and can be drawn."""
    values = [metric.threshold(curation, which) for which in ("first", "second")]
    return [value for value in values if value is not None and np.isfinite(value)]


def isi_histogram(intervals: FloatArray) -> tuple[IntArray, FloatArray]:
    """Count intervals (ms) up to 50 ms in bins of half a millisecond: counts and edges."""
    edges = np.arange(0, MAX_ISI_MS + ISI_BIN_MS, ISI_BIN_MS)
    n_bins = len(edges) - 1
    bins = (intervals[intervals <= MAX_ISI_MS] / ISI_BIN_MS).astype(np.int64)  # exact, as the bin is a power of two
    return np.bincount(np.minimum(bins, n_bins - 1), minlength=n_bins).astype(np.int64, copy=False), edges


def population_rate(sd: SpikeData) -> tuple[FloatArray, FloatArray, float]:
    """Bin edges (s), mean rate per unit (Hz) and the bin's width (ms): the width gives about 500 bins."""
    nice = np.sort(np.array([1, 2, 5])[:, None] * 10.0 ** np.arange(1, 9), axis=None)
    wanted = max(MIN_RATE_BIN_MS, sd.length / RATE_BINS)
    bin_ms = float(nice[min(int(np.searchsorted(nice, wanted)), len(nice) - 1)])
    counts = sd.binned(bin_ms) if sd.length > 0 else np.zeros(1, dtype=np.int64)
    edges = np.append(np.arange(len(counts)) * bin_ms, max(sd.length, 1.0))
    hertz = counts / max(sd.N, 1) / (np.diff(edges) / 1000)
    return (edges + sd.start_time) / 1000, hertz, bin_ms


def _counts(values: FloatArray, edges: FloatArray) -> IntArray:
    if not len(edges):
        return np.empty(0, dtype=np.int64)
    return np.histogram(values[np.isfinite(values)], edges)[0].astype(np.int64)


def _is_wide(values: FloatArray) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(len(positive)) and positive.max() > LOG_RATIO * positive.min()


def _bins(values: FloatArray, *, log: bool) -> FloatArray:
    """Edges around all `values`, the outermost a little further out so that a threshold is never the frame."""
    if log:
        low, high = np.log10(values.min()), np.log10(values.max())
        margin = 0.05 * (high - low)
        return np.logspace(low - margin, high + margin, N_BINS + 1)
    low, high = min(0.0, values.min()), values.max()
    return np.linspace(low, high + 0.05 * (high - low) if high > low else low + 1.0, N_BINS + 1)


def _with_edges(bins: FloatArray, wanted: Sequence[float]) -> FloatArray:
    """Move the nearest edges to where the thresholds are."""
    for edge in wanted:
        others = [i for i in range(1, len(bins) - 1) if bins[i] not in wanted]
        if others and bins[0] < edge < bins[-1]:
            bins[min(others, key=lambda i: abs(bins[i] - edge))] = edge
            bins.sort()
    return bins
