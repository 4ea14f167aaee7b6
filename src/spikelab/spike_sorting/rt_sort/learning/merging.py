"""Merge groups of spikes of one neuron: footprint, distribution, drift, bursts and coincidences together."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.means import MAX_LAG_MS, PAIR_CHANNELS, Mean, Pair, compare_means
from spikelab.spike_sorting.rt_sort.learning.splitting import Comparison, compare, step_between
from spikelab.spike_sorting.rt_sort.learning.trains import (
    MIDDLE,
    Refractoriness,
    coincide,
    is_ghost,
    jumps,
    refractoriness,
)
from spikelab.spike_sorting.rt_sort.learning.travel import TRAVEL_MS, best_lag, has_frames, joined_mean, shift_mean
from spikelab.spike_sorting.rt_sort.sequences import MAX_CHECKED, MAX_DESCRIBED, MIN_CHECKED_SIZE, mean_probability

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.learning.waveforms import Learnt
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.whitening import Noise

    Peaks = NDArray[np.void]

ALIKE, NEARLY_EQUAL = 0.85, 0.95  # cosines
FAR_ALIKE = 0.93  # at a lag beyond that of jitter and of neighbouring roots, where two neurons are not that alike
SIMILARITY_WEIGHT = 10.0  # of a cosine against a score of unimodality
# Pieces of a drifting neuron less alike than that score 0.5 to 1.5 once drift is subtracted: little above one mode.
DRIFT_MARGIN = 0.6
# They score up to 1.65 with jitter left in. Two small neighbours have one mode only once jitter is taken out as well.
MOST_DETRENDED = 1.8
MOST_STEP = 0.5  # of the difference of two groups is left between spikes that are close in time, if drift explains it
JITTER_FLOOR = 0.02
MOST_LEFT = 0.25  # of the squared difference of two groups that jitter explains, beside the noise of the means
N_BESIDE = 40  # examples that are compared with the published tolerances


class Evidence(NamedTuple):
    """Evidence that two units are one: they are if the score is above 0; see :func:`same_neuron`."""

    score: float
    lag: int


class Units:
    """Units that are being merged: means, counts, spikes and examples, by index.

    The orthonormal temporal `components` (components, frames) begin at frame `origin` of the window; `peaks` are those
    of the network, in the order of frames.
    """

    def __init__(
        self, learnt: Learnt, noise: Noise, components: FloatArray, origin: int, sampling_frequency: float,
        parameters: SequenceParameters, peaks: Peaks,
    ) -> None:  # fmt: skip
        self.noise, self.components, self.origin = noise, components, origin
        self.sampling_frequency, self.parameters = sampling_frequency, parameters
        self.max_lag = min(
            round(MAX_LAG_MS * sampling_frequency / 1000), origin, learnt.means.shape[1] - origin - components.shape[1]
        )
        self.travel = round(TRAVEL_MS * sampling_frequency / 1000)
        self.means = list(learnt.means)  # never changed in place
        self.counts = [float(count) for count in learnt.counts]
        self.frames, self.scales, self.channels = list(learnt.frames), list(learnt.scales), list(learnt.channels)
        self.examples, self.example_frames = list(learnt.examples), list(learnt.example_frames)
        self.alive = np.ones(len(self.means), dtype=bool)
        self.peaks = peaks
        self.jumps: tuple[int, ...] = ()  # frames at which all units move
        self._measured: dict[int, Mean] = {}

    @cached_property
    def _has(self) -> NDArray[np.bool_]:
        """Which unit has which channel, shape (units, channels)."""
        has = np.zeros((len(self.channels), self.noise.n_channels), dtype=bool)
        for i, channels in enumerate(self.channels):
            has[i, channels[channels >= 0]] = True
        return has

    @cached_property
    def _near(self) -> NDArray[np.bool_]:
        has_main = self._has[:, [channels[0] for channels in self.channels]]
        near: NDArray[np.bool_] = has_main | has_main.T
        return near

    @cached_property
    def _n_common(self) -> FloatArray:
        has = self._has.astype(np.float32)
        return has @ has.T

    def like(self, learnt: Learnt) -> Units:
        """Make units of others in the same recording."""
        return Units(
            learnt, self.noise, self.components, self.origin, self.sampling_frequency, self.parameters, self.peaks
        )

    def near(self, i: int, j: int) -> bool:
        """Test whether the main channel of either is a large one of the other."""
        return bool(self._near[i, j])

    def meet(self, i: int, j: int) -> bool:
        """Test whether two units share enough channels to be compared."""
        return bool(self._n_common[i, j] >= min(3, self.noise.n_channels))

    def across(self, i: int, j: int) -> bool:
        """Test whether two units are on either side of a jump, where their means do not tell whether they are one."""
        (a, b), (c, d) = (np.percentile(self.frames[k], MIDDLE) for k in (i, j)) if self.jumps else ((0, 0), (0, 0))
        return any(b <= frame <= c or d <= frame <= a for frame in self.jumps)

    def mean(self, i: int) -> Mean:
        """Take the mean of a unit, measured once as long as it does not change."""
        known = self._measured.get(i)
        if known is None or known.waveform is not self.means[i]:
            known = self._measured[i] = Mean.of(self.means[i], max(self.counts[i], 1), self.noise.sigma)
        return known

    def weigh(self, i: int, j: int) -> Evidence:
        """Compare two units and weigh the evidence that they are one."""
        pair = compare_means(
            self.mean(i), self.mean(j), self.noise, self.components, self.origin, self.max_lag
        )  # fmt: skip
        if not self.meet(i, j) or self.across(i, j):
            return Evidence(-np.inf, pair.lag)
        common = self._common_channels(i, j)
        size = np.maximum(*(np.abs(self.means[k][:, common]).max(axis=0) for k in (i, j))) / self.noise.sigma[common]
        common = np.sort(common[np.argsort(-size, kind="stable")[:PAIR_CHANNELS]])
        far = self._weigh_far(i, j, common) if pair.cosine < FAR_ALIKE else None
        if far is not None:
            return far
        if pair.cosine < self.parameters.merge_similarity or not self.tolerated(i, j, pair.lag):
            return Evidence(-np.inf, pair.lag)
        return Evidence(self._score(i, j, pair, common), pair.lag)

    def _score(self, i: int, j: int, pair: Pair, common: IntArray) -> float:
        """Weigh the spikes of two units whose means are alike, on the channels where both are largest."""
        first, second = self.features(i, common, 0), self.features(j, common, pair.lag)
        times = self.example_frames[i], self.example_frames[j]
        jitter = self._jitter(((i, 0), (j, pair.lag)), common)
        groups = without(first, jitter), without(second, jitter)
        results = [compare(first, second, *times)]
        step = step_between(*groups, *times)
        drifts = 1 - step if step <= MOST_STEP else 0.0
        if (drifts and pair.cosine < ALIKE) or is_explained((first, second), groups):
            results.append(compare(*groups, *times))
        drifts = drifts or float(pair.cosine >= ALIKE and jumps(self.frames[i], self.frames[j]))
        trains = self._refractoriness(i, j, pair.lag)
        return same_neuron(results, pair, trains, drifts, self.parameters)

    def _weigh_far(self, i: int, j: int, channels: IntArray) -> Evidence | None:
        """Weigh two units that are most alike at a lag beyond those of `compare_means`; None where they are not."""
        far = best_lag(self.means[i], self.means[j], channels, self.noise, self.travel)
        smallest = self.parameters.min_scale  # of a spike beside its unit, and so of a piece beside another
        if far.cosine < FAR_ALIKE or abs(far.lag) <= self.max_lag or not smallest <= far.ratio <= 1 / smallest:
            return None
        single = self.tolerated(i, j, far.lag) and not self._refractoriness(i, j, far.lag).two
        if coincide(self.frames[i], self.frames[j] + far.lag, self.sampling_frequency):
            single = False  # pieces of a neuron do not share spikes; what a template leaves of each spike does
        return Evidence(far.cosine - FAR_ALIKE + 0.01 if single else -np.inf, far.lag)

    def _refractoriness(self, i: int, j: int, lag: int) -> Refractoriness:
        return refractoriness(self.frames[i], self.frames[j] + lag, self.sampling_frequency)

    def is_ghost(self, i: int, larger: list[int]) -> bool:
        """Test whether unit i is what the templates of larger units leave of their spikes."""
        if not larger:
            return False
        others = np.concatenate([self.frames[j] for j in larger])
        return is_ghost(self.frames[i], others, self.sampling_frequency)

    def energy(self, i: int) -> float:
        """Energy of the whitened mean on the largest channels."""
        channels = self.channels[i][self.channels[i] >= 0][:PAIR_CHANNELS]
        mixing = self.noise.whitening(channels) / self.noise.sigma[channels]
        return float(np.sum((self.means[i][:, channels] @ mixing.T) ** 2))

    def tolerated(self, i: int, j: int, lag: int) -> bool:
        """Test two units against the published tolerances between sequences.

        The examples that are closest in time to those of the other unit are compared, since electrodes move.
        """
        limits = sequence_limits(self.parameters)
        if np.isfinite(limits).any():
            common = self._common_channels(i, j)
            first, second = (self._mean_beside(k, other, common) for k, other in ((i, j), (j, i)))
            size_std = max(deviation(self.scales[i]), deviation(self.scales[j]))
            if not within_sequence_tolerances(
                first, shift_mean(second, lag), size_std, self.noise.sigma[common], self.parameters,
                self.sampling_frequency,
            ):  # fmt: skip
                return False
        return self._share_electrodes(i, j, lag)

    def _common_channels(self, i: int, j: int) -> IntArray:
        common = np.intersect1d(self.channels[i], self.channels[j])
        return common[common >= 0]

    def _places(self, i: int, channels: IntArray) -> IntArray:
        """Find some of the channels of unit i among those of its examples."""
        order = np.argsort(self.channels[i], kind="stable")
        return order[np.searchsorted(self.channels[i][order], channels)]

    def _mean_beside(self, i: int, j: int, channels: IntArray) -> FloatArray:
        """Average, over (frames, channels), the examples of unit i that are closest in time to those of unit j."""
        frames, others = self.example_frames[i], np.sort(self.example_frames[j])
        after = np.clip(np.searchsorted(others, frames), 1, max(len(others) - 1, 1))
        gaps = np.minimum(
            np.abs(others[np.minimum(after, len(others) - 1)] - frames), np.abs(others[after - 1] - frames)
        )
        some = np.argsort(gaps, kind="stable")[:N_BESIDE]
        mean: FloatArray = self.examples[i][some][:, self._places(i, channels)].mean(axis=0).T
        return mean

    def _share_electrodes(self, i: int, j: int, lag: int) -> bool:
        share = self.parameters.min_loose_detections_r_sequences
        if not share:
            return True
        first, second = self._loose(i, 0), self._loose(j, lag)
        return len(first & second) >= share * max(len(first), len(second))

    def _loose(self, i: int, lag: int) -> set[int]:
        """List the electrodes on which the network detects the unit, whose spikes are `lag` frames after its frames."""
        channels = self.channels[i][self.channels[i] >= 0]
        some = np.linspace(0, len(self.frames[i]) - 1, min(MAX_DESCRIBED, len(self.frames[i]))).astype(int)
        seen = mean_probability(
            self.peaks["frame"], self.peaks["channel"], self.peaks["logit"], self.frames[i][some] + lag, channels,
            max(1, round(self.parameters.ms_after * self.sampling_frequency / 1000)), self.noise.n_channels,
        )  # fmt: skip
        return {int(channel) for channel in channels[seen >= self.parameters.loose_thresh]}

    def features(self, i: int, channels: IntArray, lag: int) -> FloatArray:
        """Project examples on the whitened temporal components of some channels, shape (examples, features)."""
        first = self.origin + lag
        windows = self.examples[i][:, self._places(i, channels), first : first + self.components.shape[1]]
        mixing = self.noise.whitening(channels) / self.noise.sigma[channels]
        features: FloatArray = np.einsum("dc,nck->ndk", mixing, windows @ self.components.T).reshape(len(windows), -1)
        return features

    def _jitter(self, units: tuple[tuple[int, int], ...], channels: IntArray) -> FloatArray:
        """Find the directions of features, (directions, features), in which a shift within a frame moves a spike."""
        mixing = self.noise.whitening(channels) / self.noise.sigma[channels]
        moves = []
        for unit, lag in units:
            mean = self.means[unit][:, channels]
            for change in (np.gradient(mean, axis=0), np.gradient(np.gradient(mean, axis=0), axis=0)):
                first = self.origin + lag
                part = change[first : first + self.components.shape[1]]
                moves.append((mixing @ (self.components @ part).T).ravel())
        _, values, right = np.linalg.svd(np.stack(moves), full_matrices=False)
        directions: FloatArray = right[values > JITTER_FLOOR * values[0]].astype(np.float32)
        return directions

    def join(self, i: int, j: int, lag: int) -> None:
        """Make unit j part of unit i; the spikes of j are `lag` frames later on the clock of i.

        The mean of j is `lag` frames late in its window, so its filter fires as many frames before that of i would.
        """
        total = self.counts[i] + self.counts[j]
        weight = float(self.counts[j] / total)
        self.means[i] = joined_mean(self.means[i], self.means[j], weight, lag)
        self.counts[i] = total
        self.frames[i] = np.sort(np.concatenate([self.frames[i], self.frames[j] + lag]))
        self.scales[i] = np.concatenate([self.scales[i], self.scales[j]])
        self._join_examples(i, j, lag, weight)
        self.alive[j] = False

    def _join_examples(self, i: int, j: int, lag: int, weight: float) -> None:
        """Pool examples of both in their shares, on the channels of i; what those of j lack is the mean's."""
        own, others = self.examples[i], self.examples[j]
        moved = np.zeros((len(others), *own.shape[1:]), dtype=np.float32)
        known = has_frames(moved.shape[2], lag)
        for place, channel in enumerate(self.channels[i]):
            if channel < 0:
                continue
            moved[:, place] = self.means[i][:, channel]
            (where,) = np.nonzero(self.channels[j] == channel)
            if len(where):
                moved[:, place, known] = others[:, where[0]][:, known + lag]
        most = max(len(own), len(others), 1)
        n_others = min(len(others), max(1, round(most * weight)))
        n_own = min(len(own), max(1, most - n_others))
        some = np.linspace(0, len(others) - 1, n_others).astype(int)
        kept = np.linspace(0, len(own) - 1, n_own).astype(int)
        self.examples[i] = np.concatenate([own[kept], moved[some]])
        self.example_frames[i] = np.concatenate([self.example_frames[i][kept], self.example_frames[j][some] + lag])


