"""Spikes around events, and pulses that stay with the data."""

from __future__ import annotations

import numpy as np
import pytest

from spikelab.spikedata import SpikeData

ABOUT = {"fs_Hz": 20_000.0, "stim_times_s": [0.1, 0.3, 0.5], "stim_sites": ["A", "B", "A"]}


@pytest.fixture
def sd() -> SpikeData:
    return SpikeData([[95, 104, 305, 330, 502], [], [10, 300, 999]], length=1000, metadata=ABOUT)


def test_trains_counts_and_rates(sd: SpikeData) -> None:
    aligned = sd.align_to([500, 100, 300], before=10, after=40)
    assert aligned.events.tolist() == [100, 300, 500]
    assert aligned.index.tolist() == [1, 2, 0]
    assert [times.tolist() for times in aligned.trains[0]] == [[-5, 4], [5, 30], [2]]
    assert aligned.counts(10).sum(axis=1).tolist() == [[1, 3, 0, 0, 1], [0] * 5, [0, 1, 0, 0, 0]]
    np.testing.assert_allclose(aligned.rates(10)[0], np.array([1, 3, 0, 0, 1]) / 0.03)
    events, times = aligned.raster(0)
    assert (events.tolist(), times.tolist()) == ([0, 0, 1, 1, 2], [-5, 4, 5, 30, 2])


def test_a_spike_at_the_event_counts_after_it() -> None:
    times = 0.05 * np.array([2001.0, 6003.0])
    aligned = SpikeData([times], length=1000).align_to(times, 10, 10)
    assert aligned.counts(10).tolist() == [[[0, 1], [0, 1]]]


def test_rates_count_live_time_only(sd: SpikeData) -> None:
    dead = sd.replace(metadata={**ABOUT, "dead_time_s": [[0.1, 0.102], [0.298, 0.303], [0.5, 0.51]]})
    aligned = dead.align_to(dead.stim_times(), 10, 20)
    np.testing.assert_allclose(aligned.live_ms(10), [28, 15, 30])
    np.testing.assert_allclose(aligned.rates(10)[0], 1000 * np.array([1, 3, 0]) / [28, 15, 30])
    blind = dead.align_to([500], 0, 10)
    assert np.isnan(blind.rates(10)).all()


def test_slices_are_spike_data_around_their_event(sd: SpikeData) -> None:
    part = sd.align_to(sd.stim_times("A"), 10, 40).slices()[0]
    assert (part.start_time, part.end_time) == (-10, 40)
    assert part.train[0].tolist() == [-5, 4]
    assert part.stim_times().tolist() == [0]


def test_events_whose_window_leaves_the_data_are_left_out(sd: SpikeData) -> None:
    aligned = sd.align_to([5, 100, 990], 10, 40)
    assert aligned.index.tolist() == [1]
    assert len(sd.align_to([], 10, 40)) == 0
    assert sd.align_to([], 10, 40).rates(10).shape == (3, 5)


@pytest.mark.parametrize(
    ("times", "before", "after", "message"),
    [
        ([1e6], 1, 1, "all 1 times lie outside"),
        ([np.nan], 1, 1, "1 of 1 times are no numbers"),
        ([100], -1, 1, "0 ms or more"),
        ([100], 0, 0, "not both 0"),
    ],
)
def test_impossible_events_are_refused(sd: SpikeData, times: list[float], before: float, after: float, message: str):
    with pytest.raises(ValueError, match=message):
        sd.align_to(times, before, after)


def test_bins_are_at_most_the_window(sd: SpikeData) -> None:
    for bin_size in (0, 51, np.nan):
        with pytest.raises(ValueError, match="at most the window, 50 ms"):
            sd.align_to([100], 10, 40).counts(bin_size)


def test_pulses_by_site(sd: SpikeData) -> None:
    assert sd.stim_times("B").tolist() == [300]
    with pytest.raises(ValueError, match="no pulse has the site 'C'; the sites are: 'A', 'B'"):
        sd.stim_times("C")
    assert SpikeData([[]], length=1).stim_times().tolist() == []


def test_pulses_are_cut_and_joined_with_the_data(sd: SpikeData) -> None:
    late = sd.subtime(200, None, shift_to=200)
    assert late.stim_times().tolist() == [100, 300]
    assert late.metadata["stim_sites"] == ["B", "A"]
    nothing = sd.subtime(600, None)
    assert "stim_times_s" not in nothing.metadata
    assert "stim_sites" not in nothing.metadata
    both = late.append(sd.replace(metadata={"fs_Hz": 20_000.0, "stim_times_s": [0.1]}))
    np.testing.assert_allclose(both.stim_times(), [100, 300, 900])
    assert both.metadata["stim_sites"] == ["B", "A", ""]


def test_windows_that_leave_the_epoch_of_their_event_are_left_out() -> None:
    two_files = {"rec_chunks_ms": [[0, 100], [100, 200]]}
    sd = SpikeData([[50, 95, 110, 190]], length=200, metadata=two_files)
    assert sd.align_to([50, 90, 100, 105, 150], 10, 30).index.tolist() == [0, 4]
    assert sd.align_to([70, 71, 100, 170, 171], 0, 30).index.tolist() == [0, 2, 3]  # up to the boundary, and from it
    assert sd.align_to([50, 150], 50, 50).index.tolist() == [0, 1]
    assert not len(sd.align_to([100], 10, 10))
    windows = sd.replace(metadata={"rec_chunks_ms": [[0, 150], [100, 200]]})  # overlap: no boundary between them
    assert windows.align_to([90], 10, 30).counts(10).tolist() == [[[0, 1, 0, 1]]]


def test_windows_do_not_reach_into_what_was_left_out_between_two_recordings() -> None:
    piece = SpikeData([[10, 90]], length=100)
    joined = piece.append(piece, offset=50)
    assert joined.align_to([80, 120, 160], 10, 20).index.tolist() == [0, 2]
