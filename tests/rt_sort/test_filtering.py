"""The band-pass of a stream: near that of a whole recording, whatever the chunks, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from spikelab.spike_sorting.filters.stream import FilterStream, weights
from spikelab.spike_sorting.rt_sort import StreamBandPass

FS = 20_000.0
N_CHANNELS = 70  # more than are filtered together


def raw_counts(n_frames: int = 6000, fs: float = FS) -> np.ndarray:
    """White noise of 40 counts on an offset, a drift and hum that are much larger."""
    rng = np.random.default_rng(0)
    t = np.arange(n_frames)[:, None] / fs
    slow = 3000 + 800 * np.sin(2 * np.pi * (7 * t + np.arange(N_CHANNELS) / 9)) + 300 * np.sin(2 * np.pi * 50 * t)
    return np.rint(rng.normal(0, 40, (n_frames, N_CHANNELS)) + slow).astype(np.int16)


def filtered(counts: np.ndarray, size: int, fs: float = FS, **settings: float) -> np.ndarray:
    stream = FilterStream(StreamBandPass(**settings), fs, counts.shape[1])
    parts = [stream.push(counts[start : start + size]) for start in range(0, len(counts), size)]
    return np.concatenate([*parts, stream.finish()])


def zero_phase(counts: np.ndarray, fs: float = FS) -> np.ndarray:
    sos = butter(5, (300, 6000), "bandpass", fs=fs, output="sos")
    return sosfiltfilt(sos, counts.astype(np.float64), axis=0)


@pytest.mark.parametrize("fs", [20_000.0, 19_753.77, 30_000.0])
@pytest.mark.parametrize("look_ahead_ms", [0.5, 2.0, 5.0])
def test_it_is_as_near_to_filtering_backwards_as_it_says(look_ahead_ms: float, fs: float) -> None:
    counts = raw_counts(fs=fs)
    found = filtered(counts, 500, fs, gain_to_uv=0.2, look_ahead_ms=look_ahead_ms)
    expected = 0.2 * zero_phase(counts, fs)
    assert found.shape == expected.shape
    inside = slice(1000, -1000)  # where neither has just begun
    off = np.std((found - expected)[inside]) / np.std(expected[inside])
    _, said = weights(300.0, 6000.0, fs, round(look_ahead_ms * fs / 1000))
    assert off == pytest.approx(said, rel=0.1)
    assert said < {0.5: 0.16, 2.0: 0.05, 5.0: 0.01}[look_ahead_ms]


@pytest.mark.parametrize("size", [1, 7, 100, 999])
def test_chunks_change_nothing(size: int) -> None:
    counts = raw_counts(1500)
    np.testing.assert_array_equal(filtered(counts, size), filtered(counts, 10_000))


def test_a_frame_comes_out_when_the_look_ahead_has_passed() -> None:
    stream = FilterStream(StreamBandPass(look_ahead_ms=1.0), FS, N_CHANNELS)
    assert stream.delay == 20
    assert [len(stream.push(raw_counts(15))) for _ in range(3)] == [0, 10, 15]
    assert len(stream.finish()) == 20


def test_reset_starts_anew() -> None:
    counts = raw_counts(800)
    stream = FilterStream(StreamBandPass(), FS, N_CHANNELS)
    first = stream.push(counts)
    stream.push(counts[::-1])
    stream.reset()
    np.testing.assert_array_equal(stream.push(counts), first)


def test_gains_of_single_channels_and_other_number_types() -> None:
    counts = raw_counts(400)
    gains = np.linspace(0.1, 0.3, N_CHANNELS)
    expected = filtered(counts, 400)
    np.testing.assert_allclose(filtered(counts, 400, gain_to_uv=gains), expected * gains, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(filtered(counts.astype(np.float64), 400), expected)
    np.testing.assert_array_equal(filtered((counts - counts.min()).astype(np.uint16), 400), filtered(counts, 400))


def test_a_constant_is_silence() -> None:
    assert not filtered(np.full((500, 3), 512, dtype=np.uint16), 50).any()


def test_silence_after_noise_fades_to_zero() -> None:
    counts = raw_counts(100)
    stream = FilterStream(StreamBandPass(), FS, N_CHANNELS)
    stream.push(counts)
    stream.push(np.repeat(counts[:1], 40_000, axis=0))
    assert not stream._state.any()  # no subnormal numbers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freq_min": 0.0}, "0 < freq_min < freq_max"),
        ({"freq_min": 500.0, "freq_max": 400.0}, "0 < freq_min < freq_max"),
        ({"freq_max": 10_000.0}, "below half the sampling rate"),
        ({"look_ahead_ms": -1.0}, "look_ahead_ms must be a time"),
        ({"look_ahead_ms": float("nan")}, "look_ahead_ms must be a time"),
        ({"gain_to_uv": 0.0}, "finite and not zero"),
        ({"gain_to_uv": [0.1, 0.2]}, r"one per channel \(70\), got \(2,\)"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FilterStream(StreamBandPass(**settings), FS, N_CHANNELS)


def test_a_look_ahead_is_in_milliseconds_and_two_by_default() -> None:
    assert StreamBandPass().look_ahead_frames(20_000.0) == 40
    assert StreamBandPass(look_ahead_ms=100.0).look_ahead_frames(20_000.0) == 2000
    assert StreamBandPass(look_ahead_ms=0.0).look_ahead_frames(20_000.0) == 0
    assert (StreamBandPass().freq_min, StreamBandPass().freq_max, StreamBandPass().gain_to_uv) == (300.0, 6000.0, 1.0)


def test_after_the_end_a_filter_is_a_fresh_one() -> None:
    counts = raw_counts(300)
    stream = FilterStream(StreamBandPass(), FS, N_CHANNELS)
    assert len(stream.push(counts[:0])) == 0
    first = np.concatenate([stream.push(counts), stream.finish()])
    assert len(first) == 300
    np.testing.assert_array_equal(np.concatenate([stream.push(counts), stream.finish()]), first)
    assert len(np.concatenate([stream.push(counts[:7]), stream.finish()])) == 7  # fewer than it looks ahead


def test_a_band_up_to_half_the_rate_and_a_gain_that_is_not_finite_are_refused() -> None:
    FilterStream(StreamBandPass(freq_max=9999.0), FS, 1)
    for band_pass, n_channels, message in (
        ({"freq_max": 10_000.0}, 1, "below half the sampling rate"),
        ({"gain_to_uv": [[0.1, 0.2]]}, 2, r"got \(1, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            FilterStream(StreamBandPass(**band_pass), FS, n_channels)
    for gain in ([0.1, np.nan], [0.1, np.inf], [0.1, 0.0]):
        with pytest.raises(ValueError, match="finite and not zero"):
            StreamBandPass(gain_to_uv=gain)
    with pytest.raises(ValueError, match="look_ahead_ms must be a time"):
        StreamBandPass(look_ahead_ms=float("inf"))
