"""Traces that RT-Sort reads: microvolts by frame range, with the locations of the electrodes."""

from __future__ import annotations

import itertools
import logging
import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import BinaryRecording, SpikeInterfaceTraces
from spikelab.spike_sorting.data.dead_time import in_dead_time, union, widened
from spikelab.spike_sorting.data.traces import read_raw, scale_uv
from spikelab.spike_sorting.rt_sort._window_kernels import gather_windows, take_channels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray, Pulses

logger = logging.getLogger(__name__)
GAP_VALUES = 2**15  # of traces between two windows: more take longer to read than a further call
MAPPED_VALUES = 2**25  # of a file that are mapped at a time, where windows are read: 64 MB
BRIDGED_MARGIN_MS = 2.0  # after a bridge, of which nothing is learnt either
MOST_BRIDGED = 0.5  # of the recording, after pulses, of which nothing is learnt
READ_VALUES = 2**20  # of traces in memory at a time: 4 MB, which stay in the cache


def frames_at_a_time(n_channels: int, values: int = READ_VALUES) -> int:
    """Compute the number of frames that are read at a time."""
    return max(1, values // max(1, n_channels))


def in_artefact(frames: IntArray, periods: IntArray, lead: int) -> NDArray[np.bool_]:
    """Find which frames are in one of the `periods`, rows of first frame and end in order, or so little before it."""
    starts = np.append(periods[:, 0], np.iinfo(np.int64).max)
    found: NDArray[np.bool_] = starts[np.searchsorted(periods[:, 1], frames, side="right")] <= frames + lead
    return found


def clusters_of(frames: IntArray, before: int, after: int, n_channels: int) -> Iterator[tuple[slice, int, int]]:
    """Group ascending frames whose windows are read together: yield slices of them, and first frame and end to read.

    What lies far from all of them is not read.
    """
    gap, step = GAP_VALUES // n_channels, frames_at_a_time(n_channels)
    far = (np.diff(frames) > before + after + gap) | (np.diff(frames // step) > 0)
    for low, high in itertools.pairwise([0, *(np.flatnonzero(far) + 1).tolist(), len(frames)]):
        if low < high:
            yield slice(low, high), max(0, int(frames[low]) - before), int(frames[high - 1]) + after + 1


def partly_bridged(pulses: Pulses, n_frames: int, margin: int) -> IntArray:
    """List the periods after stimulation pulses in which some channel is bridged; none where that is most of the time.

    Spikes look otherwise then: of a neuron that answers to pulses half of them would be a unit of their own. Periods
    are `margin` frames longer, for a spike begins before its peak.
    """
    some = np.flatnonzero(pulses.bridged > 0)
    periods = union(np.column_stack([pulses.frames[some], pulses.frames[some] + pulses.bridged[some] + margin]))
    return periods if np.diff(periods).sum() <= MOST_BRIDGED * n_frames else union()


@dataclass(frozen=True)
class Traces:
    """A recording, or a part of it, band-passed and in microvolts.

    Attributes
    ----------
    start, end : int
        The part, in frames of the recording.
    n_channels : int
    sampling_frequency : float
        In Hz.
    locations : numpy.ndarray, shape (channels, 2)
        In micrometres.
    channel_ids : tuple of str
    breaks : tuple of int
        First frames of the epochs of the recording: no window reaches across one.
    silence : numpy.ndarray of int64, shape (periods, 2)
        First frames and ends, in frames of the recording, of periods in which all traces are read as 0.
    blind : numpy.ndarray of int64, shape (periods, 2)
        Periods in which no spike counts: those of `silence`, and shortly before some of them.
    unlearnable : numpy.ndarray of int64, shape (periods, 2)
        Periods of which nothing is learnt, though spikes count.
    """

    start: int
    end: int
    n_channels: int
    sampling_frequency: float
    locations: NDArray[np.float64]
    channel_ids: tuple[str, ...]
    _read: Callable[[int, int], FloatArray]
    breaks: tuple[int, ...] = ()
    silence: IntArray = field(default_factory=union, repr=False)
    blind: IntArray = field(default_factory=union, repr=False)
    unlearnable: IntArray = field(default_factory=union, repr=False)
    _read_counts: Callable[[int, int], NDArray[Any]] | None = None  # without copying what is not used
    _scale: float = 1.0
    _of_counts: bool = False
    _windows: Callable[[IntArray, IntArray, int, int], FloatArray] | None = None  # where they are not those of `_read`

    @classmethod
    def of(cls, recording: Any, window_ms: tuple[float, float] | None = None) -> Traces:
        """Read a SpikeInterface recording (band-passed, one segment, with a probe) or a `BinaryRecording`."""
        binary = recording if isinstance(recording, BinaryRecording) else BinaryRecording.from_spikeinterface(recording)
        if binary is not None:
            source: BinaryRecording | SpikeInterfaceTraces = binary
            locations, ids = binary.locations, binary.channel_ids
        else:
            _check(recording)
            source = SpikeInterfaceTraces(recording)
            locations = np.asarray(recording.get_channel_locations(), dtype=np.float64)[:, :2]
            ids = tuple(str(channel) for channel in recording.channel_ids)
        start, end = _window(window_ms, source.n_samples, source.sampling_frequency)
        breaks = tuple(epoch.start_frame for epoch in source.epochs)
        traces = cls(start, end, len(ids), source.sampling_frequency, locations, ids, source.read_uv, breaks)
        scale = scale_uv(source)
        of_counts = isinstance(source, BinaryRecording) and math.isfinite(scale)
        traces = replace(traces, _read_counts=partial(read_raw, source), _scale=scale, _of_counts=of_counts)
        traces = replace(traces, silence=source.dead_time, blind=source.dead_time)
        if binary is None:
            return traces
        margin = round(BRIDGED_MARGIN_MS * traces.sampling_frequency / 1000)
        return replace(traces, unlearnable=partly_bridged(binary.pulses, binary.n_samples, margin))

    @property
    def n_frames(self) -> int:
        """Length of the part in frames."""
        return self.end - self.start

    @property
    def duration_s(self) -> float:
        """Length of the part in seconds."""
        return self.n_frames / self.sampling_frequency

    @property
    def live_s(self) -> float:
        """Length of the part in seconds without its silent periods: what rates are counted over."""
        periods = np.clip(self.silence, self.start, self.end)
        return (self.n_frames - int(np.diff(periods).sum())) / self.sampling_frequency

    def read(self, start: int, end: int) -> FloatArray:
        """Read frames [start, end) of the part (frames, channels) in microvolts; ValueError where any is not finite."""
        traces = np.ascontiguousarray(self._read(self.start + start, self.start + end))
        if not traces.flags.owndata or not traces.flags.writeable:
            traces = traces.copy()  # what is read is the reader's: spikes are subtracted in it
        if not self._is_finite(traces):
            frames, channels = np.nonzero(~np.isfinite(traces))
            raise ValueError(
                f"The recording holds values that are not finite: the first at frame {self.start + start + frames[0]} "
                f"on channel {self.channel_ids[channels[0]]}. Set them to 0, for instance, before the filter"
            )
        for first, last in self._silence_in(start, end):
            traces[max(0, first) : last] = 0
        return traces

    def _is_finite(self, traces: FloatArray) -> bool:
        if self._of_counts:
            return True
        with np.errstate(all="ignore"):
            return math.isfinite(traces.sum()) or bool(np.isfinite(traces).all())

    def windows(self, frames: IntArray, channels: IntArray, before: int, after: int) -> FloatArray:
        """Read windows around ascending `frames`, on some channels each: shape (windows, channels, frames).

        `channels`, shape (windows, channels), are padded with -1, where windows are zero. No window may leave the part.
        Microvolts are made of what is wanted only; values are not checked.
        """
        if self._windows is not None:
            return self._windows(frames, channels, before, after)
        windows = np.zeros((*channels.shape, before + after + 1), dtype=np.float32)
        ahead = MAPPED_VALUES // self.n_channels if self._of_counts else 0  # a file is mapped, not read
        counts: NDArray[Any] = np.empty((0, self.n_channels), dtype=np.int16)
        first = 0
        for rows, start, end in clusters_of(frames, before, after, self.n_channels):
            if self._read_counts is None or len(self._silence_in(start, end)):
                chunk, scale = self.read(start, end), np.float32(1)
            else:
                if end > first + len(counts):
                    first, last = start, min(max(end, start + ahead), self.n_frames)
                    counts = self._read_counts(self.start + first, self.start + last)
                chunk, scale = counts[start - first : end - first], np.float32(self._scale)
            gather_windows(chunk, frames[rows] - start, channels[rows], before, scale, windows[rows])
        return windows

    def _silence_in(self, start: int, end: int) -> IntArray:
        """List the silent periods that reach into frames [start, end) of the part, in frames from `start`."""
        if not len(self.silence):
            return self.silence
        periods = self.silence - (self.start + start)
        low, high = np.searchsorted(periods[:, 1], 0, side="right"), np.searchsorted(periods[:, 0], end - start)
        return periods[low:high]

    def read_some(self, start: int, end: int, channels: IntArray) -> FloatArray:
        """Read some channels, ascending, of frames [start, end) in microvolts, neither silenced nor checked."""
        start, end = self.start + start, self.start + end
        if self._read_counts is None:
            return self._read(start, end)[:, channels]
        counts = self._read_counts(start, end)
        some = np.empty((len(counts), len(channels)), dtype=np.float32)
        take_channels(counts, channels, np.float32(self._scale), some)
        return some

    def silent_in(self, periods: IntArray, lead: int) -> Traces:
        """Silence more periods, rows of first frame and end in frames of the part; no spike counts `lead` before."""
        found = periods + self.start
        return replace(self, silence=union(self.silence, found), blind=union(self.blind, widened(found, lead, 0)))

    def unlearnable_in(self, periods: IntArray) -> Traces:
        """Learn nothing of more periods, rows of first frame and end in frames of the part."""
        return replace(self, unlearnable=union(self.unlearnable, periods + self.start))

    def learnable(self, frames: IntArray) -> NDArray[np.bool_]:
        """Find which frames of the part may be learnt from."""
        return ~in_dead_time(frames, self.unlearnable - self.start)

    def in_artefact(self, frames: IntArray) -> NDArray[np.bool_]:
        """Find which frames of the part are in a silent period or just before it."""
        return in_dead_time(frames, self.blind - self.start)

    def stored(self, start: int, end: int) -> tuple[NDArray[Any], np.float32]:
        """Read frames [start, end) of the part, checked like :meth:`read`, and the factor that makes microvolts."""
        if self._read_counts is None or not self._of_counts or len(self._silence_in(start, end)):
            return self.read(start, end), np.float32(1)
        return self._read_counts(self.start + start, self.start + end), np.float32(self._scale)

    def chunks(
        self, values: int = READ_VALUES, start: int = 0, end: int | None = None
    ) -> Iterator[tuple[int, FloatArray]]:
        """Yield chunks of the part, or of frames [start, end) of it: first frame within the part, and traces."""
        for first, last in self.steps(values, start, end):
            yield first, self.read(first, last)

    def steps(self, values: int = READ_VALUES, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield first frames and ends of the chunks of :meth:`chunks`."""
        step, end = frames_at_a_time(self.n_channels, values), self.n_frames if end is None else end
        for first in range(start, end, step):
            yield first, min(first + step, end)

    def pieces(self, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
        """Cut frames [start, end) of the part, all of it by default, at the breaks."""
        end = self.n_frames if end is None else end
        inside = [frame - self.start for frame in self.breaks if start < frame - self.start < end]
        return list(itertools.pairwise([start, *sorted(inside), end]))

    def inside(self, frames: NDArray[np.int64], before: int, after: int) -> NDArray[np.bool_]:
        """Find the frames of the part that are so far from its ends and from every break."""
        bounds = np.array([start for start, _ in self.pieces()] + [self.n_frames])
        piece = np.clip(np.searchsorted(bounds, frames, side="right") - 1, 0, len(bounds) - 2)
        far: NDArray[np.bool_] = (frames >= bounds[piece] + before) & (frames < bounds[piece + 1] - after)
        return far

    def first(self, seconds: float | None) -> Traces:
        """Select the first seconds of the part; all of it where None."""
        if seconds is None:
            return self
        end = min(self.end, self.start + max(1, round(seconds * self.sampling_frequency)))
        return replace(self, end=end)


def _check(recording: Any) -> None:
    if recording.get_num_segments() != 1:
        raise ValueError(
            f"The recording has {recording.get_num_segments()} segments; concatenate them first "
            "(spikeinterface.concatenate_recordings)"
        )
    if not recording.has_probe():
        raise ValueError("The recording has no probe: RT-Sort needs to know where the electrodes are (set_probe)")


def _window(window_ms: tuple[float, float] | None, n_samples: int, sampling_frequency: float) -> tuple[int, int]:
    if window_ms is None:
        return 0, n_samples
    start, end = (round(float(ms) * sampling_frequency / 1000) for ms in window_ms)
    if start < 0 or start >= min(end, n_samples):
        raise ValueError(
            f"recording_window_ms {tuple(window_ms)} leaves nothing of a recording of "
            f"{1000 * n_samples / sampling_frequency:g} ms: expected 0 <= start < end"
        )
    if end > n_samples:
        logger.warning(
            "recording_window_ms ends at %g ms, the recording at %g ms: all of the rest is taken",
            float(window_ms[1]),
            1000 * n_samples / sampling_frequency,
        )
    return start, min(end, n_samples)
