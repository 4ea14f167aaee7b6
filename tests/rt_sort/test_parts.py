"""The parts of a recording that templates are learnt on."""

from __future__ import annotations

import numpy as np
import pytest

from small import traces_of
from spikelab.spike_sorting.rt_sort.learning.parts import (
    Part,
    Reach,
    complete,
    inside,
    parts_around,
    rank_within,
    whole,
)

RATE = 1000.0
REACH = Reach(1, 2)  # ten frames around an event, and four that are read besides


def chosen(
    frames: list[int], groups: list[int], seconds: float, n_frames: int = 10_000, breaks: tuple[int, ...] = (0,)
) -> list[Part]:
    traces = traces_of(np.zeros((n_frames, 1)), RATE, breaks=breaks)
    return parts_around(traces, np.array(frames), np.array(groups), REACH, seconds, seed=0)


def test_a_short_recording_is_learnt_from_whole() -> None:
    assert chosen([50], [0], 0.1, n_frames=100) == [Part(0, 100, 0, 100)]
    assert chosen([50], [0], 0.1, n_frames=100, breaks=(0, 30)) == [Part(0, 30, 0, 30), Part(30, 100, 30, 100)]
    assert len(chosen([50], [0], 0.1, n_frames=101)[0]) == 4
    assert chosen([50], [0], 0.1, n_frames=101) == [Part(36, 65, 40, 61)]


def test_parts_lie_around_events_and_overlapping_ones_are_joined() -> None:
    assert chosen([500, 1000, 529, 1030], [0, 1, 0, 1], 0.2) == [
        Part(486, 544, 490, 540), Part(986, 1015, 990, 1011), Part(1016, 1045, 1020, 1041),
    ]  # fmt: skip


def test_at_a_break_a_part_ends_and_spikes_count_up_to_it() -> None:
    assert chosen([5, 500, 507, 9999], [0, 0, 0, 0], 0.2, breaks=(0, 505)) == [
        Part(0, 20, 0, 16), Part(486, 505, 490, 505), Part(505, 522, 505, 518), Part(9985, 10_000, 9989, 10_000),
    ]  # fmt: skip


def test_a_rare_group_has_all_of_its_events_and_the_busy_ones_share_the_rest() -> None:
    rare, busy, lost = [5000 + 40 * k for k in range(5)], [40 * k + 20 for k in range(100)], [9000]
    frames = [*busy, *rare, *lost]
    groups = [1] * len(busy) + [0] * len(rare) + [-1]
    found = chosen(frames, groups, 0.029 * 25 + 0.01)
    assert [part.first for part in found if part.start > 4500] == [frame - 10 for frame in rare]
    assert len(found) == 25
    assert len(chosen(frames, groups, 5.0)) == 105
    assert len(chosen(frames, groups, 0.001)) == 2  # one of each, whatever it costs


def test_without_events_nothing_is_read() -> None:
    assert chosen([500], [-1], 0.1) == []
    assert inside([], np.array([3])).tolist() == [False]


def test_the_order_within_groups_is_drawn() -> None:
    groups = np.array([4, 7, 4, 4, 7])
    rank = rank_within(groups, 0)
    assert sorted(rank[groups == 4]) == [0, 1, 2]
    assert sorted(rank[groups == 7]) == [0, 1]
    assert {tuple(rank_within(groups, seed)) for seed in range(20)} != {tuple(rank)}


@pytest.mark.parametrize(
    ("part", "counted", "learnt"),
    [(Part(10, 40, 14, 36), (14, 35), (14, 35)), (Part(10, 40, 10, 40), (10, 39), (11, 37))],
)
def test_spikes_count_far_from_cuts_and_teach_with_their_whole_window(
    part: Part, counted: tuple[int, int], learnt: tuple[int, int]
) -> None:
    parts = [Part(0, 5, 0, 5), part]
    frames = np.arange(6, 50)
    for found, (low, high) in ((inside(parts, frames), counted), (complete(parts, frames, REACH), learnt)):
        assert frames[found][[0, -1]].tolist() == [low, high]
        assert found.sum() == high - low + 1


def test_the_whole_is_cut_at_its_breaks() -> None:
    traces = traces_of(np.zeros((100, 1)), RATE, breaks=(0, 30))
    assert [(part.start, part.end) for part in whole(traces)] == [(0, 30), (30, 100)]
