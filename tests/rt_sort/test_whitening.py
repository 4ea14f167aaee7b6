"""The noise: how large, how shared, and how it goes on in time."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting.failures.classifier import classify_rt_sort_failure
from spikelab.spike_sorting.rt_sort import detect_sequences
from spikelab.spike_sorting.rt_sort.matching import templates
from spikelab.spike_sorting.rt_sort.parameters import resolve
from spikelab.spike_sorting.rt_sort.traces import Traces
from spikelab.spike_sorting.rt_sort.whitening import (
    RIDGE,
    Noise,
    autocorrelation_of,
    measure_noise,
    quiet_covariance,
    within_reach,
)


def recorded(rate_hz: float, with_spikes: bool = False) -> Traces:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(int(10 * rate_hz), 4))
    traces = sosfiltfilt(butter(3, [300, 6000], "bandpass", fs=rate_hz, output="sos"), noise, axis=0)
    traces *= 8 / traces.std(axis=0)
    if with_spikes:
        for frame in rng.choice(len(traces) - 20, 400):
            traces[frame : frame + 12] -= 300 * np.hanning(12)[:, None]
    recording = NumpyRecording([traces.astype(np.float32)], rate_hz)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(4), 200.0 * np.arange(4)]))
    return Traces.of(recording)


@pytest.mark.parametrize("rate_hz", [12_500.0, 20_000.0, 30_000.0])
@pytest.mark.parametrize("with_spikes", [False, True])
def test_the_gain_is_that_of_a_filter_in_noise(rate_hz: float, with_spikes: bool) -> None:
    clean = recorded(rate_hz)
    traces = clean.read(0, clean.n_frames) / 8
    noise = measure_noise(recorded(rate_hz, with_spikes))
    width = 2 * int(0.0004 * rate_hz) + 1
    shape = np.stack([np.hanning(width), -0.5 * np.hanning(width), 0 * np.hanning(width), np.zeros(width)])
    output = sum(np.convolve(traces[:, c], shape[c, ::-1], "valid") for c in range(4))
    assert noise.gain(shape.astype(np.float32)) == pytest.approx(output.var() / np.sum(shape**2), rel=0.1)


def test_noise_that_is_white_in_time_has_a_gain_of_one() -> None:
    rng = np.random.default_rng(1)
    recording = NumpyRecording([rng.normal(0, 8, (100_000, 4)).astype(np.float32)], 20_000.0)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(4), 20.0 * np.arange(4)]))
    noise = measure_noise(Traces.of(recording))
    assert noise.autocorrelation[0] == 1
    assert noise.gain(rng.normal(size=(4, 30)).astype(np.float32)) == pytest.approx(1, abs=0.05)


def noise_with(correlation: np.ndarray) -> Noise:
    n = len(correlation)
    return Noise(np.full(n, 8, np.float32), correlation.astype(np.float32), np.ones(1, np.float32))


def unlike_any_noise(rng: np.random.Generator, n: int) -> np.ndarray:
    """Correlations that fit each other in no way."""
    upper = np.triu(rng.choice([-1.0, -0.5, 0.0, 0.9, 1.0], (n, n)), 1)
    return upper + upper.T + np.eye(n)


def shared_by_all(rng: np.random.Generator, n: int) -> np.ndarray:
    share = rng.uniform(0, 1)
    return share + (1 - share) * np.eye(n)


def shared_with_distance(rng: np.random.Generator, locations: np.ndarray) -> np.ndarray:
    share, length = rng.uniform(0, 1), 10 ** rng.uniform(0, 4)
    apart = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    return share * np.exp(-apart / length) + (1 - share) * np.eye(len(locations))


@given(st.integers(0, 2**32 - 1), st.integers(1, 48), st.sampled_from(["any", "all", "distance"]), st.booleans())
def test_whitening_is_the_identity_whatever_the_noise(seed: int, n: int, kind: str, in_one_place: bool) -> None:
    rng = np.random.default_rng(seed)
    locations = np.zeros((n, 2)) if in_one_place else rng.uniform(0, rng.choice([20, 200, 4000]), (n, 2))
    made = {"any": unlike_any_noise, "all": shared_by_all}
    correlation = made[kind](rng, n) if kind in made else shared_with_distance(rng, locations)
    correlation = within_reach(correlation, locations)
    np.fill_diagonal(correlation, 1)
    noise = noise_with(correlation)
    channels = np.sort(rng.choice(n, rng.integers(1, n + 1), replace=False))
    root, covariance = noise.whitening(channels), noise.covariance(channels)
    assert np.isfinite(root).all()
    np.testing.assert_allclose(root @ covariance @ root.T, np.eye(len(channels)), atol=1e-3)
    waveform = rng.normal(size=(len(channels), 20)).astype(np.float32)
    whitened = noise.whiten(waveform, channels)
    np.testing.assert_allclose(whitened, root @ root @ waveform / 64, atol=1e-3 * np.abs(whitened).max())
    assert np.sum(whitened * waveform) > 0


def test_a_correlation_that_is_one_is_left_as_it_is() -> None:
    rng = np.random.default_rng(0)
    locations = rng.uniform(0, 300, (30, 2))
    apart = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    correlation = 0.5 * np.exp(-apart / 30) + 0.5 * np.eye(30)
    noise = noise_with(correlation)
    expected = noise.correlation.astype(np.float64) + RIDGE * np.eye(30)
    np.testing.assert_array_equal(noise.covariance(np.arange(30)), expected)


def noise_on(locations: np.ndarray, share: float) -> Traces:
    rng = np.random.default_rng(3)
    traces = 8 * (
        np.sqrt(1 - share) * rng.normal(size=(60_000, len(locations))) + np.sqrt(share) * rng.normal(size=(60_000, 1))
    )
    recording = NumpyRecording([traces.astype(np.float32)], 20_000.0)
    recording.set_dummy_probe_from_locations(locations)
    return Traces.of(recording)


COLUMN = np.column_stack([np.tile([0.0, 32.0], 10), np.repeat(20.0 * np.arange(10), 2)])


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_noise_that_all_channels_share_is_measured_as_such(share: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    noise = measure_noise(noise_on(COLUMN, share))
    np.testing.assert_allclose(noise.correlation[~np.eye(20, dtype=bool)], share, atol=0.04)
    assert f"mean correlation {share:.1f}" in caplog.text
    assert 'common_reference="median" removes most of it' in caplog.text


def test_noise_that_is_not_shared_is_none_of_distant_channels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    noise = measure_noise(noise_on(COLUMN, 0.0))
    apart = np.linalg.norm(COLUMN[:, None] - COLUMN[None], axis=2)
    assert (noise.correlation[apart >= 150] == 0).all()
    assert "share" not in caplog.text


def test_noise_that_is_not_finite_is_an_error_of_ours(tmp_path: Path) -> None:
    correlation = np.eye(3)
    correlation[0, 1] = correlation[1, 0] = np.nan
    with pytest.raises(RuntimeError, match=r"of the noise \(correlation\), 2 of 9 values are not finite") as raised:
        noise_with(correlation)
    assert "an error of spikelab and not of the recording; please report it" in str(raised.value)
    assert classify_rt_sort_failure(tmp_path, raised.value) is None  # above all not a biological one


@pytest.mark.parametrize("energy", [-1.0, np.nan])
def test_templates_of_no_energy_take_part_in_nothing(energy: float, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = noise_with(np.eye(2))
    monkeypatch.setattr(Noise, "whiten", lambda _noise, waveform, _channels: waveform * np.float32(energy))
    if np.isnan(energy):
        monkeypatch.setattr(templates, "low_rank", lambda whitened: (whitened[:, :1], whitened[:1]))
    clean = [(np.arange(2), np.ones((2, 51), dtype=np.float32))]
    with pytest.raises(RuntimeError, match=r"of the energy of templates, 1 of 1 values are not finite or below 0"):
        templates.bank_from_waveforms(clean, noise, 20_000.0, resolve("mea"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_recording_that_is_not_finite_is_refused(value: float) -> None:
    traces = np.zeros((20_000, 4), dtype=np.float32)
    traces[1234, 2] = value
    recording = NumpyRecording([traces], 20_000.0, channel_ids=list("abcd"))
    recording.set_dummy_probe_from_locations(COLUMN[:4])
    with pytest.raises(ValueError, match="not finite: the first at frame 1234 on channel c. Set them to 0"):
        detect_sequences(recording, num_processes=1)


def test_what_is_pickled_does_not_depend_on_use() -> None:
    noise = measure_noise(noise_on(COLUMN, 0.3))
    before = pickle.dumps(noise)
    root = noise.whitening(np.arange(5))
    assert pickle.dumps(noise) == before
    again = pickle.loads(before)
    for name in ("sigma", "correlation", "autocorrelation"):
        np.testing.assert_array_equal(getattr(again, name), getattr(noise, name))
    np.testing.assert_array_equal(again.whitening(np.arange(5)), root)
    assert pickle.dumps(again) == before


def test_correlation_fades_with_distance_to_nothing_at_150_um() -> None:
    """Of a few shared channels; what is further apart than 300 um says nothing about how far the noise reaches."""
    locations = np.array([[0.0, 0], [75, 0], [150, 0], [1000, 0]])
    correlation = np.full((4, 4), 0.06)
    np.fill_diagonal(correlation, 1)
    correlation[3, :3] = correlation[:3, 3] = 0.9
    found = within_reach(correlation, locations)
    assert found[0, 1] == pytest.approx(0.06 * 0.5**0.25)
    assert found[0, 2] == 0
    assert found[3].tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize(("share", "stays"), [(0.06, True), (0.04, False)])
def test_noise_of_which_fading_would_take_a_twentieth_is_left_as_it_is(share: float, stays: bool) -> None:
    """Channels 150 to 300 um apart: all of their correlation would be taken."""
    locations = np.array([[0.0, 0], [150, 0], [300, 0]])
    correlation = np.full((3, 3), share)
    np.fill_diagonal(correlation, 1)
    found = within_reach(correlation, locations)
    assert (found is correlation) == stays
    assert found[0, 2] == (share if stays else 0)


def test_channels_that_are_all_far_apart_share_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    correlation = np.array([[1, 0.5], [0.5, 1]])
    assert within_reach(correlation, np.array([[0.0, 0], [301, 0]])).tolist() == [[1, 0], [0, 1]]
    assert not caplog.text


@pytest.mark.parametrize(("share", "warned"), [(0.21, True), (0.19, False)])
def test_widely_shared_noise_is_from_75_um_on(share: float, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    locations = np.array([[0.0, 0], [75, 0], [151, 0]])
    correlation = np.array([[1, 0.9, share], [0.9, 1, share], [share, share, 1]])  # 75 um are not beyond it
    within_reach(correlation, locations)
    assert ("75 to 300 um apart share much of their noise" in caplog.text) == warned


def test_the_correlation_in_time_is_by_lag_and_that_of_silence_is_none() -> None:
    """2.5 ms at 2 kHz are 5 lags; alternating signs, and a spike beyond 4 sigma that counts for nothing."""
    values = np.tile([1.0, -1.0], 50)[:, None].astype(np.float32)
    one = np.ones(1, dtype=np.float32)
    assert autocorrelation_of([values], one, 2000.0) == pytest.approx([1, -1, 1, -1, 1, -1], abs=1e-5)
    assert autocorrelation_of([values, 2 * values[:50]], one, 2000.0) == pytest.approx([1, -1, 1, -1, 1, -1], abs=0.02)
    spiky = values.copy()
    spiky[50] = 4.1
    assert autocorrelation_of([spiky], one, 2000.0) == pytest.approx([1, -1, 1, -1, 1, -1], abs=1e-5)
    assert autocorrelation_of([0 * values], one, 2000.0).tolist() == [1, 0, 0, 0, 0, 0]


def test_the_correlation_in_time_is_the_mean_of_products_that_many_frames_apart() -> None:
    """At the largest lag there is one product."""
    values = np.random.default_rng(0).normal(size=(6, 1)).astype(np.float32)
    flat = values[:, 0].astype(np.float64)
    means = np.array([np.mean(flat[: 6 - lag] * flat[lag:]) for lag in range(6)])
    found = autocorrelation_of([values], np.ones(1, dtype=np.float32), 2000.0)
    np.testing.assert_allclose(found, means / means[0], atol=1e-5)


def test_products_are_means_over_samples_at_which_neither_is_in_a_spike() -> None:
    samples = [np.array([[2.0, 3], [8, 1], [2, -1]], np.float32), np.array([[4.0, 12]], np.float32)]
    # In units of sigma: 1 and 1, 4 (a spike) and 1/3, 1 and -1/3, 2 and 4 (a spike).
    found = quiet_covariance(samples, np.array([2, 3], np.float32))
    np.testing.assert_allclose(
        found, [[(1 + 1 + 4) / 3, (1 - 1 / 3) / 2], [(1 - 1 / 3) / 2, (1 + 2 / 9) / 3]], rtol=1e-6
    )


def test_the_gain_is_that_of_the_correlation_in_time_and_no_less_than_a_tenth() -> None:
    noise = Noise(np.ones(1, np.float32), np.eye(1, dtype=np.float32), np.array([1, 0.5, 0.25], np.float32))
    filter_ = np.array([[1, 2, -1, 0]], np.float32)
    assert noise.gain(filter_) == pytest.approx((6 + 2 * (0.5 * 0 + 0.25 * -1)) / 6)
    assert noise.gain(filter_[:, :1]) == 1
    assert noise.gain(0 * filter_) == 1
    alternating = Noise(np.ones(1, np.float32), np.eye(1, dtype=np.float32), np.array([1, 1], np.float32))
    assert alternating.gain(np.array([[1, -1]], np.float32)) == 0.1
    assert alternating.n_channels == 1
