"""The inner loops of the waveforms on a few values, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.waveforms._kernels import (
    CHANNELS_SIDE_BY_SIDE,
    FRAMES_AT_A_TIME,
    LINE_OF_INT16,
    add_windows,
    align_spikes,
    count_values,
    mean_and_std,
    medians_and_mads,
)
from spikelab.spike_sorting.waveforms.chunks import Chunk


def test_spikes_are_aligned_to_the_earliest_extremum_of_their_channel() -> None:
    """Unit 0 is negative on channel 0, unit 1 positive on channel 1; the traces begin at frame 100."""
    traces = np.zeros((12, 2), dtype=np.int16)
    traces[[2, 5, 7, 9], 0] = [-9, -5, -5, -8]
    traces[[1, 4, 8], 1] = [3, 7, 7]
    low, high = np.array([103, 102, 109, 100, 105]), np.array([108, 109, 110, 109, 106])
    aligned = np.full(6, -1)
    first, last = np.array([0, 3]), np.array([3, 5])
    chunk = Chunk(traces, 100, first, last, unit=0, epoch=0)
    align_spikes(chunk, low, high, np.array([0, 1]), np.array([False, True]), aligned)
    assert aligned.tolist() == [105, 102, 109, 104, 105, -1]


@pytest.mark.parametrize("n_spikes", [1, 4, 7, 8])
@pytest.mark.parametrize("with_squares", [True, False])
def test_windows_are_added_spike_by_spike(n_spikes: int, with_squares: bool) -> None:
    rng = np.random.default_rng(n_spikes)
    traces = rng.integers(-50, 50, (60, 3)).astype(np.int16)
    frames = rng.permutation(np.arange(204, 250))[: n_spikes + 4]
    picked = rng.permutation(n_spikes + 4)
    first, last = np.array([0, n_spikes]), np.array([n_spikes, n_spikes + 3])
    sums = rng.normal(size=(2, 6, 3))
    squares = rng.normal(size=(2, 6, 3)) if with_squares else np.empty((0, 0, 0))
    before, before_squares = sums.copy(), squares.copy()
    add_windows(Chunk(traces, 200, first, last, unit=0, epoch=0), frames, picked, 2, sums, squares)
    for unit in (0, 1):
        own = frames[picked[first[unit] : last[unit]]]
        windows = np.stack([traces[frame - 202 : frame - 196].astype(float) for frame in own])
        np.testing.assert_allclose(sums[unit] - before[unit], windows.sum(axis=0), atol=1e-9)
        if with_squares:
            np.testing.assert_allclose(squares[unit] - before_squares[unit], (windows**2).sum(axis=0), atol=1e-9)


@pytest.mark.parametrize("scale", [0.195, -2.0])
def test_mean_and_population_deviation_come_from_the_sums(scale: float) -> None:
    windows = np.random.default_rng(0).integers(-9, 9, (5, 4, 2)).astype(float)
    mean, std = np.zeros((4, 2), dtype=np.float32), np.zeros((4, 2), dtype=np.float32)
    mean_and_std(windows.sum(axis=0), (windows**2).sum(axis=0), 5, scale, mean, std)
    np.testing.assert_allclose(mean, scale * windows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(std, abs(scale) * windows.std(axis=0), rtol=1e-5)


def test_equal_windows_have_no_deviation_whatever_is_rounded() -> None:
    mean, std = np.zeros((1, 1), dtype=np.float32), np.ones((1, 1), dtype=np.float32)
    mean_and_std(np.array([[3 * 0.1]]), np.array([[3 * 0.1**2 - 1e-12]]), 3, 1.0, mean, std)
    assert std[0, 0] == 0


@pytest.mark.parametrize("n_channels", [1, CHANNELS_SIDE_BY_SIDE + 1, LINE_OF_INT16 + 1])
def test_values_are_counted_and_those_beyond_at_the_ends(n_channels: int) -> None:
    n_frames = FRAMES_AT_A_TIME + 3
    traces = np.random.default_rng(0).integers(-6, 7, (n_frames if n_channels == 1 else 4, n_channels)).astype(np.int16)
    counts = np.zeros((n_channels, 8), dtype=np.int32)
    counts[:, 2] = 5
    count_values(traces, -4, counts)
    for channel in range(n_channels):
        expected = np.bincount(np.clip(traces[:, channel], -4, 3) + 4, minlength=8)
        expected[2] += 5
        assert counts[channel].tolist() == expected.tolist()


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), min_size=1, max_size=3))
@settings(max_examples=60)
def test_median_and_deviation_from_counts_are_those_of_the_values(channels: list[list[int]]) -> None:
    tally = np.stack([np.bincount(values, minlength=10) for values in channels]).astype(np.int32)
    medians, mads = np.zeros(len(channels)), np.zeros(len(channels))
    medians_and_mads(tally, medians, mads)
    for values, median, mad in zip(channels, medians, mads, strict=True):
        assert median == np.median(values)
        assert mad == np.median(np.abs(np.array(values) - np.median(values)))
