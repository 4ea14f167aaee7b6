"""Cells of points and how they are merged: each loop on a few points, against a slow way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.rt_sort.learning import _partition
from spikelab.spike_sorting.rt_sort.learning._partition import (
    absorb_small,
    assign,
    compare_pair,
    geometry,
    k_means,
    members_of,
    merge_unimodal,
    moments,
    move_centres,
    nearest_large,
    nearest_open,
    weighted_draw,
)

SEEDS = st.integers(0, 2**31)
INF = np.inf


def two_clouds(n: int, distance: float) -> np.ndarray:
    """Points in turns of two normal clouds."""
    points = np.random.default_rng(0).normal(size=(n, 2))
    points[1::2, 0] += distance
    return points


# Cells


@pytest.mark.parametrize(("draw", "index"), [(0.0, 0), (0.24, 0), (0.25, 2), (0.49, 2), (0.5, 3), (0.99, 3), (1.0, 3)])
def test_a_draw_is_where_the_running_sum_passes_its_share(draw: float, index: int) -> None:
    assert weighted_draw(np.array([1.0, 0.0, 1.0, 2.0]), draw) == index


def test_points_go_to_the_nearest_centre_and_the_first_of_equals() -> None:
    points = np.array([[0.0, 0], [2, 0], [5, 1], [4, 0], [9, 9]])
    labels = np.full(5, 7)
    assign(points, np.array([[0.0, 0], [4, 0], [4, 0], [9, 8]]), labels)
    assert labels.tolist() == [0, 0, 1, 1, 3]


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), SEEDS)
@settings(max_examples=15)
def test_assigned_centres_are_those_of_the_least_distance(n: int, n_cells: int, n_dims: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, centres, labels = rng.normal(size=(n, n_dims)), rng.normal(size=(n_cells, n_dims)), np.zeros(n, dtype=int)
    assign(points, centres, labels)
    assert labels.tolist() == np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1).tolist()


def test_centres_move_to_the_means_and_those_of_empty_cells_stay() -> None:
    centres = np.full((3, 2), 50.0)
    move_centres(np.array([[0.0, 0], [2, 4], [7, 7]]), np.array([0, 0, 2]), centres)
    assert centres.tolist() == [[1, 2], [50, 50], [7, 7]]


def slow_k_means(points: np.ndarray, draws: np.ndarray, n_rounds: int) -> list[int]:
    centres = [points[min(len(points) - 1, int(draws[0] * len(points)))]]
    for draw in draws[1:]:
        squares = np.min([np.sum((points - centre) ** 2, axis=1) for centre in centres], axis=0)
        running = np.cumsum(squares)
        centres.append(points[min(np.searchsorted(running, draw * running[-1], side="right"), len(points) - 1)])
    for _ in range(n_rounds + 1):
        labels = np.array([np.argmin([np.sum((point - centre) ** 2) for centre in centres]) for point in points])
        if _ < n_rounds:
            centres = [points[labels == k].mean(axis=0) if np.any(labels == k) else c for k, c in enumerate(centres)]
    return labels.tolist()


@given(st.integers(4, 14), st.integers(1, 4), st.integers(0, 3), SEEDS)
@settings(max_examples=15)
def test_k_means_is_that_of_the_slow_way(n: int, n_cells: int, n_rounds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, draws = rng.normal(size=(n, 2)), rng.random(n_cells)
    assert k_means(points, draws, n_rounds).tolist() == slow_k_means(points, draws, n_rounds)


def test_the_first_centre_is_the_one_that_is_drawn() -> None:
    points = np.array([[0.0], [10.0], [20.0], [30.0]])
    assert k_means(points, np.array([0.999, 0.0]), 0).tolist() == [1, 1, 0, 0]
    assert k_means(points, np.array([0.26, 0.99]), 0).tolist() == [0, 0, 0, 1]


# Sizes, means and distances


def test_geometry_of_cells_and_of_an_empty_one() -> None:
    points, labels = np.array([[0.0, 0], [2, 0], [1, 4], [1, 4]]), np.array([0, 0, 2, 2])
    counts, centres, squares = geometry(points, labels, 3)
    assert counts.tolist() == [2, 0, 2]
    assert centres[[0, 2]].tolist() == [[1, 0], [1, 4]]
    assert centres[1].tolist() == [0, 0]
    assert squares.tolist() == [[INF, INF, 16], [INF, INF, INF], [16, INF, INF]]


def test_the_nearest_open_cell_is_the_first_of_equals_that_is_not_settled() -> None:
    squares = np.array([[INF, 4, 4, 9], [4, INF, 1, INF], [4, 1, INF, INF], [9, INF, INF, INF]])
    settled = np.zeros((4, 4), dtype=bool)
    assert nearest_open(squares, settled).tolist() == [1, 2, 1, 0]
    settled[0, 1] = settled[1, 0] = settled[1, 2] = settled[2, 1] = settled[3, 0] = True
    assert nearest_open(squares, settled).tolist() == [2, -1, 0, -1]


def test_members_are_in_order() -> None:
    assert members_of(np.array([3, 1, 0, 1, 2, 3]), 3, 1).tolist() == [0, 1, 3, 5]


@given(st.integers(3, 12), st.integers(1, 4), SEEDS)
@settings(max_examples=10)
def test_moments_are_those_of_the_members_in_one_cell(n: int, n_dims: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, labels = rng.normal(size=(n, n_dims)), rng.integers(0, 3, n)
    labels[0] = 1
    count, mean, scatter = moments(points, labels, members_of(labels, 0, 1), 1)
    own = points[labels == 1]
    assert count == len(own)
    np.testing.assert_allclose(mean, own.mean(axis=0))
    off = own - own.mean(axis=0)
    np.testing.assert_allclose(np.tril(scatter), np.tril(off.T @ off), atol=1e-12)


# Merging


def test_two_halves_of_one_cloud_become_one() -> None:
    points = two_clouds(40, 0.0)
    labels = np.where(points[:, 0] > 0, 5, 2)
    assert compare_pair(points, labels, 2, 5, 2.0) == (True, True)
    assert labels.tolist() == [2] * 40


def test_two_clouds_stay_two_and_points_on_the_wrong_side_change() -> None:
    points, truth = two_clouds(40, 20.0), np.arange(40) % 2
    labels = truth.copy()
    assert compare_pair(points, labels, 0, 1, 1.0) == (False, False)
    assert labels.tolist() == truth.tolist()
    labels[[2, 5]] = 1, 0
    assert compare_pair(points, labels, 0, 1, 1.0) == (False, True)
    assert labels.tolist() == truth.tolist()
    assert compare_pair(points, labels, 0, 1, 1e9) == (True, True)


def test_a_point_beyond_the_cut_stays_where_its_own_cell_covers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide cell and a narrow one, cut in the midst of the wide one."""
    wide, narrow = np.linspace(-10, 8, 19), np.linspace(9.8, 10.2, 11)
    points, labels = np.concatenate([wide, narrow])[:, None], np.repeat([0, 1], [19, 11])
    compare = getattr(compare_pair, "py_func", compare_pair)
    names = ("factorised", "solve", "squared_length", "moments", "members_of")
    for name in names:
        monkeypatch.setattr(_partition, name, getattr(getattr(_partition, name), "py_func", getattr(_partition, name)))
    monkeypatch.setattr(_partition, "unimodality_of", lambda along: (9.0, np.sort(along)[14]))
    assert compare(points, labels, 0, 1, 2.0) == (False, False)
    assert labels.tolist() == [0] * 19 + [1] * 11
    monkeypatch.setattr(_partition, "unimodality_of", lambda along: (2.0, np.sort(along)[14]))
    assert compare(points, labels, 0, 1, 2.0) == (False, False)  # a score at the threshold is two


