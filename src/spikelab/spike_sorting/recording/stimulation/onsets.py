"""Onset of each pulse to the sample, from the traces around the time that is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.parts import evenly_spaced
from spikelab.spikedata._windows import MAD_TO_STD

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import FloatArray, IntArray

SEARCH_MS = 3.0  # to both sides of a given time
N_BLOCKS, BLOCK_S = 20, 0.1  # of frames that say how much traces change from frame to frame
# Share of the channels, and number of them, that have to jump at once: a neuron is seen on few of many.
JUMPING_SHARE, MOST_JUMPING = 1 / 8, 16
LEAST_JUMP = 10.0  # standard deviations of the change from frame to frame; the steepest spikes have as many
SHARE_OF_TYPICAL = 0.1  # of the largest jump of the median pulse, where an onset begins


def usual_change(segment: Any, sampling_frequency: float) -> FloatArray:
    """Standard deviation of the change from frame to frame, in stored units, by channel; 0 where nothing changes."""
    n_frames, block = int(segment.get_num_samples()), max(2, round(BLOCK_S * sampling_frequency))
    blocks = [read(segment, start, min(start + block, n_frames)) for start in evenly_spaced(n_frames, block, N_BLOCKS)]
    changes = np.concatenate([np.abs(np.diff(part, axis=0)) for part in blocks])
    usual: FloatArray = np.maximum(np.median(changes, axis=0), changes.mean(axis=0) / 4) / MAD_TO_STD
    return usual.astype(np.float32)


def read(segment: Any, start: int, end: int) -> FloatArray:
    """Read all channels of frames [start, end) as float32."""
    return np.ascontiguousarray(segment.get_traces(start, end, slice(None)), dtype=np.float32)


def find_onsets(segment: Any, given: IntArray, change: FloatArray, sampling_frequency: float) -> IntArray:
    """Find the first frame of each pulse near the ascending frames `given`; -1 where no pulse is seen.

    An onset is the first frame at which so many channels jump at once as no neuron makes them; all pulses together
    say how large a jump that is.
    """
    alive = np.flatnonzero(change > 0)
    if not len(alive) or not len(given):
        return np.full(len(given), -1, dtype=np.int64)
    windows = _windows(int(segment.get_num_samples()), given, round(SEARCH_MS * sampling_frequency / 1000))
    jumps = [_jumps(segment, start, end, change, alive) for start, end in windows]
    least = min(MOST_JUMPING, max(1, round(JUMPING_SHARE * len(alive))))
    sizes = [_size(part, least) for part in jumps]
    peaks = np.array([size.max(initial=0.0) for size in sizes])
    if not (peaks > LEAST_JUMP).any():
        return np.full(len(given), -1, dtype=np.int64)
    level = max(LEAST_JUMP, SHARE_OF_TYPICAL * float(np.median(peaks[peaks > LEAST_JUMP])))
    local = np.array([int(np.argmax(size > level)) if (size > level).any() else -1 for size in sizes])
    first = windows[:, 0] + 1  # the change of the second frame is the first one
    return np.where(local < 0, -1, local + first)


def _windows(n_frames: int, given: IntArray, reach: int) -> IntArray:
    """First frame and end of the frames in which each pulse is searched: half-way to the next one at most."""
    middles = (given[1:] + given[:-1]) // 2
    starts = np.maximum(given - reach, np.concatenate([[0], middles]))
    ends = np.minimum(given + reach + 1, np.concatenate([middles, [n_frames]]))
    return np.column_stack([starts.clip(0, n_frames), ends.clip(0, n_frames)])


def _jumps(segment: Any, start: int, end: int, change: FloatArray, alive: IntArray) -> FloatArray:
    """Change from frame to frame over its usual size, (frames - 1, channels)."""
    if end - start < 2:
        return np.zeros((0, len(alive)), dtype=np.float32)
    return np.diff(read(segment, start, end)[:, alive], axis=0) / change[alive]


def _size(jumps: FloatArray, least: int) -> FloatArray:
    """Size that as many channels reach at once, by frame."""
    if not len(jumps):
        return np.zeros(0, dtype=np.float32)
    sizes: FloatArray = np.partition(np.abs(jumps), -least, axis=1)[:, -least]
    return sizes
