"""The inner loops of detection, compiled: which frames are worth a look, and what the network is shown of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled, contracted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

TILE = 32  # channels that are looked at together; most tiles of a frame hold nothing


@compiled
def find_extremes(
    traces: Floats,
    lowest: Floats,
    highest: Floats,
    rows: tuple[int, int],
    radius: int,
    reach: int,
    frames: Ints,
    channels: Ints,
) -> int:
    """Find local minima below `lowest` and maxima above `highest` in `rows` first to last; return how many there are.

    A minimum is the smallest value within `radius` frames on either side, the earliest of equals. A maximum is the
    largest, and no minimum within `reach` frames is deeper than it is high. Those found are written to `frames` (row
    numbers) and `channels` in the order of rows, then channels, as long as there is room.
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
                trough = (value <= lowest[channel]) & (value < before[channel]) & (value <= after[channel])
                crest = (value >= highest[channel]) & (value > before[channel]) & (value >= after[channel])
                n_hits += trough | crest
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
def is_minimum(traces: Floats, frame: int, channel: int, radius: int) -> bool:
    """Whether a value is the smallest within `radius`; the earliest of equals."""
    value = traces[frame, channel]
    for distance in range(1, radius + 1):
        if traces[frame - distance, channel] <= value or traces[frame + distance, channel] < value:
            return False
    return True


@compiled
def is_lone_maximum(traces: Floats, frame: int, channel: int, radius: int, reach: int) -> bool:
    """Whether a value is the largest within `radius` and larger than any trough within `reach`."""
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
    traces: Floats,
    frames: Ints,
    channels: Ints,
    scale: Floats,
    offsets: Ints,
    taps: Floats,
    windows: Floats,
) -> None:
    """Write what surrounds each candidate: ``windows[sample, candidate]``, times the candidate's `scale`.

    Sample s is the sum of ``taps[s, k]`` times the value `k` frames after ``frame + offsets[s]``: one tap where the
    recording has the rate of the model, four where it is interpolated.
    """
    n_samples, n_taps = taps.shape
    for candidate in range(frames.size):
        frame, channel, factor = frames[candidate], channels[candidate], scale[candidate]
        for sample in range(n_samples):
            at = frame + offsets[sample]
            total = np.float32(0)
            for tap in range(n_taps):
                total += taps[sample, tap] * traces[at + tap, channel]
            windows[sample, candidate] = total * factor
