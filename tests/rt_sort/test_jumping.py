"""Neurons that jump together along a probe: the time, the way, and which piece becomes which."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from tests.rt_sort.waves import COMPONENTS, FS, N_FRAMES, ORIGIN, SPIKE, white_noise

from spikelab.spike_sorting.rt_sort.learning.dividing import parts_of
from spikelab.spike_sorting.rt_sort.learning.jumping import (
    Jump,
    common_way,
    find_jumps,
    join_pieces,
    jump_times,
    merge_all,
    moving,
    mutual,
    sides,
)
from spikelab.spike_sorting.rt_sort.learning.merging import Units
from spikelab.spike_sorting.rt_sort.learning.waveforms import Learnt
from spikelab.spike_sorting.rt_sort.parameters import resolve

DURATION = 1_200_000
ROWS, PITCH_UM = 24, 20.0
PLACES = np.column_stack([np.tile([0.0, 32.0], ROWS), np.repeat(np.arange(ROWS) * PITCH_UM, 2)])
NOISE = white_noise(len(PLACES))
STAY = (0.0, 1.0, 0.0)


def footprint(x: float, y: float, wide: float) -> Any:
    """Size at the electrodes, in uV, of a neuron at a place in um."""
    return 40 * np.exp(-np.sum((PLACES - [x, y]) ** 2, axis=1) / (2 * wide**2))


def units_of(neurons: list[tuple[float, float, float]], pieces: list[tuple[int, float, float, float, int]]) -> Units:
    """Units of neurons (x, y, width): (neuron, begin and end as shares of the time, moved by um, late by frames)."""
    rng = np.random.default_rng(1)
    n = 60
    frames, examples, means = [], [], []
    for neuron, begin, end, moved, lag in pieces:
        x, y, wide = neurons[neuron]
        frames.append(np.sort(rng.integers(int(begin * DURATION), int(end * DURATION), n)))
        windows = footprint(x, y + moved, wide)[:, None] * np.roll(SPIKE, lag)
        windows = windows + rng.normal(0, 2, (n, len(PLACES), N_FRAMES))
        examples.append(windows.astype(np.float32))
        means.append(windows.mean(axis=0).T)
    channels = np.tile(np.arange(len(PLACES)), (len(pieces), 1))
    learnt = Learnt(
        np.stack(means).astype(np.float32), np.full(len(pieces), n), tuple(frames),
        tuple(np.ones(n, np.float32) for _ in pieces), channels, tuple(examples), tuple(frames),
    )  # fmt: skip
    nothing: Any = np.empty(0)
    return Units(learnt, NOISE, COMPONENTS, ORIGIN, FS, resolve("neuropixels"), nothing)


NEURONS = [(0.0, 60.0, 18.0), (32.0, 105.0, 22.0), (16.0, 190.0, 20.0), (0.0, 260.0, 25.0), (32.0, 330.0, 16.0)]


def jumped(way: float, lags: tuple[int, ...] = (0, 0, 0, 0, 0)) -> Units:
    before = [(k, 0.0, 0.5, 0.0, 0) for k in range(5)]
    after = [(k, 0.5, 1.0, way, lags[k]) for k in (3, 1, 4, 0, 2)]
    return units_of(NEURONS, before + after)


@pytest.mark.parametrize("way", [-35.0, 15.0, 22.0, 40.0])
def test_all_pieces_find_what_they_have_become(way: float) -> None:
    units = jumped(way)
    (jump,) = find_jumps(units, PLACES)
    assert abs(jump.frame - DURATION / 2) < 0.03 * DURATION
    assert jump.way == pytest.approx([0, way], abs=5)
    before = {k: units.frames[k].copy() for k in range(10)}
    left = merge_all(units, find_jumps(units, PLACES), PLACES)
    assert left.tolist() == [0, 1, 2, 3, 4]
    for neuron, later in enumerate((8, 6, 9, 5, 7)):
        assert set(before[later]) < set(units.frames[neuron]) > set(before[neuron])


def test_a_piece_may_be_late() -> None:
    units = jumped(20.0, lags=(0, 3, 0, -2, 0))
    late = units.frames[6].copy()
    assert merge_all(units, find_jumps(units, PLACES), PLACES).tolist() == [0, 1, 2, 3, 4]
    assert set(late + 3) < set(units.frames[1])


def test_two_neurons_are_not_one_because_one_moved_to_where_the_other_was() -> None:
    """By 45 um the first lies where the second was, and looks the same; the second lies elsewhere."""
    neurons = [(0.0, 60.0, 20.0), (0.0, 105.0, 20.0), (32.0, 190.0, 22.0), (16.0, 280.0, 18.0), (32.0, 360.0, 25.0)]
    pieces = [(k, 0.0, 0.5, 0.0, 0) for k in range(5)] + [(k, 0.5, 1.0, 45.0, 0) for k in range(5)]
    units = units_of(neurons, pieces)
    first, second = units.frames[5].copy(), units.frames[6].copy()
    assert merge_all(units, find_jumps(units, PLACES), PLACES).tolist() == [0, 1, 2, 3, 4]
    assert set(first) < set(units.frames[0])
    assert set(second) < set(units.frames[1])


def test_a_jump_that_is_known_joins_what_is_left() -> None:
    """Most neurons are whole by now, so that nothing shows the jump any more."""
    (jump,) = find_jumps(jumped(20.0), PLACES)
    units = units_of(NEURONS, [(k, 0.0, 1.0, 0.0, 0) for k in (0, 1, 3, 4)] + [(2, 0, 0.5, 0, 0), (2, 0.5, 1, 20.0, 0)])
    assert find_jumps(units, PLACES) == []
    assert merge_all(units, [jump], PLACES).tolist() == [0, 1, 2, 3, 4]


def test_neurons_that_stay_come_or_go_make_no_jump() -> None:
    stay = units_of(NEURONS, [(k, 0.0, 1.0, 0.0, 0) for k in range(5)])
    assert find_jumps(stay, PLACES) == []
    pieces = [(0, 0, 1, 0, 0), (1, 0, 1, 0, 0), (2, 0, 0.5, 0, 0), (3, 0, 0.5, 0, 0), (4, 0.5, 1, 0, 0)]
    assert find_jumps(units_of(NEURONS, pieces), PLACES) == []
    others = [(k, 0.0, 0.5, 0.0, 0) for k in (0, 1, 2)] + [(k, 0.5, 1.0, 0.0, 0) for k in (0, 1, 2)]
    assert find_jumps(units_of(NEURONS, others), PLACES) == []  # in the same places: no jump


def test_only_along_a_probe() -> None:
    units = jumped(20.0)
    square = np.column_stack([PLACES[:, 1] % 140, PLACES[:, 1] // 140 * 30 + PLACES[:, 0] / 10])
    assert find_jumps(units, square) == []


def test_other_neurons_have_no_common_way() -> None:
    """Three neurons end, three others begin, at places and in sizes that no one way connects."""
    neurons = [(0, 40, 15), (0, 150, 40), (32, 250, 18), (32, 90, 28), (16, 200, 14), (0, 400, 34)]
    pieces = [(k, 0.0, 0.5, 0.0, 0) for k in range(3)] + [(k, 0.5, 1.0, 0.0, 0) for k in range(3, 6)]
    units = units_of([(float(x), float(y), float(w)) for x, y, w in neurons], pieces)
    before, after = np.arange(3), np.arange(3, 6)
    assert common_way(units, before, after, DURATION // 2, PLACES, np.array([0.0, 1.0])) is None
    assert find_jumps(units, PLACES) == []


def test_units_across_a_jump_are_not_weighed() -> None:
    units = units_of(NEURONS, [(0, 0.0, 0.5, 0.0, 0), (0, 0.5, 1.0, 0.0, 0), (0, 0.0, 1.0, 0.0, 0)])
    assert not units.across(0, 1)
    assert units.weigh(0, 1).score > 0
    units.jumps = (DURATION // 2,)
    assert units.across(0, 1)
    assert units.across(1, 0)
    assert not units.across(0, 2)
    assert units.weigh(0, 1).score == -np.inf


def test_potentials_are_moved_between_electrodes() -> None:
    moved = footprint(10, 200, 25) @ moving(PLACES, np.array([0.0, 13.0])).T
    assert moved == pytest.approx(footprint(10, 213, 25), abs=1.0)
    still = footprint(10, 200, 25) @ moving(PLACES, np.zeros(2)).T
    assert still == pytest.approx(footprint(10, 200, 25), abs=0.5)


def test_pairs_are_each_others_best() -> None:
    cosines = np.array([[0.9, 0.95, 0.1], [0.2, 0.99, 0.1], [0.3, 0.1, 0.86]], dtype=np.float32)
    assert mutual(cosines) == [(1, 1), (2, 2)]
    assert mutual(cosines - 0.05) == [(1, 1)]
    assert mutual(np.empty((0, 3), dtype=np.float32)) == []


def test_times_at_which_trains_end_and_begin() -> None:
    before = [np.arange(0, 500, 7) for _ in range(4)]
    after = [np.arange(510, 1000, 7) for _ in range(3)]
    (time,) = jump_times(before + after)
    assert 480 <= time <= 530
    ended, begun = sides(before + after, time)
    assert ended.tolist() == [True] * 4 + [False] * 3
    assert begun.tolist() == [False] * 4 + [True] * 3
    drifting = [np.arange(100 * k, 100 * k + 300, 7) for k in range(8)]  # pieces end and begin at any time
    assert jump_times(drifting) == []
    throughout = [np.arange(0, 1000, 7) for _ in range(5)]
    assert jump_times(before + after + throughout) == []  # too few of all


def test_a_unit_that_jumps_is_not_divided_and_two_in_it_are() -> None:
    units = units_of(NEURONS, [(0, 0.0, 0.5, 0.0, 0), (0, 0.5, 1.0, 30.0, 0)])
    units.join(0, 1, 0)
    assert parts_of(units, 0, 10, 0) is not None  # as long as nobody knows of the jump
    known = partial(join_pieces, jumps=[Jump(DURATION // 2, np.array([0.0, 30.0]))], places=PLACES)
    assert parts_of(units, 0, 10, 0, known) is None
    neighbours = [(0.0, 60.0, 18.0), (32.0, 75.0, 18.0)]
    pieces = [(k, begin, begin + 0.5, way, 0) for begin, way in ((0.0, 0.0), (0.5, 30.0)) for k in (0, 1)]
    two = units_of(neighbours, pieces)
    first = {*two.frames[0].tolist(), *two.frames[2].tolist()}
    for other in (1, 2, 3):
        two.join(0, other, 0)
    parts = parts_of(two, 0, 10, 0, known)
    assert parts is not None
    shares = sorted(float(np.mean([frame in first for frame in parts.frames[k]])) for k in np.flatnonzero(parts.alive))
    assert shares == pytest.approx([0, 1], abs=0.05)
