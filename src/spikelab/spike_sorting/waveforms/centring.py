"""Move every spike to its peak on the main channel of its unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.traces import read_raw
from spikelab.spike_sorting.waveforms._kernels import centre_spikes
from spikelab.spikedata._windows import whole_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Epoch, IntArray, TraceSource
    from spikelab.spike_sorting.waveforms.chunks import Visit

SEARCH_MS = 0.5


def epoch_limits(frames: IntArray, epochs: Sequence[Epoch]) -> tuple[IntArray, IntArray]:
    """Start and end frame of the epoch each of the `frames` lies in."""
    starts = np.array([epoch.start_frame for epoch in epochs], dtype=np.int64)
    ends = np.array([epoch.end_frame for epoch in epochs], dtype=np.int64)
    index = np.searchsorted(starts, frames, side="right") - 1
    return starts[index], ends[index]


def search_windows(frames: IntArray, epochs: Sequence[Epoch], radius: int) -> tuple[IntArray, IntArray]:
    """First and last frame (inclusive) at which each spike of one unit may have its peak.

    The window is +/- `radius` frames, ends at the edges of the epoch, and is shared out at the middle between
    neighbouring spikes of the same epoch (the earlier one gets the odd frame). The windows of a unit are therefore
    disjoint and each holds its own spike: centring keeps order and distinctness, and no spike passes a neighbour.

    Parameters
    ----------
    frames : numpy.ndarray of int64, shape (spikes,)
        Strictly ascending.
    epochs : sequence of Epoch
        They tile the recording.
    radius : int
        In frames.
    """
    start, end = epoch_limits(frames, epochs)
    low = np.maximum(frames - radius, start)
    high = np.minimum(frames + radius, end - 1)
    middle = (frames[:-1] + frames[1:]) // 2
    together = start[:-1] == start[1:]
    low[1:] = np.maximum(low[1:], np.where(together, middle + 1, low[1:]))
    high[:-1] = np.minimum(high[:-1], np.where(together, middle, high[:-1]))
    return low, high


class Centring:
    """Moves every spike within +/- 0.5 ms to the minimum (maximum for positive units) on its unit's channel.

    Spikes at the very same frame stay together. Ties go to the earliest frame, and units do not interact. Spikes are
    moved by whoever walks through the recording, chunk by chunk; afterwards they are in :attr:`trains`.

    Parameters
    ----------
    source : TraceSource
    trains : sequence of numpy.ndarray of int64
        Sorted frames per unit, inside the recording.
    channels : numpy.ndarray of int64, shape (units,)
        Main channel.
    positive : numpy.ndarray of bool, shape (units,)
        True where the peak is a maximum.
    known : numpy.ndarray of bool, shape (units,)
        False for units whose channel is not known: their spikes stay where they are.

    Attributes
    ----------
    radius : int
        How far a spike may move, in frames.
    frames : numpy.ndarray of int64
        The trains, one after the other.
    offsets : numpy.ndarray of int64, shape (units + 1,)
        ``frames[offsets[u]:offsets[u + 1]]`` is the train of unit u.
    """

    def __init__(
        self,
        source: TraceSource,
        trains: Sequence[IntArray],
        channels: IntArray,
        positive: NDArray[np.bool_],
        known: NDArray[np.bool_],
    ) -> None:
        self.radius = whole_frames(SEARCH_MS, source.sampling_frequency)
        self.offsets = np.cumsum([0, *(len(train) for train in trains)])
        self.frames = np.concatenate(trains)
        self._source, self._channels, self._positive = source, channels, positive
        radii = np.where(known, self.radius, 0)
        windows = [
            _search_windows_of_all(train, source.epochs, radius)
            for train, radius in zip(trains, radii.tolist(), strict=True)
        ]
        self._low, self._high = (np.concatenate(side) for side in zip(*windows, strict=True))

    @property
    def trains(self) -> tuple[IntArray, ...]:
        """Where the spikes are now, unit by unit."""
        return tuple(np.split(self.frames, self.offsets[1:-1]))

    def fitting(self, n_before: int, n_after: int) -> list[IntArray]:
        """Which spikes of each unit have a whole window in their epoch once they are moved: indices into the trains.

        Few are so close to an edge that it has to be looked up.
        """
        start, end = epoch_limits(self.frames, self._source.epochs)
        start, end = start + n_before, end - n_after
        fits = (self._low >= start) & (self._high < end)
        units = np.repeat(np.arange(len(self._channels)), np.diff(self.offsets))
        for spike in np.flatnonzero(~fits & (self._high >= start) & (self._low < end)).tolist():
            low, at = int(self._low[spike]), np.array([spike])
            traces = read_raw(self._source, low, int(self._high[spike]) + 1)
            self._centre(traces, low, at, at + 1, units[at])
            # There it stays: what is filtered as it is read may differ in its last digits when it is read again.
            self._low[spike] = self._high[spike] = self.frames[spike]
            fits[spike] = start[spike] <= self.frames[spike] < end[spike]
        return [np.flatnonzero(part) for part in np.split(fits, self.offsets[1:-1])]

    def move(self, visit: Visit, first_unit: int, units: slice) -> None:
        """Move the visited spikes of some units, which the visit counts from `first_unit` on."""
        offset = self.offsets[first_unit]
        chosen = np.arange(first_unit + units.start, first_unit + units.stop)
        self._centre(visit.traces, visit.base, visit.first[units] + offset, visit.last[units] + offset, chosen)

    def _centre(self, traces: NDArray[Any], base: int, first: IntArray, last: IntArray, units: IntArray) -> None:
        channels, positive = self._channels[units], self._positive[units]
        centre_spikes(traces, base, self._low, self._high, first, last, channels, positive, self.frames)


def _search_windows_of_all(train: IntArray, epochs: Sequence[Epoch], radius: int) -> tuple[IntArray, IntArray]:
    """:func:`search_windows`, where spikes may be at the same frame: these have the same."""
    fresh = np.diff(train, prepend=train[:1] - 1) > 0
    low, high = search_windows(train[fresh], epochs, radius)
    which = np.cumsum(fresh) - 1
    return low[which], high[which]
