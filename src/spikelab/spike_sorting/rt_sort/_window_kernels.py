"""Inner loops that take pieces of traces: microvolts, or counts that a factor turns into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray

FRAMES = 128  # that are turned into rows at a time: of all channels they stay in the cache


@compiled
def gather_windows(
    traces: NDArray[Any], frames: IntArray, channels: IntArray, n_before: int, scale: np.float32, windows: FloatArray
) -> None:
    """Copy windows, (events, channels, frames), times a factor; `channels` (events, channels), -1 leaves zeros."""
    n, n_channels, n_frames = windows.shape
    for i in range(n):
        for k in range(n_channels):
            c = channels[i, k]
            if c < 0:
                continue
            for t in range(n_frames):
                windows[i, k, t] = np.float32(traces[frames[i] - n_before + t, c]) * scale


@compiled
def take_rows(traces: NDArray[Any], channels: IntArray, scale: np.float32, first: int, rows: FloatArray) -> None:
    """Copy some channels, times a factor, into `rows`, shape (channels, frames), from column `first` on."""
    for begin in range(0, len(traces), FRAMES):
        end = min(begin + FRAMES, len(traces))
        for k in range(len(channels)):
            channel = channels[k]
            for t in range(begin, end):
                rows[k, first + t] = np.float32(traces[t, channel]) * scale


@compiled
def take_channels(traces: NDArray[Any], channels: IntArray, scale: np.float32, some: FloatArray) -> None:
    """Copy some channels, times a factor, into `some`, shape (frames, channels)."""
    for t in range(len(traces)):
        row = traces[t]
        for k in range(len(channels)):
            some[t, k] = np.float32(row[channels[k]]) * scale
