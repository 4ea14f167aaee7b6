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
def place_spike(waveform: FloatArray, scale: np.float32, shift: np.float32, placed: FloatArray) -> None:
    """Write a waveform of one channel, scaled, and shifted within a frame, into `placed`."""
    n = len(waveform)
    here, beside = scale * (np.float32(1) - abs(shift)), scale * abs(shift)
    for t in range(n):
        placed[t] = here * waveform[t]
    if shift >= 0:
        placed[0] += beside * waveform[0]
        for t in range(1, n):
            placed[t] += beside * waveform[t - 1]
    else:
        placed[n - 1] += beside * waveform[n - 1]
        for t in range(n - 1):
            placed[t] += beside * waveform[t + 1]


@compiled
def subtract_spikes(traces: FloatArray, spikes: NDArray[np.void], templates: Templates) -> None:
    """Take spikes, whose `frame` is a row, out of `traces`, in place; windows may hang over its ends."""
    n_frames = templates.waveforms.shape[2]
    placed = np.empty(n_frames, dtype=np.float32)
    for i in range(len(spikes)):
        spike = spikes[i]
        u, first = spike["template"], spike["frame"] - templates.n_before
        low, high = max(0, -first), min(n_frames, len(traces) - first)
        if low >= high:
            continue
        rows = traces[first + low : first + high]
        for k in range(templates.n_channels[u]):
            place_spike(templates.waveforms[u, k], spike["scale"], spike["shift"], placed)
            column, part = rows[:, templates.channels[u, k]], placed[low:high]
            for t in range(len(part)):
                column[t] -= part[t]


@compiled
def subtract_from_windows(
    windows: FloatArray, starts: IntArray, channels: IntArray, spikes: NDArray[np.void], templates: Templates,
    places: NDArray[np.int16],
) -> None:  # fmt: skip
    """Take spikes, in the order of frames, out of windows (windows, channels, frames) that begin at ascending `starts`.

    `channels` is (windows, channels), -1 for none; `places` (templates, channels) is where a template has a channel.
    """
    n_windows, n_channels, n_frames = windows.shape
    length, n_before = templates.waveforms.shape[2], templates.n_before
    placed = np.empty(length, dtype=np.float32)
    earliest = 0
    for i in range(n_windows):
        while earliest < len(spikes) and spikes[earliest]["frame"] - n_before + length <= starts[i]:
            earliest += 1
        for j in range(earliest, len(spikes)):
            spike = spikes[j]
            first = spike["frame"] - n_before - starts[i]
            if first >= n_frames:
                break
            low, high = max(0, -first), min(length, n_frames - first)
            for k in range(n_channels):
                c = channels[i, k]
                at = places[spike["template"], c] if c >= 0 else -1
                if at >= 0:
                    place_spike(templates.waveforms[spike["template"], at], spike["scale"], spike["shift"], placed)
                    for t in range(low, high):
                        windows[i, k, first + t] -= placed[t]
