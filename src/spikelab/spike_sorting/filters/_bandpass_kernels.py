"""Inner loops of the band-pass of a recording, and of its conversion to counts.

The innermost loop runs over channels, which are neighbours in memory: the compiler turns it into vector instructions,
and the result of a channel does not depend on the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.filters.design import ORDER
from spikelab.system.compiling import compiled, contracted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Traces = NDArray[np.float32]

SECTIONS = ORDER  # five: the filter below is written out for five sections
# Channels that are filtered together: some thousand frames of them fit into the cache.
TILE = 64
# Spare rows on either side: the filter takes four rows at a time, and may run over the last one.
SPARE = 3
QUADS_PER_CHECK = 8
INT16_MIN, INT16_MAX = -32768, 32767


@compiled
def widen(stored: NDArray[Any], first_channel: int, traces: Traces) -> None:
    """Copy as many channels as `traces` has, from `first_channel` on, to single precision."""
    for frame in range(stored.shape[0]):
        row, target = stored[frame, first_channel : first_channel + traces.shape[1]], traces[frame]
        for channel in range(target.size):
            target[channel] = np.float32(row[channel])


@contracted
def move_in_time(traces: Traces, taps: Traces, moved: Traces) -> None:
    """Write to the rows of `moved` the sum of as many rows of `traces` as there are taps, weighted by them.

    All have `TILE` channels, and the number of taps is a multiple of four; row 0 is made of the first rows of `traces`.
    """
    flat, weights, target = traces.reshape(-1), taps.reshape(-1), moved.reshape(-1)
    for frame in range(moved.shape[0]):
        sums = target[frame * TILE : (frame + 1) * TILE]
        for channel in range(TILE):
            sums[channel] = np.float32(0.0)
        for tap in range(0, taps.shape[0], 4):
            rows = flat[(frame + tap) * TILE : (frame + tap + 4) * TILE]
            own = weights[tap * TILE : (tap + 4) * TILE]
            for channel in range(TILE):
                before = rows[channel] * own[channel] + rows[channel + TILE] * own[channel + TILE]
                after = rows[channel + 2 * TILE] * own[channel + 2 * TILE]
                sums[channel] += before + (after + rows[channel + 3 * TILE] * own[channel + 3 * TILE])


def _resonator(step: int) -> Callable[[Traces, int, int, FloatArray, FloatArray], None]:
    """Make a filter that runs forwards (`step` 1) or backwards (-1): a constant direction is faster."""

    @contracted
    def resonate(traces: Traces, start: int, n_rows: int, poles: FloatArray, scale: FloatArray) -> None:
        """Filter rows of `TILE` channels in place, by sections ``(1 - z^-2) / (1 + a z^-1 + b z^-2)``, times `scale`.

        In transposed direct form II, in double precision. The state at the start is that of a first value that has been
        there forever: the first section lets nothing of a constant pass. All sections run at once, so that the values
        between them stay in registers, and four rows at a time, so that the state is read and written less often.
        """
        a0, a1, a2, a3, a4 = poles[0, 0], poles[1, 0], poles[2, 0], poles[3, 0], poles[4, 0]
        b0, b1, b2, b3, b4 = poles[0, 1], poles[1, 1], poles[2, 1], poles[3, 1], poles[4, 1]
        flat = traces.reshape(-1)
        state = np.zeros(2 * SECTIONS * TILE)
        for channel in range(TILE):
            state[channel] = state[channel + TILE] = -traces[start, channel]
        for quad in range((n_rows + 3) // 4):
            low = start + 4 * quad * step - (3 if step < 0 else 0)
            rows = flat[low * TILE : (low + 4) * TILE]
            for channel in range(TILE):
                p0, q0 = state[channel], state[channel + TILE]
                p1, q1 = state[channel + 2 * TILE], state[channel + 3 * TILE]
                p2, q2 = state[channel + 4 * TILE], state[channel + 5 * TILE]
                p3, q3 = state[channel + 6 * TILE], state[channel + 7 * TILE]
                p4, q4 = state[channel + 8 * TILE], state[channel + 9 * TILE]
                for row in range(4):
                    at = channel + (row if step > 0 else 3 - row) * TILE
                    x = np.float64(rows[at])
                    y = x + p0
                    p0, q0 = q0 - a0 * y, -x - b0 * y
                    x = y + p1
                    p1, q1 = q1 - a1 * x, -y - b1 * x
                    y = x + p2
                    p2, q2 = q2 - a2 * y, -x - b2 * y
                    x = y + p3
                    p3, q3 = q3 - a3 * x, -y - b3 * x
                    y = x + p4
                    p4, q4 = q4 - a4 * y, -x - b4 * y
                    rows[at] = np.float32(y * scale[channel])
                state[channel], state[channel + TILE] = p0, q0
                state[channel + 2 * TILE], state[channel + 3 * TILE] = p1, q1
                state[channel + 4 * TILE], state[channel + 5 * TILE] = p2, q2
                state[channel + 6 * TILE], state[channel + 7 * TILE] = p3, q3
                state[channel + 8 * TILE], state[channel + 9 * TILE] = p4, q4
            # After silence the state fades into subnormal numbers, which some processors handle a hundred times slower.
            if quad % QUADS_PER_CHECK == 0:
                for k in range(2 * SECTIONS * TILE):
                    state[k] = 0.0 if abs(state[k]) < 1e-30 else state[k]

    return resonate


forwards, backwards = _resonator(1), _resonator(-1)


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
