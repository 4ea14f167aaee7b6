"""Compiled inner loops of the waveform engine; they release the GIL, so that threads run them side by side.

Spikes are flat arrays in (unit, time) order, to which a :class:`.chunks.Chunk` refers. A unit is only ever touched by
one thread, and its windows are added in time order, in float64, so that the sums depend neither on the chunk size nor
on the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.waveforms.chunks import Chunk

FRAMES_AT_A_TIME = 500
CHANNELS_SIDE_BY_SIDE = 8
LINE_OF_INT16 = 32  # values in a line of the cache


@compiled
def align_spikes(
    chunk: Chunk, low: IntArray, high: IntArray, channels: IntArray, positive: NDArray[np.bool_], aligned: IntArray
) -> None:
    """Write the frame of each spike's extremum in [low, high] on the unit's channel; the earliest of equals wins."""
    traces, base = chunk.traces, chunk.base
    for unit in range(chunk.first.size):
        channel = channels[unit]
        for spike in range(chunk.first[unit], chunk.last[unit]):
            best = low[spike]
            for frame in range(low[spike] + 1, high[spike] + 1):
                value = traces[frame - base, channel]
                peak = traces[best - base, channel]
                if (value > peak) if positive[unit] else (value < peak):
                    best = frame
            aligned[spike] = best


@compiled
def _add_rows(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], d: NDArray[Any], sums: NDArray[np.float64]) -> None:
    for channel in range(sums.size):
        first, second = np.float64(a[channel]), np.float64(b[channel])
        third, fourth = np.float64(c[channel]), np.float64(d[channel])
        sums[channel] = sums[channel] + first + second + third + fourth


@compiled
def _add_rows_and_squares(
    a: NDArray[Any],
    b: NDArray[Any],
    c: NDArray[Any],
    d: NDArray[Any],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    for channel in range(sums.size):
        first, second = np.float64(a[channel]), np.float64(b[channel])
        third, fourth = np.float64(c[channel]), np.float64(d[channel])
        sums[channel] = sums[channel] + first + second + third + fourth
        squares[channel] = squares[channel] + first * first + second * second + third * third + fourth * fourth


@compiled
def add_windows(
    chunk: Chunk,
    frames: IntArray,
    picked: IntArray,
    n_before: int,
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Add the windows around ``frames[picked[first[u]:last[u]]]`` to ``sums[u]``, their squares to ``squares[u]``.

    `squares` may be empty. Windows are added sample by sample and four at a time, so that the sums of one sample stay
    in the fastest cache, and are loaded and stored once for four spikes.
    """
    traces, base, first, last = chunk.traces, chunk.base, chunk.first, chunk.last
    for unit in range(first.size):
        fours = first[unit] + (last[unit] - first[unit]) // 4 * 4
        for sample in range(sums.shape[1]):
            shift = sample - n_before - base
            for spike in range(first[unit], fours, 4):
                a, b = traces[frames[picked[spike]] + shift], traces[frames[picked[spike + 1]] + shift]
                c, d = traces[frames[picked[spike + 2]] + shift], traces[frames[picked[spike + 3]] + shift]
                if squares.size:
                    _add_rows_and_squares(a, b, c, d, sums[unit, sample], squares[unit, sample])
                else:
                    _add_rows(a, b, c, d, sums[unit, sample])
            for spike in range(fours, last[unit]):
                row = traces[frames[picked[spike]] + shift]
                for channel in range(row.size):
                    value = np.float64(row[channel])
                    sums[unit, sample, channel] += value
                    if squares.size:
                        squares[unit, sample, channel] += value * value


@compiled
def mean_and_std(
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    count: int,
    scale: float,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
) -> None:
    """Write mean and population standard deviation, times `scale`, of `count` windows from their sums."""
    for sample in range(sums.shape[0]):
        for channel in range(sums.shape[1]):
            total = sums[sample, channel]
            mean[sample, channel] = total * (scale / count)
            deviations = max(squares[sample, channel] - total * total / count, 0.0)
            std[sample, channel] = np.sqrt(deviations / count) * abs(scale)


@compiled
def count_values(traces: NDArray[np.int16], lowest: int, counts: NDArray[np.int32]) -> int:
    """Count how often each int16 value occurs: ``counts[c, value - lowest]`` for channel c, values beyond at the ends.

    `FRAMES_AT_A_TIME` frames are first read in the order of memory, so that they are in the second-level cache; the
    returned sum only keeps the compiler from removing these reads as dead code. Then a few channels are counted side by
    side, as their counts stay in the first-level cache, and one count seldom grows twice in a row. Unsigned indices
    spare the check for negative ones.
    """
    low, last = np.int32(lowest), np.int32(counts.shape[1] - 1)
    n_frames, n_channels = traces.shape
    touched = 0
    for start in range(0, n_frames, FRAMES_AT_A_TIME):
        end = min(start + FRAMES_AT_A_TIME, n_frames)
        for frame in range(start, end):
            for channel in range(0, n_channels, LINE_OF_INT16):
                touched += traces[frame, channel]
        for first in range(0, n_channels, CHANNELS_SIDE_BY_SIDE):
            own = counts[first : first + CHANNELS_SIDE_BY_SIDE]
            for frame in range(start, end):
                row = traces[frame, first : first + CHANNELS_SIDE_BY_SIDE]
                for channel in range(row.size):
                    value = min(max(np.int32(row[channel]) - low, np.int32(0)), last)
                    own[channel, np.uint64(value)] += np.int32(1)
    return touched


@compiled
def _kth(counts: NDArray[np.int32], k: int) -> int:
    """Return the index of the value with exactly `k` counted values before it."""
    reached = 0
    for value in range(counts.size):
        reached += counts[value]
        if reached > k:
            return value
    return -1


@compiled
def _median_and_mad(counts: NDArray[np.int32]) -> tuple[float, float]:
    """Return median and median absolute deviation of values, at least one, of which ``counts[i]`` are i."""
    total = counts.sum()
    twice_median = _kth(counts, (total - 1) // 2) + _kth(counts, total // 2)
    # The distance from the median grows in half counts, as the median may lie between two counts.
    reached, nearer, twice = 0, -1, twice_median % 2
    while True:
        low, high = (twice_median - twice) // 2, (twice_median + twice) // 2
        if low >= 0:
            reached += counts[low]
        if low < high < counts.size:
            reached += counts[high]
        if nearer < 0 and reached > (total - 1) // 2:
            nearer = twice
        if reached > total // 2:
            return twice_median / 2, (nearer + twice) / 4
        twice += 2


@compiled
def medians_and_mads(tally: NDArray[np.int32], medians: NDArray[np.float64], mads: NDArray[np.float64]) -> None:
    """Write median and MAD of each channel c, from its counts ``tally[c]``."""
    for channel in range(tally.shape[0]):
        medians[channel], mads[channel] = _median_and_mad(tally[channel])
