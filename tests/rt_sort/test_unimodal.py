"""Is a sample unimodal? Each loop against its slow way, and the score of all together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.rt_sort.learning._unimodal import (
    LEVEL,
    LEVEL_SLOPE,
    N_MODES,
    candidate_modes,
    deepest_valley,
    spread_ties,
    tail_distance,
    unimodal_fits,
    unimodality_of,
)

SEEDS = st.integers(0, 2**31)


def spacings_of(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=n) + 0.01


# Ties


@pytest.mark.parametrize(
    ("ordered", "spread"),
    [
        ([1, 2, 4, 8], [1, 2, 4, 8]),  # no ties
        ([3, 3, 3], [3, 3, 3]),  # nothing but ties
        ([0, 0, 4, 4], [-1, 1, 3, 5]),  # half way to the next level
        ([0, 1, 1, 3, 3, 3], [0, 0.75, 1.25, 2 + 2 / 3, 3, 3 + 1 / 3]),  # half of the lower quartile: 1 of 1 and 2
        ([0, 0, 10, 11, 12, 13, 13], [-0.25, 0.25, 10, 11, 12, 12.75, 13.25]),
        ([0, 1, 1, 9, 17, 25, 33], [0, 0, 2.25, 9, 17, 25, 33]),  # not beyond half way
    ],
)
def test_ties_are_spread_over_the_cell_of_their_level(ordered: list[float], spread: list[float]) -> None:
    found = spread_ties(np.array(ordered, dtype=float))
    if ordered[:3] == [0, 1, 1] and len(ordered) == 7:  # cells from 0.5 to 5: the reach is half of 8
        spread = [0, 0.5 + 4.5 / 4, 0.5 + 3 * 4.5 / 4, 9, 17, 25, 33]
    np.testing.assert_allclose(found, spread)


# Densities


def test_modes_are_closer_to_each_other_towards_the_ends() -> None:
    modes = candidate_modes(1000)
    expected = [int(2 * ((k + 0.5) / 16) ** 2 * 1000) for k in range(8)]
    assert expected == [1, 17, 48, 95, 158, 236, 330, 439]
    assert modes.tolist() == expected + [999 - mode for mode in reversed(expected)]
    assert candidate_modes(5).min() == 0
    assert candidate_modes(5).max() == 4


def rising(spacings: np.ndarray) -> list[float]:
    """Isotonic regression by the formula of largest lower and smallest upper means."""
    n = len(spacings)
    density = lambda a, b: (b - a) / spacings[a:b].sum()  # noqa: E731
    return [max(min(density(a, b) for b in range(i + 1, n + 1)) for a in range(i + 1)) for i in range(n)]


@given(SEEDS, st.integers(1, 9))
@settings(max_examples=15)
def test_fits_rise_to_the_mode_and_fall_from_it(seed: int, n: int) -> None:
    spacings = spacings_of(seed, n)
    modes = np.array(sorted({0, n // 3, n // 2, n - 1}))
    fits = unimodal_fits(spacings, modes)
    for fit, mode in zip(fits, modes, strict=True):
        expected = rising(spacings[: mode + 1]) + rising(spacings[mode + 1 :][::-1])[::-1]
        np.testing.assert_allclose(fit, expected)


def test_equal_modes_have_equal_fits() -> None:
    fits = unimodal_fits(np.array([1.0, 2, 1, 3]), np.array([1, 1, 3]))
    np.testing.assert_array_equal(fits[0], fits[1])
    np.testing.assert_allclose(fits[2], rising(np.array([1.0, 2, 1, 3])))


# Distances


def slow_distance(spacings: np.ndarray, fit: np.ndarray) -> tuple[float, int, int]:
    n, best = len(spacings), (0.0, 0, len(spacings))
    shares = np.concatenate([[0], np.cumsum(spacings * fit)])
    length = n
    while length >= 4:
        for first in dict.fromkeys((0, n - length)):
            part = shares[first : first + length + 1] - shares[first]
            off = np.abs(part / part[-1] - np.arange(length + 1) / length).max() * math.sqrt(length)
            if off > best[0] + 1e-12:
                best = (off, first, first + length)
        length //= 2
    return best


@given(SEEDS, st.integers(4, 40))
@settings(max_examples=25)
def test_the_distance_is_the_largest_over_nested_tails(seed: int, n: int) -> None:
    spacings, fit, shares = spacings_of(seed, n), spacings_of(seed + 1, n), np.zeros(n + 1)
    distance, first, last = tail_distance(spacings, fit, shares, np.inf)
    expected = slow_distance(spacings, fit)
    assert distance == pytest.approx(expected[0])
    assert (first, last) == expected[1:]
    np.testing.assert_allclose(shares, np.concatenate([[0], np.cumsum(spacings * fit)]))


def test_a_distance_over_the_limit_is_given_up() -> None:
    spacings, fit = spacings_of(0, 32), spacings_of(1, 32)
    whole = tail_distance(spacings, fit, np.zeros(33), np.inf)[0]
    assert tail_distance(spacings, fit, np.zeros(33), 0.1)[0] >= 0.1
    assert tail_distance(spacings, fit, np.zeros(33), 1.01 * whole)[0] == whole
    assert tail_distance(spacings[:3], fit[:3], np.zeros(4), np.inf) == (0, 0, 3)


# Valleys


def slow_valley(spacings: np.ndarray, shares: np.ndarray, first: int, last: int) -> tuple[int, int]:
    part = shares[first : last + 1] - shares[first]
    height = np.arange(last - first + 1) - part / part[-1] * (last - first)
    lacks = [(height[: j + 1].max() - height[j], -j) for j in range(1, len(height))]
    _, stop = max((round(lack, 9), j) for lack, j in lacks)
    stop = -stop
    start = int(np.argmax(height[:stop]))
    width = math.ceil((stop - start) / 3)
    totals = [spacings[first + i : first + i + width].sum() for i in range(start, stop - width + 1)]
    low = first + start + int(np.argmax(np.round(totals, 9)))
    return low, low + width


@given(SEEDS, st.integers(6, 30))
@settings(max_examples=25)
def test_the_valley_is_the_emptiest_third_of_what_lacks_most(seed: int, n: int) -> None:
    spacings, fit = spacings_of(seed, n), spacings_of(seed + 1, n)
    shares = np.concatenate([[0], np.cumsum(spacings * fit)])
    for first, last in ((0, n), (1, n), (0, n - 2)):
        assert deepest_valley(spacings, shares, first, last) == slow_valley(spacings, shares, first, last)


def test_the_valley_of_two_groups_is_the_gap_between_them() -> None:
    spacings = np.array([1.0, 1, 1, 1, 50, 1, 1, 1, 1])
    shares = np.concatenate([[0], np.cumsum(spacings)])
    assert deepest_valley(spacings, shares, 0, 9) == (4, 5)


# All together


@pytest.mark.parametrize("n", [6, 15, 40])
def test_the_score_is_the_least_distance_over_the_modes(n: int) -> None:
    rng = np.random.default_rng(n)
    values = np.concatenate([rng.normal(size=n // 2), 4 + rng.normal(size=n - n // 2)])
    ordered = np.sort(values)
    spacings = np.diff(ordered)
    fits = unimodal_fits(spacings, candidate_modes(n - 1))
    assert len(fits) == N_MODES
    distances = [slow_distance(spacings, fit) for fit in fits]
    best = min(range(N_MODES), key=lambda k: round(distances[k][0], 12))
    score, cut = unimodality_of(values)
    assert score == pytest.approx(2 * distances[best][0] / (LEVEL + LEVEL_SLOPE * math.log(n)))
    candidates = []
    for (distance, first, last), fit in zip(distances, fits, strict=True):
        if distance == pytest.approx(distances[best][0]):
            shares = np.concatenate([[0], np.cumsum(spacings * fit)])
            low, high = slow_valley(spacings, shares, first, last)
            candidates.append((ordered[low] + ordered[high]) / 2)
    assert any(cut == pytest.approx(candidate) for candidate in candidates)


def test_groups_of_equal_spacings_have_a_known_score() -> None:
    """Two groups of 20 values with spacings of 1, and a gap of 21.

    With the mode at an end the fit is flat up to the gap, which takes half of what is spread evenly over 60.
    """
    values = np.concatenate([np.arange(20.0), 40 + np.arange(20.0)])
    score, cut = unimodality_of(values)
    assert 19 < cut < 40
    fits = unimodal_fits(np.diff(values), candidate_modes(39))
    expected = min(slow_distance(np.diff(values), fit)[0] for fit in fits)
    assert score == pytest.approx(2 * expected / (0.8 + 0.1 * math.log(40)))
    assert score > 2


@pytest.mark.parametrize(
    ("values", "cut"),
    [([], 0), ([4.0], 4), ([1.0, 5.0], 3), ([0.0, 1, 2, 3, 100], 50), (np.full(50, 3.0), 3)],
)
def test_too_few_or_equal_values_score_nothing_and_are_cut_in_the_middle(values: list[float], cut: float) -> None:
    assert unimodality_of(np.array(values, dtype=float)) == (0, cut)


def test_six_values_are_enough() -> None:
    assert unimodality_of(np.array([0.0, 0.1, 0.2, 9.0, 9.1, 9.2]))[0] > 0


def test_neither_order_nor_direction_matters() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=25), 6 + rng.normal(size=15)])
    score, cut = unimodality_of(values)
    assert score > 1
    assert unimodality_of(values[::-1].copy()) == (score, cut)
    assert unimodality_of(3 - values) == pytest.approx((score, 3 - cut))


# Equals


def test_of_equal_tails_the_first_counts() -> None:
    """Off by half a count of four spacings at either end, and of eight in all."""
    fit, spacings = np.array([1.0, 3, 3, 1, 1, 3, 3, 1]), np.ones(8)
    assert tail_distance(spacings, fit, np.zeros(9), np.inf) == (0.25, 0, 4)


def test_of_equal_heights_before_a_valley_the_first_is_its_edge() -> None:
    """The fit lacks half a point after the first spacing, and after the second."""
    shares = np.cumsum([0.0, 0.5, 1.0, 1.25, 1.25])
    assert deepest_valley(np.array([1.0, 9, 2, 3]), shares, 0, 4) == (1, 2)
