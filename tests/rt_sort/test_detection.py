"""Gated detection: what is found, and that chunks and threads change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulated import spike_shape
from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter
from spikelab.spike_sorting.rt_sort.detection.network import dense_logits
from spikelab.spike_sorting.rt_sort.detection.peaks import (
    PEAK,
    PeakDetector,
    PeakStream,
    detect_peaks,
    inference_scaling,
    logit,
    sightings,
    window_taps,
)
from spikelab.spike_sorting.rt_sort.training.simulation import Recipe, simulate

N_CHANNELS = 5
SIGMA = 8.0


def make(fs: float, seconds: float = 1.5, seed: int = 0, sign: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with spikes of ten sigma in the middle channel, and their frames."""
    rng = np.random.default_rng(seed)
    n_frames = round(seconds * fs)
    traces = rng.normal(0, SIGMA, (n_frames, N_CHANNELS)).astype(np.float32)
    shape = spike_shape(fs) * sign
    peak = int(np.argmax(np.abs(shape)))
    frames = np.arange(0.1, seconds - 0.1, 0.02) * fs
    frames = np.rint(frames + rng.uniform(0, 0.005 * fs, len(frames))).astype(np.int64)
    for frame in frames:
        traces[frame - peak : frame - peak + len(shape), 2] += 10 * SIGMA * shape
    return traces, frames


@pytest.fixture(scope="module")
def model() -> ModelSpikeSorter:
    return ModelSpikeSorter.load_bundled("mea")


@pytest.mark.parametrize("fs", [20_000.0, 19_753.77, 10_000.0, 32_000.0])
def test_finds_spikes_at_any_rate(model: ModelSpikeSorter, fs: float) -> None:
    traces, frames = make(fs)
    peaks = detect_peaks(traces, model, fs, min_probability=0.5)
    found = peaks["frame"][peaks["channel"] == 2]
    near = np.abs(found[:, None] - frames).min(axis=0) <= round(0.0002 * fs)
    assert near.mean() > 0.95
    assert len(peaks) < 1.3 * len(frames)


def test_peaks_are_what_they_say(model: ModelSpikeSorter) -> None:
    traces, _ = make(20_000.0)
    peaks = detect_peaks(traces, model, 20_000.0, min_probability=0.1)
    assert peaks.dtype == PEAK
    assert np.array_equal(np.lexsort((peaks["channel"], peaks["frame"])), np.arange(len(peaks)))
    assert (peaks["logit"] >= logit(0.1)).all()
    np.testing.assert_allclose(peaks["amplitude"], traces[peaks["frame"], peaks["channel"]] / SIGMA, rtol=0.15)
    assert (np.abs(peaks["shift"]) <= 0.5).all()
    assert peaks["frame"].min() >= 1000
    seen = sightings(peaks)
    assert seen.itemsize == 16
    for name in ("frame", "channel", "logit"):
        np.testing.assert_array_equal(seen[name], peaks[name])


def test_crests_count_where_no_trough_accompanies_them(model: ModelSpikeSorter) -> None:
    traces, frames = make(20_000.0, sign=-1.0)
    peaks = detect_peaks(traces, model, 20_000.0, min_probability=0.3)
    found = peaks[peaks["amplitude"] > 0]
    assert len(found) > 0.8 * len(frames)
    assert not len(detect_peaks(traces, model, 20_000.0, threshold_sigma=np.inf, threshold_sigma_positive=np.inf))


