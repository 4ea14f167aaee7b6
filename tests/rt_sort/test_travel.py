"""Lags between two means over the travel of a spike, and what they are joined to."""

from __future__ import annotations

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.learning.travel import best_lag, has_frames, joined_mean, shift_mean
from spikelab.spike_sorting.rt_sort.whitening import Noise

NOISE = Noise(np.ones(3, np.float32), np.eye(3, dtype=np.float32), np.array([1, 0], np.float32))
CHANNELS = np.arange(3)


def spike(later: float = 0.0, sizes: tuple[float, ...] = (30, -12, 6)) -> np.ndarray:
    """A trough at frame 20 of 51, a crest half a millisecond behind, and the axon's one later on channel 1."""
    t = np.arange(51)[:, None] - 20 - later - np.array([0, 3, 0])
    return ((-np.exp(-((t / 2) ** 2)) + 0.8 * np.exp(-(((t - 10) / 4) ** 2))) * np.array(sizes)).astype(np.float32)


class TestBestLag:
    @pytest.mark.parametrize("lag", [-12, -3, 0, 7, 12])
    def test_the_second_is_like_the_first_so_much_later(self, lag: int) -> None:
        found = best_lag(spike(), spike(lag), CHANNELS, NOISE, 25)
        assert found.lag == lag
        assert found.cosine == pytest.approx(1, abs=0.01)

    def test_a_fraction_of_a_frame_is_no_difference(self) -> None:
        for fraction in (0.25, 0.5):
            assert best_lag(spike(), spike(9 + fraction), CHANNELS, NOISE, 25).cosine > 0.998

    def test_a_size_is_none_either_but_another_footprint_is(self) -> None:
        assert best_lag(spike(), 0.5 * spike(9), CHANNELS, NOISE, 25).cosine == pytest.approx(1, abs=0.01)
        assert best_lag(spike(), spike(9, (20, 20, 20)), CHANNELS, NOISE, 25).cosine < 0.8

    def test_the_ratio_is_that_of_the_sizes(self) -> None:
        assert best_lag(spike(), 0.5 * spike(9), CHANNELS, NOISE, 25).ratio == pytest.approx(0.5, abs=0.05)

    def test_beside_lags_that_are_not_looked_at_there_is_no_vertex(self) -> None:
        first, second = np.zeros((2, 51, 3), np.float32)
        first[0, :2], second[20, [0, 2]] = (4, 3), (4, 3)  # only at a lag of 20 does either have any energy in both
        assert best_lag(first, second, CHANNELS, NOISE, 25).cosine == pytest.approx(16 / 25)

    def test_a_lag_that_leaves_little_of_either_is_not_looked_at(self) -> None:
        first, second = np.zeros((2, 51, 3), np.float32)
        first[[2, 30], 0], second[30, 0] = (5, 20), 5  # alike where most of the first is outside
        assert best_lag(first, second, CHANNELS, NOISE, 30).lag == 0

    def test_nothing_is_like_nothing(self) -> None:
        assert best_lag(np.zeros((51, 3), np.float32), spike(), CHANNELS, NOISE, 5).cosine == -1


@pytest.mark.parametrize(
    ("lag", "expected"), [(0, [0, 1, 2, 3]), (1, [1, 2, 3, 3]), (-2, [0, 0, 0, 1]), (9, [3, 3, 3, 3])]
)
def test_shift_mean_moves_earlier_and_repeats_the_edge(lag: int, expected: list[int]) -> None:
    assert shift_mean(np.arange(4)[:, None], lag)[:, 0].tolist() == expected


@pytest.mark.parametrize(("lag", "expected"), [(0, [0, 1, 2, 3]), (1, [0, 1, 2]), (-3, [3]), (9, [])])
def test_has_frames(lag: int, expected: list[int]) -> None:
    assert has_frames(4, lag).tolist() == expected


def test_frames_that_only_one_mean_has_are_its_own() -> None:
    own, other = np.full((4, 1), 8, np.float32), np.arange(4, dtype=np.float32)[:, None]
    assert joined_mean(own, other, 0.25, 1)[:, 0].tolist() == [6.25, 6.5, 6.75, 8]
    assert joined_mean(own, other, 0.25, -2)[:, 0].tolist() == [8, 8, 6, 6.25]
    assert own[0, 0] == 8
