"""The binary that serves the sorter, and the look at the data."""

from __future__ import annotations

import errno
import json
import shutil
import threading
import warnings
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelab.spike_sorting._exceptions import DiskExhaustionError, SaturatedSignalError
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import BinaryRecording
from spikelab.spike_sorting.recording import binary as module
from spikelab.spike_sorting.recording import epochs_of, open_recording, write_binary
from spikelab.spike_sorting.recording.binary import choose_lsb, chunk_ranges
from spikelab.spike_sorting.recording.parts import read_parts
from spikelab.spike_sorting.recording.signal_checks import is_rail, sampled_ranges

OPTIONS = {"n_jobs": 2, "total_memory": "1G", "seed": 1}


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of a quarter of a second, so that there are many."""
    monkeypatch.setattr(module, "CHUNK_SAMPLES", 1)


def test_binary_holds_the_filtered_microvolts(in_memory, gaussian, config, tmp_path):
    recording = open_recording(in_memory(gaussian()), config)
    binary, report = write_binary(recording, tmp_path / "new folder" / "traces.dat", **OPTIONS)
    traces = recording.get_traces()
    # Rounded: no error above half a count, and none of the dead zone that truncation leaves.
    assert np.abs(binary.read_uv(0, binary.n_samples) - traces).max() <= 0.05 + 1e-4
    assert binary.gain_uv == report.lsb_uv == 0.1
    assert report.max_abs_uv == pytest.approx(np.abs(traces).max())
    assert report.n_clipped == 0
    assert report.warnings == ()
    assert (binary.n_samples, binary.n_channels, binary.sampling_frequency) == (60_000, 4, 20_000)
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["traces.dat"]


def test_noise_is_that_of_the_traces(in_memory, gaussian, config, tmp_path):
    recording = open_recording(in_memory(gaussian() * np.array([1, 2, 3, 4], np.float32)), config)
    _, report = write_binary(recording, tmp_path / "t.dat", **OPTIONS)
    traces = recording.get_traces()
    whole = np.median(np.abs(traces - np.median(traces, axis=0)), axis=0) / 0.6745
    assert report.noise_uv == pytest.approx(whole, rel=0.02)


def test_description_travels(shared_data, config, tmp_path):
    path = shared_data / "maxone_legacy_real_8ch_5s.raw.h5"
    recording = open_recording(path, config)
    binary, report = write_binary(recording, tmp_path / "t.dat", **OPTIONS)
    assert binary.electrodes is not None
    assert binary.electrodes.tolist() == [9764, 10506, 12852, 11833, 8244, 10735, 7379, 7846]
    assert (binary.source_file, binary.source_format) == (str(path), "maxwell")
    assert binary.epochs == epochs_of(recording)
    assert min(report.noise_uv) == pytest.approx(7.5, abs=0.1)
    assert max(report.noise_uv) == pytest.approx(13.3, abs=0.1)
    again = BinaryRecording.from_dict(binary.path, json.loads(json.dumps(binary.to_dict())))
    assert again.to_dict() == binary.to_dict()
    json.dumps(report.to_dict())


@pytest.mark.parametrize(("n_jobs", "total_memory"), [(1, "1G"), (4, "16G"), (4, 1), (2, 10**8)])
def test_same_bytes_for_any_number_of_workers(
    in_memory, gaussian, config, tmp_path, small_chunks, n_jobs, total_memory
):
    def write(name, **options):
        recording = open_recording(in_memory([gaussian(), gaussian(17_001, seed=1)]), config)
        binary, report = write_binary(recording, tmp_path / name, seed=1, **options)
        return binary.path.read_bytes(), report

    assert write("a", n_jobs=2, total_memory="1G") == write("b", n_jobs=n_jobs, total_memory=total_memory)


def test_memory_limits_the_workers(in_memory, gaussian, config, tmp_path, small_chunks, monkeypatch):
    recording = open_recording(in_memory(gaussian(100_000)), config)
    active, most = 0, 0
    lock = threading.Lock()
    convert = module._convert

    def watched(*args):
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        result = convert(*args)
        with lock:
            active -= 1
        return result

    monkeypatch.setattr(module, "_convert", watched)
    write_binary(recording, tmp_path / "t.dat", n_jobs=8, total_memory=1, seed=1)
    assert most == 1


def test_results_wait_for_their_consumer():
    """At most the workers and one are computed ahead, however many items there are."""
    started = []
    with module._Threads(2) as threads:
        results = threads.in_order(lambda item: (started.append(item), item)[1], range(100))
        assert next(results) == 0
        assert len(started) <= 5
        results.close()


def test_clipped_samples_are_counted(in_memory, gaussian, config, tmp_path):
    traces = gaussian(400_000, 2)
    starts = {start for start, _ in sampled_ranges(400_000, 1)}
    unseen = next(f for f in range(500, 399_000) if all(not s - 500 <= f < s + 10_500 for s in starts))
    traces[unseen] = 50_000
    recording = open_recording(in_memory(traces), config)
    with pytest.warns(UserWarning, match="samples were too large"):
        binary, report = write_binary(recording, tmp_path / "t.dat", **OPTIONS)
    expected = np.abs(np.rint(recording.get_traces() / 0.1)) > 32768
    assert binary.n_clipped == report.n_clipped == expected.sum() > 0
    assert np.abs(binary.counts[unseen].astype(int)).min() >= 32767


def test_large_values_get_a_larger_lsb(in_memory, gaussian, config, tmp_path):
    binary, _ = write_binary(open_recording(in_memory(gaussian() * 100), config), tmp_path / "t.dat", **OPTIONS)
    assert binary.gain_uv == 0.2


@pytest.mark.parametrize(
    ("max_abs", "lsb"),
    [
        (0, 0.1),
        (1638, 0.1),
        (1639, 0.2),
        (8000, 0.5),
        (16_000, 1.0),
        (20_000, 2.0),
        (50_000, 5.0),
        (1e5, 10.0),
        (np.nan, 0.1),
    ],
)
def test_lsb(max_abs, lsb):
    assert choose_lsb(max_abs) == lsb


@pytest.mark.parametrize(
    ("max_abs", "noise", "lsb"),
    [(20_000, 2.5, 2.0), (1e5, 2.5, 2.0), (1e5, 7.0, 5.0), (1e5, 5000.0, 10.0), (300, 0.01, 0.1), (8000, 0.1, 0.5)],
)
def test_step_is_not_above_the_noise_of_the_median_channel_unless_it_is_fine(max_abs, noise, lsb):
    assert choose_lsb(max_abs, noise) == lsb


def test_a_loud_channel_does_not_round_the_quiet_ones_away(in_memory, gaussian, config, tmp_path):
    traces = gaussian() / 4  # 2.5 uV
    traces[:, 3] = 1e5 * np.sin(2 * np.pi * 1000 / 20_000 * np.arange(len(traces)))
    recording = open_recording(in_memory(traces), config)
    with pytest.warns(UserWarning, match="samples were too large"):
        binary, report = write_binary(recording, tmp_path / "t.dat", **OPTIONS)
    quiet = recording.get_traces()[:, :3]
    assert report.flat_channels == ()
    assert np.abs(binary.counts[:, :3] * binary.gain_uv - quiet).max() <= 1.001
    assert np.corrcoef(binary.counts[:, 0], quiet[:, 0])[0, 1] > 0.95


def test_channels_that_are_rounded_away_are_named(in_memory, gaussian, config, tmp_path):
    traces = gaussian() * 500
    traces[:, 1] /= 1e5
    recording = open_recording(in_memory(traces), config)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_binary(recording, tmp_path / "t.dat", **OPTIONS)
    messages = [str(warning.message) for warning in caught]
    assert sum("1 channels (1) never exceed half of 1 uV" in message for message in messages) == 1, messages


@given(st.integers(1, 10**6), st.integers(1, 2000), st.floats(1, 50_000))
def test_chunks_tile_the_recording(n_frames, n_channels, fs):
    chunks = chunk_ranges(n_frames, n_channels, fs) if n_frames / fs < 1000 else [(0, n_frames)]
    assert chunks[0][0] == 0
    assert chunks[-1][1] == n_frames
    assert all(a[1] == b[0] for a, b in pairwise(chunks))


@given(st.integers(1, 10**7), st.integers(0, 100))
def test_sampled_blocks_lie_inside(n_frames, seed):
    blocks = sampled_ranges(n_frames, seed)
    assert 1 <= len(blocks) <= 20
    assert all(0 <= start < end <= n_frames for start, end in blocks)
    if n_frames <= 100_000:
        assert sum(end - start for start, end in blocks) == n_frames


# The look at the data


def _write(recording, tmp_path, **options):
    return write_binary(recording, tmp_path / "t.dat", **{**OPTIONS, **options})


@pytest.mark.parametrize("value", [0, 512, 65_535])
def test_flat_everywhere(in_memory, config, tmp_path, value):
    recording = open_recording(in_memory(np.full((60_000, 4), value, np.uint16), gain=6.294), config)
    with pytest.raises(SaturatedSignalError, match="all 4 channels are flat or saturated: 4 never change") as error:
        _write(recording, tmp_path)
    assert (error.value.channels_saturated, error.value.total_channels) == (4, 4)
    assert not list(tmp_path.iterdir())


def test_on_a_rail_most_of_the_time(in_memory, noise_counts, config, tmp_path):
    counts = noise_counts().T.copy()
    mask = np.random.default_rng(0).random(counts.shape) < 0.7
    counts[mask] = 1023
    with pytest.raises(SaturatedSignalError, match="4 sit on a rail"):
        _write(open_recording(in_memory(counts, gain=6.294), config), tmp_path)


def test_flat_without_the_check(in_memory, config, tmp_path):
    recording = open_recording(in_memory(np.zeros((60_000, 4), np.float32)), config)
    binary, report = _write(recording, tmp_path, check=False)
    assert not binary.counts.any()
    assert report.flat_channels == ()


def test_some_dead_channels_are_a_warning(in_memory, noise_counts, config, tmp_path):
    counts = noise_counts(5).T.copy()
    counts[:, 1] = 512
    counts[1000:50_000, 3] = 0
    with pytest.warns(UserWarning, match=r"2 of 5 channels are flat or saturated \(channels 1, 3\)"):
        _, report = _write(open_recording(in_memory(counts, gain=6.294), config), tmp_path)
    assert (report.flat_channels, report.saturated_channels) == (("1",), ("3",))
    assert len(report.warnings) == 1


def test_dead_channel_is_seen_behind_a_common_reference(in_memory, noise_counts, tmp_path):
    counts = noise_counts(5).T.copy()
    counts[:, 1] = 512
    recording = open_recording(in_memory(counts, gain=6.294), RecordingConfig(common_reference="median"))
    with pytest.warns(UserWarning, match=r"1 of 5 channels are flat or saturated \(channels 1\)"):
        _, report = _write(recording, tmp_path)
    assert report.flat_channels == ("1",)


def test_noise_free_spikes_are_not_flat(in_memory, config, tmp_path):
    """Zero is no rail of signed or floating-point traces, and a channel with one spike is not flat."""
    traces = np.zeros((60_000, 2), np.float32)
    traces[30_000:30_010] = -100
    _, report = _write(open_recording(in_memory(traces), config), tmp_path)
    assert report.warnings == ()


def test_late_signal_is_not_flat(in_memory, config, tmp_path, gaussian):
    """Sampled blocks may all be silent; the whole file decides."""
    traces = np.zeros((600_000, 1), np.float32)
    blocks = sampled_ranges(600_000, 1)
    gap = next(f for f in range(0, 590_000, 100) if all(e <= f or s >= f + 2000 for s, e in blocks))
    traces[gap : gap + 2000] = gaussian(2000, 1)
    with pytest.warns(UserWarning, match="look like volts"):
        _, report = _write(open_recording(in_memory(traces), config), tmp_path)
    assert report.flat_channels == ()


@pytest.mark.parametrize(
    ("dtype", "rails", "others"),
    [
        ("uint16", [0, 255, 1023, 4095, 65_535], [1, 512, 1024, 32_768]),
        ("int16", [-32_768, 32_767, -2048, 2047, 127, -128], [0, -1, 1, 2048, -2047]),
        ("float32", [], [0, 1023, -32_768]),
    ],
)
def test_rails(dtype, rails, others):
    values = np.array(rails + others)
    assert is_rail(values, np.dtype(dtype)).tolist() == [True] * len(rails) + [False] * len(others)


def test_volts_are_a_warning(in_memory, gaussian, config, tmp_path):
    with pytest.warns(UserWarning, match="look like volts or millivolts"):
        _, report = _write(open_recording(in_memory(gaussian() * 1e-6), config), tmp_path)
    assert report.flat_channels == ()


def test_impossible_noise_is_a_warning(in_memory, gaussian, config, tmp_path):
    with pytest.warns(UserWarning, match="which no electrode has"):
        _write(open_recording(in_memory(gaussian() * 1e3), config), tmp_path)


def test_short_recording_is_a_warning(in_memory, gaussian, config, tmp_path):
    with pytest.warns(UserWarning, match=r"only 1\.5 s long"):
        _write(open_recording(in_memory(gaussian(30_000)), config), tmp_path)


@pytest.mark.parametrize("value", [np.nan, pytest.param(np.inf, marks=pytest.mark.slow), -np.inf])
def test_non_finite_samples_are_located(in_memory, gaussian, config, tmp_path, value, store):
    store(in_memory(gaussian(30_000)), tmp_path / "in" / "1")
    bad = gaussian(30_000)
    bad[20_000:20_003, 2] = value
    store(in_memory(bad), tmp_path / "in" / "2")
    recording = open_recording(tmp_path / "in", config)
    (tmp_path / "out").mkdir()
    with pytest.raises(
        ValueError, match=r"3 samples .* NaN or infinite, on channels 2; the first is frame 50000"
    ) as error:
        write_binary(recording, tmp_path / "out" / "t.dat", **OPTIONS)
    assert f"frame 20000 of {tmp_path / 'in' / '2'}" in str(error.value)
    assert not list((tmp_path / "out").iterdir())


def test_non_finite_samples_beside_a_chunk(in_memory, gaussian, config, tmp_path, small_chunks):
    """The filter sees them first from the margin of the chunk before."""
    traces = gaussian()
    traces[25_003, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 samples .* on channels 1; the first is frame 25003\."):
        _write(open_recording(in_memory(traces), config), tmp_path)
    with pytest.raises(ValueError, match="within a second of what is kept"):
        _write(open_recording(in_memory(traces), RecordingConfig(rec_chunks=[(0, 25_000)])), tmp_path)


def test_any_recording_can_be_written(in_memory, gaussian, tmp_path):
    """Backends may bring a recording that was not opened here."""
    traces = gaussian()
    binary, _ = _write(in_memory(traces), tmp_path)
    np.testing.assert_allclose(binary.read_uv(0, 60_000), traces, atol=0.051)
    assert binary.electrodes is None
    assert len(binary.epochs) == 1


def test_no_samples(in_memory, tmp_path):
    with pytest.raises(ValueError, match="no samples"):
        _write(in_memory(np.zeros((0, 2), np.float32)), tmp_path)


# Disk


def test_room_is_checked_first(in_memory, gaussian, config, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DiskExhaustionError, match="make room") as error:
        _write(open_recording(in_memory(gaussian()), config), tmp_path)
    assert (error.value.required_bytes, error.value.free_bytes) == (60_000 * 4 * 2, 1000)
    assert not list(tmp_path.iterdir())


def test_full_disk_leaves_nothing_behind(in_memory, gaussian, config, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(DiskExhaustionError):
        _write(open_recording(in_memory(gaussian()), config), tmp_path)
    assert not list(tmp_path.iterdir())


def test_failure_keeps_the_old_file(in_memory, gaussian, config, tmp_path):
    (tmp_path / "t.dat").write_bytes(b"old")
    bad = gaussian()
    bad[5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        _write(open_recording(in_memory(bad), config), tmp_path)
    assert (tmp_path / "t.dat").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_good_data_raise_no_warning(in_memory, noise_counts, config, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recording = open_recording(in_memory(noise_counts().T, gain=6.294), RecordingConfig(first_n_mins=0.05))
        _write(recording, tmp_path)


@pytest.mark.parametrize("settings", [{}, {"common_reference": "median"}, {"bad_channels": "auto"}])
def test_parts_are_the_traces(in_memory, gaussian, settings):
    """Whatever follows the filter, and wherever files meet or are cut; more channels than are filtered together."""
    traces = [gaussian(8_000, 70), gaussian(5_001, 70, seed=1)]
    traces[0][:, 3] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recording = open_recording(
            in_memory(traces), RecordingConfig(rec_chunks=[(100, 6_000), (7_000, 12_000)], **settings)
        )
    for start, end in ((0, 10_900), (5_000, 7_500), (6_000, 6_001), (0, 0)):
        found = np.full((end - start, recording.get_num_channels()), np.nan, dtype=np.float32)
        for frames, channels, part in read_parts(recording, start, end):
            found[frames, channels] = part
        np.testing.assert_array_equal(found, recording.get_traces(0, start, end))


def test_a_part_at_a_time_is_read_only_where_nothing_follows_the_filter(in_memory, gaussian):
    def n_parts(**settings):
        recording = open_recording(in_memory(gaussian(8_000, 70)), RecordingConfig(**settings))
        return len(list(read_parts(recording, 0, 8_000)))

    assert n_parts() == 2
    assert n_parts(common_reference="median") == 1