def test_logits_are_those_of_the_dense_network(model: ModelSpikeSorter) -> None:
    traces, _ = make(20_000.0)
    detector = PeakDetector(model, 20_000.0, min_probability=0.0)
    sigma = np.full((len(traces) // 1000 + 1, N_CHANNELS), SIGMA, dtype=np.float32)
    peaks = detector.detect(traces, 0, 1000, len(traces) - detector.after, sigma, 0)
    dense = dense_logits(model, traces / np.float32(SIGMA))
    expected = dense[peaks["frame"] - model.buffer_front_sample, peaks["channel"]]
    np.testing.assert_allclose(peaks["logit"], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fs", [20_000.0, 13_333.3])
@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_a_stream_finds_the_same_to_the_bit(model: ModelSpikeSorter, fs: float, size: int) -> None:
    traces, _ = make(fs, seconds=0.6)
    expected = detect_peaks(traces, model, fs)
    stream = PeakStream(PeakDetector(model, fs), N_CHANNELS)
    parts = [stream.feed(traces[i : i + size]) for i in range(0, len(traces), size)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert len(expected) > 10


def test_threads_find_the_same(model: ModelSpikeSorter) -> None:
    traces, _ = make(20_000.0, seconds=4.5)
    expected = detect_peaks(traces, model, 20_000.0)
    for n_jobs in (2, 4):
        np.testing.assert_array_equal(detect_peaks(traces, model, 20_000.0, n_jobs=n_jobs), expected)
        stream = PeakStream(PeakDetector(model, 20_000.0, n_jobs=n_jobs), N_CHANNELS)
        np.testing.assert_array_equal(stream.feed(traces), expected)


def test_torch_finds_the_same_spikes(model: ModelSpikeSorter) -> None:
    pytest.importorskip("torch")
    traces, _ = make(20_000.0)
    expected = detect_peaks(traces, model, 20_000.0)
    found = detect_peaks(traces, model, 20_000.0, device="cpu:0")
    np.testing.assert_array_equal(found[["frame", "channel"]], expected[["frame", "channel"]])
    np.testing.assert_allclose(found["logit"], expected["logit"], rtol=1e-3, atol=1e-3)


def test_published_model_finds_spikes(shared_data: Path) -> None:
    """In band-passed noise, at the scaling that suits it."""
    published = ModelSpikeSorter.load(shared_data / "published_models" / "mea")
    made = simulate(np.random.default_rng(0), Recipe(20_000.0, rates_hz=(10.0, 10.0), snrs=(10.0, 30.0)), 6, 1.0)
    scaling = inference_scaling(made.traces_uv[:1000], 12.6)
    assert scaling == pytest.approx(12.6 / (1.349 * SIGMA), rel=0.1)
    peaks = detect_peaks(made.traces_uv, published, 20_000.0, min_probability=0.1, inference_scaling=0.4 * scaling)
    known = (made.frames > 1100) & (made.frames < 19_900)
    found = [
        np.abs(peaks["frame"][peaks["channel"] == channel] - frame).min(initial=100) <= 3
        for frame, channel in zip(made.frames[known], made.channels[known], strict=True)
    ]
    assert np.mean(found) > 0.9
    assert len(peaks) < 1.1 * len(made.frames)


def test_without_a_spread_or_a_numerator_nothing_is_scaled() -> None:
    assert inference_scaling(np.zeros((100, 2), dtype=np.float32), 12.6) == 1.0
    assert inference_scaling(np.ones((100, 2), dtype=np.float32), None) == 1.0


@pytest.mark.parametrize("n_frames", [0, 10, 1000, 1100])
@pytest.mark.parametrize("n_channels", [0, 1, 3])
def test_silence_short_recordings_and_no_channels(model: ModelSpikeSorter, n_frames: int, n_channels: int) -> None:
    assert not len(detect_peaks(np.zeros((n_frames, n_channels), dtype=np.float32), model, 20_000.0))


def test_a_buffer_that_is_too_short(model: ModelSpikeSorter) -> None:
    detector = PeakDetector(model, 20_000.0)
    with pytest.raises(ValueError, match="need frames 960 to 1140, but the buffer holds 0 to 1100"):
        detector.detect(np.zeros((1100, 2), np.float32), 0, 1000, 1100, np.ones((2, 2), np.float32), 0)


@pytest.mark.parametrize(
    ("fs", "radius", "reach", "block"), [(20_000.0, 2, 20, 1000), (32_000.0, 3, 32, 1600), (3000.0, 1, 3, 150)]
)
def test_times_are_frames_of_the_recording(
    model: ModelSpikeSorter, fs: float, radius: int, reach: int, block: int
) -> None:
    detector = PeakDetector(model, fs)
    assert (detector.radius, detector.reach, detector.n_block_frames) == (radius, reach, block)
    assert detector.before >= reach
    assert detector.after >= reach


def test_what_is_shown_to_the_network_by_default(model: ModelSpikeSorter) -> None:
    """Troughs of 2.5 and crests of 3.5 sigma; kept is a probability of 0.05."""
    detector = PeakDetector(model, 20_000.0)
    traces, sigma = np.zeros((200, 6), dtype=np.float32), np.full(6, 2, dtype=np.float32)
    traces[100] = [-4.9, -5.0, 6.9, 7.0, -5.1, 0]
    frames, channels = detector.candidates(traces, 50, 150, sigma)
    assert (frames.tolist(), channels.tolist()) == ([100] * 3, [1, 3, 4])
    assert detector.min_logit == pytest.approx(np.log(0.05 / 0.95))


def test_a_buffer_that_is_too_short_is_refused(model: ModelSpikeSorter) -> None:
    detector = PeakDetector(model, 20_000.0)
    n = detector.before + 10 + detector.after
    traces, sigma = np.zeros((n, 2), dtype=np.float32), np.ones((1, 2), dtype=np.float32)
    first, last = 500 + detector.before, 510 + detector.before
    assert len(detector.detect(traces, 500, first, last, sigma, 0)) == 0
    assert len(detector.detect(traces[:3], 500, first, first, sigma, 0)) == 0  # of nothing
    for start, short in ((501, traces[1:]), (500, traces[:-1])):
        with pytest.raises(ValueError, match=f"Peaks from {first} to {last} need frames 500 to {500 + n}"):
            detector.detect(short, start, first, last, sigma, 0)


def test_a_stream_forgets_what_it_needs_no_more(model: ModelSpikeSorter) -> None:
    detector = PeakDetector(model, 20_000.0)
    stream = PeakStream(detector, 2)
    traces = np.random.default_rng(0).normal(size=(5500, 2)).astype(np.float32)
    for start in range(0, 5500, 100):
        stream.feed(traces[start : start + 100])
    assert stream.n_frames == 5500
    assert stream.first_block == (5500 - detector.after) // 1000
    assert len(stream._buffer) == detector.before + detector.after
    assert len(stream.sigma) == 1


@pytest.mark.parametrize(("probability", "expected"), [(0.5, 0.0), (0.9, np.log(9)), (0.0, -np.inf), (1.0, np.inf)])
def test_logits(probability: float, expected: float) -> None:
    assert logit(probability) == pytest.approx(expected)


def test_scaling_is_by_the_median_range_of_the_channels() -> None:
    traces = np.arange(101, dtype=np.float32)[:, None] * np.array([1, 2, 10], dtype=np.float32)
    assert inference_scaling(traces, 200.0) == pytest.approx(2.0)  # ranges of 50, 100 and 500
    assert inference_scaling(traces, None) == inference_scaling(0 * traces, 200.0) == 1
    assert inference_scaling(traces[:0], 200.0) == 1


def test_what_a_model_in_microvolts_is_fed_is_scaled_by_what_is_asked_for(model: ModelSpikeSorter) -> None:
    """By 1 where nothing is asked for; the input of a model in units of the noise is not scaled."""
    in_microvolts = replace(model, normalises_by_sigma=False, input_scale=0.5)
    for asked, scale in (({}, 0.5), ({"inference_scaling": 3.0}, 1.5)):
        detector = PeakDetector(in_microvolts, 20_000.0, **asked)
        traces = np.zeros((200, 2), dtype=np.float32)
        traces[100, 1], traces[:, 0] = -8, 5
        shown = detector.windows(traces, np.array([100, 100]), np.array([0, 1]), np.array([2, 4], dtype=np.float32))
        assert shown.shape == (model.receptive_field, 2)
        assert not shown[:, 0].any()  # without its median
        assert shown[model.buffer_front_sample, 1] == np.float32(-8 * scale)
        ours = PeakDetector(model, 20_000.0, **asked)
        again = ours.windows(traces, np.array([100]), np.array([1]), np.array([2, 4], dtype=np.float32))
        assert again[model.buffer_front_sample, 0] == pytest.approx(-8 * model.input_scale / 4)
    made, _ = make(20_000.0, seconds=0.3)
    for given in (model, in_microvolts):
        np.testing.assert_array_equal(
            detect_peaks(made, given, 20_000.0),
            detect_peaks(
                made, given, 20_000.0, threshold_sigma=2.5, threshold_sigma_positive=3.5, min_probability=0.05,
                inference_scaling=1.0,
            ),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "shift"), [(-9.75, -9.25, -0.25), (-9.0, -9.0, 0.0), (-9.0, -10.0, 0.5), (-8.0, -9.5, 0.3)]
)
def test_the_shift_is_the_vertex_of_a_parabola(
    model: ModelSpikeSorter, before: float, after: float, shift: float
) -> None:
    """The first one has a curvature of exactly 1."""
    detector = PeakDetector(model, 20_000.0, min_probability=0.0)
    traces, sigma = np.zeros((200, 1), dtype=np.float32), np.full(1, 2, dtype=np.float32)
    traces[99:102, 0] = before, -10, after
    (peak,) = detector._detect_rows(traces, 60, 140, sigma)
    assert (peak["frame"], peak["channel"], peak["amplitude"]) == (100, 0, -5)
    assert peak["shift"] == pytest.approx(shift)


def test_there_is_room_for_any_number_of_candidates(model: ModelSpikeSorter) -> None:
    detector = PeakDetector(model, 20_000.0)
    traces = np.zeros((1100, 40), dtype=np.float32)
    traces[50:1050:5] = -9
    frames, channels = detector.candidates(traces, 50, 1050, np.ones(40, dtype=np.float32))
    assert frames.tolist() == np.repeat(np.arange(50, 1050, 5), 40).tolist()
    assert channels.tolist() == [*range(40)] * 200


@pytest.mark.parametrize(("ratio", "n_taps"), [(0.951, 1), (1.049, 1), (0.94, 4), (1.06, 4), (1.5, 4)])
def test_other_rates_are_interpolated_and_near_ones_are_not(model: ModelSpikeSorter, ratio: float, n_taps: int) -> None:
    first, taps = window_taps(model, ratio * model.samp_freq)
    places = np.arange(model.receptive_field) - model.buffer_front_sample
    assert taps.shape == (model.receptive_field, n_taps)
    if n_taps == 1:
        assert first.tolist() == places.tolist()
        assert (taps == 1).all()
    else:  # exact for parabolas
        for power in range(3):
            values = (first[:, None] + np.arange(4.0)) ** power
            np.testing.assert_allclose((taps * values).sum(axis=1), (ratio * places) ** power, rtol=1e-4, atol=2e-3)


def test_no_number_of_threads_is_one(model: ModelSpikeSorter) -> None:
    traces, _ = make(20_000.0, seconds=0.2)
    np.testing.assert_array_equal(
        detect_peaks(traces, model, 20_000.0, n_jobs=0), detect_peaks(traces, model, 20_000.0)
    )
