"""Which groups of spikes are one neuron: footprint, distribution, drift, bursts and coincidences together."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.splitting import Comparison, compare
from spikelab.spike_sorting.rt_sort.sequences import (
    MAX_CHECKED,
    MAX_DESCRIBED,
    MIN_CHECKED_SIZE,
    mean_probability,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from spikelab.spike_sorting.rt_sort.learning.waveforms import Learnt
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.whitening import Noise

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Peaks = NDArray[np.void]

MAX_LAG_MS = 0.5
PAIR_CHANNELS = 12
# Groups of one root and its neighbours whose means differ by less than this, in standard deviations of the noise of a
# single spike, cannot be told apart spike by spike.
SAME_MEAN = 4.0
MAX_REACH_UM = 100.0
ALIKE, NEARLY_EQUAL = 0.85, 0.95  # cosines
SIMILARITY_WEIGHT = 10.0  # of a cosine against a score of unimodality
TOGETHER_MS, REFRACTORY_MS = 0.5, 2.0
# Coincidences say something from so many expected ones on; one neuron has less than this share of them.
MIN_EXPECTED, MAX_SHARE = 4.0, 0.3
JITTER_FLOOR = 0.02
N_BESIDE = 40  # examples that are compared with the published tolerances


class Pair(NamedTuple):
    """Two means compared at their best lag.

    Attributes
    ----------
    lag : int
        The second looks most like the first this many frames later.
    distance : float
        Between the means, in standard deviations of the noise of one spike, the noise of the means taken out.
    cosine : float
        The same as an angle.
    """

    lag: int
    distance: float
    cosine: float


def pair_channels(first: Floats, second: Floats, sigma: Floats) -> Ints:
    """The largest channels of two means (frames, channels), ascending."""
    size = np.maximum(np.abs(first).max(axis=0), np.abs(second).max(axis=0)) / sigma
    return np.sort(np.argsort(-size, kind="stable")[:PAIR_CHANNELS])


def compare_means(
    first: Floats, second: Floats, n_first: float, n_second: float, noise: Noise, courses: Floats, origin: int,
    max_lag: int,
) -> Pair:  # fmt: skip
    """Compare two mean waveforms (frames, channels) on their largest channels, in whitened space.

    `courses` (courses, frames) describe the waveform from frame `origin` on.
    """
    channels = pair_channels(first, second, noise.sigma)
    mixing = noise.root(channels) / noise.sigma[channels]
    n = courses.shape[1]
    a = (courses @ first[origin : origin + n][:, channels]) @ mixing.T
    b = np.stack(
        [
            (courses @ second[origin + lag : origin + lag + n][:, channels]) @ mixing.T
            for lag in range(-max_lag, max_lag + 1)
        ]
    )
    noise_a, noise_b = a.size / n_first, a.size / n_second
    distances = np.sum((b - a) ** 2, axis=(1, 2)) - noise_a - noise_b
    best = int(np.argmin(distances))
    size_a = max(float(np.sum(a**2)) - noise_a, 1e-3)
    size_b = max(float(np.sum(b[best] ** 2)) - noise_b, 1e-3)
    cosine = float(np.sum(a * b[best])) / np.sqrt(size_a * size_b)
    return Pair(best - max_lag, float(np.sqrt(max(distances[best], 0))), min(cosine, 1.0))


def shift_mean(mean: Floats, lag: int) -> Floats:
    """Move a mean `lag` frames earlier, repeating its edge."""
    index = np.clip(np.arange(len(mean)) + lag, 0, len(mean) - 1)
    return mean[index]


def join_means(
    means: Floats, counts: NDArray[np.float64], positions: NDArray[np.float64], noise: Noise, courses: Floats,
    origin: int, max_lag: int,
) -> tuple[Floats, NDArray[np.float64]]:  # fmt: skip
    """Merge groups whose means cannot be told apart, the nearest first.

    Parameters
    ----------
    means : numpy.ndarray of float32, shape (groups, frames, channels)
    counts : numpy.ndarray of float64, shape (groups,)
    positions : numpy.ndarray, shape (groups, 2)
        Of their roots, in um.

    Returns
    -------
    means, counts : numpy.ndarray
        Of the groups that are left.
    """
    means, counts, positions = means.copy(), counts.copy(), positions.copy()
    alive = np.ones(len(means), dtype=bool)
    pairs: dict[tuple[int, int], Pair] = {}

    def look(i: int, j: int) -> None:
        if np.linalg.norm(positions[i] - positions[j]) <= MAX_REACH_UM:
            pair = compare_means(means[i], means[j], counts[i], counts[j], noise, courses, origin, max_lag)
            if pair.distance <= SAME_MEAN:
                pairs[i, j] = pair

    for i in range(len(means)):
        for j in range(i + 1, len(means)):
            look(i, j)
    while pairs:
        (i, j), pair = min(pairs.items(), key=lambda item: item[1].distance)
        total = counts[i] + counts[j]
        means[i] = (counts[i] * means[i] + counts[j] * shift_mean(means[j], pair.lag)) / np.float32(total)
        positions[i] = (counts[i] * positions[i] + counts[j] * positions[j]) / total
        counts[i], alive[j] = total, False
        pairs = {key: value for key, value in pairs.items() if not {i, j} & set(key)}
        for k in np.flatnonzero(alive):
            if k != i:
                look(min(i, int(k)), max(i, int(k)))
    return means[alive], counts[alive]


class Evidence(NamedTuple):
    """What speaks for two units being one; see :func:`same_neuron`."""

    score: float
    lag: int


class Units:
    """Units that are being merged: means, counts, spikes and examples, by index.

    Parameters
    ----------
    learnt : Learnt
    noise : Noise
    courses : numpy.ndarray of float32, shape (courses, frames)
        Orthonormal time courses.
    origin : int
        Frame of the window at which they begin.
    sampling_frequency : float
    duration_s : float
        Over which the spikes were counted.
    parameters : SequenceParameters
    peaks : numpy.ndarray of `PEAK`
        What the network sees, in the order of frames.
    """

    def __init__(
        self, learnt: Learnt, noise: Noise, courses: Floats, origin: int, sampling_frequency: float,
        duration_s: float, parameters: SequenceParameters, peaks: Peaks,
    ) -> None:  # fmt: skip
        self.noise, self.courses, self.origin = noise, courses, origin
        self.sampling_frequency, self.duration_s, self.parameters = sampling_frequency, duration_s, parameters
        self.max_lag = min(
            round(MAX_LAG_MS * sampling_frequency / 1000), origin, learnt.means.shape[1] - origin - courses.shape[1]
        )
        self.means = [mean.copy() for mean in learnt.means]
        self.counts = [float(count) for count in learnt.counts]
        self.frames, self.scales, self.channels = list(learnt.frames), list(learnt.scales), list(learnt.channels)
        self.examples, self.example_frames = list(learnt.examples), list(learnt.example_frames)
        self.alive = np.ones(len(self.means), dtype=bool)
        self.peaks = peaks

    def near(self, i: int, j: int) -> bool:
        """Whether the main channel of either is a large one of the other."""
        return bool(self.channels[j][0] in self.channels[i] or self.channels[i][0] in self.channels[j])

    def judge(self, i: int, j: int) -> Evidence:
        """Compare two units; a score above 0 says that they are one."""
        pair = compare_means(
            self.means[i], self.means[j], max(self.counts[i], 1), max(self.counts[j], 1), self.noise, self.courses,
            self.origin, self.max_lag,
        )  # fmt: skip
        common = np.intersect1d(self.channels[i], self.channels[j])
        common = common[common >= 0]
        least = self.parameters.merge_similarity
        alike = pair.cosine >= least and len(common) >= min(3, self.noise.n_channels)
        if not alike or not self.tolerated(i, j, pair.lag):
            return Evidence(-np.inf, pair.lag)
        size = np.maximum(*(np.abs(self.means[k][:, common]).max(axis=0) for k in (i, j))) / self.noise.sigma[common]
        common = np.sort(common[np.argsort(-size, kind="stable")[:PAIR_CHANNELS]])
        first, second = self._features(i, common, 0), self._features(j, common, pair.lag)
        times = self.example_frames[i], self.example_frames[j]
        results = [compare(first, second, *times)]
        if pair.cosine >= ALIKE:
            jitter = self._jitter(((i, 0), (j, pair.lag)), common)
            results.append(compare(without(first, jitter), without(second, jitter), *times))
        seen, expected = coincidences(
            self.frames[i], self.frames[j] + pair.lag, self.sampling_frequency, self.duration_s
        )
        return Evidence(same_neuron(results, pair, seen, expected, self.parameters), pair.lag)

    def tolerated(self, i: int, j: int, lag: int) -> bool:
        """Whether the published tolerances between sequences let two units be one.

        The examples that are closest in time to those of the other unit are compared, for electrodes move.
        """
        limits = sequence_limits(self.parameters)
        if np.isfinite(limits).any():
            common = np.intersect1d(self.channels[i], self.channels[j])
            common = common[common >= 0]
            first, second = (self._mean_beside(k, other, common) for k, other in ((i, j), (j, i)))
            size_std = max(deviation(self.scales[i]), deviation(self.scales[j]))
            if not within_sequence_tolerances(
                first, shift_mean(second, lag), size_std, self.noise.sigma[common], self.parameters,
                self.sampling_frequency,
            ):  # fmt: skip
                return False
        return self._share_electrodes(i, j, lag)

    def _mean_beside(self, i: int, j: int, channels: Ints) -> Floats:
        """Mean (frames, channels) of the examples of unit i that are closest in time to those of unit j."""
        theirs = np.sort(self.example_frames[j])
        after = np.clip(np.searchsorted(theirs, self.example_frames[i]), 1, max(len(theirs) - 1, 1))
        gaps = np.minimum(
            np.abs(theirs[np.minimum(after, len(theirs) - 1)] - self.example_frames[i]),
            np.abs(theirs[after - 1] - self.example_frames[i]),
        )
        some = np.argsort(gaps, kind="stable")[:N_BESIDE]
        order = np.argsort(self.channels[i], kind="stable")
        places = order[np.searchsorted(self.channels[i][order], channels)]
        mean: Floats = self.examples[i][some][:, places].mean(axis=0).T
        return mean

    def _share_electrodes(self, i: int, j: int, lag: int) -> bool:
        share = self.parameters.min_loose_detections_r_sequences
        if not share:
            return True
        first, second = self._loose(i, 0), self._loose(j, lag)
        return len(first & second) >= share * max(len(first), len(second))

    def _loose(self, i: int, lag: int) -> set[int]:
        """Electrodes on which the network sees the unit, whose spikes are `lag` frames after its frames."""
        channels = self.channels[i][self.channels[i] >= 0]
        some = np.linspace(0, len(self.frames[i]) - 1, min(MAX_DESCRIBED, len(self.frames[i]))).astype(int)
        seen = mean_probability(
            self.peaks["frame"], self.peaks["channel"], self.peaks["logit"], self.frames[i][some] + lag, channels,
            max(1, round(self.parameters.ms_after * self.sampling_frequency / 1000)), self.noise.n_channels,
        )  # fmt: skip
        return {int(channel) for channel in channels[seen >= self.parameters.loose_thresh]}

    def _features(self, i: int, channels: Ints, lag: int) -> Floats:
        order = np.argsort(self.channels[i], kind="stable")
        places = order[np.searchsorted(self.channels[i][order], channels)]
        first = self.origin + lag
        windows = self.examples[i][:, places, first : first + self.courses.shape[1]]
        mixing = self.noise.root(channels) / self.noise.sigma[channels]
        features: Floats = np.einsum("dc,nck->ndk", mixing, windows @ self.courses.T).reshape(len(windows), -1)
        return features

    def _jitter(self, units: tuple[tuple[int, int], ...], channels: Ints) -> Floats:
        """Directions in which features move when a spike falls elsewhere within a frame, (directions, features)."""
        mixing = self.noise.root(channels) / self.noise.sigma[channels]
        moves = []
        for unit, lag in units:
            mean = self.means[unit][:, channels]
            for change in (np.gradient(mean, axis=0), np.gradient(np.gradient(mean, axis=0), axis=0)):
                first = self.origin + lag
                part = change[first : first + self.courses.shape[1]]
                moves.append((mixing @ (self.courses @ part).T).ravel())
        _, values, right = np.linalg.svd(np.stack(moves), full_matrices=False)
        directions: Floats = right[values > JITTER_FLOOR * values[0]].astype(np.float32)
        return directions

    def join(self, i: int, j: int, lag: int) -> None:
        """Make unit j part of unit i; j's spikes are `lag` frames later on i's clock.

        The mean of j is `lag` frames late in its window, so its filter fires as many frames before i's would.
        """
        total = self.counts[i] + self.counts[j]
        weight = np.float32(self.counts[j] / total)
        self.means[i] = (1 - weight) * self.means[i] + weight * shift_mean(self.means[j], lag)
        self.counts[i] = total
        self.frames[i] = np.sort(np.concatenate([self.frames[i], self.frames[j] + lag]))
        self.scales[i] = np.concatenate([self.scales[i], self.scales[j]])
        self._join_examples(i, j, lag, float(weight))
        self.alive[j] = False

    def _join_examples(self, i: int, j: int, lag: int, weight: float) -> None:
        """Examples of both in their shares, on the channels of i."""
        theirs, most = self.examples[j], max(len(self.examples[i]), len(self.examples[j]), 1)
        moved = np.zeros((len(theirs), *self.examples[i].shape[1:]), dtype=np.float32)
        index = np.clip(np.arange(moved.shape[2]) + lag, 0, moved.shape[2] - 1)
        for place, channel in enumerate(self.channels[i]):
            (where,) = np.nonzero(self.channels[j] == channel)
            if channel >= 0 and len(where):
                moved[:, place] = theirs[:, where[0]][:, index]
        n_theirs = min(len(theirs), max(1, round(most * weight)))
        n_ours = min(len(self.examples[i]), max(1, most - n_theirs))
        some = np.linspace(0, len(theirs) - 1, n_theirs).astype(int)
        ours = np.linspace(0, len(self.examples[i]) - 1, n_ours).astype(int)
        self.examples[i] = np.concatenate([self.examples[i][ours], moved[some]])
        self.example_frames[i] = np.concatenate([self.example_frames[i][ours], self.example_frames[j][some] + lag])


def deviation(scales: Floats) -> float:
    """Standard deviation of the sizes of a unit's spikes, relative to their mean."""
    return float(np.std(scales)) if len(scales) > 1 else 0.0


