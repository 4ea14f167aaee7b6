"""Join pieces of one neuron that follow each other in time: where one ends and the other begins, both look alike.

A neuron that moves far, or whose electrodes slip, is learnt in pieces. Their means need not be alike at all; the spikes
around the time at which one takes over from the other are. Two neurons that fire throughout have no such time.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.means import Mean, compare_means
from spikelab.spike_sorting.rt_sort.learning.merging import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.learning.merging import Units

# Of the smaller unit's spikes, so many may be on the other's side of that time: drift takes templates over gradually.
MOST_MISPLACED = 0.1
# Examples of either around that time: more reach too far in time, fewer than the least are not enough to compare.
N_AROUND, LEAST_AROUND = 20, 8
ENDS_ALIKE = 0.9  # cosine: less alike, at one time, are two neurons


def takes_over(first: IntArray, second: IntArray) -> tuple[int, int]:
    """Find the frame that best has all spikes of `first` before it and all of `second` after; count the others."""
    frames = np.concatenate([first, second])
    order = np.argsort(frames, kind="stable")
    is_second = order >= len(first)
    # Before the first spike all of `first` are misplaced; each spike of `first` that time passes is one less.
    misplaced = len(first) + np.cumsum(np.where(is_second, 1, -1))
    best = int(np.argmin(misplaced))
    return int(frames[order[best]]), int(misplaced[best])


def around(units: Units, i: int, frame: int, most: int = N_AROUND) -> tuple[FloatArray, int]:
    """Average the examples of a unit nearest to a frame, shape (frames, channels); return how many there are, too."""
    some = np.argsort(np.abs(units.example_frames[i] - frame), kind="stable")[:most]
    mean = np.zeros_like(units.means[i])
    used = units.channels[i] >= 0
    if len(some):
        mean[:, units.channels[i][used]] = units.examples[i][some].mean(axis=0)[used].T
    return mean, len(some)


def follow(units: Units, i: int, j: int) -> Evidence:
    """Weigh the evidence that one of two units takes over from the other; above 0: they are one neuron."""
    if units.across(i, j):
        return Evidence(-np.inf, 0)
    first, second = (i, j) if np.median(units.frames[i]) <= np.median(units.frames[j]) else (j, i)
    frame, misplaced = takes_over(units.frames[first], units.frames[second])
    if misplaced > MOST_MISPLACED * min(len(units.frames[i]), len(units.frames[j])):
        return Evidence(-np.inf, 0)
    (one, n_one), (other, n_other) = (around(units, k, frame) for k in (i, j))
    if min(n_one, n_other) < LEAST_AROUND:
        return Evidence(-np.inf, 0)
    means = Mean.of(one, n_one, units.noise.sigma), Mean.of(other, n_other, units.noise.sigma)
    pair = compare_means(*means, units.noise, units.components, units.origin, units.max_lag)
    return Evidence(pair.cosine - ENDS_ALIKE, pair.lag)


def join_following(units: Units, left: IntArray) -> IntArray:
    """Join those of the units in `left` that follow each other, the most alike first; return the ones that remain."""
    alive = left.tolist()
    scores = _followers(units, combinations(alive, 2))
    while scores:
        (i, j), evidence = max(scores.items(), key=lambda item: item[1].score)
        units.join(i, j, evidence.lag)
        alive.remove(j)
        scores = {pair: value for pair, value in scores.items() if not {i, j} & set(pair)}
        scores |= _followers(units, ((min(i, k), max(i, k)) for k in alive if k != i))
    return np.array(alive, dtype=np.int64)


def _followers(units: Units, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Evidence]:
    """Weigh the pairs that can be compared; return the evidence of those of which one follows the other."""
    weighed = {pair: follow(units, *pair) for pair in pairs if units.meet(*pair)}
    return {pair: evidence for pair, evidence in weighed.items() if evidence.score > 0}
