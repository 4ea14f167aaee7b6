"""Align every spike to the peak on the main channel of its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data.dead_time import in_dead_time
from spikelab.spike_sorting.data.traces import dead_time_in, read_raw
from spikelab.spike_sorting.waveforms._kernels import align_spikes
from spikelab.spike_sorting.waveforms.chunks import Chunk
from spikelab.spike_sorting.waveforms.windows import epoch_limits, stretches
from spikelab.spikedata._windows import whole_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Epoch, IntArray, TraceSource
    from spikelab.spike_sorting.waveforms.windows import Window

SEARCH_MS = 0.5


@dataclass(frozen=True)
class MainChannels:
    """Main channel and polarity of each unit."""

    channels: IntArray
    positive: NDArray[np.bool_]  # True where the main peak is positive
    known: NDArray[np.bool_]  # False for units without a spike whose window fits; their spikes are not aligned


class Spikes:
    """Spikes of all units, one unit after the other, at the frames at which they were reported.

    `trains` are the sorted frames per unit, inside the recording.
    """

    radius = 0  # frames that a spike may be moved by

    def __init__(self, trains: Sequence[IntArray]) -> None:
        self.reported = trains
        self.frames = np.concatenate(trains)
        self.offsets = np.cumsum([0, *(len(train) for train in trains)])  # of the train of each unit in `frames`

    @property
    def trains(self) -> tuple[IntArray, ...]:
        """Current frames of each unit."""
        return tuple(np.split(self.frames, self.offsets[1:-1]))

    def indices(self, picked: Sequence[IntArray]) -> IntArray:
        """Convert indices into each unit's train to indices into `frames`."""
        return np.concatenate([own + offset for own, offset in zip(picked, self.offsets[:-1], strict=True)])

    def align(self, chunk: Chunk) -> None:
        """Leave the spikes of a chunk where they are."""


class AlignedSpikes(Spikes):
    """Spikes that are moved by at most 0.5 ms to the negative (positive) peak on their unit's main channel.

    Spikes at the very same frame stay together. Ties go to the earliest frame, and units do not interact. Call
    :meth:`align` for each chunk; `frames` and `trains` are final after the last one.
    """

    def __init__(self, source: TraceSource, trains: Sequence[IntArray], main: MainChannels) -> None:
        super().__init__(trains)
        self.radius = whole_frames(SEARCH_MS, source.sampling_frequency)
        self._source, self._main = source, main
        radii = np.where(main.known, self.radius, 0)
        parts = stretches(source)
        windows = [
            _search_windows_of_all(train, parts, radius) for train, radius in zip(trains, radii.tolist(), strict=True)
        ]
        self._low, self._high = (np.concatenate(side) for side in zip(*windows, strict=True))

    def fitting(self, window: Window) -> list[IntArray]:
        """Find the spikes whose window, after alignment, is in one epoch and no dead time: indices into the trains.

        Traces are read for the few spikes whose search window reaches across the limit alone.
        """
        start, end = epoch_limits(self.frames, stretches(self._source))
        end = np.where(in_dead_time(self.frames, dead_time_in(self._source)), start, end)  # where no window fits
        start, end = start + window.n_before, end - window.n_after
        fits = (self._low >= start) & (self._high < end)
        units = np.repeat(np.arange(len(self._main.channels)), np.diff(self.offsets))
        for spike in np.flatnonzero(~fits & (self._high >= start) & (self._low < end)).tolist():
            low, at = int(self._low[spike]), np.array([spike])
            traces = read_raw(self._source, low, int(self._high[spike]) + 1)
            self.align(Chunk(traces, low, at, at + 1, int(units[spike]), epoch=-1))
            # The frame is final: lazily filtered traces may differ in their last digits when they are read again.
            self._low[spike] = self._high[spike] = self.frames[spike]
            fits[spike] = start[spike] <= self.frames[spike] < end[spike]
        return [np.flatnonzero(part) for part in np.split(fits, self.offsets[1:-1])]

    def align(self, chunk: Chunk) -> None:
        """Move the spikes of a chunk to their peaks."""
        channels, positive = self._main.channels[chunk.units], self._main.positive[chunk.units]
        align_spikes(chunk, self._low, self._high, channels, positive, self.frames)


def search_windows(frames: IntArray, epochs: Sequence[Epoch], radius: int) -> tuple[IntArray, IntArray]:
    """Find the first and last frame (inclusive) at which each spike of one unit, strictly ascending, may have its peak.

    The window is +/- `radius` frames, ends at the edges of the epoch, and is divided at the middle between
    neighbouring spikes of the same epoch (the earlier one gets the odd frame). The windows of a unit are therefore
    disjoint and each holds its own spike: alignment keeps order and distinctness, and no spike passes a neighbour.
    """
    start, end = epoch_limits(frames, epochs)
    low = np.maximum(frames - radius, start)
    high = np.minimum(frames + radius, end - 1)
    middle = (frames[:-1] + frames[1:]) // 2
    together = start[:-1] == start[1:]
    low[1:] = np.maximum(low[1:], np.where(together, middle + 1, low[1:]))
    high[:-1] = np.minimum(high[:-1], np.where(together, middle, high[:-1]))
    return low, high


def _search_windows_of_all(train: IntArray, epochs: Sequence[Epoch], radius: int) -> tuple[IntArray, IntArray]:
    """Call :func:`search_windows` for a train in which several spikes may share a frame, and then a window."""
    fresh = np.diff(train, prepend=train[:1] - 1) > 0
    low, high = search_windows(train[fresh], epochs, radius)
    which = np.cumsum(fresh) - 1
    return low[which], high[which]