def sequence_limits(parameters: SequenceParameters) -> tuple[float, float, float]:
    """Tolerances between sequences: latency, amplitudes, size of the whole."""
    return (
        parameters.max_latency_diff_sequences, parameters.max_amp_median_diff_sequences,
        parameters.max_root_amp_median_std_sequences,
    )  # fmt: skip


def within_sequence_tolerances(
    first: Floats, second: Floats, size_std: float, sigma: Floats, parameters: SequenceParameters,
    sampling_frequency: float,
) -> bool:  # fmt: skip
    """Compare two means (frames, channels) electrode by electrode.

    Latencies and amplitudes are compared on the electrodes where the first is at least 2 sigma, amplitudes after a
    common scale, and the size of the whole in standard deviations `size_std` of it, no less than ``scale_std``.
    """
    limits = sequence_limits(parameters)
    sizes = np.abs(first).max(axis=0) / sigma
    channels = np.argsort(-sizes, kind="stable")[:MAX_CHECKED]
    channels = channels[sizes[channels] >= min(MIN_CHECKED_SIZE, sizes[channels[0]])]
    reach = max(1, round(parameters.ms_after * sampling_frequency / 1000))
    latencies, amplitudes = np.zeros((2, len(channels))), np.zeros((2, len(channels)))
    for k, channel in enumerate(channels):
        at = int(np.argmax(np.abs(first[:, channel])))
        sign = np.sign(first[at, channel])
        latencies[0, k], amplitudes[0, k] = at, abs(first[at, channel])
        low = max(0, at - reach)
        other = sign * second[low : at + reach + 1, channel]
        latencies[1, k], amplitudes[1, k] = low + int(np.argmax(other)), max(float(other.max()), 0.0)
    weights = amplitudes[0] / sigma[channels]
    scale = float(np.sum(amplitudes[0] * amplitudes[1]) / np.sum(amplitudes[0] ** 2))
    late = np.minimum(np.abs(latencies[1] - latencies[0]), parameters.clip_latency_diff_factor * limits[0])
    relative = np.abs(amplitudes[1] / max(scale, 1e-6) - amplitudes[0]) / amplitudes[0]
    off = np.minimum(relative, parameters.clip_amp_median_diff_factor * limits[1])
    apart = abs(scale - 1) / max(size_std, parameters.scale_std)
    return bool(
        np.average(late, weights=weights) <= limits[0]
        and np.average(off, weights=weights) <= limits[1]
        and apart <= limits[2]
    )


