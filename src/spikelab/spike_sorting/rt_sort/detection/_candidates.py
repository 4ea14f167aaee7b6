"""Compiled loops of detection: find threshold candidates and gather their windows for the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.detection.network import LANES, run_layers
from spikelab.system.compiling import compiled, contracted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray


TILE = 32  # channels that are tested together; most tiles of a frame hold no candidate


@compiled
def find_extremes(
    traces: FloatArray, lowest: FloatArray, highest: FloatArray, rows: tuple[int, int], radius: int, reach: int,
    frames: IntArray, channels: IntArray,
) -> int:  # fmt: skip
    """Find local minima below `lowest` and maxima above `highest` in `rows` first to last; return their number.

    A minimum is the smallest value within `radius` frames on either side, the earliest of equals. A maximum is the
    largest, and no minimum within `reach` frames is deeper than it is high. Rows and channels are written to `frames`
    and `channels`, in this order, as long as there is room.
    """
    n_channels = traces.shape[1]
    n_found = 0
    for frame in range(rows[0], rows[1]):
        row, before, after = traces[frame], traces[frame - 1], traces[frame + 1]
        for start in range(0, n_channels, TILE):
            end = min(start + TILE, n_channels)
            n_hits = 0
            for channel in range(start, end):
                value = row[channel]
                negative = (value <= lowest[channel]) & (value < before[channel]) & (value <= after[channel])
                positive = (value >= highest[channel]) & (value > before[channel]) & (value >= after[channel])
                n_hits += negative | positive
            if n_hits == 0:
                continue
            for channel in range(start, end):
                value = row[channel]
                if value <= lowest[channel]:
                    found = is_minimum(traces, frame, channel, radius)
                elif value >= highest[channel]:
                    found = is_lone_maximum(traces, frame, channel, radius, reach)
                else:
                    continue
                if found:
                    if n_found < frames.size:
                        frames[n_found], channels[n_found] = frame, channel
                    n_found += 1
    return n_found


@compiled
def is_minimum(traces: FloatArray, frame: int, channel: int, radius: int) -> bool:
    """Test whether a value is the smallest within `radius`, the earliest of equals."""
    value = traces[frame, channel]
    for distance in range(1, radius + 1):
        if traces[frame - distance, channel] <= value or traces[frame + distance, channel] < value:
            return False
    return True


@compiled
def is_lone_maximum(traces: FloatArray, frame: int, channel: int, radius: int, reach: int) -> bool:
    """Test whether a value is the largest within `radius`, and larger than any negative peak within `reach`."""
    value = traces[frame, channel]
    for distance in range(1, radius + 1):
        if traces[frame - distance, channel] >= value or traces[frame + distance, channel] > value:
            return False
    for distance in range(1, reach + 1):
        if min(traces[frame - distance, channel], traces[frame + distance, channel]) < -value:
            return False
    return True


@contracted
def gather(
    traces: FloatArray, frames: IntArray, channels: IntArray, scale: FloatArray, offsets: IntArray, taps: FloatArray,
    windows: FloatArray,
) -> None:  # fmt: skip
    """Write ``windows[sample, candidate]``, times the candidate's `scale`; see `peaks.window_taps`."""
    n_samples, n_taps = taps.shape
    for candidate in range(frames.size):
        frame, channel, factor = frames[candidate], channels[candidate], scale[candidate]
        for sample in range(n_samples):
            at = frame + offsets[sample]
            total = np.float32(0)
            for tap in range(n_taps):
                total += taps[sample, tap] * traces[at + tap, channel]
            windows[sample, candidate] = total * factor


@compiled
def judge(
    traces: FloatArray, frames: IntArray, channels: IntArray, order: IntArray, scale: FloatArray, offsets: IntArray,
    taps: FloatArray, scratch: tuple[FloatArray, FloatArray], flat: FloatArray, plan: NDArray[np.int64],
    logits: FloatArray,
) -> None:  # fmt: skip
    """Write the logit of each candidate, `LANES` at a time in the given order; `scale` is that of the channels."""
    windows = scratch[0]
    for first in range(0, len(order), LANES):
        some = order[first : first + LANES]
        for sample in range(len(offsets)):
            for lane in range(len(some), LANES):
                windows[sample, lane] = 0
        gather(traces, frames[some], channels[some], scale[channels[some]], offsets, taps, windows)
        result = run_layers(windows, scratch[1], flat, plan)
        for lane in range(len(some)):
            logits[some[lane]] = result[0, lane]
