from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.waveforms import noise as noise_module
from spikelab.spike_sorting.waveforms._kernels import count_values, medians_and_mads
from spikelab.spike_sorting.waveforms.metrics import peaks, polarity_and_channel, signal_to_noise, std_norms
from spikelab.spike_sorting.waveforms.noise import noise_levels
from spikelab.spike_sorting.waveforms.windows import Window
from spikelab.spikedata._windows import noise_segments


@pytest.mark.parametrize(
    ("high", "low", "positive", "channel"),
    [
        (19.9, -10.0, False, 2),
        (20.0, -10.0, True, 1),
        (50.0, -10.0, True, 1),
        (0.0, -10.0, False, 2),
        (5.0, 0.0, True, 1),
    ],
)
def test_polarity_follows_the_threshold(high, low, positive, channel):
    template = np.zeros((7, 4))
    template[3, 1], template[5, 2] = high, low
    assert polarity_and_channel(template, 2.0) == (positive, channel)


def test_an_infinite_threshold_makes_no_unit_positive():
    assert polarity_and_channel(np.eye(3, dtype=np.float32), np.inf) == (False, 1)


def test_peaks_are_the_earliest_largest_magnitude():
    template = np.array([[0, 1, 0], [-4, 1, 0], [4, -3, 0]], dtype=np.float32)
    amplitudes, samples = peaks(template)
    assert amplitudes.tolist() == [4, 3, 0]
    assert samples.tolist() == [1, 2, 0]


def test_std_norm_at_the_peak_and_infinite_without_amplitude():
    std = np.arange(12, dtype=np.float32).reshape(4, 3)
    amplitudes, samples = np.array([2, 4, 0], dtype=np.float32), np.array([1, 3, 0])
    ratios = std_norms(std, amplitudes, samples, None)
    assert ratios.tolist() == [1.5, 2.5, np.inf]


def test_std_norm_over_a_window_ends_where_the_template_does():
    std = np.arange(12, dtype=np.float32).reshape(4, 3)
    amplitudes, samples = np.array([1, 1, 1], dtype=np.float32), np.array([0, 1, 3])
    ratios = std_norms(std, amplitudes, samples, Window(1, 2))
    assert ratios.tolist() == [std[0:3, 0].mean(), std[0:4, 1].mean(), std[2:4, 2].mean()]


def test_snr_is_zero_without_noise():
    snr = signal_to_noise(np.array([10, 10, 0], dtype=np.float32), np.array([4, 0, 0], dtype=np.float32))
    assert snr.tolist() == [2.5, 0, 0]


def mad(values: np.ndarray) -> np.ndarray:
    return np.median(np.abs(values - np.median(values, axis=0)), axis=0) / 0.6745


@settings(max_examples=100)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=30))
def test_median_deviation_of_counted_values_is_exact(values):
    tally = np.zeros((1, 2**16), dtype=np.int32)
    count_values(np.array(values, dtype=np.int16)[:, np.newaxis], -32768, tally)
    medians, mads = np.empty((2, 1))
    medians_and_mads(tally, medians, mads)
    assert medians[0] - 32768 == np.median(values)
    assert mads[0] / 0.6745 == pytest.approx(mad(np.array(values)))


@pytest.mark.parametrize("scale", [300, 1024, 1500, 20_000])
def test_noise_is_exact_where_values_lie_beyond_those_that_are_told_apart_first(make_binary, scale):
    rng = np.random.default_rng(2)
    values = np.column_stack([rng.integers(-scale, scale, 5_001), rng.integers(0, scale, 5_001), np.full(5_001, scale)])
    np.testing.assert_allclose(noise_levels(make_binary(values.astype(np.int16)), 1), mad(values * 0.1), rtol=1e-6)


def test_noise_is_the_same_for_any_number_of_threads_and_little_memory(make_binary, monkeypatch):
    counts = np.random.default_rng(6).normal(0, [3, 80, 4000, 9000], (65_000, 4)).astype(np.int16)
    alone = noise_levels(make_binary(counts), 1)
    np.testing.assert_array_equal(noise_levels(make_binary(counts), 1, n_jobs=3), alone)
    monkeypatch.setattr(noise_module, "TALLY_BYTES", 2**18)  # one channel of all values
    np.testing.assert_array_equal(noise_levels(make_binary(counts), 1, n_jobs=3), alone)


@pytest.mark.parametrize("n_samples", [1, 9_999, 30_001])
def test_noise_of_a_short_recording_is_measured_on_all_of_it(make_binary, make_array, n_samples):
    rng = np.random.default_rng(3)
    counts = np.round(rng.normal(7, [3, 80, 2000], (n_samples, 3))).astype(np.int16)
    np.testing.assert_allclose(noise_levels(make_binary(counts), 1), mad(counts * 0.1), rtol=1e-6)
    np.testing.assert_allclose(noise_levels(make_array(counts * 0.1), 1), mad(counts * 0.1), rtol=1e-4, atol=1e-5)


def test_noise_does_not_depend_on_how_many_channels_go_at_a_time(make_binary, make_array, monkeypatch):
    rng = np.random.default_rng(4)
    counts = rng.integers(-500, 500, (12_000, 5))
    sources = make_binary(counts), make_array(counts * 0.1)
    together = [noise_levels(source, 1) for source in sources]
    monkeypatch.setattr(noise_module, "CHANNELS_AT_A_TIME", 2)
    for source, expected in zip(sources, together, strict=True):
        np.testing.assert_array_equal(noise_levels(source, 1), expected)


def test_a_dead_channel_has_no_noise(make_binary):
    counts = np.random.default_rng(0).integers(-50, 50, (5_000, 2))
    counts[:, 1] = 12
    noise = noise_levels(make_binary(counts), 1)
    assert noise[0] > 0
    assert noise[1] == 0


@settings(max_examples=50)
@given(st.integers(200_001, 10_000_000), st.integers(0, 2**63))
def test_noise_of_a_long_recording_is_measured_on_twenty_separate_stretches(n_samples, seed):
    stretches = noise_segments(n_samples, seed)
    assert len(stretches) == 20
    assert all(end - start == 10_000 for start, end in stretches)
    edges = np.array(stretches).ravel()
    assert edges[0] >= 0
    assert edges[-1] <= n_samples
    assert np.all(np.diff(edges) >= 0)
    assert stretches == noise_segments(n_samples, seed)


def test_noise_depends_on_the_seed(make_binary):
    counts = np.random.default_rng(0).normal(0, 300, (260_000, 2)) * np.linspace(1, 5, 260_000)[:, None]
    recording = make_binary(counts)
    assert noise_levels(recording, 1).tolist() == noise_levels(recording, 1).tolist()
    assert noise_levels(recording, 1).tolist() != noise_levels(recording, 2).tolist()