def without(features: Floats, directions: Floats) -> Floats:
    """Features (spikes, features) with orthonormal `directions` projected out."""
    return features - ((features @ directions.T) @ directions).astype(np.float32)


def same_neuron(
    results: list[Comparison], pair: Pair, seen: int, expected: float, parameters: SequenceParameters
) -> float:
    """Weigh the evidence that two units are one neuron; above 0: they are.

    Spikes of one neuron have one mode along the line between the two groups. Where they have more, that may be a burst
    (spikes of the same shape and other sizes: one mode in the angle), drift (one mode at any time) or jitter (one mode
    apart from where in a frame the spikes fall: the second of `results`). For any of these the two must look alike,
    and not fire within the refractory time of each other as two neurons do now and then.
    """
    threshold = parameters.merge_unimodality
    score = threshold - results[0].plain + SIMILARITY_WEIGHT * (min(pair.cosine, 0.95) - ALIKE)
    independent = expected >= MIN_EXPECTED and seen > MAX_SHARE * expected
    if pair.cosine >= ALIKE and not independent:
        modes = [mode for result in results for mode in (result.angular, result.detrended, result.detrended_angular)]
        explained = min([*modes, *(result.plain for result in results)])
        score = max(score, threshold - explained + SIMILARITY_WEIGHT * (pair.cosine - 0.9))
        if pair.cosine >= NEARLY_EQUAL and expected >= MIN_EXPECTED:
            score = max(score, pair.cosine - NEARLY_EQUAL + 0.01)
    return float(score)


