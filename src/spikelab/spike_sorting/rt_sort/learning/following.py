"""Join pieces of one neuron that follow each other in time: where one ends and the other begins, both look alike.

A neuron that moves far, or whose electrodes slip, is learnt in pieces. Their means need not be alike at all; the spikes
around the time at which one takes over from the other are. Two neurons that fire throughout have no such time.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.means import Mean, Pair, compare_means
from spikelab.spike_sorting.rt_sort.learning.merging import NEARLY_EQUAL, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.learning.merging import Units

# Of the smaller unit's spikes, so many may be on the other's side of that time: drift takes templates over gradually.
MOST_MISPLACED = 0.1
# The same where the ends are as good as equal: the template of a faint piece finds spikes on the other side, too.
MOST_OF_EQUAL = 0.25
# Examples of either around that time: more reach too far in time. Few do where they are large: of a neuron that fires
# rarely and moves fast, twenty are spread over seconds.
N_AROUND, FEWER_AROUND = 20, (5, 10)
LEAST_AROUND = 8  # that a unit has, at least
N_TREND = 14  # examples that a line is fitted to
# A line that ends far from its spikes, or of few and noisy ones, says nothing, and nor do few small ones: as many
# spikes as the end of a line is worth, at least, and as much of the energy as may be noise.
LEAST_WORTH, MOST_NOISE = 1.2, 0.03
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


def around(units: Units, i: int, frame: int, most: int) -> tuple[FloatArray, int]:
    """Average the examples of a unit nearest to a frame, shape (frames, channels); return how many there are, too."""
    some = _nearest(units, i, frame, most)
    return _weighted(units, i, some, np.full(len(some), 1 / max(len(some), 1))), len(some)


def heading_for(units: Units, i: int, frame: int) -> tuple[FloatArray, float]:
    """Extrapolate the examples of a unit nearest to a frame to it, by a line; return how many that is worth, too.

    The first few examples of a rare neuron may be seconds from the frame, in which it moves. What a line says of its
    end is as sure as the mean of fewer.
    """
    some = _nearest(units, i, frame, N_TREND)
    times = units.example_frames[i][some].astype(np.float64)
    middle = times.mean()
    weights = 1 / len(some) + (frame - middle) * (times - middle) / max(float(np.sum((times - middle) ** 2)), 1.0)
    return _weighted(units, i, some, weights), float(1 / np.sum(weights**2))


def _nearest(units: Units, i: int, frame: int, most: int) -> IntArray:
    nearest: IntArray = np.argsort(np.abs(units.example_frames[i] - frame), kind="stable")[:most]
    return nearest


def _weighted(units: Units, i: int, some: IntArray, weights: NDArray[np.float64]) -> FloatArray:
    """Add some examples of a unit with their weights, shape (frames, channels)."""
    total: FloatArray = np.zeros_like(units.means[i])
    used = units.channels[i] >= 0
    if len(some):
        total[:, units.channels[i][used]] = np.tensordot(weights, units.examples[i][some], axes=1)[used].T
    return total


def follow(units: Units, i: int, j: int) -> Evidence:
    """Weigh the evidence that one of two units takes over from the other; above 0: they are one neuron."""
    if units.across(i, j) or min(len(units.example_frames[k]) for k in (i, j)) < LEAST_AROUND:
        return Evidence(-np.inf, 0)
    first, second = (i, j) if np.median(units.frames[i]) <= np.median(units.frames[j]) else (j, i)
    frame, misplaced = takes_over(units.frames[first], units.frames[second])
    share = misplaced / min(len(units.frames[i]), len(units.frames[j]))
    if share > MOST_OF_EQUAL:
        return Evidence(-np.inf, 0)
    pair = _ends(units, i, j, frame)
    return Evidence(pair.cosine - (ENDS_ALIKE if share <= MOST_MISPLACED else NEARLY_EQUAL), pair.lag)


def _ends(units: Units, i: int, j: int, frame: int) -> Pair:
    """Compare two units at a frame: as their spikes next to it are, or as they head for it where that is more alike."""
    many = _compared(units, [around(units, k, frame, N_AROUND) for k in (i, j)])
    others = [_compared(units, [around(units, k, frame, few) for k in (i, j)]) for few in FEWER_AROUND]
    headings = [heading_for(units, k, frame) for k in (i, j)]
    if min(worth for _, worth in headings) >= LEAST_WORTH:
        others.append(_compared(units, headings))
    return max([many, *(pair for pair in others if pair.noise <= MOST_NOISE)], key=lambda pair: pair.cosine)


def _compared(units: Units, ends: Sequence[tuple[FloatArray, float]]) -> Pair:
    one, other = (Mean.of(end, count, units.noise.sigma) for end, count in ends)
    return compare_means(one, other, units.noise, units.components, units.origin, units.max_lag)


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
