"""Compare mean waveforms of groups of spikes, and join those that cannot be told apart."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from spikelab.spike_sorting.rt_sort.learning.travel import joined_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.whitening import Noise

MAX_LAG_MS = 0.5
PAIR_CHANNELS = 12
# Groups of one root and its neighbours whose means differ by less than this, in standard deviations of the noise of a
# single spike, cannot be distinguished spike by spike.
SAME_MEAN = 4.0
MAX_REACH_UM = 100.0


class Pair(NamedTuple):
    """Two means compared at their best lag, `lag` frames later in the second; `cosine` is the similarity.

    `distance` is in standard deviations of the noise of one spike, the noise of the means taken out; `noise` is the
    share of it in the energy of the noisier mean.
    """

    lag: int
    distance: float
    cosine: float
    noise: float = 0.0


class Mean(NamedTuple):
    """Mean waveform (frames, channels) of so many spikes, in microvolts.

    `sizes` are its largest values on the channels, in units of the noise; `largest` lists the channels that have most.
    """

    waveform: FloatArray
    n_spikes: float
    sizes: FloatArray
    largest: IntArray

    @classmethod
    def of(cls, waveform: FloatArray, n_spikes: float, sigma: FloatArray) -> Mean:
        """Measure a waveform."""
        sizes = np.maximum(waveform.max(axis=0), -waveform.min(axis=0)) / sigma
        return cls(waveform, n_spikes, sizes, np.argsort(-sizes, kind="stable")[:PAIR_CHANNELS])


def pair_channels(first: Mean, second: Mean) -> IntArray:
    """Choose the largest channels of two means, ascending; each is among the largest of one of them."""
    channels = np.union1d(first.largest, second.largest)
    size = np.maximum(first.sizes[channels], second.sizes[channels])
    return np.sort(channels[np.argsort(-size, kind="stable")[:PAIR_CHANNELS]])


def compare_means(
    first: Mean, second: Mean, noise: Noise, components: FloatArray, origin: int, max_lag: int
) -> Pair:  # fmt: skip
    """Compare two mean waveforms on their largest channels, in whitened space.

    The temporal `components` (components, frames) describe the waveform from frame `origin` on.
    """
    channels = pair_channels(first, second)
    mixing = noise.whitening(channels) / noise.sigma[channels]
    n = components.shape[1]
    a = mixing @ (components @ first.waveform[origin : origin + n, channels]).T
    read = second.waveform[origin - max_lag : origin + max_lag + n, channels]
    b = mixing @ (sliding_window_view(read, n, axis=0) @ components.T)
    noise_a, noise_b = a.size / first.n_spikes, a.size / second.n_spikes
    distances = np.sum((b - a) ** 2, axis=(1, 2)) - noise_a - noise_b
    best = int(np.argmin(distances))
    # What is no more than noise is as large as it: of next to nothing, any two would be alike.
    size_a = max(float(np.sum(a**2)) - noise_a, noise_a)
    size_b = max(float(np.sum(b[best] ** 2)) - noise_b, noise_b)
    cosine = float(np.sum(a * b[best])) / np.sqrt(size_a * size_b)
    share = max(noise_a / (size_a + noise_a), noise_b / (size_b + noise_b))
    return Pair(best - max_lag, float(np.sqrt(max(distances[best], 0))), min(cosine, 1.0), share)


def join_means(
    means: FloatArray, counts: NDArray[np.float64], positions: NDArray[np.float64], noise: Noise,
    components: FloatArray, origin: int, max_lag: int,
) -> tuple[FloatArray, NDArray[np.float64]]:  # fmt: skip
    """Merge groups whose means cannot be distinguished, the nearest first; return means and counts of those left.

    `means` are (groups, frames, channels), `positions` of their roots (groups, 2) in um.
    """
    positions = positions.copy()
    current = [Mean.of(mean, float(count), noise.sigma) for mean, count in zip(means, counts, strict=True)]
    alive = np.ones(len(means), dtype=bool)
    compare = partial(compare_means, noise=noise, components=components, origin=origin, max_lag=max_lag)
    alike = partial(_alike, means=current, positions=positions, compare=compare)
    pairs = alike(combinations(range(len(means)), 2))
    while pairs:
        i, j = min(pairs, key=lambda key: pairs[key].distance)
        own, other = current[i].n_spikes, current[j].n_spikes
        positions[i] = (own * positions[i] + other * positions[j]) / (own + other)
        current[i] = _joined(current[i], current[j], pairs[i, j].lag, noise)
        alive[j] = False
        pairs = {key: value for key, value in pairs.items() if not {i, j} & set(key)}
        pairs |= alike((min(i, k), max(i, k)) for k in np.flatnonzero(alive).tolist() if k != i)
    left = [current[i] for i in np.flatnonzero(alive)]
    return np.array([mean.waveform for mean in left]), np.array([mean.n_spikes for mean in left])


def _alike(
    pairs: Iterable[tuple[int, int]],
    means: list[Mean],
    positions: NDArray[np.float64],
    compare: Callable[[Mean, Mean], Pair],
) -> dict[tuple[int, int], Pair]:
    """Choose the pairs of groups that are near each other and whose means cannot be distinguished."""
    compared = {(i, j): compare(means[i], means[j]) for i, j in _near(pairs, positions)}
    return {key: pair for key, pair in compared.items() if pair.distance <= SAME_MEAN}


def _joined(first: Mean, second: Mean, lag: int, noise: Noise) -> Mean:
    """Join the means of two groups, of which the second is `lag` frames later."""
    total = first.n_spikes + second.n_spikes
    return Mean.of(joined_mean(first.waveform, second.waveform, second.n_spikes / total, lag), total, noise.sigma)


def _near(pairs: Iterable[tuple[int, int]], positions: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Choose the pairs of groups whose roots are near each other."""
    rows = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    apart = np.linalg.norm(positions[rows[:, 0]] - positions[rows[:, 1]], axis=1)
    return [(i, j) for i, j in rows[apart <= MAX_REACH_UM].tolist()]
