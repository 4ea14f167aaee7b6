"""Threshold detection against a brute-force definition, and its independence of chunks and workers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.backends import base
from spikelab.spike_sorting.backends.threshold import ThresholdBackend, ThresholdParams, detect_spikes, noise_counts
from spikelab.spike_sorting.data import BinaryRecording
from spikelab.spikedata import _windows

LOCATIONS = np.array([[0.0, 0.0], [30.0, 0.0], [90.0, 0.0]])


def brute_force(counts: np.ndarray, limits: np.ndarray, exclude: int, radius_um: float) -> list[tuple[int, int]]:
    """The definition, word by word."""
    spikes = []
    for frame, channel in np.argwhere(counts <= limits):
        near = np.abs(LOCATIONS[:, 0] - LOCATIONS[channel, 0]) <= radius_um
        first = max(0, frame - exclude)
        window = counts[first : frame + exclude + 1]
        value = counts[frame, channel]
        if window[:, near].min() == value:
            spikes.append((int(frame), int(channel), value))
    kept = []
    for i, (frame, channel, value) in enumerate(spikes):
        equals = (
            frame - f <= exclude and abs(LOCATIONS[c, 0] - LOCATIONS[channel, 0]) <= radius_um and v == value
            for f, c, v in spikes[:i]
        )
        if not any(equals):
            kept.append((frame, channel))
    return kept


@given(
    counts=hnp.arrays(np.int16, st.tuples(st.integers(1, 60), st.just(3)), elements=st.integers(-6, 3)),
    exclude_ms=st.integers(1, 6),
    chunk=st.integers(1, 40),
    n_jobs=st.sampled_from([1, 2]),
    radius_um=st.sampled_from([0.0, 50.0, 70.0]),
)
@settings(max_examples=200, deadline=None)
def test_spikes_are_those_of_the_definition_whatever_the_chunks(
    counts: np.ndarray, exclude_ms: int, chunk: int, n_jobs: int, radius_um: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traces.dat"
        counts.tofile(path)
        binary = BinaryRecording(path, len(counts), 3, 1000.0, 0.1, ("a", "b", "c"), LOCATIONS, None, ())
        params = ThresholdParams(detect_threshold=1.5, exclude_ms=exclude_ms, radius_um=radius_um)
        frames, channels = detect_spikes(binary, params, n_jobs=n_jobs, chunk_frames=chunk)
        limits = -1.5 * noise_counts(binary)
        assert list(zip(frames.tolist(), channels.tolist(), strict=True)) == brute_force(
            counts, limits, exclude_ms, radius_um
        )


def test_noise_is_the_normalised_mad(tmp_path: Path, make_binary) -> None:
    rng = np.random.default_rng(0)
    counts = np.round(rng.normal(5, [10, 40, 0], (20_000, 3)))
    noise = noise_counts(make_binary(counts, tmp_path / "t.dat", LOCATIONS))
    np.testing.assert_allclose(noise[:2], [10, 40], rtol=0.05)
    assert noise[2] == np.inf  # a dead channel has no spikes


def test_noise_of_a_long_recording_looks_at_all_of_it(tmp_path: Path, make_binary, monkeypatch) -> None:
    monkeypatch.setattr(_windows, "SEGMENT_FRAMES", 100)
    counts = np.random.default_rng(0).normal(0, 10, (5000, 3))
    counts[2500:] *= 3
    noise = noise_counts(make_binary(np.round(counts), tmp_path / "t.dat", LOCATIONS))
    assert (noise > 12).all()


def test_one_unit_per_channel_and_neighbours_count_once(
    small_recording: BinaryRecording, make_config, tmp_path: Path
) -> None:
    backend = ThresholdBackend(make_config("threshold", {"radius_um": 60.0}))
    sorting = backend.sort(small_recording.to_spikeinterface(), None, tmp_path / "x.dat", tmp_path)
    counts = sorting.count_num_spikes_per_unit()
    assert [unit for unit, n in counts.items() if n > 30] == [0, 6, 15]
    assert sum(counts.values()) < 3 * 60
    assert not list(tmp_path.iterdir())  # our binary is read where it is


def test_silence_is_insufficient_activity(tmp_path: Path, make_binary, make_config) -> None:
    counts = np.round(np.random.default_rng(0).uniform(-100, 100, (2000, 3)))
    recording = make_binary(counts, tmp_path / "t.dat", LOCATIONS).to_spikeinterface()
    with pytest.raises(InsufficientActivityError, match="Check first") as caught:
        ThresholdBackend(make_config("threshold")).sort(recording, None, tmp_path / "x.dat", tmp_path)
    assert (caught.value.sorter, caught.value.threshold_crossings) == ("threshold", 0)


def test_there_are_no_more_workers_than_cores_that_may_be_used(make_config, monkeypatch) -> None:
    config = make_config("threshold").override(n_jobs=8)
    for cores, workers in ((3, 3), (100, 8)):
        monkeypatch.setattr(base, "available_cores", lambda cores=cores: cores)
        assert ThresholdBackend(config).workers == workers


def test_unknown_parameter_names_the_nearest(small_recording: BinaryRecording, make_config, tmp_path: Path) -> None:
    backend = ThresholdBackend(make_config("threshold", {"threshold": 4}))
    with pytest.raises(ValueError, match=r"'threshold'.*detect_threshold"):
        backend.sort(small_recording.to_spikeinterface(), None, tmp_path / "x.dat", tmp_path)
