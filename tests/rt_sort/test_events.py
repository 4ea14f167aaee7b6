"""Which peaks are roots of events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small import peaks_of, row_of_electrodes
from spikelab.spike_sorting.rt_sort.learning.events import RootLimits, find_events, is_root, neighbours
from spikelab.spike_sorting.rt_sort.parameters import resolve

# At 10 kHz five frames before and three after; radii of one and of two electrodes.
EASY = {
    "stringent_thresh": 0.5, "loose_thresh": 0.1, "ms_before": 0.5, "ms_after": 0.3, "inner_radius": 20.0,
    "outer_radius": 40.0, "min_activity_root_cocs": 1, "min_activity_hz": 0.0,
}  # fmt: skip


def roots(rows: list[tuple[float, ...]], duration_s: float = 1.0, n: int = 8, **parameters: Any) -> list[list[int]]:
    """[frame, channel] of the events among peaks of (frame, channel, logit, amplitude)."""
    chosen = resolve("mea", EASY | parameters)
    events = find_events(peaks_of(rows), row_of_electrodes(n), 10_000.0, duration_s, chosen)
    return [[int(event["frame"]), int(event["channel"])] for event in events]


# Neighbours


def test_neighbours_come_nearest_first_and_itself_before_all() -> None:
    locations = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 10.0], [500.0, 0.0]])
    assert neighbours(locations, 30.0).tolist() == [[0, 2, 1], [1, 0, -1], [2, 0, -1], [3, -1, -1]]


def test_neighbours_at_the_radius_count() -> None:
    assert neighbours(row_of_electrodes(3), 20.0).tolist() == [[0, 1, -1], [1, 0, 2], [2, 1, -1]]
    assert neighbours(row_of_electrodes(3), 19.9).tolist() == [[0], [1], [2]]


def test_no_electrodes_have_no_neighbours() -> None:
    assert neighbours(np.empty((0, 2)), 50.0).shape[0] == 0


# Which peak of several is the root


def test_the_largest_within_the_outer_radius_is_the_root() -> None:
    peaks = [(100, 2, 1, -5.0), (101, 3, 1, 9.0), (102, 4, 1, -6.0)]
    assert roots(peaks) == [[101, 3]]


def test_sizes_beyond_the_outer_radius_do_not_matter() -> None:
    assert roots([(100, 1, 1, -5.0), (100, 3, 1, -9.0)]) == [[100, 3]]
    assert roots([(100, 1, 1, -5.0), (100, 4, 1, -9.0)]) == [[100, 1], [100, 4]]


@pytest.mark.parametrize(("gap", "both"), [(2, False), (3, False), (4, True)])
def test_a_larger_one_later_counts_up_to_ms_after(gap: int, both: bool) -> None:
    assert roots([(100, 1, 1, -5.0), (100 + gap, 2, 1, -9.0)]) == [[100, 1]] * both + [[100 + gap, 2]]


@pytest.mark.parametrize(("gap", "both"), [(4, False), (5, False), (6, True)])
def test_a_larger_one_before_counts_up_to_ms_before(gap: int, both: bool) -> None:
    assert roots([(100, 1, 1, -9.0), (100 + gap, 2, 1, -5.0)]) == [[100, 1]] + [[100 + gap, 2]] * both


def test_of_equal_sizes_the_earlier_is_the_root() -> None:
    assert roots([(100, 3, 1, -5.0), (101, 2, 1, -5.0)]) == [[100, 3]]
    assert roots([(100, 2, 1, 5.0), (100, 3, 1, -5.0)]) == [[100, 2]]


def test_only_peaks_of_the_stringent_probability_count() -> None:
    """A probability of 0.5 is a logit of 0."""
    peaks = [(100, 2, -0.1, -9.0), (101, 3, 0.0, -5.0)]
    assert roots(peaks) == [[101, 3]]
    assert roots(peaks, stringent_thresh=0.4) == [[100, 2]]
    assert roots([(100, 2, 1.0, -9.0)], stringent_thresh=0.75) == []  # a logit of 1.0986


# Who sees it


def test_enough_electrodes_within_the_inner_radius_see_a_root() -> None:
    peaks = [(100, 2, 1, -9.0), (101, 3, 1, -5.0), (102, 3, 1, -4.0), (99, 4, 1, -5.0)]
    assert roots(peaks, min_activity_root_cocs=2) == [[100, 2]]  # itself and electrode 3, once; 4 is too far
    assert roots(peaks, min_activity_root_cocs=3) == []
    assert roots(peaks, min_activity_root_cocs=3, inner_radius=40.0) == [[100, 2]]


def test_peaks_of_the_whole_array_at_once_are_left_out() -> None:
    peaks = [(100, channel, 1, -9.0 + channel) for channel in range(4)]
    limits = {"min_elecs_for_array_noise_f": 0.0}
    assert roots(peaks, min_elecs_for_array_noise_n=5, **limits) == [[100, 0]]
    assert roots(peaks, min_elecs_for_array_noise_n=4, **limits) == []
    assert roots(peaks, min_elecs_for_array_noise_n=2, min_elecs_for_array_noise_f=0.625) == [[100, 0]]  # of eight: 5
    assert roots(peaks, min_elecs_for_array_noise_n=2, min_elecs_for_array_noise_f=0.5) == []


def test_quiet_electrodes_have_no_events() -> None:
    peaks = [(100, 1, 1, -5.0), (200, 1, 1, -5.0), (300, 6, 1, -5.0)]
    assert roots(peaks, duration_s=2.0, min_activity_hz=1.0) == [[100, 1], [200, 1]]
    assert roots(peaks, duration_s=2.0, min_activity_hz=1.1) == []
    assert roots(peaks, duration_s=2.0, min_activity_hz=0.5) == [[100, 1], [200, 1], [300, 6]]


def test_windows_reach_one_frame_at_least() -> None:
    short = {"ms_before": 0.0, "ms_after": 0.0}
    assert roots([(100, 1, 1, -5.0), (101, 2, 1, -9.0)], **short) == [[101, 2]]
    assert roots([(100, 1, 1, -9.0), (101, 2, 1, -5.0)], **short) == [[100, 1]]
    assert roots([(100, 1, 1, -5.0), (102, 2, 1, -9.0)], **short) == [[100, 1], [102, 2]]
    assert roots([(100, 1, 1, -9.0), (102, 2, 1, -5.0)], **short) == [[100, 1], [102, 2]]


def test_windows_are_rounded_to_whole_frames() -> None:
    """0.38 and 0.27 ms at 10 kHz: four and three frames."""
    uneven = {"ms_before": 0.38, "ms_after": 0.27}
    assert roots([(100, 1, 1, -9.0), (104, 2, 1, -5.0)], **uneven) == [[100, 1]]
    assert roots([(100, 1, 1, -9.0), (105, 2, 1, -5.0)], **uneven) == [[100, 1], [105, 2]]
    assert roots([(100, 1, 1, -5.0), (103, 2, 1, -9.0)], **uneven) == [[103, 2]]
    assert roots([(100, 1, 1, -5.0), (104, 2, 1, -9.0)], **uneven) == [[100, 1], [104, 2]]


def test_no_peaks_have_no_events() -> None:
    assert roots([], duration_s=0.0) == []


# The loop is what it says


def slow_roots(
    frames: np.ndarray, channels: np.ndarray, sizes: np.ndarray, locations: np.ndarray, inner_um: float,
    outer_um: float, before: int, after: int, least: int, too_many: float,
) -> list[bool]:  # fmt: skip
    """Look at all peaks for each."""
    chosen = []
    for i in range(len(frames)):
        window = [j for j in range(len(frames)) if -before <= frames[j] - frames[i] <= after]
        apart = {j: float(np.hypot(*(locations[channels[j]] - locations[channels[i]]))) for j in window}
        rivals = [j for j in window if j != i and apart[j] <= outer_um]
        largest = all((sizes[i], -i) > (sizes[j], -j) for j in rivals)
        n_seen = len({channels[j] for j in window if apart[j] <= inner_um})
        chosen.append(bool(largest and n_seen >= least and len({channels[j] for j in window}) < too_many))
    return chosen


@given(
    peaks=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(1, 4)), max_size=9),
    before=st.integers(1, 3),
    after=st.integers(1, 4),
    least=st.integers(1, 3),
    too_many=st.integers(2, 5),
)
@settings(max_examples=60)
def test_roots_are_those_of_the_slow_way(
    peaks: list[tuple[int, int, int]], before: int, after: int, least: int, too_many: int
) -> None:
    columns = np.array(sorted(peaks), dtype=np.int64).reshape(-1, 3)
    locations = np.array([[20.0 * (k % 3), 20.0 * (k // 3)] for k in range(6)])
    frames, channels, sizes = columns[:, 0], columns[:, 1].astype(np.int32), columns[:, 2].astype(np.float32)
    rest = (locations, 20.0, 40.0, before, after, least, float(too_many))
    expected = slow_roots(frames, channels, sizes, *rest)
    found = peaks_of(list(zip(frames, channels, np.ones(len(frames)), -sizes, strict=True)))
    assert is_root(found, locations, RootLimits(*rest[1:])).tolist() == expected
