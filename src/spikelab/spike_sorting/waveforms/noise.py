"""Noise of each channel: median absolute deviation over random segments of the recording."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data import BinaryRecording, Epoch, FloatArray, IntArray, TraceSource
from spikelab.spike_sorting.data.dead_time import live_frames, of_live_time
from spikelab.spike_sorting.data.epochs import measured_epochs
from spikelab.spike_sorting.data.traces import dead_time_in, read_raw, scale_uv
from spikelab.spike_sorting.waveforms._kernels import count_values, medians_and_mads
from spikelab.spike_sorting.waveforms.chunks import UnitPool
from spikelab.spikedata._windows import MAD_TO_STD, noise_segments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NEAR = 1024  # nearly all counts of a filtered recording are closer to 0: 102 uV at 0.1 uV per count
N_VALUES = 2**16
TALLY_BYTES = 64 * 2**20  # of all threads together
CHANNELS_AT_A_TIME = 128  # of sources other than binaries


def noise_levels(source: TraceSource, seed: int, epoch: Epoch | None = None, *, n_jobs: int = 1) -> FloatArray:
    """Measure the noise of each channel: MAD about the median / 0.6745, in microvolts, shape (channels,).

    Measured on 20 seeded segments of 10 000 frames that do not overlap, or on the whole recording where that is no
    longer; with `epoch`, within that epoch. Exact: the counts of a binary are tallied, not approximated. `n_jobs`
    threads share the segments.
    """
    start, n_samples = (0, source.n_samples) if epoch is None else (epoch.start_frame, epoch.n_frames)
    segments = live_segments(dead_time_in(source), start, start + n_samples, seed)
    noise = np.zeros(source.n_channels, dtype=np.float32)
    if not segments:
        return noise
    mads = _mads_of_counts if isinstance(source, BinaryRecording) else _mads_of_values
    noise[:] = mads(source, segments, n_jobs) * abs(scale_uv(source)) / MAD_TO_STD
    return noise


def live_segments(dead: IntArray, start: int, end: int, seed: int) -> list[tuple[int, int]]:
    """Choose the segments of frames [start, end) that noise is measured on; dead time is left out of them."""
    segments = noise_segments(live_frames(dead, start, end), seed)
    return [piece for pieces in of_live_time(dead, segments, start, end) for piece in pieces]


def epoch_noise_levels(source: TraceSource, seed: int, *, n_jobs: int = 1) -> FloatArray | None:
    """:func:`noise_levels` of each epoch, shape (epochs, channels); None where none is measured."""
    if not measured_epochs(len(source.epochs)):
        return None
    return np.stack([noise_levels(source, seed, epoch, n_jobs=n_jobs) for epoch in source.epochs])


def tally_bytes(n_channels: int) -> int:
    """Return the bytes that the tallies of :func:`noise_levels` take at most."""
    few, every = (n_channels * n_values * np.dtype(np.int32).itemsize for n_values in (2 * NEAR, N_VALUES))
    return max(few, min(TALLY_BYTES, every))


def _mads_of_values(source: TraceSource, segments: Sequence[tuple[int, int]], n_jobs: int) -> NDArray[np.float64]:
    mads = np.empty(source.n_channels)
    at_a_time = max(1, CHANNELS_AT_A_TIME // n_jobs)

    def measure(part: slice) -> None:
        for first in range(part.start, part.stop, at_a_time):
            channels = slice(first, min(first + at_a_time, part.stop))
            parts = [read_raw(source, start, end)[:, channels].T for start, end in segments]
            values = np.concatenate(parts, axis=1)
            values -= np.median(values, axis=1, keepdims=True)
            mads[channels] = np.median(np.abs(values, out=values), axis=1)

    with UnitPool(n_jobs) as pool:
        pool.run(source.n_channels, measure)
    return mads


def _mads_of_counts(source: TraceSource, segments: Sequence[tuple[int, int]], n_jobs: int) -> NDArray[np.float64]:
    """Tally the values near zero in one pass, then all values of the channels whose median or MAD lies beyond."""
    medians, mads = _tallied(source, segments, n_jobs, slice(None), 2 * NEAR)
    far = np.flatnonzero((medians - mads < 1) | (medians + mads > 2 * NEAR - 2))  # the end bins count values beyond
    at_a_time = TALLY_BYTES // (N_VALUES * np.dtype(np.int32).itemsize)
    for first in range(0, len(far), at_a_time):
        channels = far[first : first + at_a_time]
        _, mads[channels] = _tallied(source, segments, n_jobs, channels, N_VALUES)
    return mads


def _tallied(
    source: TraceSource, segments: Sequence[tuple[int, int]], n_jobs: int, channels: slice | IntArray, n_values: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return medians and MADs of some channels from tallies of the `n_values` counts about zero."""
    shape = (np.arange(source.n_channels)[channels].size, n_values)
    tallies = []

    def count(part: slice) -> None:
        tally = np.zeros(shape, dtype=np.int32)
        for start, end in segments[part]:
            count_values(read_raw(source, start, end)[:, channels], -(n_values // 2), tally)
        tallies.append(tally)

    affordable = TALLY_BYTES // (math.prod(shape) * np.dtype(np.int32).itemsize)
    with UnitPool(min(n_jobs, affordable)) as pool:
        pool.run(len(segments), count)
    for tally in tallies[1:]:
        tallies[0] += tally
    medians, mads = np.empty((2, shape[0]))
    medians_and_mads(tallies[0], medians, mads)
    return medians, mads
