"""Two means on clocks of their own: lags over the whole travel of a spike, and what the means are joined to.

A large spike has a trough and a crest, on the soma and on the axon, a millisecond apart. Where it falls between two
frames decides which of two that are nearly as large it is aligned to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.whitening import Noise

TRAVEL_MS = 1.25  # the furthest lag: half of the window, beyond which too little is left to compare
ENERGY_WITHIN = 0.6  # of either mean in the frames that both have, so that a lag is looked at


class Travel(NamedTuple):
    """The second mean is like the first, `cosine`, where it is read `lag` frames later, and `ratio` times as large."""

    lag: int
    cosine: float
    ratio: float


def best_lag(first: FloatArray, second: FloatArray, channels: IntArray, noise: Noise, most: int) -> Travel:
    """Find the lag, up to `most` frames, at which two means (frames, channels) are most alike, whitened.

    Only the frames that both have are compared. The cosine is that at the best fraction of a frame (the vertex of a
    parabola), since sharp spikes differ by half a frame.
    """
    mixing = (noise.whitening(channels) / noise.sigma[channels]).T
    a, b = (mean[:, channels].astype(np.float64) @ mixing for mean in (first, second))
    products, n = a @ b.T, len(a)
    runs = [np.concatenate([[0.0], np.cumsum(np.sum(part**2, axis=1))]) for part in (a, b)]
    cosines, ratios = np.full(2 * most + 1, -1.0), np.ones(2 * most + 1)
    lags = np.arange(-most, most + 1)
    low, high = np.maximum(0, -lags), n - np.maximum(0, lags)
    sizes = runs[0][high] - runs[0][low], runs[1][high + lags] - runs[1][low + lags]
    seen = np.logical_and(*(size >= ENERGY_WITHIN * run[-1] for size, run in zip(sizes, runs, strict=True)))
    if min(run[-1] for run in runs) > 0 and seen.any():
        cosines[seen] = diagonal_sums(products)[lags[seen] + n - 1] / np.sqrt(sizes[0][seen] * sizes[1][seen])
        ratios[seen] = np.sqrt(sizes[1][seen] / sizes[0][seen])
    best = int(np.argmax(cosines))
    cosine = cosines[best]
    before, after = cosines[max(best - 1, 0)], cosines[min(best + 1, 2 * most)]
    if min(before, after) > -1 and 0 < best < 2 * most:
        cosine += (after - before) ** 2 / max(8 * (2 * cosine - before - after), 1e-12)
    return Travel(best - most, float(min(cosine, 1.0)), float(ratios[best]))


def diagonal_sums(square: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the diagonals of a square matrix of n rows, from offset ``-n + 1`` to ``n - 1``."""
    n = len(square)
    room = np.zeros((n, 2 * n))
    room[:, :n] = square[::-1]
    skewed = room.ravel()[: n * (2 * n - 1)].reshape(n, 2 * n - 1)  # each row one further than that before
    sums: NDArray[np.float64] = skewed.sum(axis=0)
    return sums


def shift_mean(mean: FloatArray, lag: int) -> FloatArray:
    """Move a mean `lag` frames earlier, repeating its edge."""
    moved: FloatArray = mean[_rows(len(mean), lag).clip(0, len(mean) - 1)]
    return moved


def joined_mean(own: FloatArray, other: FloatArray, weight: float, lag: int) -> FloatArray:
    """Average two means (frames, ...), `weight` for the other one, which is `lag` frames later.

    Frames that only the own mean has are its own.
    """
    known = has_frames(len(own), lag)
    result = own.copy()
    share = np.float32(weight)
    result[known] = (1 - share) * own[known] + share * other[_rows(len(own), lag)[known]]
    return result


def has_frames(n_frames: int, lag: int) -> IntArray:
    """List the frames that a window has left after it was moved `lag` frames earlier."""
    rows = _rows(n_frames, lag)
    return np.flatnonzero((rows >= 0) & (rows < n_frames))


def _rows(n_frames: int, lag: int) -> IntArray:
    return np.arange(n_frames) + lag
