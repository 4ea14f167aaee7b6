"""Pieces that follow each other in time: when one takes over from another, and which are one neuron."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.rt_sort.waves import COMPONENTS, FS, N_FRAMES, ORIGIN, SPIKE, white_noise

from spikelab.spike_sorting.rt_sort.learning.following import (
    around,
    follow,
    heading_for,
    join_following,
    takes_over,
)
from spikelab.spike_sorting.rt_sort.learning.merging import Units
from spikelab.spike_sorting.rt_sort.learning.waveforms import Learnt
from spikelab.spike_sorting.rt_sort.parameters import resolve

N_CHANNELS = 12
DURATION = 1_200_000
NOISE = white_noise(N_CHANNELS)


def units_of(
    *pieces: tuple[float, float, float, float],
    n: int = 150,
    lags: tuple[int, ...] = (),
    size: float = 25,
    seed: int = 0,
) -> Units:
    """Units that fire from one share of the recording to another, and go from one place (in electrodes) to another."""
    rng = np.random.default_rng(seed)
    frames, examples, means = [], [], []
    for k, (begin, end, start, stop) in enumerate(pieces):
        own = np.sort(rng.integers(int(begin * DURATION), int(end * DURATION), n))
        places = np.interp(own / DURATION, [begin, end], [start, stop])
        sizes = size * np.exp(-((np.arange(N_CHANNELS) - places[:, None]) ** 2) / 2)
        wave = np.roll(SPIKE, lags[k] if lags else 0)
        windows = sizes[:, :, None] * wave + rng.normal(0, 2, (n, N_CHANNELS, N_FRAMES))
        frames.append(own)
        examples.append(windows.astype(np.float32))
        means.append(windows.mean(axis=0).T)
    channels = np.tile(np.arange(N_CHANNELS), (len(pieces), 1))
    counts = np.full(len(pieces), n)
    learnt = Learnt(
        np.stack(means).astype(np.float32), counts, tuple(frames), tuple(np.ones(n, np.float32) for _ in pieces),
        channels, tuple(examples), tuple(frames),
    )  # fmt: skip
    nothing: Any = np.empty(0)
    return Units(learnt, NOISE, COMPONENTS, ORIGIN, FS, resolve("mea"), nothing)


def test_the_time_at_which_one_train_takes_over_leaves_the_fewest_behind() -> None:
    assert takes_over(np.array([1, 5, 9]), np.array([12, 20])) == (9, 0)
    assert takes_over(np.array([1, 5, 9, 13]), np.array([12, 20, 21])) == (9, 1)
    frame, misplaced = takes_over(np.arange(0, 100, 2), np.arange(1, 100, 2))
    assert misplaced in (49, 50)
    assert 0 <= frame < 100


def test_pieces_of_a_neuron_that_moves_are_one() -> None:
    """Their means have nothing in common; where they meet they are alike."""
    units = units_of((0, 0.5, 3, 5.5), (0.5, 1, 5.5, 8))
    assert follow(units, 0, 1).score > 0
    assert follow(units, 1, 0).score > 0
    assert join_following(units, np.array([0, 1])).tolist() == [0]
    assert len(units.frames[0]) == 300
    assert (np.diff(units.frames[0]) >= 0).all()


def test_many_pieces_are_joined_one_after_another() -> None:
    pieces = [(k / 4, (k + 1) / 4, 3 + 1.5 * k, 4.5 + 1.5 * k) for k in range(4)]
    units = units_of(*[pieces[k] for k in (2, 0, 3, 1)])
    left = join_following(units, np.arange(4))
    assert left.tolist() == [0]
    assert units.counts[0] == 600


@pytest.mark.parametrize(
    "pieces",
    [
        ((0, 1, 5, 5), (0, 1, 5.3, 5.3)),  # side by side all the time, nearly alike
        ((0, 0.5, 3, 5), (0.5, 1, 7.5, 9)),  # one ends, another begins elsewhere
        ((0, 0.7, 3, 6), (0.5, 1, 5, 8)),  # both fire for a while
    ],
)
def test_two_neurons_are_not_joined(pieces: tuple[tuple[float, float, float, float], ...]) -> None:
    units = units_of(*pieces)
    assert follow(units, 0, 1).score <= 0
    assert join_following(units, np.array([0, 1])).tolist() == [0, 1]


def test_only_units_that_are_left_are_joined() -> None:
    units = units_of((0, 0.5, 3, 5.5), (0.5, 1, 5.5, 8), (0, 0.5, 3, 5.5))
    assert join_following(units, np.array([0, 2])).tolist() == [0, 2]
    assert join_following(units, np.array([], dtype=int)).tolist() == []


def test_the_clock_of_a_piece_is_that_of_the_other() -> None:
    units = units_of((0, 0.5, 3, 5.5), (0.5, 1, 5.5, 8), lags=(0, 2))
    before = units.frames[1].copy()
    evidence = follow(units, 0, 1)
    assert (evidence.score > 0, evidence.lag) == (True, 2)
    join_following(units, np.array([0, 1]))
    assert units.frames[0][-150:].tolist() == (before + 2).tolist()


def test_a_rare_neuron_that_moves_fast_heads_for_its_next_piece() -> None:
    """The twenty spikes nearest to the time are from a third of the way on either side."""
    units = units_of((0, 0.5, 3, 5.5), (0.5, 1, 5.5, 8), n=40)
    assert follow(units, 0, 1).score > 0
    wanted = 5.5
    for i in (0, 1):
        plain, heading = around(units, i, DURATION // 2, 20)[0], heading_for(units, i, DURATION // 2)[0]
        off = [
            abs(np.average(np.arange(N_CHANNELS), weights=np.ptp(mean, axis=0) ** 2) - wanted)
            for mean in (plain, heading)
        ]
        assert off[1] < 0.3 < off[0]
        assert 2 < heading_for(units, i, DURATION // 2)[1] < 8


def test_the_spikes_next_to_a_pause_are_alike_where_a_line_ends_far_from_them() -> None:
    """Of thirty spikes that cross two electrodes, the nearest twenty cross most of them."""
    units = units_of((0, 0.45, 3, 5.3), (0.55, 1, 5.5, 7.8), n=30)
    frame, _ = takes_over(units.frames[0], units.frames[1])
    assert min(heading_for(units, i, frame)[1] for i in (0, 1)) < 1.2
    assert follow(units, 0, 1).score > 0


@pytest.mark.parametrize("gap", [0.0, 0.2])
def test_a_heading_of_noise_joins_no_two_neurons(gap: float) -> None:
    """The end of a line is as noisy as the mean of three spikes, and of one where it is far from them."""
    for seed in range(20):
        units = units_of((0, 0.5 - gap / 2, 5, 5), (0.5 + gap / 2, 1, 6, 6), n=30, size=8, seed=seed)
        assert follow(units, 0, 1).score <= 0


def test_where_examples_have_one_time_the_heading_is_their_mean() -> None:
    units = units_of((0, 0.5, 3, 5.5), n=10)
    units.example_frames[0][:] = 5
    (heading, count), (plain, n) = heading_for(units, 0, 5), around(units, 0, 5, 20)
    assert np.allclose(heading, plain, atol=1e-4)
    assert (round(count, 6), n) == (10, 10)


def test_pieces_that_overlap_are_one_only_where_their_ends_are_equal() -> None:
    """Two in ten spikes of one are on the other's side."""
    equal, alike = units_of((0, 0.56, 5, 5), (0.44, 1, 5, 5)), units_of((0, 0.56, 5, 5), (0.44, 1, 5.6, 5.6))
    for units in (equal, alike):
        _, misplaced = takes_over(units.frames[0], units.frames[1])
        assert 0.1 < misplaced / 150 < 0.25
    assert follow(equal, 0, 1).score > 0
    assert follow(alike, 0, 1).score <= 0


def test_few_examples_are_not_enough() -> None:
    assert follow(units_of((0, 0.5, 3, 5.5), (0.5, 1, 5.5, 8), n=7), 0, 1).score == -np.inf
    assert follow(units_of((0, 0.5, 3, 3), (0.5, 1, 3, 3), n=8), 0, 1).score > 0


def test_examples_around_a_time_are_averaged_on_their_channels() -> None:
    units = units_of((0, 1, 2, 9))
    units.channels[0] = np.append(np.arange(N_CHANNELS - 1), -1)
    for share in (0.1, 0.9):
        mean, n = around(units, 0, int(share * DURATION), 20)
        assert n == 20
        assert abs(int(np.argmax(np.abs(mean).max(axis=0))) - (2 + 7 * share)) < 1
        assert not mean[:, -1].any()


def test_units_are_compared_where_they_share_channels() -> None:
    some = units_of(*[(0, 1, 2, 9)] * 4)
    some.channels = list(np.array([[0, 1, 2, 3], [3, 2, 5, 1], [3, 2, 5, -1], [7, 6, -1, -1]]))
    assert [some.meet(0, k) for k in (1, 2, 3)] == [True, False, False]