def deviation(scales: FloatArray) -> float:
    """Standard deviation of the sizes of a unit's spikes, relative to their mean."""
    return float(np.std(scales)) if len(scales) > 1 else 0.0


def sequence_limits(parameters: SequenceParameters) -> tuple[float, float, float]:
    """List the tolerances between sequences: latency, amplitudes, size of the whole."""
    return (
        parameters.max_latency_diff_sequences, parameters.max_amp_median_diff_sequences,
        parameters.max_root_amp_median_std_sequences,
    )  # fmt: skip


def without_tolerances(parameters: SequenceParameters) -> SequenceParameters:
    """Return the parameters without the published tolerances between sequences."""
    return replace(
        parameters, max_latency_diff_sequences=np.inf, max_amp_median_diff_sequences=np.inf,
        max_root_amp_median_std_sequences=np.inf,
    )  # fmt: skip


def within_sequence_tolerances(
    first: FloatArray, second: FloatArray, size_std: float, sigma: FloatArray, parameters: SequenceParameters,
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


def without(features: FloatArray, directions: FloatArray) -> FloatArray:
    """Project orthonormal `directions` out of features (spikes, features)."""
    return features - ((features @ directions.T) @ directions).astype(np.float32)


def is_explained(groups: tuple[FloatArray, FloatArray], left: tuple[FloatArray, FloatArray]) -> bool:
    """Test whether most of the difference of two groups of features (spikes, features) is gone in what is `left`."""
    before, after = (float(np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)) for a, b in (groups, left))
    noise = groups[0].shape[1] * sum(1 / len(group) for group in groups)  # of the means, expected
    return bool(after <= MOST_LEFT * before + 2 * noise)


