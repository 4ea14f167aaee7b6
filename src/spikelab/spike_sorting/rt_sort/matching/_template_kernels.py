"""Inner loops of template building."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]


@compiled
def answer(waveform: Floats, pattern: Floats, temporal: Floats, rank: int) -> Floats:
    """Output of a filter to a template by lag, shape (2 * frames + 1,), lag 0 in the middle.

    Parameters
    ----------
    waveform : numpy.ndarray of float32, shape (channels, frames)
    pattern : numpy.ndarray of float32, shape (channels, ranks)
        The filter's on the same channels.
    temporal : numpy.ndarray of float32, shape (ranks, frames)
    rank : int
    """
    n_channels, n = waveform.shape
    reply = np.zeros(2 * n + 1, dtype=np.float32)
    course = np.empty(n, dtype=np.float32)
    for r in range(rank):
        course[:] = 0
        for c in range(n_channels):
            weight = pattern[c, r]
            if weight != 0:
                for t in range(n):
                    course[t] += weight * waveform[c, t]
        for lag in range(-n + 1, n):
            total = np.float32(0)
            for t in range(max(0, -lag), min(n, n - lag)):
                total += temporal[r, t] * course[t + lag]
            reply[lag + n] += total
    return reply


@compiled
def add_events(
    traces: Floats, frames: Ints, labels: Ints, n_before: int, sums: Floats, counts: NDArray[np.float64]
) -> None:
    """Add the windows around `frames` to the sums of their labels; a label below 0 is skipped.

    Parameters
    ----------
    traces : numpy.ndarray of float32, shape (frames, channels)
    frames, labels : numpy.ndarray of int64, shape (events,)
        Rows of `traces`; every window is inside.
    n_before : int
    sums : numpy.ndarray of float32, shape (labels, window, channels)
    counts : numpy.ndarray of float64, shape (labels,)
    """
    window, n_channels = sums.shape[1], sums.shape[2]
    for i in range(len(frames)):
        u = labels[i]
        if u < 0:
            continue
        counts[u] += 1
        for t in range(window):
            row = traces[frames[i] - n_before + t]
            for c in range(n_channels):
                sums[u, t, c] += row[c]


@compiled
def subtract_spikes(
    traces: Floats, frames: Ints, templates: Ints, scales: Floats, shifts: Floats, n_before: int, supports: Ints,
    n_supports: Ints, waveforms: Floats,
) -> None:  # fmt: skip
    """Take spikes out of `traces`, in place; windows may hang over its ends."""
    n_frames = waveforms.shape[2]
    for i in range(len(frames)):
        u, shift = templates[i], shifts[i]
        here, beside = scales[i] * (1 - abs(shift)), scales[i] * abs(shift)
        other = -1 if shift >= 0 else 1
        for t in range(n_frames):
            row = frames[i] - n_before + t
            if row < 0 or row >= len(traces):
                continue
            neighbour = min(max(t + other, 0), n_frames - 1)
            for k in range(n_supports[u]):
                traces[row, supports[u, k]] -= here * waveforms[u, k, t] + beside * waveforms[u, k, neighbour]


@compiled
def gather_windows(traces: Floats, frames: Ints, channels: Ints, n_before: int, windows: Floats) -> None:
    """Copy windows, shape (events, channels, frames); `channels` (events, channels), -1 leaves zeros."""
    n, n_channels, n_frames = windows.shape
    for i in range(n):
        for k in range(n_channels):
            c = channels[i, k]
            if c < 0:
                continue
            for t in range(n_frames):
                windows[i, k, t] = traces[frames[i] - n_before + t, c]