def coincidences(first: Ints, second: Ints, sampling_frequency: float, duration_s: float) -> tuple[int, float]:
    """Pairs of spikes of two units within the refractory time, but not together, and how many chance would make."""
    near, far = (round(ms * sampling_frequency / 1000) for ms in (TOGETHER_MS, REFRACTORY_MS))
    second = np.sort(second)
    count = 0
    for low, high in ((-far, -near), (near, far)):
        count += int(np.sum(np.searchsorted(second, first + high) - np.searchsorted(second, first + low)))
    window_s = 2 * (REFRACTORY_MS - TOGETHER_MS) / 1000
    return count, len(first) * len(second) * window_s / max(duration_s, 1e-9)


def merge_units(units: Units) -> Ints:
    """Merge units of one neuron, the clearest pair first; returns the indices of the units that are left."""
    scores = _scores(units, combinations(np.flatnonzero(units.alive).tolist(), 2))
    while scores:
        (i, j), evidence = max(scores.items(), key=lambda item: item[1].score)
        units.join(i, j, evidence.lag)
        scores = {pair: value for pair, value in scores.items() if i not in pair and j not in pair}
        others = [k for k in np.flatnonzero(units.alive).tolist() if k != i]
        scores |= _scores(units, ((min(i, k), max(i, k)) for k in others))
    return np.flatnonzero(units.alive)


def _scores(units: Units, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Evidence]:
    """Judge the pairs that are near each other; returns the evidence of those that may be one neuron."""
    judged = {pair: units.judge(*pair) for pair in pairs if units.near(*pair)}
    return {pair: evidence for pair, evidence in judged.items() if evidence.score > 0}
