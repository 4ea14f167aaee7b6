"""Inner loops of the filter of a stream; channels are side by side, and frames are taken one at a time.

The result of a frame is the same sum in the same order however the frames arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled, contracted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

TILE = 64  # channels that are filtered together: their state stays in the first-level cache
FADE_EVERY = 32  # frames


@contracted
def run_sections(
    traces: Floats, first: Floats, scale: Doubles, poles: Doubles, state: Doubles, n_before: int, filtered: Floats
) -> None:
    """Pass frames through sections ``(1 - z^-2) / (1 + a1 z^-1 + a2 z^-2)``, in transposed direct form II.

    `first` is the first frame of the stream: no section passes a constant, so less this frame the filter starts at
    rest. `state`, of shape (2 * sections, channels), is the memory of the sections, changed in place. `n_before` counts
    the frames of the stream before these.
    """
    n_frames, n_channels = traces.shape
    n_sections = poles.shape[0]
    row = np.empty(TILE, dtype=np.float64)
    for low in range(0, n_channels, TILE):
        width = min(TILE, n_channels - low)
        for frame in range(n_frames):
            for channel in range(width):
                row[channel] = (traces[frame, low + channel] - first[low + channel]) * scale[low + channel]
            for section in range(n_sections):
                a1, a2 = poles[section, 0], poles[section, 1]
                one, two = state[2 * section, low : low + width], state[2 * section + 1, low : low + width]
                for channel in range(width):
                    value = row[channel]
                    result = value + one[channel]
                    one[channel] = two[channel] - a1 * result
                    two[channel] = -value - a2 * result
                    row[channel] = result
            for channel in range(width):
                filtered[frame, low + channel] = row[channel]
            if (n_before + frame) % FADE_EVERY == 0:
                end_fading(state, low, low + width)


@compiled
def end_fading(state: Doubles, first: int, last: int) -> None:
    """Set the smallest numbers to zero: after silence they become subnormal, which some processors are slow at."""
    for memory in range(state.shape[0]):
        for channel in range(first, last):
            value = state[memory, channel]
            state[memory, channel] = 0.0 if abs(value) < 1e-30 else value


@contracted
def weigh_ahead(filtered: Floats, taps: Floats, results: Floats) -> None:
    """Sum ``taps[k]`` times the frame `k` later into each result; `filtered` has ``len(taps) - 1`` frames more."""
    n_frames, n_channels = results.shape
    fours = len(taps) // 4 * 4
    total = np.empty(TILE, dtype=np.float32)
    for low in range(0, n_channels, TILE):
        width = min(TILE, n_channels - low)
        for frame in range(n_frames):
            total[:] = 0
            for k in range(0, fours, 4):
                w0, w1, w2, w3 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
                r0, r1 = filtered[frame + k, low:], filtered[frame + k + 1, low:]
                r2, r3 = filtered[frame + k + 2, low:], filtered[frame + k + 3, low:]
                for channel in range(width):
                    total[channel] = (
                        total[channel] + w0 * r0[channel] + w1 * r1[channel] + w2 * r2[channel] + w3 * r3[channel]
                    )
            for k in range(fours, len(taps)):
                weight, row = taps[k], filtered[frame + k, low:]
                for channel in range(width):
                    total[channel] = total[channel] + weight * row[channel]
            results[frame, low : low + width] = total[:width]