def test_cells_are_merged_until_every_pair_has_been_compared() -> None:
    points = two_clouds(60, 25.0)
    quarters = 2 * (points[:, 1] > 0) + (points[:, 0] > 12)
    labels = quarters.astype(np.int64)
    merge_unimodal(points, labels, 4, 2.0)
    assert len(set(labels[::2])) == len(set(labels[1::2])) == 1
    assert labels[0] != labels[1]
    merge_unimodal(points, labels, 4, 1e9)
    assert len(set(labels)) == 1


def slow_merge(judge: dict[tuple[int, int], bool], labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Merge nearest pairs of cells where `judge` says so, one pair after the other."""
    labels, done = labels.copy(), set()
    while True:
        cells = sorted(set(labels.tolist()))
        centres = {c: points[labels == c].mean(axis=0) for c in cells}
        pairs = [
            (np.sum((centres[a] - centres[b]) ** 2), a, b) for a in cells for b in cells if a < b and (a, b) not in done
        ]
        if not pairs:
            return labels
        _, a, b = min(pairs)
        done.add((a, b))
        if judge[a, b]:
            labels[labels == b] = a
            done = {pair for pair in done if a not in pair}


def test_a_merged_cell_is_compared_anew_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells at 0, 10, 21 and 33: 0 and 1 are one; only then is 2 like 0, and 3 like nothing."""
    points = np.repeat([0.0, 10.0, 21.0, 33.0], 2)[:, None]
    labels = np.repeat(np.arange(4), 2)
    asked = []

    def judged(points: np.ndarray, labels: np.ndarray, a: int, b: int, threshold: float) -> tuple[bool, bool]:
        asked.append((a, b))
        alike = (a, b) == (0, 1) or ((a, b) == (0, 2) and not np.any(labels == 1))
        if alike:
            labels[labels == b] = a
        return alike, alike

    for name in ("geometry", "update", "measure", "nearest_open"):
        monkeypatch.setattr(_partition, name, getattr(getattr(_partition, name), "py_func", getattr(_partition, name)))
    monkeypatch.setattr(_partition, "compare_pair", judged)
    getattr(merge_unimodal, "py_func", merge_unimodal)(points, labels, 4, 2.0)
    assert labels.tolist() == [0, 0, 0, 0, 0, 0, 3, 3]
    assert asked[0] == (0, 1)
    assert asked.count((0, 2)) == 1
    assert asked[-1] == (0, 3)
    assert len(asked) == len(set(asked)) + asked.count((0, 3)) - 1


def test_a_pair_that_changes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def undecided(*arguments: object) -> tuple[bool, bool]:
        calls.append(1)
        return False, True

    for name in ("geometry", "update", "measure", "nearest_open"):
        monkeypatch.setattr(_partition, name, getattr(getattr(_partition, name), "py_func", getattr(_partition, name)))
    monkeypatch.setattr(_partition, "compare_pair", undecided)
    points, labels = np.array([[0.0], [10.0], [21.0]]), np.arange(3)
    getattr(merge_unimodal, "py_func", merge_unimodal)(points, labels, 3, 2.0)
    assert len(calls) == 5 + 5 + 1  # cells 0 and 2, which are far apart, once the others are settled


# Small cells


def test_small_cells_become_part_of_the_nearest_large_one_the_smallest_first() -> None:
    points = np.array([0.0, 1, 2, 10, 11, 12, 13, 6, 6.2, 100])[:, None]
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    absorb_small(points, labels, 5, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0, 1]


def test_cells_of_the_least_size_stay() -> None:
    points, labels = np.array([0.0, 1, 10, 11])[:, None], np.array([0, 0, 1, 1])
    absorb_small(points, labels, 2, 2)
    assert labels.tolist() == [0, 0, 1, 1]


def test_where_all_are_small_they_become_one() -> None:
    points, labels = np.array([0.0, 1, 5, 7, 8])[:, None], np.array([0, 0, 1, 2, 2])
    absorb_small(points, labels, 3, 100)
    assert len(set(labels.tolist())) == 1


def test_the_nearest_large_cell_is_preferred_to_a_nearer_small_one() -> None:
    counts = np.array([9, 2, 9, 5])
    assert nearest_large(np.array([8.0, 1, 4, 6]), counts, 5) == 2
    assert nearest_large(np.array([8.0, 1, INF, 3]), counts, 5) == 3  # of the least size
    assert nearest_large(np.array([8.0, 1, 4, 2]), counts, 100) == 1
    assert nearest_large(np.array([4.0, INF, 4, INF]), counts, 5) == 0
    assert nearest_large(np.full(4, INF), counts, 5) == -1


def test_after_a_merge_a_cell_is_compared_with_others_as_often_as_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells 0 and 1 change three times and are merged at the fourth; all others change for ever: five times each."""
    points, labels = np.array([[0.0], [-11.0], [10.0], [24.0]]), np.arange(4)
    asked: list[tuple[int, int]] = []

    def judged(points: np.ndarray, labels: np.ndarray, a: int, b: int, threshold: float) -> tuple[bool, bool]:
        asked.append((a, b))
        merged = asked.count((0, 1)) == 4 and (a, b) == (0, 1)
        if merged:
            labels[labels == b] = a
        return merged, True

    for name in ("geometry", "update", "measure", "nearest_open"):
        monkeypatch.setattr(_partition, name, getattr(getattr(_partition, name), "py_func", getattr(_partition, name)))
    monkeypatch.setattr(_partition, "compare_pair", judged)
    getattr(merge_unimodal, "py_func", merge_unimodal)(points, labels, 4, 2.0)
    at = len(asked) - asked[::-1].index((0, 1))
    before, after = asked[:at], asked[at:]
    assert before.count((0, 2)) >= 2
    assert after.count((0, 2)) == 5
