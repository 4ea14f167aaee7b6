"""Scores: an injected neuron that is found, split, merged, missed, or taken for a unit that was there."""

from __future__ import annotations

import numpy as np
from tests.validation.known import FS

from spikelab.spike_sorting.validation.score import score

NATIVE = [np.arange(500, 200_000, 1000), np.arange(700, 200_000, 1300)]
KNOWN = np.arange(250, 200_000, 1000)  # at 12.5 ms from the first unit, and never within 0.4 ms of the second
KNOWN = KNOWN[np.abs(KNOWN[:, None] - NATIVE[1]).min(axis=1) > 20]
NONE = np.empty(0, dtype=np.int64)


def merged(*trains: np.ndarray) -> np.ndarray:
    return np.sort(np.concatenate(trains))


def test_found_as_it_was_put_in() -> None:
    jitter = np.random.default_rng(0).integers(-7, 8, len(KNOWN))  # 0.35 ms
    found = score([KNOWN], NATIVE, [NATIVE[1], KNOWN + jitter, NATIVE[0]], FS)
    assert found.found.tolist() == [1]
    assert [found.accuracy[0], found.recall[0], found.precision[0]] == [1, 1, 1]
    assert found.pieces.tolist() == [[1, 0]]
    assert found.piece_scores.tolist() == [[1, 1, 1]]
    assert found.stability.tolist() == [1, 1]
    assert found.n_new == 0


def test_spikes_beyond_the_window_are_others() -> None:
    found = score([KNOWN], NATIVE, [KNOWN + 9], FS)
    assert found.found.tolist() == [-1]
    assert found.accuracy.tolist() == [0]
    assert found.n_new == 1


def test_split_in_two() -> None:
    found = score([KNOWN], NATIVE, [*NATIVE, KNOWN[::4], np.delete(KNOWN, np.s_[::4])], FS)
    assert found.found.tolist() == [3]  # the larger piece
    np.testing.assert_allclose([found.accuracy[0], found.recall[0], found.precision[0]], [0.75, 0.75, 1], atol=0.01)
    assert found.pieces.tolist() == [[2, 0], [3, 0]]
    np.testing.assert_allclose(found.piece_scores[:, 0], [0.25, 0.75], atol=0.01)
    assert found.n_new == 0


def test_merged_with_another_injected_one() -> None:
    other = KNOWN + 40
    found = score([KNOWN, other[::2]], NATIVE, [*NATIVE, merged(KNOWN, other[::2])], FS)
    assert found.found.tolist() == [2, 2]
    np.testing.assert_allclose(found.precision, [2 / 3, 1 / 3], atol=0.01)
    assert found.recall.tolist() == [1, 1]
    assert found.pieces.tolist() == [[2, 0]]


def test_missed() -> None:
    found = score([KNOWN], NATIVE, NATIVE, FS)
    assert found.found.tolist() == [-1]
    assert [found.accuracy[0], found.recall[0], found.precision[0]] == [0, 0, 0]
    assert len(found.pieces) == len(found.piece_scores) == 0
    assert found.piece_scores.shape == (0, 3)
    assert found.stability.tolist() == [1, 1]


def test_taken_for_a_unit_that_was_there() -> None:
    small = KNOWN[::3]
    found = score([small], NATIVE, [merged(NATIVE[0], small), NATIVE[1]], FS)
    assert found.found.tolist() == [0]
    np.testing.assert_allclose(found.precision, len(small) / (len(small) + 200), atol=0.01)
    assert len(found.pieces) == 0  # that unit is the native one still
    np.testing.assert_allclose(found.stability, [200 / (len(small) + 200), 1], atol=0.01)
    assert found.n_new == 0


def test_new_units_are_counted() -> None:
    noise = np.sort(np.random.default_rng(0).choice(200_000, 150, replace=False))
    found = score([KNOWN], NATIVE, [*NATIVE, KNOWN, noise], FS)
    assert found.n_new == 1


def test_no_units_found_and_empty_ones() -> None:
    found = score([KNOWN, KNOWN + 40], NATIVE, [], FS)
    assert found.found.tolist() == [-1, -1]
    assert found.accuracy.tolist() == found.stability.tolist() == [0, 0]
    assert found.pieces.shape == (0, 2)
    assert found.n_new == 0
    found = score([KNOWN, NONE], [*NATIVE, NONE], [NONE, KNOWN], FS)
    assert found.found.tolist() == [1, -1]
    assert found.stability.tolist() == [0, 0, 0]
    assert found.pieces.tolist() == [[1, 0]]
    found = score([], NATIVE, NATIVE, FS)
    assert found.pieces.shape == (0, 2)
    assert found.stability.tolist() == [1, 1]
