"""Which frames are kept, and where they came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.recording.slicing import Segment, cuts_of, epochs_of_cuts, kept_ranges

FS = 19_753.77


def _epochs(segments, kept):
    return epochs_of_cuts(cuts_of(segments, kept), FS)


def test_nothing_set_keeps_all():
    assert kept_ranges(1000, FS, RecordingConfig()) == [(0, 1000)]


def test_first_minutes_come_before_other_cuts():
    config = RecordingConfig(first_n_mins=0.5, start_time_s=10)
    assert kept_ranges(10**7, FS, config) == [(round(10 * FS), round(30 * FS))]


def test_first_minutes_as_long_as_the_recording_keep_all():
    assert kept_ranges(60_000, 1000.0, RecordingConfig(first_n_mins=1)) == [(0, 60_000)]


def test_seconds_are_rounded_with_the_exact_rate():
    config = RecordingConfig(rec_chunks_s=[(0, 1.5), (100.25, 200)])
    assert kept_ranges(10**7, FS, config) == [(0, round(1.5 * FS)), (round(100.25 * FS), round(200 * FS))]


def test_window_trims_pieces():
    config = RecordingConfig(rec_chunks_s=[(0, 2), (3, 5)], start_time_s=1, end_time_s=4)
    with pytest.warns(UserWarning, match="reaches out of") as caught:
        assert kept_ranges(100_000, 10_000, config) == [(10_000, 20_000), (30_000, 40_000)]
    assert [str(warning.message) for warning in caught] == [
        f"the piece {asked} s of rec_chunks_s reaches out of start_time_s and end_time_s (1 to 4 s), "
        f"and is clipped to {kept} s"
        for asked, kept in (("0 to 2", "1 to 2"), ("3 to 5", "3 to 4"))
    ]


def test_pieces_inside_the_window_are_kept_without_a_word():
    config = RecordingConfig(rec_chunks_s=[(1, 2), (3, 4)], start_time_s=1, end_time_s=4)
    assert kept_ranges(100_000, 10_000, config) == [(10_000, 20_000), (30_000, 40_000)]


def test_piece_outside_window_is_an_error():
    config = RecordingConfig(rec_chunks_s=[(0, 1)], start_time_s=2)
    with pytest.raises(ValueError, match="Invalid time range"):
        kept_ranges(100_000, 10_000, config)


@pytest.mark.parametrize(
    "fields",
    [{"end_time_s": 20}, {"rec_chunks_s": [(0, 20)]}, {"rec_chunks": [(0, 200_000)]}, {"first_n_mins": 1}],
    ids=lambda f: next(iter(f)),
)
def test_end_past_recording_is_clipped_with_a_warning(fields):
    with pytest.warns(UserWarning, match="ends past the recording"):
        assert kept_ranges(100_000, 10_000, RecordingConfig(**fields)) == [(0, 100_000)]


@pytest.mark.parametrize(
    "fields",
    [
        {"start_time_s": -1},
        {"start_time_s": 5, "end_time_s": 5},
        {"start_time_s": 10},
        {"start_time_s": 11, "end_time_s": 12},
        {"rec_chunks_s": [(2, 1)]},
        {"rec_chunks": [(-1, 10)]},
        {"rec_chunks": [(10, 10)]},
        {"rec_chunks": [(100_000, 100_001)]},
    ],
)
def test_impossible_ranges(fields):
    with pytest.raises(ValueError, match="Invalid time range"):
        kept_ranges(100_000, 10_000, RecordingConfig(**fields))


@pytest.mark.parametrize(
    "fields", [{"start_time_s": 1}, {"end_time_s": 1}, {"rec_chunks_s": [(0, 1)]}, {"first_n_mins": 1}]
)
def test_frames_and_times_do_not_mix(fields):
    with pytest.raises(ValueError, match="frame-based"):
        kept_ranges(100_000, 10_000, RecordingConfig(rec_chunks=[(0, 10)], **fields))


@pytest.mark.parametrize("name", ["rec_chunks", "rec_chunks_s"])
@pytest.mark.parametrize("pieces", [[(0, 5), (4, 6)], [(5, 6), (0, 1)]])
def test_pieces_must_ascend(name, pieces):
    with pytest.raises(ValueError, match="must ascend"):
        kept_ranges(100_000, 10_000, RecordingConfig(**{name: pieces}))


def test_epochs_of_two_files_with_segments_and_cuts():
    segments = [Segment(0, 0, 100, "a", "a.h5"), Segment(0, 1, 50, "a", "a.h5", 1), Segment(1, 0, 70, "b", "b.h5")]
    epochs = _epochs(segments, [(90, 120), (120, 160), (200, 220)])
    summary = [
        (e.start_frame, e.end_frame, e.name, e.source_index, e.source_segment, e.source_start_frame) for e in epochs
    ]
    assert summary == [
        (0, 10, "a_0", 0, 0, 90),
        (10, 30, "a_1", 0, 1, 0),
        (30, 60, "a_2", 0, 1, 20),
        (60, 70, "b_0", 1, 0, 0),
        (70, 90, "b_1", 1, 0, 50),
    ]


def test_single_epoch_keeps_the_plain_name():
    (epoch,) = _epochs([Segment(0, 0, 10, "my file", "x")], [(2, 8)])
    assert (epoch.name, epoch.n_frames, epoch.source_start_frame) == ("my file", 6, 2)


@st.composite
def _layouts(draw):
    lengths = draw(st.lists(st.integers(0, 30), min_size=1, max_size=6))
    total = sum(lengths)
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=8)))
    kept = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False) if a < b]
    return lengths, kept


@given(_layouts())
def test_epochs_hold_each_kept_frame_once_in_order(layout):
    lengths, kept = layout
    epochs = _epochs([Segment(i, 0, n) for i, n in enumerate(lengths)], kept)
    origin = [(i, frame) for i, n in enumerate(lengths) for frame in range(n)]
    expected = [origin[frame] for start, end in kept for frame in range(start, end)]
    found = [(e.source_index, e.source_start_frame + k) for e in epochs for k in range(e.n_frames)]
    assert found == expected
    assert [e.start_frame for e in epochs] == [0, *(e.end_frame for e in epochs)][: len(epochs)]
