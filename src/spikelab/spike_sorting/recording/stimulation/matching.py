"""Which of the jumps in the traces is the onset of which pulse: the given times of a train are matched as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import FloatArray, IntArray

NEAR = 2  # pulses to both sides whose distances say how close together onsets may be
MATCHED, EARLIER = 1, 2  # how the best matching of a given time and the jumps up to one came about; 0: without the time


def matched(given: IntArray, sizes: FloatArray, level: float, first: int, reach: int) -> IntArray:
    """Find the onset of each of the pulses at the ascending, distinct frames `given`; -1 where there is none.

    `sizes` are those of the jumps at frames `first` and later, an onset is larger than `level`. It is at most `reach`
    frames from its given time; onsets have the order of the times; as many as possible are found; and of such
    matchings that is taken which is nearest to one latency for all.
    """
    jumps = first + _beginnings(np.flatnonzero(sizes > level), given - first, reach)
    found = np.full(len(given), -1, dtype=np.int64)
    if len(jumps):
        chosen = _in_order(given, jumps, reach, _latency(given, jumps, reach))
        found[chosen >= 0] = jumps[chosen[chosen >= 0]]
    return found


def _beginnings(large: IntArray, given: IntArray, reach: int) -> IntArray:
    """Leave out jumps that follow another within half the distance of the pulses: these are of the same pulse."""
    apart = np.diff(given, prepend=given[0] - 2 * (2 * reach + 1), append=given[-1] + 2 * (2 * reach + 1))
    least = np.array([apart[max(0, i - NEAR) : i + NEAR + 1].min() // 2 for i in range(len(apart))])
    begins, at = [], 0
    while at < len(large):
        begins.append(int(large[at]))
        near = least[np.searchsorted(given, begins[-1])]
        at = int(np.searchsorted(large, begins[-1] + max(1, int(near))))
    return np.array(begins, dtype=np.int64)


def _latency(given: IntArray, jumps: IntArray, reach: int) -> float:
    """Frames from the given times to the jumps that most of them have in common, the least of several.

    What jumps later than an onset, where the amplifier comes back from a rail, does so at one latency as well.
    """
    low, high = np.searchsorted(jumps, given - reach), np.searchsorted(jumps, given + reach, side="right")
    pairs = [jumps[a:b] - frame for frame, a, b in zip(given, low.tolist(), high.tolist(), strict=True)]
    latencies = np.sort(np.concatenate(pairs))
    if not len(latencies):
        return 0.0
    near = max(1, reach // 12)
    ends = np.searchsorted(latencies, latencies + 2 * near, side="right")
    best = int(np.argmax(ends - np.arange(len(latencies))))
    return float(np.median(latencies[best : ends[best]]))


def _in_order(given: IntArray, jumps: IntArray, reach: int, latency: float) -> IntArray:
    """Match times and jumps in order: as many as possible, at a small sum of distances from the latency; -1 without."""
    low = np.searchsorted(jumps, given - reach).tolist()
    high = np.searchsorted(jumps, given + reach, side="right").tolist()
    worth = (3 * reach + 1) * (len(given) + 1.0)  # of a match: more than all distances together
    best, known, ways = [0.0] * (len(jumps) + 1), 0, []  # best[j]: of the times so far and the jumps before j
    for frame, a, b in zip(given.tolist(), low, high, strict=True):
        best[known + 1 : b + 1] = [best[known]] * (b - known)
        known, own = max(known, b), []
        without = best[a : b + 1]
        for j in range(a, b):
            with_it = without[j - a] + worth - abs(float(jumps[j]) - frame - latency)
            options = (without[j - a + 1], with_it, best[j])
            best[j + 1] = max(options)
            own.append(options.index(best[j + 1]))
        ways.append(own)
    return _traced(ways, low, high)


def _traced(ways: list[list[int]], low: list[int], high: list[int]) -> IntArray:
    """Follow the ways of the best matching back from its end."""
    chosen, end = np.full(len(ways), -1, dtype=np.int64), max(high)
    for i in range(len(ways) - 1, -1, -1):
        j = min(end, high[i]) - 1
        while j >= low[i] and ways[i][j - low[i]] == EARLIER:
            j -= 1
        if j >= low[i] and ways[i][j - low[i]] == MATCHED:
            chosen[i], end = j, j
        else:
            end = j + 1
    return chosen
