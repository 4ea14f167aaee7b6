"""Hartigan's dip, and what it is worth."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from spikelab.spike_sorting.rt_sort.learning._dip import (
    N_VALUES,
    P_VALUES,
    QUANTILES,
    convex_minorant,
    dip_of,
    dip_p_value,
)


def nearest_unimodal(values: np.ndarray) -> float:
    """The dip from its definition: linear programs over the curves with a mode at each of the values."""
    x, counts = np.unique(values, return_counts=True)
    above = np.cumsum(counts) / len(values)
    below = above - counts / len(values)
    return max(min(program(x, below, above, mode) for mode in range(len(x))), 1 / (2 * len(values)))


def program(x: np.ndarray, below: np.ndarray, above: np.ndarray, mode: int) -> float:
    n = len(x)  # unknowns: the curve at each x, from the left at the mode; from the right at the mode; the dip
    rows, limits = [], []

    def require(terms: list[tuple[int, float]], limit: float) -> None:
        row = np.zeros(n + 2)
        for place, factor in terms:
            row[place] += factor
        rows.append(row)
        limits.append(limit)

    for i in range(n):
        require([(i, 1), (n + 1, -1)], below[i])
        require([(i, -1), (n + 1, -1)], -(below if i == mode else above)[i])
    require([(n, 1), (n + 1, -1)], above[mode])
    require([(n, -1), (n + 1, -1)], -above[mode])
    require([(mode, 1), (n, -1)], 0)
    for places, xs, sign in (
        (list(range(mode + 1)), x[: mode + 1], 1),
        ([n, *range(mode + 1, n)], x[mode:], -1),
    ):
        slopes = [[(places[i + 1], 1 / step), (places[i], -1 / step)] for i, step in enumerate(np.diff(xs))]
        for slope in slopes:
            require([(place, -factor) for place, factor in slope], 0)
        for first, second in pairwise(slopes):
            require([(p, sign * f) for p, f in first] + [(p, -sign * f) for p, f in second], 0)
    goal = np.zeros(n + 2)
    goal[-1] = 1
    return linprog(goal, A_ub=np.array(rows), b_ub=limits, bounds=[(0, 1)] * (n + 2)).fun


@pytest.mark.parametrize("seed", range(12))
def test_the_dip_is_the_distance_of_the_nearest_unimodal_distribution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_first, n_second = rng.integers(1, 9, 2)
    values = np.concatenate([rng.normal(size=n_first), rng.uniform(0, 5) + rng.normal(size=n_second)])
    for sample in (values, np.round(values)):
        assert dip_of(sample) == pytest.approx(nearest_unimodal(sample), abs=1e-7)


@pytest.mark.parametrize(
    ("values", "dip"),
    [
        (np.arange(20.0), 1 / 40),  # the least there is: 1 / (2 n)
        (np.repeat([0.0, 1.0], 50), 0.25),  # the most there is
        (np.array([3.0, 1.0, 2.0]), 1 / 6),
        (np.array([0.0, 0.1, 0.2, 5.0, 5.1, 5.2]), 0.24),
    ],
)
def test_known_dips(values: np.ndarray, dip: float) -> None:
    assert dip_of(values) == pytest.approx(dip)


def lowest_chord(x: np.ndarray, y: np.ndarray, i: int) -> float:
    """Value at point i of the greatest convex minorant: the lowest line between any two points around it."""
    chords = [y[i]]
    for a in range(i):
        for b in range(i + 1, len(x)):
            chords.append(y[a] + (y[b] - y[a]) * (x[i] - x[a]) / (x[b] - x[a]))
    return min(chords)


@given(st.lists(st.integers(0, 30), min_size=3, max_size=8, unique=True), st.integers(0, 2**31))
@settings(max_examples=25)
def test_the_minorant_is_the_lowest_chord_and_the_majorant_the_highest(places: list[int], seed: int) -> None:
    x = np.sort(np.array(places, dtype=float))
    y = np.random.default_rng(seed).normal(size=len(x)).round(2)
    for sign in (1.0, -1.0):
        knots, curve = np.zeros(len(x), dtype=np.int64), np.zeros(len(x))
        n_knots = convex_minorant(x, y, sign, 0, len(x) - 1, knots, curve)
        expected = [sign * lowest_chord(x, sign * y, i) for i in range(len(x))]
        np.testing.assert_allclose(curve, expected, atol=1e-9)
        at_knots = knots[:n_knots]
        np.testing.assert_array_equal(curve[at_knots], y[at_knots])
        slopes = sign * np.diff(y[at_knots]) / np.diff(x[at_knots])
        assert np.all(np.diff(slopes) > 0)


def test_the_minorant_of_a_part_leaves_the_rest_alone() -> None:
    x, y = np.arange(5.0), np.array([9.0, 0, 5, 1, 9])
    knots, curve = np.full(5, -1), np.full(5, -1.0)
    assert convex_minorant(x, y, 1.0, 1, 3, knots, curve) == 2
    assert knots.tolist() == [1, 3, -1, -1, -1] or knots[:2].tolist() == [1, 3]
    assert curve.tolist() == [-1, 0, 0.5, 1, -1]


def test_where_points_share_an_x_the_curve_is_vertical() -> None:
    knots, curve = np.zeros(4, dtype=np.int64), np.zeros(4)
    convex_minorant(np.array([0.0, 1, 1, 1]), np.array([0.0, 2, 3, 6]), 1.0, 0, 3, knots, curve)
    assert curve.tolist() == [0, 2, 4, 6] or curve.tolist() == [0, 2, 3, 6]


# What it is worth


def test_p_is_that_of_the_table_at_its_sizes() -> None:
    for n, row in zip(N_VALUES, QUANTILES, strict=True):
        for quantile, p in zip(row, P_VALUES, strict=True):
            if row.count(quantile) == 1:
                assert dip_p_value(quantile / np.sqrt(n), n) == pytest.approx(p)


def test_p_between_sizes_is_linear_in_their_logarithm() -> None:
    n = 70
    share = np.log(70 / 50) / np.log(100 / 50)
    rows = [QUANTILES[N_VALUES.index(size)] for size in (50, 100)]
    middle = (1 - share) * rows[0][3] + share * rows[1][3]
    assert dip_p_value(middle / np.sqrt(n), n) == pytest.approx(0.5)


def test_p_at_the_ends_of_the_table() -> None:
    assert dip_p_value(0.2, 3) == 1
    assert dip_p_value(0.0, 50) == 1
    assert dip_p_value(0.2499 / 2, 4) == pytest.approx(0.99, abs=1e-3)
    assert dip_p_value(0.5 * QUANTILES[8][0] / np.sqrt(50), 50) == pytest.approx(0.995)
    assert dip_p_value(1.001 * QUANTILES[8][-1] / np.sqrt(50), 50) == 0
    beyond = QUANTILES[-1][3] / np.sqrt(50_000)
    assert dip_p_value(beyond, 50_000) == pytest.approx(0.5)


def test_the_table_is_smooth() -> None:
    """From 20 values on, quantiles change by less than 6.5 in 100 from one size to the next, and along p by 30."""
    table = np.array(QUANTILES)
    large = table[N_VALUES.index(20) :]
    assert np.all(np.abs(np.diff(large, axis=0)) < 0.065 * large[1:])
    assert np.all(np.diff(table, axis=1) >= 0)
    assert np.all(np.diff(table, axis=1) < 0.3 * table[:, 1:])
    assert np.all(np.diff(N_VALUES) > 0)
    assert np.all(np.diff(P_VALUES) < 0)
    assert np.all(table[0] / np.sqrt(4) <= 0.25)
