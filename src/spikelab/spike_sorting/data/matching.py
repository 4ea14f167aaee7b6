"""Matching of units of two sorts: how many spikes each pair has in common, and which pairs are the same unit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

CHUNK = 1 << 19  # spikes that are compared at once
ROUNDING_MS = 1e-6


@dataclass(frozen=True)
class Overlap:
    """Spikes that units of two sorts have in common.

    Attributes
    ----------
    n_a, n_b : numpy.ndarray of int64, shape (units,)
        Spikes of each unit.
    n_common : numpy.ndarray of int64, shape (units of a, units of b)
        Spikes that both have, within the window.
    """

    n_a: IntArray
    n_b: IntArray
    n_common: IntArray

    @cached_property
    def agreement(self) -> FloatArray:
        """Spikes in common over all spikes of either, shape (units of a, units of b)."""
        return _shares(self.n_common, self.n_a[:, None] + self.n_b[None, :] - self.n_common)

    @cached_property
    def share_of_a(self) -> FloatArray:
        """Share of the spikes of a unit of a that a unit of b has."""
        return _shares(self.n_common, self.n_a[:, None])

    @cached_property
    def share_of_b(self) -> FloatArray:
        """Share of the spikes of a unit of b that a unit of a has."""
        return _shares(self.n_common, self.n_b[None, :])

    def turned(self) -> Overlap:
        """Return the same with the sorts in the other order."""
        return Overlap(self.n_b, self.n_a, self.n_common.T)

    def take(self, rows: IntArray, columns: IntArray) -> Overlap:
        """Keep some units of both."""
        return Overlap(self.n_a[rows], self.n_b[columns], self.n_common[np.ix_(rows, columns)])


def _shares(common: IntArray, of: IntArray) -> FloatArray:
    """Divide counts; 0 where there is nothing to divide by."""
    return np.asarray(common / np.maximum(of, 1), dtype=np.float64)


def overlap_of(a: Sequence[FloatArray], b: Sequence[FloatArray], delta_ms: float) -> Overlap:
    """Count the spikes that each pair of units has in common: those within `delta_ms` of one another.

    Parameters
    ----------
    a, b : sequence of numpy.ndarray of float64
        Spike times of each unit in ms, ascending.
    delta_ms : float
        Largest difference. A spike counts once for each unit of the other sort, however many it has nearby.
    """
    n_a, n_b = _sizes(a), _sizes(b)
    of_a, of_b = _together(a), _together(b)
    with_a = _with_partner(of_a, of_b, (len(a), len(b)), delta_ms)
    with_b = _with_partner(of_b, of_a, (len(b), len(a)), delta_ms).T
    return Overlap(n_a, n_b, np.minimum(with_a, with_b))


def _sizes(trains: Sequence[FloatArray]) -> IntArray:
    return np.array([len(train) for train in trains], dtype=np.int64)


def _together(trains: Sequence[FloatArray]) -> tuple[FloatArray, IntArray]:
    """Return the times of all spikes, ascending, and the row of the unit of each."""
    times = np.concatenate([np.empty(0), *trains])
    units = np.repeat(np.arange(len(trains)), _sizes(trains))
    order = np.argsort(times, kind="stable")
    return times[order], units[order]


def _with_partner(
    of_a: tuple[FloatArray, IntArray], of_b: tuple[FloatArray, IntArray], shape: tuple[int, int], delta_ms: float
) -> IntArray:
    """Count the spikes of each unit of a that have a spike of each unit of b within the window."""
    (times, units), (others, of_others) = of_a, of_b
    counts = np.zeros(shape[0] * shape[1], dtype=np.int64)
    reach = delta_ms + ROUNDING_MS
    first, last = np.searchsorted(others, times - reach, "left"), np.searchsorted(others, times + reach, "right")
    for start in range(0, len(times), CHUNK):
        own = slice(start, start + CHUNK)
        n_near = last[own] - first[own]
        spikes = np.repeat(np.arange(len(n_near)), n_near)
        near = np.arange(len(spikes)) - np.repeat(np.cumsum(n_near) - n_near, n_near) + np.repeat(first[own], n_near)
        pairs = _distinct(spikes * shape[1] + of_others[near])
        spike, other = np.divmod(pairs, max(1, shape[1]))
        counts += np.bincount(units[own][spike] * shape[1] + other, minlength=len(counts))
    return counts.reshape(shape)


def _distinct(pairs: IntArray) -> IntArray:
    ordered = np.sort(pairs)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def best_pairs(agreement: FloatArray, least: float) -> list[tuple[int, int]]:
    """Match units one to one so that the sum of agreements is largest; pairs below `least` are none."""
    from scipy.optimize import linear_sum_assignment

    # What is below the limit is worth nothing, so that it takes no partner from a pair that is above.
    rows, columns = linear_sum_assignment(np.where(agreement >= least, agreement, 0.0), maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if agreement[row, column] >= max(least, np.finfo(float).tiny)]
