"""The noise of each channel: median absolute deviation over random stretches of the recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting._types import BinaryRecording, Epoch, FloatArray, TraceSource
from spikelab.spike_sorting.waveforms._kernels import count_values, mad_of_counts
from spikelab.spike_sorting.waveforms.chunks import UnitPool
from spikelab.spike_sorting.waveforms.traces import read_raw, scale_uv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

N_STRETCHES = 20
STRETCH_FRAMES = 10_000
MAD_TO_STD = 0.6745  # median |x| of a standard normal
CHANNELS_AT_A_TIME = 128  # by all threads: 33 MB of counts
N_VALUES = 2**16


def noise_levels(source: TraceSource, seed: int, epoch: Epoch | None = None, *, n_jobs: int = 1) -> FloatArray:
    """Noise per channel: MAD about the median / 0.6745, in microvolts, shape (channels,).

    Over 20 seeded stretches of 10 000 frames that do not overlap, or the whole recording where it is no longer than
    that; with `epoch`, the same within that epoch. Exact: the counts of a binary are tallied, not approximated.
    `n_jobs` threads share the channels.
    """
    start, n_samples = (0, source.n_samples) if epoch is None else (epoch.start_frame, epoch.n_frames)
    stretches = [(start + a, start + b) for a, b in noise_stretches(n_samples, seed)]
    noise = np.zeros(source.n_channels, dtype=np.float32)
    if not stretches:
        return noise
    mad = _mad_of_counts if isinstance(source, BinaryRecording) else _mad_of_values
    at_a_time = max(1, CHANNELS_AT_A_TIME // n_jobs)

    def measure(part: slice) -> None:
        for first in range(part.start, part.stop, at_a_time):
            channels = slice(first, min(first + at_a_time, part.stop))
            noise[channels] = mad(source, stretches, channels) * abs(scale_uv(source)) / MAD_TO_STD

    with UnitPool(n_jobs) as pool:
        pool.run(source.n_channels, measure)
    return noise


def epoch_noise_levels(source: TraceSource, seed: int, *, n_jobs: int = 1) -> FloatArray | None:
    """:func:`noise_levels` of each epoch, shape (epochs, channels); None with a single epoch."""
    if len(source.epochs) == 1:
        return None
    return np.stack([noise_levels(source, seed, epoch, n_jobs=n_jobs) for epoch in source.epochs])


def noise_stretches(n_samples: int, seed: int) -> list[tuple[int, int]]:
    """Half-open frame ranges, ascending, that do not overlap."""
    if n_samples <= N_STRETCHES * STRETCH_FRAMES:
        return [(a, min(a + STRETCH_FRAMES, n_samples)) for a in range(0, n_samples, STRETCH_FRAMES)]
    rng = np.random.default_rng(seed & 0xFFFF_FFFF_FFFF_FFFF)
    slots = np.sort(rng.choice(n_samples // STRETCH_FRAMES, N_STRETCHES, replace=False))
    starts = slots * STRETCH_FRAMES + rng.integers(0, n_samples % STRETCH_FRAMES + 1)
    return [(a, a + STRETCH_FRAMES) for a in starts.tolist()]


def _mad_of_values(source: TraceSource, stretches: Sequence[tuple[int, int]], channels: slice) -> NDArray[np.float64]:
    parts = [read_raw(source, start, end)[:, channels].T for start, end in stretches]
    values = np.concatenate(parts, axis=1)
    values -= np.median(values, axis=1, keepdims=True)
    return np.asarray(np.median(np.abs(values, out=values), axis=1), dtype=np.float64)


def _mad_of_counts(source: TraceSource, stretches: Sequence[tuple[int, int]], channels: slice) -> NDArray[np.float64]:
    tally = np.zeros((channels.stop - channels.start, N_VALUES), dtype=np.int32)
    for start, end in stretches:
        count_values(read_raw(source, start, end), channels.start, tally)
    return np.array([mad_of_counts(row) for row in tally])
