"""Movement of the units of a recording: their waveforms over time, how far they went, and when the clock applies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.matching.moving import Versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.sequences import Waveform
    from spikelab.spike_sorting.rt_sort.traces import Traces

N_MARKS, MARK_FRAMES = 8, 4
SAME_TRACES = 0.5  # of the noise: traces that were rounded differ less, other recordings more
LARGE = 0.3  # of the largest: electrodes that tell where a unit is


def read_frames(traces: Traces, frames: IntArray) -> FloatArray:
    """Read single frames (frames, channels) in microvolts, also where artefacts are silenced."""
    as_they_are = replace(traces, silence=np.zeros((0, 2), dtype=np.int64))
    return np.concatenate([as_they_are.read(frame, frame + 1) for frame in frames.tolist()])


def _mark_frames(n_frames: int) -> IntArray:
    """Choose frames, all over a recording, that it is recognised by."""
    firsts = np.linspace(0, max(0, n_frames - MARK_FRAMES), N_MARKS).astype(int)
    frames: IntArray = np.unique(np.minimum(firsts[:, None] + np.arange(MARK_FRAMES), n_frames - 1))
    return frames


@dataclass(frozen=True)
class Movement:
    """Waveforms of the units that moved, or changed their size, while the sequences were learnt.

    Attributes
    ----------
    units : numpy.ndarray of int64, shape (versions,)
        Ascending.
    starts : numpy.ndarray of int64, shape (versions,)
        Frame of the recording from which each holds, ascending within a unit; the first of a unit holds before as well.
    n_channels : numpy.ndarray of int64, shape (versions,)
    channels : numpy.ndarray of int64, shape (versions, electrodes)
        Largest first, padded.
    waveforms : numpy.ndarray of float32, shape (versions, electrodes, frames)
        In microvolts, on the clock of the sequences.
    mark_frames : numpy.ndarray of int64, shape (marks,)
        Frames of the recording that it is recognised by.
    marks : numpy.ndarray of float32, shape (marks, channels)
        Its traces there, in microvolts.

    Examples
    --------
    >>> from spikelab.spike_sorting.rt_sort import RTSort
    >>> RTSort.load("sorted_rt_sort_culture/stages/sorting/rt_sort").movement.units  # nothing moved
    array([], dtype=int64)
    """

    units: IntArray
    starts: IntArray
    n_channels: IntArray
    channels: IntArray
    waveforms: FloatArray
    mark_frames: IntArray
    marks: FloatArray

    @classmethod
    def none(cls, n_channels: int) -> Movement:
        """Make that of units that stand still."""
        none = np.empty(0, dtype=np.int64)
        return cls(
            none, none, none, np.empty((0, 1), np.int64), np.empty((0, 1, 1), np.float32), none,
            np.empty((0, n_channels), np.float32),
        )  # fmt: skip

    @classmethod
    def of(cls, versions: Versions, traces: Traces) -> Movement:
        """Take the templates with more than one version, on the clock of `traces`, a part of a recording."""
        rows = np.flatnonzero(versions.n_each[versions.templates] > 1)
        frames = _mark_frames(traces.n_frames)
        marks = read_frames(traces, frames)
        if len(rows) == 0:
            return replace(cls.none(traces.n_channels), mark_frames=frames + traces.start, marks=marks)
        kept = [versions.waveforms[row] for row in rows.tolist()]
        n_channels = np.array([len(channels) for channels, _ in kept], dtype=np.int64)
        channels = np.zeros((len(kept), n_channels.max()), dtype=np.int64)
        waveforms = np.zeros((*channels.shape, kept[0][1].shape[1]), dtype=np.float32)
        for i, (own, waveform) in enumerate(kept):
            channels[i, : len(own)], waveforms[i, : len(own)] = own, waveform
        return cls(
            versions.templates[rows], versions.starts[rows] + traces.start, n_channels, channels, waveforms,
            frames + traces.start, marks,
        )  # fmt: skip

    def subset(self, chosen: NDArray[np.bool_]) -> Movement:
        """Select units by `chosen`, shape (units,)."""
        kept, numbers = chosen[self.units], np.cumsum(chosen) - 1
        return replace(
            self, units=numbers[self.units[kept]], starts=self.starts[kept], n_channels=self.n_channels[kept],
            channels=self.channels[kept], waveforms=self.waveforms[kept],
        )  # fmt: skip

    def versions(self, still: list[Waveform]) -> Versions:
        """Combine with the waveforms of units that stand still, which are given for all units."""
        moving = set(self.units.tolist())
        units: list[int] = []
        starts: list[int] = []
        waveforms: list[Waveform] = []
        for unit, waveform in enumerate(still):
            rows = np.flatnonzero(self.units == unit).tolist() if unit in moving else []
            units += [unit] * max(1, len(rows))
            starts += self.starts[rows].tolist() if rows else [0]
            waveforms += [self._waveform(row) for row in rows] if rows else [waveform]
        return Versions(np.array(units, dtype=np.int64), np.array(starts, dtype=np.int64), tuple(waveforms))

    def is_of(self, traces: Traces, sigma: FloatArray) -> bool:
        """Test whether `traces` are, or are a part of, the recording that the units were found in."""
        if len(self.mark_frames) == 0:
            return False
        inside = (self.mark_frames >= traces.start) & (self.mark_frames < traces.end)
        if not inside.any():
            return False
        found = read_frames(traces, self.mark_frames[inside] - traces.start)
        return bool(np.all(np.abs(found - self.marks[inside]) <= SAME_TRACES * sigma))

    def distances_um(self, locations: NDArray[np.float64], n_units: int) -> NDArray[np.float64]:
        """Measure how far the centre of each unit went, the longest way between two times, shape (units,)."""
        distances = np.zeros(n_units)
        for unit in np.unique(self.units).tolist():
            centres = np.stack([self._centre(row, locations) for row in np.flatnonzero(self.units == unit).tolist()])
            distances[unit] = np.linalg.norm(centres[:, None] - centres, axis=2).max()
        return distances

    def size_ratios(self, n_units: int) -> NDArray[np.float64]:
        """Measure the largest peak of each unit over its smallest at another time, shape (units,)."""
        ratios = np.ones(n_units)
        peaks = np.abs(self.waveforms).max(axis=(1, 2), initial=0)
        for unit in np.unique(self.units).tolist():
            own = peaks[self.units == unit]
            ratios[unit] = own.max() / own.min()
        return ratios

    def _waveform(self, row: int) -> Waveform:
        n = self.n_channels[row]
        return self.channels[row, :n], self.waveforms[row, :n]

    def _centre(self, row: int, locations: NDArray[np.float64]) -> NDArray[np.float64]:
        channels, waveform = self._waveform(row)
        sizes = np.abs(waveform).max(axis=1)
        weights = np.maximum(sizes - LARGE * sizes.max(), 0)  # electrodes come and go without a jump
        centre: NDArray[np.float64] = weights @ locations[channels] / weights.sum()
        return centre
