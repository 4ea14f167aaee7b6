"""The inner loops of the recording stage, compiled.

Channels are neighbours in memory and independent of each other, so the innermost loop runs over channels: the compiler
turns it into vector instructions, and what comes out for a channel does not depend on the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    """Filter `n_rows` frames in place, from the first on or from the last one back.

    A block of frames at a time, so that memory is read in order, and in it `TILE` channels at a time. The state at the
    start is the one that the first value, had it been there forever, would have led to: no section passes a constant,
    so that is the state zero once this value is subtracted from all. The result is times `scale`.
    """
    n_frames, n_channels = traces.shape
    n_tiles = (n_channels + TILE - 1) // TILE
    start, step = (n_frames - 1, -1) if backward else (0, 1)
    state = np.zeros((n_tiles, 2 * SECTIONS * TILE), dtype=np.float64)
    work = np.zeros(BLOCK * TILE, dtype=np.float64)
    first = traces[start].astype(np.float64)
    for done in range(0, n_rows, BLOCK):
        n_used = min(BLOCK, n_rows - done)
        for tile in range(n_tiles):
            low = tile * TILE
            width = min(TILE, n_channels - low)
            for row in range(n_used):
                source = traces[start + step * (done + row), low : low + width]
                target = work[row * TILE : row * TILE + width]
                offset, factor = first[low : low + width], scale[low : low + width]
                for channel in range(width):
                    target[channel] = (source[channel] - offset[channel]) * factor[channel]
            resonate(work, state[tile], poles)
            for row in range(n_used):
                result = work[row * TILE : row * TILE + width]
                kept = traces[start + step * (done + row), low : low + width]
                for channel in range(width):
                    kept[channel] = result[channel]


@compiled
def to_counts(
    traces: Traces,
    scale: np.float32,
    counts: NDArray[np.int16],
    largest: Traces,
    poison: Traces,
    n_clipped: NDArray[np.int64],
    silent: NDArray[np.bool_],
) -> None:
    """Write traces times `scale` to `counts`, rounded and clipped, and keep the books of each channel.

    `largest` is the largest absolute value, `poison` is zero, or NaN where a value was not finite.
    """
    for frame in range(traces.shape[0]):
        for channel in range(traces.shape[1]):
            value = traces[frame, channel]
            size = abs(value)
            largest[channel] = size if size > largest[channel] else largest[channel]
            poison[channel] += np.float32(0) * value
            count = np.rint(value * scale)
            n_clipped[channel] += (count > INT16_MAX) | (count < INT16_MIN)
            count = min(max(count, np.float32(INT16_MIN)), np.float32(INT16_MAX))
            counts[frame, channel] = np.int16(count)
            silent[channel] &= count == 0
