"""What two spike trains say: whether they have a refractory period in common, and whether one is the other's ghost."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import bdtr, bdtrc, pdtrc

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import IntArray

# Spikes of one neuron are not this close to each other. Closer ones, on top of each other, are an overlap or a ghost.
REFRACTORY_MS = (0.5, 2.0)
# What chance, bursts and the choice of what is learnt on do at these lags, they do within the refractory period too.
SHOULDERS_MS = (3.0, 8.0)
# Of the coincidences of two independent neurons, one neuron has at most this share: spikes that were matched wrongly.
MAX_SHARE = 0.3
ONE_P = 1e-3  # of so few coincidences in independent trains, below which the trains are one neuron's
TWO_P = 0.05  # of so many coincidences in one neuron, below which they are not
MIN_SEEN = 3
GHOST_JITTER_MS = 0.15
GHOST_REACH_MS = 2.9  # a spike's travel and its tail, up to where the shoulders begin
GHOST_SHARE = 0.5
GHOST_P = 1e-6  # of so many coincidences at any one lag, by chance

# Of a train, in per cent: a few spikes that were matched wrongly do not count. Of two trains that fire evenly and
# follow each other at once, these ends are a twentieth of both lengths apart.
MIDDLE = (5, 95)
MOST_GAP = 0.08


class Refractoriness(NamedTuple):
    """Pairs of spikes of two trains: `seen` within the refractory period, and `beside` it.

    Independent neurons fire as often at short lags as beside them, also in bursts and in part of a recording. The odds
    of a pair to be a short one, when there is a pair, are those of the lengths of the two ranges.
    """

    seen: int
    beside: int

    @property
    def one(self) -> bool:
        """Whether independent neurons would coincide more often."""
        return bool(bdtr(self.seen, self.seen + self.beside, _short_share(1.0)) <= ONE_P)

    @property
    def two(self) -> bool:
        """Whether one neuron would coincide less often."""
        if self.seen < MIN_SEEN:
            return False
        return bool(bdtrc(self.seen - 1, self.seen + self.beside, _short_share(MAX_SHARE)) <= TWO_P)


def _short_share(rate: float) -> float:
    """Chance of a pair to be within the refractory period if pairs there are `rate` times as frequent as beside it."""
    short, beside = (high - low for low, high in (REFRACTORY_MS, SHOULDERS_MS))
    return rate * short / (rate * short + beside)


def refractoriness(first: IntArray, second: IntArray, sampling_frequency: float) -> Refractoriness:
    """Count pairs of spikes of two trains (frames, in any order) within the refractory period and beside it."""
    second = np.sort(second)
    seen, beside = (_count(first, second, limits, sampling_frequency) for limits in (REFRACTORY_MS, SHOULDERS_MS))
    return Refractoriness(seen, beside)


def _count(first: IntArray, second: IntArray, limits_ms: tuple[float, float], sampling_frequency: float) -> int:
    """Count pairs of which one is `limits_ms` before or after the other; `second` is ascending."""
    near, far = (round(ms * sampling_frequency / 1000) for ms in limits_ms)
    return sum(
        int(np.sum(np.searchsorted(second, first + high) - np.searchsorted(second, first + low)))
        for low, high in ((1 - far, 1 - near), (near, far))
    )


def jumps(first: IntArray, second: IntArray) -> bool:
    """Test whether one train ends where the other begins, as those of a unit do that jumps from place to place."""
    early, late = sorted((first, second), key=lambda train: float(np.median(train)))
    (begin, end), (start, stop) = (np.percentile(train, MIDDLE) for train in (early, late))
    return bool(0 <= start - end <= MOST_GAP * (stop - begin))


def coincide(first: IntArray, second: IntArray, sampling_frequency: float) -> bool:
    """Test whether two trains share spikes, more than chance makes."""
    jitter = round(GHOST_JITTER_MS * sampling_frequency / 1000)
    second = np.sort(second)
    seen = int(np.sum(np.searchsorted(second, first + jitter, side="right") - np.searchsorted(second, first - jitter)))
    beside = _count(first, second, SHOULDERS_MS, sampling_frequency)
    share = (2 * GHOST_JITTER_MS) / (2 * GHOST_JITTER_MS + 2 * (SHOULDERS_MS[1] - SHOULDERS_MS[0]))
    return seen >= MIN_SEEN and bool(bdtrc(seen - 1, seen + beside, share) <= ONE_P)


def is_ghost(train: IntArray, other: IntArray, sampling_frequency: float) -> bool:
    """Test whether most spikes of a train are those of another one, a fixed lag later or earlier.

    No two neurons do that; a template that fits badly does: what it leaves of each spike is taken for one more.
    """
    if not len(train) or not len(other):
        return False
    other = np.sort(other)
    reach, jitter = (round(ms * sampling_frequency / 1000) for ms in (GHOST_REACH_MS, GHOST_JITTER_MS))
    counts = np.zeros(2 * reach + 1, dtype=np.int64)
    lows, highs = np.searchsorted(other, train - reach), np.searchsorted(other, train + reach, side="right")
    for step in range(int((highs - lows).max())):
        some = np.flatnonzero(lows + step < highs)
        counts += np.bincount(other[lows[some] + step] - train[some] + reach, minlength=len(counts))
    width = 2 * jitter + 1
    most = int(np.convolve(counts, np.ones(width, dtype=np.int64)).max())
    beside = _count(train, other, SHOULDERS_MS, sampling_frequency) / (2 * (SHOULDERS_MS[1] - SHOULDERS_MS[0]))
    expected = max(beside, 1e-3) * width * 1000 / sampling_frequency
    by_chance = pdtrc(most - 1, expected) * len(counts) / width
    return bool(most > GHOST_SHARE * len(train) and by_chance <= GHOST_P)
