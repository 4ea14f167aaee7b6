"""The inner loops of the recording stage, compiled.

Channels are neighbours in memory and independent of each other, so the innermost loop runs over channels: the compiler
turns it into vector instructions, and what comes out for a channel does not depend on the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._numba import compiled, contracted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Traces = NDArray[np.float32]

SECTIONS = 5
# Channels and frames that are filtered together: they fit into the first-level cache.
TILE, BLOCK = 64, 32
INT16_MIN, INT16_MAX = -32768, 32767


@compiled
def widen(counts: NDArray[Any], first_channel: int, traces: Traces) -> None:
    """Copy the counts of some channels, from `first_channel` on, to single precision."""
    for frame in range(traces.shape[0]):
        row, target = counts[frame, first_channel : first_channel + traces.shape[1]], traces[frame]
        for channel in range(target.size):
            target[channel] = np.float32(row[channel])


@contracted
def resonate(work: FloatArray, state: FloatArray, poles: FloatArray) -> None:
    """Pass a block through all sections ``(1 - z^-2) / (1 + a1 z^-1 + a2 z^-2)``, in transposed direct form II.

    Rows of `work` are the frames of `TILE` channels, rows of `state` two values per section. Four frames at a time, so
    that the state is read and written a quarter as often.
    """
    for section in range(SECTIONS):
        a1, a2 = poles[section, 0], poles[section, 1]
        first, second = 2 * section * TILE, (2 * section + 1) * TILE
        for quad in range(BLOCK // 4):
            row = 4 * quad * TILE
            for channel in range(TILE):
                at = row + channel
                s1, s2 = state[first + channel], state[second + channel]
                x = work[at]
                y = x + s1
                s1, s2 = s2 - a1 * y, -x - a2 * y
                work[at] = y
                x = work[at + TILE]
                y = x + s1
                s1, s2 = s2 - a1 * y, -x - a2 * y
                work[at + TILE] = y
                x = work[at + 2 * TILE]
                y = x + s1
                s1, s2 = s2 - a1 * y, -x - a2 * y
                work[at + 2 * TILE] = y
                x = work[at + 3 * TILE]
                y = x + s1
                s1, s2 = s2 - a1 * y, -x - a2 * y
                work[at + 3 * TILE] = y
                state[first + channel], state[second + channel] = s1, s2
    # After silence the state fades into subnormal numbers, which some processors handle a hundred times slower.
    for k in range(2 * SECTIONS * TILE):
        state[k] = 0.0 if abs(state[k]) < 1e-30 else state[k]


@contracted
def sweep(traces: Traces, scale: FloatArray, poles: FloatArray, backward: bool, n_rows: int) -> None:
    """Filter `n_rows` frames of at most `TILE` channels in place, from the first on or from the last one back.

    The state at the start is the one that the first value, had it been there forever, would have led to: no section
    passes a constant, so that is the state zero once this value is subtracted from all. The result is times `scale`.
    """
    n_frames, n_channels = traces.shape
    start, step = (n_frames - 1, -1) if backward else (0, 1)
    state = np.zeros(2 * SECTIONS * TILE, dtype=np.float64)
    work = np.zeros(BLOCK * TILE, dtype=np.float64)
    first = traces[start].astype(np.float64)
    for done in range(0, n_rows, BLOCK):
        n_used = min(BLOCK, n_rows - done)
        for row in range(n_used):
            source = traces[start + step * (done + row)]
            target = work[row * TILE : row * TILE + n_channels]
            for channel in range(n_channels):
                target[channel] = (source[channel] - first[channel]) * scale[channel]
        resonate(work, state, poles)
        for row in range(n_used):
            result = work[row * TILE : row * TILE + n_channels]
            kept = traces[start + step * (done + row)]
            for channel in range(n_channels):
                kept[channel] = result[channel]


@compiled
def to_counts(
    traces: Traces,
    bits: NDArray[np.int32],
    scale: np.float32,
    counts: NDArray[np.int16],
    first_channel: int,
    largest: NDArray[np.int32],
) -> None:
    """Write traces times `scale` to `counts`, rounded and clipped, from `first_channel` on.

    `bits` are the traces as they are stored, and `largest` becomes the largest of each channel without its sign: such
    bits sort as the numbers that they stand for, infinity above them, and NaN above infinity.
    """
    low, high = np.float32(INT16_MIN), np.float32(INT16_MAX)
    for frame in range(traces.shape[0]):
        row, row_bits = traces[frame], bits[frame]
        target = counts[frame, first_channel : first_channel + row.size]
        for channel in range(row.size):
            target[channel] = np.int16(min(max(np.rint(row[channel] * scale), low), high))
        for channel in range(row.size):
            size = row_bits[channel] & np.int32(0x7FFFFFFF)
            largest[channel] = max(largest[channel], size)
