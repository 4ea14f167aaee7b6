"""Inner loops of template building."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.matching.templates import Templates


@compiled
def filter_output(waveform: FloatArray, pattern: FloatArray, temporal: FloatArray, rank: int) -> FloatArray:
    """Convolve a filter with a template: output by lag, shape (2 * frames + 1,), lag 0 in the middle.

    `waveform` is (channels, frames), `pattern` (channels, ranks) on the same channels, `temporal` (ranks, frames).
    """
    n_channels, n = waveform.shape
    output = np.zeros(2 * n + 1, dtype=np.float32)
    component = np.empty(n, dtype=np.float32)
    for r in range(rank):
        component[:] = 0
        for c in range(n_channels):
            weight = pattern[c, r]
            if weight != 0:
                for t in range(n):
                    component[t] += weight * waveform[c, t]
        for lag in range(-n + 1, n):
            total = np.float32(0)
            for t in range(max(0, -lag), min(n, n - lag)):
                total += temporal[r, t] * component[t + lag]
            output[lag + n] += total
    return output


@compiled
def add_events(
    traces: FloatArray, frames: IntArray, labels: IntArray, n_before: int, sums: FloatArray, counts: NDArray[np.float64]
) -> None:
    """Add the windows around `frames`, rows of `traces`, to the sums of their labels; a label below 0 is skipped.

    `sums` is (labels, window, channels). Every window must lie inside.
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
def subtract_spikes(traces: FloatArray, spikes: NDArray[np.void], templates: Templates) -> None:
    """Take spikes, whose `frame` is a row, out of `traces`, in place; windows may hang over its ends."""
    n_frames = templates.waveforms.shape[2]
    for i in range(len(spikes)):
        u, scale, shift = spikes[i]["template"], spikes[i]["scale"], spikes[i]["shift"]
        here, beside = scale * (1 - abs(shift)), scale * abs(shift)
        other = -1 if shift >= 0 else 1
        first = spikes[i]["frame"] - templates.n_before
        for t in range(max(0, -first), min(n_frames, len(traces) - first)):
            neighbour = min(max(t + other, 0), n_frames - 1)
            for k in range(templates.n_channels[u]):
                own = templates.waveforms[u, k]
                traces[first + t, templates.channels[u, k]] -= here * own[t] + beside * own[neighbour]


@compiled
def gather_windows(
    traces: FloatArray, frames: IntArray, channels: IntArray, n_before: int, windows: FloatArray
) -> None:
    """Copy windows, shape (events, channels, frames); `channels` (events, channels), -1 leaves zeros."""
    n, n_channels, n_frames = windows.shape
    for i in range(n):
        for k in range(n_channels):
            c = channels[i, k]
            if c < 0:
                continue
            for t in range(n_frames):
                windows[i, k, t] = traces[frames[i] - n_before + t, c]
