"""What RT-Sort reads from: frames, pieces and windows."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording, concatenate_recordings

from small import row_of_electrodes, traces_of
from spikelab.spike_sorting.data import BinaryRecording, Epoch, Pulses, annotate_dead_time
from spikelab.spike_sorting.rt_sort import traces as traces_module
from spikelab.spike_sorting.rt_sort.traces import Traces, frames_at_a_time, partly_bridged

VALUES = np.arange(40.0).reshape(20, 2)


def recorded(n_frames: int = 20, with_probe: bool = True, n_segments: int = 1) -> NumpyRecording:
    recording = NumpyRecording([VALUES[:n_frames].astype(np.int16)] * n_segments, 1000.0, channel_ids=["a", "b"])
    if with_probe:
        recording.set_dummy_probe_from_locations(np.array([[0.0, 7.0], [30.0, 9.0]]))
    return recording


def test_as_many_frames_are_read_as_make_so_many_values() -> None:
    assert (frames_at_a_time(4, 100), frames_at_a_time(7, 100), frames_at_a_time(200, 100)) == (25, 14, 1)
    assert frames_at_a_time(0, 100) == 100


def test_a_recording_is_read_in_microvolts() -> None:
    recording = recorded()
    recording.set_channel_gains(2.0)
    recording.set_channel_offsets(-1.0)
    traces = Traces.of(recording)
    assert (traces.start, traces.end, traces.n_channels, traces.sampling_frequency) == (0, 20, 2, 1000)
    assert (traces.n_frames, traces.duration_s, traces.channel_ids) == (20, 0.02, ("a", "b"))
    assert traces.locations.tolist() == [[0, 7], [30, 9]]
    read = traces.read(3, 6)
    assert read.dtype == np.float32
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, 2 * VALUES[3:6] - 1)
    np.testing.assert_array_equal(Traces.of(recorded()).read(3, 6), VALUES[3:6])  # without gains as it is


@pytest.mark.parametrize("mapped", [traces_module.MAPPED_VALUES, 200])
def test_windows_are_made_of_counts_and_silent_where_the_traces_are(
    tmp_path: Path, mapped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows near each other and far apart, with channels in any order, of a recording on disk."""
    monkeypatch.setattr(traces_module, "MAPPED_VALUES", mapped)
    counts = np.random.default_rng(0).integers(-900, 900, (200_000, 3)).astype(np.int16)
    counts.tofile(tmp_path / "traces.dat")
    binary = BinaryRecording(
        tmp_path / "traces.dat", n_samples=len(counts), n_channels=3, sampling_frequency=20_000.0, gain_uv=0.195,
        channel_ids=("a", "b", "c"), locations=row_of_electrodes(3), electrodes=None, epochs=(Epoch(0, len(counts)),),
    )  # fmt: skip
    traces = Traces.of(binary, (5.0, 9000.0)).silent_in(np.array([[70_000, 70_030]]), 0)
    frames = np.array([4, 30, 69_990, 70_010, 150_000, 150_003])
    channels = np.array([[2, 0], [1, -1], [0, 1], [1, 2], [2, 2], [0, 1]])
    windows = traces.windows(frames, channels, 4, 12)
    assert windows.dtype == np.float32
    for window, frame, row in zip(windows, frames, channels, strict=True):
        read = traces.read(frame - 4, frame + 13)
        np.testing.assert_array_equal(window, [read[:, c] if c >= 0 else np.zeros(17) for c in row])
    assert windows[:, 0].any(axis=1).tolist() == [True] * 3 + [False] + [True] * 2
    for start, end, dtype in ((69_900, 69_990, np.int16), (69_900, 70_001, np.float32)):
        stored, scale = traces.stored(start, end)
        assert stored.dtype == dtype
        np.testing.assert_array_equal(stored * scale, traces.read(start, end))


def test_what_is_stored_as_microvolts_is_checked() -> None:
    stored, scale = traces_of(VALUES).stored(3, 6)
    assert scale == 1
    np.testing.assert_array_equal(stored, VALUES[3:6])
    with pytest.raises(ValueError, match="not finite"):
        traces_of(np.full((20, 2), np.nan)).stored(3, 6)


def test_what_is_read_is_no_part_of_the_recording() -> None:
    values = np.ones((20, 2), dtype=np.float32)
    recording = NumpyRecording([values], 1000.0)
    recording.set_dummy_probe_from_locations(np.array([[0.0, 7.0], [30.0, 9.0]]))
    Traces.of(recording).read(3, 6)[:] = 0
    assert values.all()


