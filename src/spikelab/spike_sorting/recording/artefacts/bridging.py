"""Bridge periods of artefact in the stored traces, so that a filter that follows does not ring.

Within a period every channel stays at its level before. An amplifier that was on its rail takes long to come back, but
spikes are seen on the way: what is slow in the traces after a period, decays and a curve, is fitted to each channel and
moved to that level; within a tenth of a second it is let go where it was. Where a channel stays constant for longer
than the period, its level lasts longer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import IntArray

    FloatArray = NDArray[np.float64]

RECOVERY_MS = 100.0  # after a period, in which what is slow is fitted and moved
DECAYS_MS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # time constants of what is fitted
CURVE = 3  # degree of the curve beside the decays
LEVEL_MS = 1.0  # before a period, whose median is the level
STUCK_MS = 0.5  # a channel that is constant for so long is on a rail
# Samples are averaged in bins that grow with the time after the period by this share of it, up to this length. A bin
# counts as so many samples at most: slow waves of tissue are in all of them.
BIN_GROWTH, LONGEST_BIN_MS, LONGEST_WEIGHT = 0.1, 2.0, 4.0
# Spikes must not bend the fit: residuals beyond so many deviations count as that many.
ROBUST, N_ROUNDS = 2.0, 6
SMALLEST = 1e-5  # of the shapes that are fitted, by how much they differ from the others
FARTHEST = 20  # periods before one that its level is followed from


class Span(NamedTuple):
    """Frames of a segment that belong to a period: before it, the period, and what is fitted after it."""

    first: int
    start: int
    end: int
    last: int


def spans_of(periods: IntArray, n_frames: int, sampling_frequency: float) -> list[Span]:
    """Return the frames that each period concerns; what is fitted ends where the next period begins."""
    level, recovery = (round(ms * sampling_frequency / 1000) for ms in (LEVEL_MS, RECOVERY_MS))
    starts = [*periods[1:, 0].tolist(), n_frames]
    return [
        Span(max(start - level, 0), start, end, min(end + recovery, following, n_frames))
        for (start, end), following in zip(periods.tolist(), starts, strict=True)
    ]


def bridged(recording: BaseRecording, periods: Sequence[IntArray]) -> BaseRecording:
    """Bridge the periods of each segment; without any, return the recording."""
    if not any(map(len, periods)):
        return recording
    return BridgedRecording(recording, [own.tolist() for own in periods])


class BridgedRecording(BasePreprocessor):  # type: ignore[misc]  # SpikeInterface has no types
    """Stored traces with periods of artefact bridged, of the number type of `recording`.

    `periods` has, for each segment, a list of first frame and end, ascending and apart. Outside of the periods and of
    a quarter of a second after each, traces are what they were.
    """

    def __init__(self, recording: BaseRecording, periods: Sequence[Sequence[Sequence[int]]]) -> None:
        super().__init__(recording)
        fs = float(recording.get_sampling_frequency())
        for segment, own in zip(recording.segments, periods, strict=True):
            self.add_recording_segment(_Segment(segment, np.asarray(own, dtype=np.int64).reshape(-1, 2), fs))
        self._kwargs = {
            "recording": recording,
            "periods": [np.asarray(own, dtype=np.int64).reshape(-1, 2).tolist() for own in periods],
        }


class _Segment(BasePreprocessorSegment):  # type: ignore[misc]
    def __init__(self, parent: Any, periods: IntArray, sampling_frequency: float) -> None:
        super().__init__(parent)
        self._fs = sampling_frequency
        self._spans = spans_of(periods, int(parent.get_num_samples()), sampling_frequency)
        self._first = np.array([span.first for span in self._spans], dtype=np.int64)
        self._last = np.maximum.accumulate(np.array([span.last for span in self._spans], dtype=np.int64))

    def get_traces(self, start_frame: int | None, end_frame: int | None, channel_indices: Any) -> NDArray[Any]:
        start = 0 if start_frame is None else start_frame
        end = self.get_num_samples() if end_frame is None else end_frame
        traces: NDArray[Any] = self.parent_recording_segment.get_traces(start, end, channel_indices)
        concerned = range(
            int(np.searchsorted(self._last, start, side="right")), int(np.searchsorted(self._first, end, side="left"))
        )
        if not len(concerned):
            return traces
        traces = np.array(traces)
        for span, whole in self._bridged(concerned, channel_indices):
            low, high = max(span.start, start), min(span.last, end)
            if low < high:
                new = whole[low - span.start : high - span.start]
                traces[low - start : high - start] = _like(new, traces.dtype)
        return traces

    def _bridged(self, concerned: range, channels: Any) -> Iterator[tuple[Span, FloatArray]]:
        """Yield the new traces of each span from the start of its period on."""
        first = concerned.start
        while first and self._spans[first - 1].last > self._spans[first].first and concerned.start - first < FARTHEST:
            first -= 1  # the level before a period is that of the recovery from the one before
        before: FloatArray | None = None
        for index in range(first, concerned.stop):
            span = self._spans[index]
            stored = np.asarray(self.parent_recording_segment.get_traces(span.first, span.last, channels), np.float64)
            lead = stored[: span.start - span.first]
            if before is not None and self._spans[index - 1].last > span.first:
                lead = before[-len(lead) :] if len(lead) else before[-1:]
            before = bridge(lead, stored[span.start - span.first :], span.end - span.start, self._fs)
            if index >= concerned.start:
                yield span, before


def _like(values: FloatArray, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def bridge(lead: FloatArray, stored: FloatArray, n_frames: int, sampling_frequency: float) -> FloatArray:
    """Put a period of `n_frames`, and what follows it in `stored`, at the level of the frames before, the `lead`."""
    traces = stored.copy()
    after = stored[n_frames:]
    ends = stuck_until(after, round(STUCK_MS * sampling_frequency / 1000))
    for end in np.unique(ends).tolist():
        channels = np.flatnonzero(ends == end) if ends.any() else slice(None)
        slow = slow_part(after[end:, channels], sampling_frequency)
        level = np.median(lead[:, channels], axis=0) if len(lead) else _last(slow)
        left = _fading(len(after), sampling_frequency)[end:, None]
        traces[: n_frames + end, channels] = level
        traces[n_frames + end :, channels] -= (slow - level) * left
    return traces


def _last(traces: FloatArray) -> FloatArray:
    return np.asarray(traces[-1]) if len(traces) else np.zeros(traces.shape[1])


def _fading(n_frames: int, sampling_frequency: float) -> FloatArray:
    """Return the share of what is slow that is moved; all of it where another period follows."""
    if n_frames < round(RECOVERY_MS * sampling_frequency / 1000):
        return np.ones(n_frames)
    passed = np.arange(n_frames) / n_frames
    return np.asarray(1 - passed**2 * (3 - 2 * passed))


def stuck_until(stored: FloatArray, n_stuck: int) -> IntArray:
    """Return by channel for how many frames from the first one it is constant; 0 where it is not for `n_stuck`."""
    if len(stored) == 0:
        return np.zeros(stored.shape[1], dtype=np.int64)
    moved = stored != stored[0]
    ends = np.where(moved.any(axis=0), moved.argmax(axis=0), len(stored))
    return np.where(ends >= max(n_stuck, 2), ends, 0).astype(np.int64)


def slow_part(traces: FloatArray, sampling_frequency: float) -> FloatArray:
    """Fit decays and a curve to traces (frames, channels)."""
    if not len(traces):
        return traces
    shapes, edges, design = basis(len(traces), sampling_frequency)
    lengths = np.diff(np.append(edges, len(traces)))[:, None]
    weights = np.sqrt(np.minimum(lengths, LONGEST_WEIGHT))
    return np.asarray(shapes @ robust_fit(design * weights, np.add.reduceat(traces, edges, axis=0) / lengths * weights))


@lru_cache(maxsize=8)
def basis(n_frames: int, sampling_frequency: float) -> tuple[FloatArray, IntArray, FloatArray]:
    """Return orthonormal shapes (frames, shapes) of decays and a curve, bins, and the shapes in these bins."""
    per_ms = sampling_frequency / 1000
    decays = np.exp(-np.arange(n_frames)[:, None] / (np.array(DECAYS_MS) * per_ms))
    curve = np.linspace(-1, 1, n_frames)[:, None] ** np.arange(CURVE + 1)
    left, size, _ = np.linalg.svd(np.column_stack([decays, curve]), full_matrices=False)
    shapes = left[:, size > SMALLEST * size[0]]
    edges = bin_edges(n_frames, per_ms)
    return shapes, edges, np.add.reduceat(shapes, edges, axis=0) / np.diff(np.append(edges, n_frames))[:, None]


def bin_edges(n_frames: int, per_ms: float) -> IntArray:
    """Return the first frames of bins that grow."""
    edges, edge, longest = [], 0, LONGEST_BIN_MS * per_ms
    while edge < n_frames:
        edges.append(edge)
        edge += max(1, round(min(BIN_GROWTH * edge, longest)))
    return np.array(edges, dtype=np.int64)


def robust_fit(design: FloatArray, values: FloatArray) -> FloatArray:
    """Fit `values` (bins, channels) by least squares; what lies far from the fit counts as if it lay nearer."""
    inverse = np.linalg.pinv(design, rcond=1e-4)
    kept = values
    for _ in range(N_ROUNDS):
        coefficients = inverse @ kept
        fit = design @ coefficients
        away = values - fit
        limit = ROBUST * np.median(np.abs(away), axis=0) / 0.6745
        kept = fit + np.clip(away, -limit, limit)
    return np.asarray(inverse @ kept)
