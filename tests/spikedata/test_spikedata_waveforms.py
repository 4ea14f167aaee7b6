"""Waveform metrics from raw data."""

from __future__ import annotations

import numpy as np
import pytest

from spikelab import SpikeData
from spikelab.spike_sorting._exceptions import EmptyWaveformMetricsError
from spikelab.spike_sorting.waveforms.windows import Window
from spikelab.spikedata import _waveform_metrics as wm
from spikelab.spikedata._windows import noise_segments

FS = 20.0  # kHz


def recording(shapes, n_samples=60_000, n_spikes=40, seed=0, noise=2.0, jitter=0.1):
    """Traces with one unit per shape (samples, channels), peak at sample 10; returns them as SpikeData."""
    rng = np.random.default_rng(seed)
    n_channels = shapes[0].shape[1]
    traces = rng.normal(0, noise, (n_channels, n_samples))
    trains = []
    slots = rng.permutation(np.arange(1, n_samples // 200 - 1))[: n_spikes * len(shapes)]  # no two spikes overlap
    for shape, own in zip(shapes, np.split(slots, len(shapes)), strict=True):
        frames = np.sort(own) * 200 + rng.integers(0, 50)
        for frame in frames:
            traces[:, frame - 10 : frame - 10 + len(shape)] += (shape * rng.normal(1, jitter)).T
        trains.append(frames / FS)
    return SpikeData(trains, length=n_samples / FS, raw_data=traces.astype(np.float32), raw_time=FS)


def bump(channel, height, n_channels=3):
    shape = np.zeros((30, n_channels))
    shape[:, channel] = height * np.exp(-0.5 * ((np.arange(30) - 10) / 2) ** 2)
    return shape


def brute(sd, unit, before, after, channel):
    traces = sd.raw_data.astype(float)
    frames = np.rint(sd.train[unit] * FS).astype(int)
    windows = np.stack([traces[channel, f - before : f + after + 1] for f in frames])
    return windows.mean(axis=0), windows.std(axis=0)


def test_against_the_definition():
    sd = recording([bump(1, -80), bump(2, 60)])
    with_metrics, metrics = sd.compute_waveform_metrics()
    for unit, (channel, positive) in enumerate([(1, False), (2, True)]):
        values = with_metrics.neuron_attributes[unit]
        mean, std = brute(sd, unit, 20, 40, channel)
        peak = np.argmax(np.abs(mean))
        noise = np.median(np.abs(sd.raw_data[channel] - np.median(sd.raw_data[channel]))) / 0.6745
        assert values["channel"] == channel
        assert values["has_pos_peak"] is positive
        assert values["template_peak_ind"] == 20
        assert values["template"].shape == (61, 3)
        assert values["template"] is values["template_full"]
        assert values["peak_inds"][channel] == peak
        np.testing.assert_allclose(values["template"][:, channel], mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(values["amplitude"], np.abs(mean).max())
        np.testing.assert_allclose(metrics["snr"][unit], np.abs(mean).max() / noise, rtol=1e-6)
        np.testing.assert_allclose(metrics["std_norm"][unit], std[peak] / np.abs(mean).max())
        assert values["snr"] == metrics["snr"][unit]
    assert with_metrics is sd


def test_std_over_a_window_around_the_peak():
    sd = recording([bump(0, -50)])
    _, metrics = sd.compute_waveform_metrics(at_peak=False, window_ms_before=0.25, window_ms_after=0.5)
    mean, std = brute(sd, 0, 20, 40, 0)
    np.testing.assert_allclose(metrics["std_norm"], std[20 - 5 : 20 + 10 + 1].mean() / np.abs(mean).max())


def test_criteria_compute_what_is_missing():
    sd = recording([bump(1, -80), bump(2, -4)], jitter=0)
    kept, result = sd.curate_by_snr(min_snr=5)
    np.testing.assert_array_equal(result["passed"], [True, False])
    assert kept.neuron_attributes is sd.neuron_attributes is None  # measured, not stored
    _, with_window = sd.curate_by_std_norm(at_peak=False, window_ms_before=0, window_ms_after=0)
    _, at_peak = sd.curate_by_std_norm()
    np.testing.assert_allclose(with_window["metric"][0], at_peak["metric"][0])
    _, wide = sd.curate_by_snr(ms_before=0.05, ms_after=0.05)
    assert wide["metric"][0] == pytest.approx(result["metric"][0])


def test_only_windows_that_fit_are_averaged():
    traces = np.zeros((1, 1000), dtype=np.float32)
    traces[0, [5, 300, 500, 700, 995]] = [-1000, -10, -1000, -20, -1000]
    metadata = {"rec_chunks_ms": [(0, 505 / FS), (505 / FS, 50)]}  # a boundary five samples after 500
    sd = SpikeData([np.array([5, 300, 500, 700, 995]) / FS], length=50, metadata=metadata, raw_data=traces, raw_time=FS)
    values = sd.compute_waveform_metrics()[0].neuron_attributes[0]
    assert values["amplitude"] == 15
    assert values["snr"] == 0  # no noise
    assert values["std_norm"] == pytest.approx(5 / 15)


def test_the_first_and_the_last_window_that_fit():
    sd = recording([bump(0, -50)], noise=1)
    for frame, fits in [(19, False), (20, True), (59_959, True), (59_960, False)]:
        _, metrics = sd.replace(train=[[frame / FS]]).compute_waveform_metrics()
        assert np.isfinite(metrics["snr"][0]) == fits


@pytest.mark.parametrize("rate", [7.8125, 10.0, 12.5, 19.75377, 20.0, 25.0, 30.0])
def test_the_window_does_not_suffer_from_rounding(rate):
    sd = SpikeData([[510]], start_time=500, raw_data=np.ones((1, 1000)), raw_time=rate)
    (values,) = sd.compute_waveform_metrics()[0].neuron_attributes
    assert values["template"].shape == (int(rate) + int(2 * rate) + 1, 1)


@pytest.mark.parametrize("hz", [10_000.0, 19_753.76968503937, 20_000.0, 25_000.0, 30_000.0, 30_000.0375, 50_000.0])
@pytest.mark.parametrize("ms", [0.1, 1.1, 2.3, 4.1, 4.6, 8.2, 8.7, 9.7])
def test_the_window_is_that_of_the_pipeline(hz, ms):
    """4.1 ms are 122.999... frames at 30 kHz by the formula, and as many here as there."""
    window = Window.from_ms(ms, ms / 2, hz)
    for metadata in ({}, {"fs_Hz": hz}):
        sd = SpikeData([[40.0]], raw_data=np.ones((1, 8000)), raw_time=hz / 1000, length=8e6 / hz, metadata=metadata)
        (values,) = sd.compute_waveform_metrics(ms, ms / 2)[0].neuron_attributes
        assert values["template"].shape == (window.n_samples, 1)
        assert values["template_peak_ind"] == window.n_before == int(ms * hz / 1000)


def test_a_rate_of_other_data_is_not_taken_for_theirs():
    sd = SpikeData([[40.0]], raw_data=np.ones((1, 8000)), raw_time=20.0, length=400.0, metadata={"fs_Hz": 30_000.0})
    (values,) = sd.compute_waveform_metrics(1.0, 2.0)[0].neuron_attributes
    assert values["template_peak_ind"] == 20


@pytest.mark.parametrize("n_samples", [150_000, 260_000])
def test_noise_is_taken_from_the_same_stretches_as_in_the_pipeline(n_samples):
    traces = np.random.default_rng(0).normal(0, np.linspace(1, 5, n_samples), (2, n_samples)).astype(np.float32)
    frames = np.concatenate([np.arange(start, end) for start, end in noise_segments(n_samples, 0)])
    chosen = traces[:, frames].astype(np.float64)
    expected = np.median(np.abs(chosen - np.median(chosen, axis=1, keepdims=True)), axis=1) / 0.6745
    assert len(np.unique(frames)) == min(n_samples, 200_000)
    np.testing.assert_allclose(wm.noise_levels(traces), expected)


def test_a_unit_without_a_window_is_nan_and_fails():
    sd = recording([bump(1, -80)]).replace(
        train=[[1.0, 2999.9], []], neuron_attributes=[{"unit_id": 4}, {"unit_id": 5}]
    )
    sd = sd.replace(train=[[0.1, 2999.9], []])
    found, metrics = sd.compute_waveform_metrics()
    assert np.isnan(metrics["snr"]).all()
    assert found.neuron_attributes[0].keys() == {"unit_id", "snr", "std_norm"}
    assert sd.curate_by_snr(0)[0].N == 0
    assert sd.curate_by_std_norm(np.inf)[0].N == 0


def test_flat_traces():
    sd = SpikeData([[10, 20]], length=50, raw_data=np.zeros((2, 1000)), raw_time=FS)
    _, metrics = sd.compute_waveform_metrics()
    np.testing.assert_array_equal(metrics["snr"], [0])
    np.testing.assert_array_equal(metrics["std_norm"], [np.inf])


def test_identical_waveforms_have_no_deviation():
    sd = recording([bump(0, -1e4)], noise=0, jitter=0)
    assert sd.compute_waveform_metrics()[1]["std_norm"][0] == 0


def test_irregular_clock_and_start_time():
    sd = recording([bump(1, -80)])
    expected = sd.compute_waveform_metrics()[1]
    late = SpikeData(
        [sd.train[0] + 500.01], length=sd.length, start_time=500, raw_data=sd.raw_data, raw_time=FS
    )  # spikes between samples go to the nearest
    np.testing.assert_allclose(late.compute_waveform_metrics()[1]["snr"], expected["snr"])


def test_chunked_averaging_changes_nothing(monkeypatch):
    sd = recording([bump(1, -80)])
    whole = sd.compute_waveform_metrics()[1]
    monkeypatch.setattr(wm, "MAX_GATHERED", 1000)
    np.testing.assert_allclose(sd.compute_waveform_metrics()[1]["std_norm"], whole["std_norm"], rtol=1e-12)


def test_noise_of_long_traces_is_sampled_and_repeatable():
    traces = np.random.default_rng(1).normal(0, [[3.0], [7.0]], (2, 300_000)).astype(np.float32)
    levels = wm.noise_levels(traces)
    np.testing.assert_allclose(levels, [3, 7], rtol=0.02)
    np.testing.assert_array_equal(levels, wm.noise_levels(traces))
    assert (levels != wm.noise_levels(traces[:, :100_000])).all()


def test_without_raw_data():
    with pytest.raises(EmptyWaveformMetricsError, match=r"raw_data is empty. Attach raw_data \(channels, samples\)"):
        SpikeData([[1]]).compute_waveform_metrics()