def same_neuron(
    results: list[Comparison], pair: Pair, trains: Refractoriness, drifts: float, parameters: SequenceParameters
) -> float:
    """Weigh the evidence that two units are one neuron; above 0: they are.

    Spikes of one neuron have one mode along the line between the two groups. Where they have more, that may be a burst
    (spikes of the same shape and other sizes: one mode in the angle), drift (one mode at any time) or jitter (one mode
    apart from where in a frame the spikes fall: the second of `results`, where that is most of the difference). For
    any of these the two must be similar, and not fire within the refractory time of each other as two neurons do now
    and then. Drift counts where it is seen (`drifts`: the share of their difference that spikes of both that are close
    in time do not have, or 0), since any two units of different times have one mode at any time, or where one ends as
    the other begins (a jump). Where it is seen it makes one of units that are less similar, too, first of those of
    which it explains most: a neighbour may be where a neuron was, but what that has become is nearer.
    """
    threshold = parameters.merge_unimodality
    score = threshold - results[0].plain + SIMILARITY_WEIGHT * (min(pair.cosine, 0.95) - ALIKE)
    if trains.two:
        return float(score)
    if pair.cosine >= ALIKE:
        fewest = min(result.least(drifts > 0) for result in results)
        score = max(score, threshold - fewest + SIMILARITY_WEIGHT * (pair.cosine - 0.9))
        if pair.cosine >= NEARLY_EQUAL and trains.one:
            score = max(score, pair.cosine - NEARLY_EQUAL + 0.01)
    elif drifts and results[0].detrended <= MOST_DETRENDED:
        detrended = min(result.detrended for result in results)
        score = max(score, drifts * (threshold - DRIFT_MARGIN - detrended + pair.cosine - ALIKE))
    return float(score)


