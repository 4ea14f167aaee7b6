"""A recording is split where its clock jumps: one segment for each stretch, frames and times as they were recorded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulated import simulate, sort_uncurated
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import dead_time_of, epochs_of
from spikelab.spike_sorting.recording import open_recording, opening
from spikelab.spike_sorting.recording.clock import Clock, Part, split_at_breaks

FS = 20_000.0
FEWEST = 100


def _numbered(n_segments: int = 1, n_frames: int = 30_000) -> Any:
    """A recording whose every value says its segment and frame."""
    from spikeinterface.core import NumpyRecording

    pieces = [np.arange(n_frames)[:, np.newaxis] + 100_000 * k + np.zeros(2) for k in range(n_segments)]
    return NumpyRecording(pieces, FS)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_segments_are_the_frames_of_the_parts(data: st.DataObject) -> None:
    n_segments = data.draw(st.integers(1, 3))
    recording = _numbered(n_segments)
    parts = []
    for _ in range(n_segments):
        inner = data.draw(st.lists(st.integers(1, 29_999), max_size=4, unique=True))
        edges = [0, *sorted(inner), 30_000]
        parts.append(tuple(Part(a, b, 10.0 * k) for k, (a, b) in enumerate(pairwise(edges))))
    kept = [(s, part) for s, of in enumerate(parts) for part in of if part.end - part.start >= FEWEST]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        split, stretched = split_at_breaks(recording, Clock(tuple(parts)), "it", FEWEST)
    assert split.get_num_segments() == len(stretched) == len(kept)
    for index, ((segment, part), found) in enumerate(zip(kept, stretched, strict=True)):
        assert (found.source_segment, found.source_start_frame, found.start_s) == (segment, part.start, part.start_s)
        expected = np.arange(part.start, part.end) + 100_000 * segment
        np.testing.assert_array_equal(split.get_traces(index)[:, 0], expected)
    assert recording.get_num_segments() == n_segments  # the user's recording has all its segments still


def test_without_a_break_it_is_the_recording_itself() -> None:
    recording = _numbered(2)
    clock = Clock(((Part(0, 30_000, 5.0),), (Part(0, 30_000, None),)))
    split, stretched = split_at_breaks(recording, clock, "it", FEWEST)
    assert split is recording
    assert [stretch.start_s for stretch in stretched] == [5.0, None]


def test_gaps_are_said_with_their_size_and_place() -> None:
    clock = Clock(((Part(0, 10_000, 0.0), Part(10_000, 20_000, 30.5), Part(20_000, 30_000, 30.9)),))
    with pytest.warns(UserWarning, match=r": 30 s are missing after 0.5 s, the clock jumps back by 0.1 s after 31 s"):
        split_at_breaks(_numbered(), clock, "it", FEWEST)


def test_a_gap_is_measured_by_the_steps_of_the_clock_before_it() -> None:
    step = 1 / (FS * (1 + 50e-6))
    clock = Clock(((Part(0, 10_000, 0.0, step), Part(10_000, 20_000, 10_000 * step + 0.0005, step)),))
    with pytest.warns(UserWarning, match="0.0005 s are missing after"):
        split_at_breaks(_numbered(), clock, "it", FEWEST)


def test_the_rate_of_the_clock_is_the_rate_of_the_recording() -> None:
    split, _ = split_at_breaks(_numbered(), Clock(((Part(0, 30_000, 0.0),),), rate=20_001.5), "it", FEWEST)
    assert split.get_sampling_frequency() == 20_001.5
    np.testing.assert_array_equal(split.get_traces(start_frame=5, end_frame=7)[:, 0], [5, 6])


def test_a_short_segment_is_left_out_and_said(in_memory: Callable[..., Any], gaussian: Callable[..., Any]) -> None:
    traces = gaussian()
    recording = in_memory([traces, traces[:60], traces])
    with pytest.warns(UserWarning, match="has a segment that is too short to filter, and left out"):
        epochs = epochs_of(open_recording(recording, RecordingConfig(freq_max=4000.0)))
    assert [(epoch.source_segment, epoch.n_frames) for epoch in epochs] == [(0, 60_000), (2, 60_000)]


@pytest.mark.filterwarnings("ignore:.*too short to filter, and left out:UserWarning")
def test_times_that_people_note_count_what_is_left_out(
    in_memory: Callable[..., Any], gaussian: Callable[..., Any]
) -> None:
    traces = gaussian(n_frames=20_000)
    first = in_memory([traces[:50], traces, traces[:90], traces, traces[:30]])  # the end counts in the next file
    second = in_memory([traces[:40], traces])
    starts = np.array([50, 20_140, 40_210])  # of what is kept, in all frames
    noted = ((starts + 5000) / FS).tolist()
    one_left_out = 40_180 / FS
    config = RecordingConfig(freq_max=4000.0, stim_times_s=[*noted[:2], one_left_out, noted[2]])
    pairs = zip("ab", (first, second), strict=True)
    files = [opening._on_their_clock(opening._File(name, "", raw), "memory", config) for name, raw in pairs]
    given = [segment for file in opening._with_pulse_times(files, config)[0] for segment in file.given]
    assert [frames.tolist() for frames, _ in given] == [[5000], [5000], [5000]]
    cut = RecordingConfig(
        freq_max=4000.0, artifacts=[(time, time + 0.01) for time in noted], start_time_s=0.5 * noted[0], end_time_s=2.0
    )
    opened = open_recording(first, replace(cut, artifacts=cut.artifacts[:2]))
    epochs = epochs_of(opened)
    begin = round(0.5 * noted[0] * FS) - 50
    assert [(e.source_start_frame, e.n_frames) for e in epochs] == [(begin, 20_000 - begin), (0, 40_000 - 20_140)]
    into = 20_000 - begin
    assert dead_time_of(opened).tolist() == [[5000 - begin, 5200 - begin], [into + 5000, into + 5200]]
    with pytest.raises(ValueError, match="only stretches that are too short to filter"):
        open_recording(first, RecordingConfig(freq_max=4000.0, rec_chunks=[(20_060, 20_130)]))


def test_an_epoch_knows_its_frames_and_its_time() -> None:
    recording = simulate(duration_s=4.0).recording
    times = np.arange(80_000) / FS + 100.0
    times[50_000:] += 30.0
    recording.set_times(times)
    config = RecordingConfig(freq_max=4000.0, start_time_s=1.0, end_time_s=3.5)
    with pytest.warns(UserWarning, match="30 s are missing after 102.5 s"):
        epochs = epochs_of(open_recording(recording, config))
    found = [(e.start_frame, e.end_frame, e.source_segment, e.source_start_frame) for e in epochs]
    assert found == [(0, 30_000, 0, 20_000), (30_000, 50_000, 0, 50_000)]
    assert [epoch.clock_start_s for epoch in epochs] == pytest.approx([101.0, 132.5])


def test_the_filter_does_not_run_across_a_gap(in_memory: Callable[..., Any], gaussian: Callable[..., Any]) -> None:
    traces = gaussian(n_frames=40_000)
    recording, pieces = in_memory(traces), in_memory([traces[:25_000], traces[25_000:]])
    times = np.arange(40_000) / FS
    times[25_000:] += 30.0
    recording.set_times(times)
    with pytest.warns(UserWarning, match="not continuous"):
        cut = open_recording(recording, RecordingConfig(freq_max=4000.0))
    whole = open_recording(pieces, RecordingConfig(freq_max=4000.0))
    np.testing.assert_array_equal(cut.get_traces(), whole.get_traces())


@pytest.fixture(scope="module")
def with_a_pause(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, np.ndarray]:
    """A recording with a pause of 30 s in the middle, its sorted units, and the time in s of each frame."""
    simulated = simulate(n_units=3, n_channels=4, duration_s=6.0)
    times = np.arange(120_000) / FS + 50.0
    times[70_000:] += 30.0
    simulated.recording.set_times(times)
    with pytest.warns(UserWarning, match="30 s are missing after 53.5 s"):
        sd = sort_uncurated(simulated.recording, tmp_path_factory.mktemp("pause"))
    return simulated, sd, times


def test_spikes_have_the_times_of_the_file(with_a_pause: Any) -> None:
    simulated, sd, times = with_a_pause
    units = [unit["channel"] for unit in sd.neuron_attributes]
    for channel, frames in enumerate(simulated.frames):
        found = sd.times(units.index(channel), "file") / 1000
        nearest = np.abs(found[:, np.newaxis] - times[frames]).min(axis=0)
        assert np.mean(nearest < 2e-4) > 0.95  # found, at its time
        assert not ((found > 53.5) & (found < 83.5)).any()


def test_rates_and_intervals_do_not_count_the_pause(with_a_pause: Any) -> None:
    _, sd, _ = with_a_pause
    assert sd.length == 6000.0
    assert sd.metadata["rec_chunks_ms"] == [[0.0, 3500.0], [3500.0, 6000.0]]
    np.testing.assert_allclose(sd.rates("Hz"), sd.spike_counts / 6.0)
    _, rate = sd.curate_by_firing_rate(min_rate_hz=0.0)
    np.testing.assert_allclose(rate["metric"], sd.spike_counts / 6.0)
    for train, intervals in zip(sd.train, sd.interspike_intervals(), strict=True):
        expected = [np.diff(train[train < 3500.0]), np.diff(train[train >= 3500.0])]
        np.testing.assert_allclose(np.sort(intervals), np.sort(np.concatenate(expected)))


def test_pieces_sorted_as_one_are_the_recording_cut_at_its_gap(with_a_pause: Any, tmp_path: Any) -> None:
    from spikeinterface.core import NumpyRecording

    simulated, sd, _ = with_a_pause
    traces = simulated.recording.get_traces()
    pieces = NumpyRecording([traces[:70_000], traces[70_000:]], FS, channel_ids=simulated.recording.channel_ids)
    pieces.set_dummy_probe_from_locations(simulated.recording.get_channel_locations())
    pieces.set_channel_gains(1.0)
    pieces.set_channel_offsets(0.0)
    apart = sort_uncurated(pieces, tmp_path)
    assert [train.tolist() for train in apart.train] == [train.tolist() for train in sd.train]
    for mine, other in zip(sd.split_epochs(), apart.split_epochs(), strict=True):
        assert [train.tolist() for train in mine.train] == [train.tolist() for train in other.train]


def test_shifting_the_clock_shifts_the_times_of_the_file_and_nothing_else(with_a_pause: Any, tmp_path: Any) -> None:
    _, sd, times = with_a_pause
    later = simulate(n_units=3, n_channels=4, duration_s=6.0).recording
    later.set_times(times + 1234.5)
    with pytest.warns(UserWarning, match="not continuous"):
        shifted = sort_uncurated(later, tmp_path)
    for unit in range(sd.N):
        np.testing.assert_allclose(shifted.times(unit, "file"), sd.times(unit, "file") + 1_234_500.0, atol=1e-6)
    clock = [{**epoch, "clock_s": epoch["clock_s"] - 1234.5} for epoch in shifted.metadata["clock"]]
    assert [epoch["clock_s"] for epoch in clock] == pytest.approx([epoch["clock_s"] for epoch in sd.metadata["clock"]])
    assert shifted.replace(metadata=sd.metadata) == sd
    assert shifted.replace(metadata={**shifted.metadata, "clock": []}) == sd.replace(
        metadata={**sd.metadata, "clock": []}
    )


def test_times_that_drift_against_the_rate_are_followed(tmp_path: Any) -> None:
    simulated = simulate(n_units=3, n_channels=4, duration_s=6.0)
    times = 50.0 + np.arange(120_000) * (1.001 / FS)  # 6 ms too slow by the end
    times[70_000:] += 30.0
    simulated.recording.set_times(times)
    with pytest.warns(UserWarning, match="not continuous"):
        sd = sort_uncurated(simulated.recording, tmp_path)
    assert sd.metadata["fs_Hz"] == FS
    for unit, values in enumerate(sd.neuron_attributes):
        np.testing.assert_allclose(sd.times(unit, "file") / 1000, times[values["spike_train_samples"]], atol=1e-6)
    later = sd.subtime(4500.0, 5500.0)
    for unit in range(sd.N):
        inside = (sd.train[unit] >= 4500.0) & (sd.train[unit] < 5500.0)
        np.testing.assert_allclose(later.times(unit, "file"), sd.times(unit, "file")[inside])
