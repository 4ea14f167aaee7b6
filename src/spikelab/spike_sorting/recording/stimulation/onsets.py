"""Onset of each pulse to the sample, from the traces around the time that is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.parts import evenly_spaced
from spikelab.spike_sorting.recording.stimulation.matching import matched
from spikelab.spikedata._windows import MAD_TO_STD

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import FloatArray, IntArray

SEARCH_MS = 3.0  # to both sides of a given time
N_BLOCKS, BLOCK_S = 20, 0.1  # of frames that say how much traces change from frame to frame
# Share of the channels, and number of them, that have to jump at once: a neuron is seen on few of many.
JUMPING_SHARE, MOST_JUMPING = 1 / 8, 16
LEAST_JUMP = 10.0  # standard deviations of the change from frame to frame; the steepest spikes have as many
SHARE_OF_TYPICAL = 0.1  # of the largest jump of the median pulse, where an onset begins
SAME_MS = 0.25  # pulses that are closer together are one: two sites at once, or a time that was noted twice
BEGUN_SHARE = 0.25  # of that jump, which is from phase to phase: how far off a recording is that begins in a pulse
LEVEL_FRAMES = 200  # whose median is the usual level
AT_ONCE = 5_000  # frames that are read


def usual_change(segment: Any, sampling_frequency: float) -> FloatArray:
    """Standard deviation of the change from frame to frame, in stored units, by channel; 0 where nothing changes."""
    n_frames, block = int(segment.get_num_samples()), max(2, round(BLOCK_S * sampling_frequency))
    blocks = [read(segment, start, min(start + block, n_frames)) for start in evenly_spaced(n_frames, block, N_BLOCKS)]
    changes = np.concatenate([np.abs(np.diff(part, axis=0)) for part in blocks])
    usual: FloatArray = np.maximum(np.median(changes, axis=0), changes.mean(axis=0) / 4) / MAD_TO_STD
    return usual.astype(np.float32)


def usual_level(segment: Any) -> FloatArray:
    """Median of each channel, in stored units."""
    frames = evenly_spaced(int(segment.get_num_samples()), 1, LEVEL_FRAMES)
    level: FloatArray = np.median(np.concatenate([read(segment, frame, frame + 1) for frame in frames]), axis=0)
    return level


def read(segment: Any, start: int, end: int) -> FloatArray:
    """Read all channels of frames [start, end) as float32."""
    return np.ascontiguousarray(segment.get_traces(start, end, slice(None)), dtype=np.float32)


def find_onsets(segment: Any, given: IntArray, change: FloatArray, sampling_frequency: float) -> IntArray:
    """Find the first frame of each pulse near the ascending frames `given`; -1 where no pulse is seen.

    An onset is the first frame at which so many channels jump at once as no neuron makes them; all pulses together
    say how large a jump that is. Frames that are as good as the same have the same onset.
    """
    alive = np.flatnonzero(change > 0)
    if not len(alive) or not len(given):
        return np.full(len(given), -1, dtype=np.int64)
    search = _Search(segment, change, alive, round(SEARCH_MS * sampling_frequency / 1000))
    begins = np.diff(given, prepend=np.iinfo(np.int32).min) >= max(1, round(SAME_MS * sampling_frequency / 1000))
    onsets: IntArray = search.onsets(given[begins])[np.cumsum(begins) - 1]
    return onsets


class _Search:
    """The search for the onsets of a segment, up to `reach` frames from the given ones."""

    def __init__(self, segment: Any, change: FloatArray, alive: IntArray, reach: int) -> None:
        self._segment, self._change, self._alive, self._reach = segment, change[alive], alive, reach
        self._n_frames = int(segment.get_num_samples())
        self._least = min(MOST_JUMPING, max(1, round(JUMPING_SHARE * len(alive))))

    def onsets(self, given: IntArray) -> IntArray:
        """Find the onsets near distinct frames: those within reach of one another together, as they are a train."""
        trains = np.split(given, np.flatnonzero(np.diff(given) > 2 * self._reach) + 1)
        starts = [max(0, int(train[0]) - self._reach) for train in trains]
        sizes = [self._sizes(start, int(train[-1])) for start, train in zip(starts, trains, strict=True)]
        peaks = np.concatenate([self._peaks(*each) for each in zip(sizes, starts, trains, strict=True)])
        if not (peaks > LEAST_JUMP).any():
            return np.full(len(given), -1, dtype=np.int64)
        typical = float(np.median(peaks[peaks > LEAST_JUMP]))
        level = max(LEAST_JUMP, SHARE_OF_TYPICAL * typical)
        if starts[0] == 0 and self._begins_in_a_pulse(sizes[0], level, typical):
            sizes[0][0] = np.inf
        every = zip(trains, sizes, starts, strict=True)
        return np.concatenate([matched(train, own, level, start, self._reach) for train, own, start in every])

    def _sizes(self, start: int, last: int) -> FloatArray:
        """Size of the jump to each frame within reach of a train; 0 of the first one, before which nothing is read."""
        end = min(last + self._reach + 1, self._n_frames)
        parts = [np.zeros(1, dtype=np.float32)]
        for first in range(start, end - 1, AT_ONCE):
            traces = read(self._segment, first, min(first + AT_ONCE + 1, end))[:, self._alive]
            parts.append(_size(np.diff(traces, axis=0) / self._change, self._least))
        return np.concatenate(parts)

    def _peaks(self, sizes: FloatArray, start: int, train: IntArray) -> FloatArray:
        """Size of the largest jump within reach of each frame of a train."""
        low, high = (train - self._reach - start).clip(0), train + self._reach + 1 - start
        return np.array([sizes[a:b].max(initial=0.0) for a, b in zip(low.tolist(), high.tolist(), strict=True)])

    def _begins_in_a_pulse(self, sizes: FloatArray, level: float, typical: float) -> bool:
        """Tell whether the first frame lies within a pulse: far from the usual level, and soon left by a jump."""
        short = self._n_frames < LEVEL_FRAMES * self._reach // 10  # too short to tell its usual level beside pulses
        if short or not (sizes[1 : self._reach // 2] > level).any():
            return False
        away = (read(self._segment, 0, 1) - usual_level(self._segment))[:, self._alive] / self._change
        return bool(_size(away, self._least)[0] > max(LEAST_JUMP, BEGUN_SHARE * typical))


def _size(jumps: FloatArray, least: int) -> FloatArray:
    """Size that as many channels reach at once, by frame."""
    if not len(jumps):
        return np.zeros(0, dtype=np.float32)
    sizes: FloatArray = np.partition(np.abs(jumps), -least, axis=1)[:, -least]
    return sizes