def merge_units(units: Units) -> IntArray:
    """Drop ghosts and merge units of one neuron; return the indices that are left.

    Ghosts of several neurons would join these.
    """
    _drop_ghosts(units)
    join_alike(units)
    _drop_ghosts(units)
    return np.flatnonzero(units.alive)


def join_alike(units: Units) -> None:
    """Merge units of one neuron, the pair of the best score first, on the clock of the one that has more spikes."""
    scores = _scores(units, combinations(np.flatnonzero(units.alive).tolist(), 2))
    while scores:
        (i, j), evidence = max(scores.items(), key=lambda item: item[1].score)
        scores = {pair: value for pair, value in scores.items() if not {i, j} & set(pair)}
        lag = evidence.lag
        if units.counts[j] > units.counts[i]:
            i, j, lag = j, i, -lag
        units.join(i, j, lag)
        others = [k for k in np.flatnonzero(units.alive).tolist() if k != i]
        scores |= _scores(units, ((min(i, k), max(i, k)) for k in others))


def _drop_ghosts(units: Units) -> None:
    """Drop units that are shadows of larger ones, the smallest first."""
    energies = {k: units.energy(k) for k in np.flatnonzero(units.alive).tolist()}
    for i in sorted(energies, key=lambda k: (energies[k], k)):
        larger = [j for j in energies if energies[j] > energies[i] and units.alive[j] and units.near(i, j)]
        units.alive[i] = not units.is_ghost(i, larger)


def _scores(units: Units, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Evidence]:
    """Weigh the pairs that are near each other; return the evidence of those that may be one neuron."""
    weighed = {pair: units.weigh(*pair) for pair in pairs if units.near(*pair)}
    return {pair: evidence for pair, evidence in weighed.items() if evidence.score > 0}
