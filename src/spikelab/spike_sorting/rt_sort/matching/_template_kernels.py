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
def filter_output(
    waveform: FloatArray, channels: IntArray, pattern: FloatArray, temporal: FloatArray, rank: int, output: FloatArray
) -> None:
    """Convolve a filter with a template into `output` by lag, shape (2 * frames + 1,), lag 0 in the middle.

    `waveform` is (template channels, frames), `pattern` (all channels, ranks), `temporal` (ranks, frames).
    """
    n_channels, n = waveform.shape
    component, total = np.empty(n, dtype=np.float32), np.empty(len(output), dtype=np.float32)
    for r in range(rank):
        component[:] = 0
        for c in range(n_channels):
            weight = pattern[channels[c], r]
            if weight != 0:
                for t in range(n):
                    component[t] += weight * waveform[c, t]
        total[:] = 0
        for t in range(n):
            weight = temporal[r, t]
            for s in range(n):
                total[s - t + n] += weight * component[s]
        for lag in range(len(output)):
            output[lag] += total[lag]


@compiled
def filter_outputs(
    waveform: FloatArray, channels: IntArray, patterns: FloatArray, temporal: FloatArray, ranks: IntArray,
    filters: IntArray,
) -> FloatArray:  # fmt: skip
    """Convolve some filters with a template, shape (filters, 2 * frames + 1); see :func:`filter_output`."""
    outputs = np.zeros((len(filters), 2 * waveform.shape[1] + 1), dtype=np.float32)
    for i in range(len(filters)):
        u = filters[i]
        filter_output(waveform, channels, patterns[u], temporal[u], ranks[u], outputs[i])
    return outputs


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