def test_what_cannot_be_sorted_is_said() -> None:
    with pytest.raises(ValueError, match="has 2 segments; concatenate them first"):
        Traces.of(recorded(n_segments=2))
    with pytest.raises(ValueError, match="has no probe"):
        Traces.of(recorded(with_probe=False))
    assert Traces.of(concatenate_recordings([recorded(), recorded()])).n_frames == 40


def test_a_window_is_a_part_with_frames_of_its_own() -> None:
    traces = Traces.of(recorded(), (5, 12.4))
    assert (traces.start, traces.end, traces.n_frames) == (5, 12, 7)
    np.testing.assert_array_equal(traces.read(0, 2), VALUES[5:7])
    assert [first for first, _ in traces.chunks(4)] == [0, 2, 4, 6]
    assert traces.first(0.003).end == 8
    assert traces.first(9.0).end == traces.first(None).end == 12
    assert traces.first(0.0).n_frames == 1


@pytest.mark.parametrize("window", [(-1, 5), (5, 5), (6, 5), (20, 30)])
def test_windows_of_nothing_are_refused(window: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="leaves nothing of a recording of 20 ms"):
        Traces.of(recorded(), window)


def test_a_window_beyond_the_end_is_cut_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Traces.of(recorded(), (0, 20)).end == 20
        assert not caplog.text
        assert Traces.of(recorded(), (19, 21)).n_frames == 1
    assert "ends at 21 ms, the recording at 20 ms" in caplog.text


def test_chunks_are_all_frames_in_order() -> None:
    traces = traces_of(VALUES)
    parts = list(traces.chunks(values=14))
    assert [first for first, _ in parts] == [0, 7, 14]
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), VALUES)
    assert [(first, len(part)) for first, part in traces.chunks(values=14, start=2, end=12)] == [(2, 7), (9, 3)]


def test_pieces_end_at_breaks() -> None:
    traces = traces_of(VALUES, breaks=(0, 15, 8))
    assert traces.pieces() == [(0, 8), (8, 15), (15, 20)]
    assert traces.pieces(8, 15) == [(8, 15)]
    assert traces.pieces(7, 16) == [(7, 8), (8, 15), (15, 16)]
    later = Traces(5, 20, 2, 1000.0, np.zeros((2, 2)), ("a", "b"), lambda a, b: VALUES[a:b], (0, 8))
    assert later.pieces() == [(0, 3), (3, 15)]


def test_inside_is_far_from_ends_and_breaks() -> None:
    traces = traces_of(VALUES, breaks=(0, 10))
    frames = np.arange(20)
    assert frames[traces.inside(frames, 2, 3)].tolist() == [2, 3, 4, 5, 6, 12, 13, 14, 15, 16]
    assert frames[traces.inside(frames, 0, 0)].tolist() == list(range(20))


def test_dead_time_is_silent_and_no_spike_counts_there() -> None:
    recording = recorded()
    annotate_dead_time(recording, np.array([[5, 8]]))
    traces = Traces.of(recording, (2, 15))
    assert not traces.read(3, 6).any()
    assert traces.read(2, 3).any()
    assert traces.in_artefact(np.array([2, 3, 5, 6])).tolist() == [False, True, True, False]
    more = traces.silent_in(np.array([[9, 10]]), 2)
    assert more.silence.tolist() == [[5, 8], [11, 12]]
    assert more.in_artefact(np.arange(11)).tolist() == [3 <= k < 6 or 7 <= k < 10 for k in range(11)]


def test_nothing_is_learnt_where_a_channel_is_bridged() -> None:
    """Nor shortly after; where that would be most of the recording, all of it is learnt from."""
    pulses = Pulses(np.array([100, 200, 500]), np.zeros(3, dtype=np.int64), ("",), np.array([30, 0, 40]))
    assert partly_bridged(pulses, 1000, 5).tolist() == [[100, 135], [500, 545]]
    assert partly_bridged(pulses, 150, 5).tolist() == []
    assert partly_bridged(replace(pulses, bridged=np.empty(0, dtype=np.int64)), 1000, 5).tolist() == []


def test_bridges_of_a_binary_recording_are_not_learnt_from(tmp_path: Path) -> None:
    pulses = Pulses(np.array([300]), np.zeros(1, dtype=np.int64), ("",), np.array([40]))
    np.zeros((1000, 2), dtype=np.int16).tofile(tmp_path / "traces.dat")
    binary = BinaryRecording(
        tmp_path / "traces.dat", 1000, 2, 1000.0, 0.5, ("a", "b"), np.array([[0.0, 7.0], [30.0, 9.0]]), None,
        (Epoch(0, 1000),), pulses=pulses,
    )  # fmt: skip
    traces = Traces.of(binary)
    assert traces.learnable(np.array([299, 300, 341, 342])).tolist() == [True, False, False, True]
    assert not traces.in_artefact(np.array([310])).any()
