"""What two spike trains say of their neurons: made-up trains whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.learning.trains import Refractoriness, coincide, is_ghost, jumps, refractoriness

FS = 20_000.0


def random_train(n: int, seed: int, seconds: float = 60.0, fs: float = FS) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).integers(0, int(seconds * fs), n))


def bursts(n: int, seed: int) -> np.ndarray:
    """Spikes of one neuron that come in fives, 3 to 6 ms after each other."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 60 * 20_000, n)[:, None] + np.cumsum(rng.integers(60, 120, (n, 5)), axis=1)).ravel()


class TestRefractoriness:
    @pytest.mark.parametrize(
        ("ms", "seen", "beside"),
        [(0, 0, 0), (0.45, 0, 0), (0.5, 1, 0), (1.95, 1, 0), (2, 0, 0), (3, 0, 1), (7.95, 0, 1), (8, 0, 0)],
    )
    def test_pairs_within_the_refractory_period_and_beside_it(self, ms: float, seen: int, beside: int) -> None:
        for sign in (1, -1):
            second = np.array([1000 + sign * round(ms * 20)])
            assert refractoriness(np.array([1000]), second, FS) == (seen, beside)

    @pytest.mark.parametrize("fs", [20_000.0, 30_000.0])
    def test_independent_trains_are_two(self, fs: float) -> None:
        found = refractoriness(random_train(1500, 0, fs=fs), random_train(1500, 1, fs=fs), fs)
        assert found.two
        assert not found.one

    def test_so_are_two_neurons_that_burst_together(self) -> None:
        found = refractoriness(bursts(200, 0), bursts(200, 0) + np.random.default_rng(2).integers(-60, 60, 1000), FS)
        assert found.two
        assert not found.one

    def test_halves_of_a_bursting_neuron_are_one(self) -> None:
        train = bursts(60, 3)
        half = np.random.default_rng(4).random(300) < 0.5
        found = refractoriness(train[half], train[~half], FS)
        assert found.one
        assert not found.two

    def test_few_pairs_tell_nothing(self) -> None:
        for seen, beside in ((0, 0), (0, 20), (2, 0), (1, 9)):
            found = Refractoriness(seen, beside)
            assert not found.one
            assert not found.two

    def test_some_spikes_that_were_matched_wrongly_make_no_two(self) -> None:
        assert not Refractoriness(6, 200).two
        assert Refractoriness(6, 200).one

    def test_no_spikes_are_no_error(self) -> None:
        assert refractoriness(np.zeros(0, int), np.arange(5), FS) == (0, 0)


class TestGhosts:
    @pytest.mark.parametrize("lag", [-24, 0, 13])
    def test_most_spikes_at_one_lag_make_a_ghost(self, lag: int) -> None:
        other = random_train(500, 0)
        jitter = np.random.default_rng(1).integers(-3, 4, 40)
        ghost = np.concatenate([other[100:140] + lag + jitter, random_train(20, 2)])
        assert is_ghost(ghost, other, FS)

    def test_less_than_half_do_not(self) -> None:
        other = random_train(500, 0)
        assert not is_ghost(np.concatenate([other[100:140], random_train(60, 2)]), other, FS)

    def test_nor_do_they_at_many_lags(self) -> None:
        other = random_train(500, 0)
        assert not is_ghost(other[:200] + np.random.default_rng(1).integers(-30, 31, 200), other, FS)

    def test_nor_at_a_lag_that_no_spike_travels(self) -> None:
        other = random_train(500, 0)
        assert not is_ghost(other[:200] + 60, other, FS)

    def test_what_chance_makes_in_a_network_burst_is_none(self) -> None:
        rng = np.random.default_rng(0)
        starts = np.arange(20) * 40_000
        busy = (starts[:, None] + np.arange(0, 400, 7)).ravel()
        assert not is_ghost((starts[:, None] + rng.integers(0, 400, (20, 2))).ravel(), busy, FS)

    def test_no_spikes_are_no_ghosts(self) -> None:
        assert not is_ghost(np.zeros(0, int), np.arange(5), FS)
        assert not is_ghost(np.arange(5), np.zeros(0, int), FS)


class TestCoincide:
    def test_a_few_shared_spikes_are_more_than_chance(self) -> None:
        other = random_train(500, 0)
        assert coincide(np.concatenate([other[100:108] + 2, random_train(60, 2)]), other, FS)

    def test_chance_is_none(self) -> None:
        assert not coincide(random_train(300, 1), random_train(500, 0), FS)

    def test_nor_is_a_network_burst(self) -> None:
        rng = np.random.default_rng(0)
        starts = np.arange(20) * 40_000
        busy = (starts[:, None] + np.arange(0, 400, 7)).ravel()
        assert not coincide((starts[:, None] + rng.integers(0, 400, (20, 2))).ravel(), busy, FS)


def test_a_train_that_begins_where_another_ends_may_be_a_jump() -> None:
    early, late = np.arange(0, 1000, 10), np.arange(1000, 3000, 10)
    assert jumps(early, late)
    assert jumps(late, early)
    assert jumps(np.append(early, [2500]), late)  # one was matched wrongly
    assert not jumps(early, late + 300)  # long after
    assert not jumps(early, late - 300)  # both fire for a while
    assert not jumps(early, early)
