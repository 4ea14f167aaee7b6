"""Periods of dead time: arithmetic, the annotation, and their way through cuts into the binary."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting._exceptions import SaturatedSignalError
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import BinaryRecording, annotate_dead_time, dead_time, dead_time_of
from spikelab.spike_sorting.recording import opening, write_binary
from spikelab.spike_sorting.recording.slicing import Segment, cuts_of, dead_time_of_cuts

N = 60
PERIODS = st.lists(st.tuples(st.integers(0, N), st.integers(0, N)).map(sorted), max_size=8)


def _dead(periods):
    """Tell of each of N frames whether it is dead, by hand."""
    dead = np.zeros(N, dtype=bool)
    for start, end in periods:
        dead[start:end] = True
    return dead


@given(PERIODS, PERIODS, st.tuples(st.integers(0, N), st.integers(0, N)).map(sorted))
def test_periods_are_what_frames_one_by_one_are(one, other, frames):
    dead, (start, end) = _dead(one + other), frames
    periods = dead_time.union(one, other)
    assert (periods[1:, 0] > periods[:-1, 1]).all()
    assert (periods[:, 0] < periods[:, 1]).all()
    assert dead_time.in_dead_time(np.arange(N), periods).tolist() == dead.tolist()
    assert dead_time.live_frames(periods, start, end) == (~dead[start:end]).sum()
    assert _dead(dead_time.within(periods, start, end)).tolist() == [
        bool(value) and start <= frame < end for frame, value in enumerate(dead)
    ]


@given(PERIODS, st.integers(0, 5), st.integers(1, 5))
def test_windows_that_reach_into_a_period(periods, before, after):
    dead = _dead(periods)
    expected = [bool(dead[max(frame - before, 0) : frame + after].any()) for frame in range(N)]
    found = dead_time.windows_in_dead_time(np.arange(N), before, after, dead_time.union(periods))
    assert found.tolist() == expected


@given(PERIODS, st.tuples(st.integers(0, N), st.integers(0, N)).map(sorted), st.lists(st.integers(0, N), min_size=2))
def test_ranges_of_live_time_are_the_live_frames_counted(periods, frames, edges):
    dead, (start, end) = _dead(periods), frames
    live = [frame for frame in range(start, end) if not dead[frame]]
    ranges = list(pairwise(sorted(edges)))
    found = dead_time.of_live_time(dead_time.union(periods), ranges, start, end)
    listed = [[frame for a, b in pieces for frame in range(a, b)] for pieces in found]
    assert listed == [live[first:last] for first, last in ranges]


def _mostly_on_the_rail():
    """Ten seconds, of which six are on the rail of the converter; the first channel is much noisier."""
    counts = np.random.default_rng(0).normal(0, 30, (200_000, 6))
    counts[:, 0] *= 10
    counts[40_000:160_000] = 32767
    recording = NumpyRecording([np.rint(counts).astype(np.int16)], 20_000.0)
    recording.set_channel_gains(0.2)
    recording.set_channel_offsets(0.0)
    recording.set_dummy_probe_from_locations(np.array([[0.0, 17.5 * row] for row in range(6)]))
    return recording, RecordingConfig(artifacts=[(2.0, 8.0)], freq_min=300.0, freq_max=6000.0)


@pytest.mark.filterwarnings("ignore:.*are dead time:UserWarning")
def test_noise_and_rails_are_of_live_time(tmp_path):
    recording, config = _mostly_on_the_rail()
    _, report = write_binary(
        opening.open_recording(recording, config), tmp_path / "a.dat", n_jobs=1, total_memory="1G", seed=0
    )
    assert not report.saturated_channels
    noise = np.array(report.noise_uv)
    np.testing.assert_allclose(noise / [10, 1, 1, 1, 1, 1], np.median(noise), rtol=0.1)
    assert 3 < np.median(noise) < 6  # white noise of 6 uV without what lies outside of the band


@pytest.mark.filterwarnings("ignore:.*are dead time:UserWarning")
def test_bad_channels_are_those_of_live_time():
    recording, config = _mostly_on_the_rail()
    with pytest.warns(UserWarning, match="leaves out 1 of 6 channels: 0"):
        opened = opening.open_recording(recording, replace(config, bad_channels="auto"))
    assert opened.get_num_channels() == 5


def test_a_recording_without_live_time_is_still_checked(tmp_path):
    recording = NumpyRecording([np.full((4000, 2), 32767, dtype=np.int16)], 20_000.0)
    recording.set_channel_gains(0.2)
    recording.set_channel_offsets(0.0)
    recording.set_dummy_probe_from_locations(np.array([[0.0, 0.0], [17.5, 0.0]]))
    annotate_dead_time(recording, dead_time.union([[0, 4000]]))
    with pytest.raises(SaturatedSignalError):
        write_binary(recording, tmp_path / "a.dat", n_jobs=1, total_memory="1G", seed=0)


def test_no_periods_are_an_empty_table():
    for none in (dead_time.union(), dead_time.union([]), dead_time.union([[3, 3]])):
        assert none.shape == (0, 2)
        assert none.dtype == np.int64
    assert dead_time.live_frames(dead_time.union(), 5, 3) == 0
    assert not dead_time.in_dead_time([1, 2], dead_time.union()).any()


def test_periods_go_through_cuts():
    segments = [Segment(0, 0, 100, "a"), Segment(0, 1, 50, "a"), Segment(1, 0, 80, "b"), Segment(2, 0, 20, "c")]
    found = [[dead_time.union([[10, 30], [90, 100]]), dead_time.union([[0, 5]])], [dead_time.union([[60, 75]])], ()]
    whole = dead_time_of_cuts(cuts_of(segments, [(0, 250)]), found)
    assert whole.tolist() == [[10, 30], [90, 105], [210, 225]]
    kept = dead_time_of_cuts(cuts_of(segments, [(20, 95), (220, 250)]), found)
    assert kept.tolist() == [[0, 10], [70, 80]]  # 20 to 30, 90 to 95 and, from frame 75 on, 220 to 225 of the whole


def _recording(n_frames=4000):
    traces = np.random.default_rng(0).normal(0, 6, (n_frames, 2)).astype(np.float32)
    recording = NumpyRecording([traces], 20_000.0)
    recording.set_dummy_probe_from_locations(np.array([[0.0, 0.0], [17.5, 0.0]]))
    return recording


def test_dead_time_reaches_the_binary_and_its_description(tmp_path, monkeypatch):
    taken = opening._filtered

    def with_dead_time(*args):
        return [opening.replace(file, dead_time=(dead_time.union([[100, 300]]),)) for file in taken(*args)]

    monkeypatch.setattr(opening, "_filtered", with_dead_time)
    opened = opening.open_recording(_recording(), RecordingConfig(rec_chunks=[(0, 150), (250, 4000)]))
    binary, _ = write_binary(opened, tmp_path / "traces.dat", n_jobs=1, total_memory="1G", seed=0, check=False)
    assert binary.dead_time.tolist() == [[100, 200]]
    again = BinaryRecording.from_dict(binary.path, binary.to_dict())
    assert again.dead_time.tolist() == [[100, 200]]
    for recording in (binary.to_spikeinterface(), binary.take(np.array([1]), tmp_path / "one.dat").to_spikeinterface()):
        assert dead_time_of(recording).tolist() == [[100, 200]]
        found = BinaryRecording.from_spikeinterface(recording)
        assert found is not None
        assert found.dead_time.tolist() == [[100, 200]]


def test_without_dead_time_descriptions_are_as_before(tmp_path):
    opened = opening.open_recording(_recording(), RecordingConfig())
    binary, _ = write_binary(opened, tmp_path / "traces.dat", n_jobs=1, total_memory="1G", seed=0, check=False)
    assert "dead_time" not in binary.to_dict()
    assert binary.to_spikeinterface().get_annotation("spikelab_dead_time") is None
    assert len(BinaryRecording.from_dict(binary.path, binary.to_dict()).dead_time) == 0


@pytest.mark.parametrize("periods", [[[5, 9]], [[1, 2], [7, 9]]])
def test_annotation_is_read_back(periods):
    recording = _recording(200)
    annotate_dead_time(recording, dead_time.union(periods))
    assert dead_time_of(recording.clone()).tolist() == periods
