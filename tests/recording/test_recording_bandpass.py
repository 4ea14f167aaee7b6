"""The band-pass: that of scipy on the whole segment, in any chunks."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import spikeinterface as si
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt
from spikeinterface.preprocessing import bandpass_filter

from spikelab.spike_sorting.filters._bandpass_kernels import TILE
from spikelab.spike_sorting.filters.bandpass import MEMORY, BandPassRecording
from spikelab.spike_sorting.filters.design import ORDER, design, memory_frames
from spikelab.spike_sorting.recording import preprocess

FS = 20_000.0
# Of the standard deviation of what is filtered; the largest value is about five times as large.
CLOSE, CLOSE_AT_EDGES = 2e-6, 1e-5


def noise(n_frames: int, n_channels: int = 3, seed: int = 0) -> np.ndarray:
    """White noise on a slow drift that is much larger."""
    rng = np.random.default_rng(seed)
    drift = 300 * np.sin(np.arange(n_frames)[:, None] / 3000 + np.arange(n_channels))
    return (20 * rng.standard_normal((n_frames, n_channels)) + drift).astype(np.float32)


def reference(traces: np.ndarray, low: float, high: float, fs: float = FS) -> np.ndarray:
    sections = butter(5, [low, high], btype="bandpass", fs=fs, output="sos")
    return sosfiltfilt(sections, traces.astype(np.float64), axis=0)


def recording_of(traces, fs=FS):
    return si.NumpyRecording(traces if isinstance(traces, list) else [traces], fs)


def filtered(traces, low=300.0, high=6000.0, fs=FS):
    return BandPassRecording(recording_of(traces, fs), low, high)


def assert_close(found, expected, tolerance=CLOSE):
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= tolerance * expected.std()


@pytest.mark.parametrize(
    ("low", "high", "fs"),
    [
        (300, 6000, FS),
        (300, 6000, 30_000.0),
        (300, 9000, FS),
        (300, 4500, 10_000.0),
        (300, 3000, 19_531.25),
        (300, 9990, FS),
        (1000, 1200, FS),
        (9000, 9900, FS),
        (10, 3000, 30_000.0),
        (1, 6000, 30_000.0),
    ],
)
def test_whole_segment_is_that_of_scipy(low, high, fs):
    traces = noise(50_000)
    assert_close(filtered(traces, low, high, fs).get_traces(), reference(traces, low, high, fs))


@pytest.mark.parametrize("n_channels", [1, 2, TILE - 1, TILE, TILE + 1, 2 * TILE + 5])
def test_any_number_of_channels(n_channels):
    traces = noise(3000, n_channels)
    assert_close(filtered(traces).get_traces(), reference(traces, 300, 6000))


@pytest.mark.parametrize("n_frames", [34, 35, 100, 127, 500, 1001])
def test_shorter_than_the_margin(n_frames):
    traces = noise(n_frames)
    assert_close(filtered(traces).get_traces(), reference(traces, 300, 6000))


@pytest.mark.parametrize("n_frames", [0, 1, 2, 33])
def test_too_short_for_scipy(n_frames):
    traces = filtered(noise(n_frames)).get_traces()
    assert traces.shape == (n_frames, 3)
    assert np.isfinite(traces).all()


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", ">i2", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_number_type(dtype, order):
    counts = np.asarray((noise(2000) / 10 + 60).clip(0, 120).astype(dtype), order=order)
    assert_close(filtered(counts).get_traces(), reference(counts, 300, 6000))


def test_offsets_cost_no_digits():
    counts = np.random.default_rng(0).integers(32_500, 32_600, (20_000, 2)).astype(np.uint16)
    assert_close(filtered(counts).get_traces(), reference(counts, 300, 6000))


def test_read_only_traces_stay_as_they_are():
    traces = noise(2000)
    before = traces.copy()
    traces.flags.writeable = False
    filtered(traces).get_traces()
    np.testing.assert_array_equal(traces, before)


# In chunks


@cache
def _long() -> tuple[BandPassRecording, np.ndarray]:
    traces = noise(20_000, 2)
    return filtered(traces), reference(traces, 300, 6000)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 20_000), st.integers(0, 4000))
def test_chunks_are_parts_of_the_whole(start, length):
    recording, whole = _long()
    end = min(start + length, 20_000)
    chunk = recording.get_traces(0, start, end)
    assert chunk.shape == (end - start, 2)
    assert np.abs(chunk - whole[start:end]).max(initial=0) <= CLOSE_AT_EDGES * whole.std()


@pytest.mark.parametrize(("low", "high"), [(300, 9000), (500, 1000), (1000, 1200), (3000, 9000), (20, 3000)])
def test_edges_of_chunks(low, high):
    traces = noise(30_000, 2)
    recording, whole = filtered(traces, low, high), reference(traces, low, high)
    chunks = [recording.get_traces(0, start, start + 5000) for start in range(0, 30_000, 5000)]
    assert_close(np.concatenate(chunks), whole, CLOSE_AT_EDGES)


def test_margin_is_no_longer_than_it_must_be():
    _, poles = design(300, 6000, FS)
    assert 400 <= memory_frames(poles, MEMORY) <= 550


def test_same_bits_whichever_channels_are_asked_for():
    traces = noise(5000, TILE + 9)
    recording = filtered(traces)
    whole = recording.get_traces(0, 1000, 3000)
    for chosen in ([TILE + 3], [5, 1, TILE], list(range(10))):
        part = recording.get_traces(0, 1000, 3000, channel_ids=recording.channel_ids[chosen])
        np.testing.assert_array_equal(part, whole[:, chosen])
    np.testing.assert_array_equal(filtered(traces[:, 7:8]).get_traces(0, 1000, 3000), whole[:, 7:8])


def test_same_bits_in_threads():
    recording = filtered(noise(40_000, 5))
    starts = range(0, 40_000, 2000)
    alone = [recording.get_traces(0, start, start + 2000) for start in starts]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda start: recording.get_traces(0, start, start + 2000), starts))
    np.testing.assert_array_equal(alone, together)


# Beside SpikeInterface


def test_like_spikeinterface_with_the_same_chunks():
    """Its margin of five periods is what differs; near the ends of a recording there is none on either side."""
    parent = recording_of(noise(30_000))
    ours = BandPassRecording(parent, 300, 6000)
    theirs = bandpass_filter(parent, freq_min=300, freq_max=6000, dtype="float32")
    scale = theirs.get_traces().max()
    for start, end in ((0, 5000), (0, 100), (100, 400), (10_000, 15_000), (25_000, 30_000), (29_900, 30_000)):
        difference = ours.get_traces(0, start, end) - theirs.get_traces(0, start, end)
        assert np.abs(difference).max() <= 1e-4 * scale
    np.testing.assert_allclose(ours.get_traces(), theirs.get_traces(), atol=1e-6 * scale)


def test_segments_are_filtered_each_on_its_own():
    segments = [noise(3000, seed=1), noise(1500, seed=2)]
    recording = filtered(segments)
    for index, traces in enumerate(segments):
        assert_close(recording.get_traces(index), reference(traces, 300, 6000))


def test_description_is_a_recording_again(tmp_path):
    generated = si.generate_recording(num_channels=4, durations=[0.2], seed=0)
    parent = generated.save(folder=tmp_path / "parent", verbose=False, progress_bar=False)
    recording = BandPassRecording(parent, 250, 5000, [0.5, 1, 2, 3])
    recording.dump_to_json(tmp_path / "recording.json")
    for again in (si.load(recording.to_dict()), si.load(tmp_path / "recording.json")):
        assert isinstance(again, BandPassRecording)
        np.testing.assert_array_equal(again.get_traces(), recording.get_traces())
        np.testing.assert_array_equal(again.get_channel_locations(), parent.get_channel_locations())
        assert again.get_channel_gains().tolist() == [1, 1, 1, 1]
        assert again.get_annotation("is_filtered")


# What comes in


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("frame", [0, 1000, 2999])
def test_non_finite_values_stay_in_their_channel(value, frame):
    traces = noise(3000)
    expected = reference(traces, 300, 6000)
    traces[frame, 1] = value
    found = filtered(traces).get_traces()
    assert np.isnan(found[:, 1]).all()
    assert_close(found[:, [0, 2]], expected[:, [0, 2]])


def test_constants_become_zero():
    np.testing.assert_array_equal(filtered(np.full((5000, 2), 512, np.uint16)).get_traces(), 0)


def test_silence_fades_to_zero():
    """No subnormal numbers are left, which some processors are slow with."""
    traces = np.zeros((100_000, 1), np.float32)
    traces[0:2000] = noise(2000, 1)
    found = filtered(traces).get_traces()
    assert np.abs(found[:2000]).max() > 10
    np.testing.assert_array_equal(found[50_000:], 0)


def test_counts_are_filtered_in_microvolts():
    counts = recording_of(np.random.default_rng(0).integers(0, 1023, (5000, 3)).astype(np.uint16))
    counts.set_channel_gains([2.0, 4.0, -6.0])
    counts.set_channel_offsets([-1024.0, 0.0, 3.0])
    with pytest.warns(UserWarning, match="1 channels with a negative gain"):
        scaled = preprocess.to_microvolts(counts, None, None, "x")
    recording = preprocess.band_pass(scaled, 300, 6000, "x")
    assert_close(recording.get_traces(), reference(scaled.get_traces(), 300, 6000))
    np.testing.assert_array_equal(recording.get_traces(return_in_uV=True), recording.get_traces())
    assert recording.get_parent() is counts


def test_float_traces_are_filtered_as_they_are():
    parent = recording_of(noise(5000))
    recording = preprocess.band_pass(parent, 300, 6000, "x")
    assert_close(recording.get_traces(), reference(parent.get_traces(), 300, 6000))
    assert recording.get_parent() is parent


@pytest.mark.parametrize(
    ("freq_min", "freq_max", "rate"),
    [(300, 6000, 20_000), (300, 4500, 10_000), (0.5, 100, 1000), (600, 620, 30_000), (1, 9999, 20_000)],
)
def test_the_design_is_that_of_scipy(freq_min: float, freq_max: float, rate: float) -> None:
    sections = butter(ORDER, [freq_min, freq_max], btype="bandpass", fs=rate, output="sos")
    gain, poles = design(freq_min, freq_max, rate)
    assert gain == pytest.approx(sections[:, 0].prod(), rel=1e-12)
    np.testing.assert_allclose(poles, sections[:, 4:], rtol=0, atol=1e-12)  # the sections in the same order


def test_a_band_beyond_half_of_the_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="300 to 6000 Hz is not between 0 and half of 12000 Hz"):
        design(300, 6000, 12_000)


def test_a_band_pass_does_without_the_slow_import() -> None:
    code = "import sys; from spikelab.spike_sorting.filters.design import design; design(300, 6000, 20_000)"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'scipy.signal' not in sys.modules"], check=True)
