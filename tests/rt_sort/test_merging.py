"""What makes two groups of spikes one neuron, and what becomes of them: small arrays whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.rt_sort.detection.peaks import PEAK
from spikelab.spike_sorting.rt_sort.learning import merging
from spikelab.spike_sorting.rt_sort.learning.means import Mean, Pair, compare_means, join_means, pair_channels
from spikelab.spike_sorting.rt_sort.learning.merging import (
    Evidence,
    Units,
    deviation,
    is_explained,
    merge_units,
    same_neuron,
    within_sequence_tolerances,
    without,
)
from spikelab.spike_sorting.rt_sort.learning.splitting import Comparison
from spikelab.spike_sorting.rt_sort.learning.trains import Refractoriness
from spikelab.spike_sorting.rt_sort.learning.waveforms import Learnt
from spikelab.spike_sorting.rt_sort.matching.peeling import Matcher
from spikelab.spike_sorting.rt_sort.matching.templates import bank_from_waveforms
from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
from spikelab.spike_sorting.rt_sort.whitening import RIDGE, Noise

FS = 4000.0  # windows of 4 frames, the peak, 6 frames
N_BEFORE, N_FRAMES, ORIGIN, LENGTH, MAX_LAG = 4, 11, 2, 7, 2
WHOLE = np.eye(LENGTH, dtype=np.float32)  # temporal components that describe every waveform
PARAMETERS = SequenceParameters()
# As they are in the code, which a change would have to mean.
MAX_REACH_UM, PAIR_CHANNELS, SAME_MEAN, N_BESIDE = 100.0, 12, 4.0, 40
MANY = 1e9  # spikes behind a mean that has no noise


def white(n_channels: int, sigma: float = 1.0) -> Noise:
    return Noise(
        np.full(n_channels, sigma, dtype=np.float32),
        np.eye(n_channels, dtype=np.float32),
        np.array([1, 0], dtype=np.float32),
    )


def mean_of(*sizes: float, later: float = 0, width: float = 1.2) -> np.ndarray:
    """Mean waveform (frames, channels): a trough at frame 4, or `later`, and a peak behind it, times the sizes."""
    t = np.arange(N_FRAMES) - N_BEFORE - later
    shape = -np.exp(-((t / width) ** 2)) + 0.3 * np.exp(-(((t - 2) / 1.2) ** 2))
    return (shape[:, None] * np.array(sizes)).astype(np.float32)


def compared(first: np.ndarray, second: np.ndarray, noise: Noise | None = None, n: float = MANY) -> Pair:
    noise = noise or white(first.shape[1])
    return compare_means(Mean.of(first, n, noise.sigma), Mean.of(second, n, noise.sigma), noise, WHOLE, ORIGIN, MAX_LAG)


class TestPairChannels:
    def test_the_largest_of_either_in_units_of_the_noise_ascending(self) -> None:
        n = PAIR_CHANNELS + 3
        first, second = np.zeros((2, n), np.float32), np.zeros((2, n), np.float32)
        first[0, :] = 5
        first[0, [2, 7]] = 0.01
        second[1, [2, 7]] = -50
        sigma = np.ones(n, np.float32)
        sigma[[1, 4, 9]] = 100  # three that are small for their noise
        means = Mean.of(first, 1, sigma), Mean.of(second, 1, sigma)
        assert pair_channels(*means).tolist() == [0, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 14]


class TestCompareMeans:
    @pytest.mark.parametrize("lag", range(-MAX_LAG, MAX_LAG + 1))
    def test_the_second_looks_like_the_first_so_many_frames_later(self, lag: int) -> None:
        pair = compared(mean_of(20, -8, 3), mean_of(20, -8, 3, later=lag))
        assert pair.lag == lag
        assert pair.distance == pytest.approx(0, abs=1e-2)
        assert pair.cosine == pytest.approx(1, abs=1e-4)

    def test_the_distance_is_in_standard_deviations_of_one_spike(self) -> None:
        first, second = mean_of(20, 10), mean_of(20, 10)
        second[5, 0] += 6
        second[6, 1] -= 8
        assert compared(first, second).distance == pytest.approx(10 / np.sqrt(1 + RIDGE), rel=1e-4)
        assert compared(first, second, white(2, 2.5)).distance == pytest.approx(4 / np.sqrt(1 + RIDGE), rel=1e-4)

    def test_noise_of_the_means_is_taken_out_of_the_distance(self) -> None:
        first, second = mean_of(20, 10), mean_of(20, 10)
        second[5, 0] += 6
        pair = compare_means(
            Mean.of(first, 2.0, white(2).sigma), Mean.of(second, 7.0, white(2).sigma), white(2), WHOLE, ORIGIN, MAX_LAG
        )
        # 7 frames of 2 channels: 14 / 2 + 14 / 7
        assert pair.distance == pytest.approx(np.sqrt(36 / (1 + RIDGE) - 9), rel=1e-4)
        assert compared(first, second, n=0.5).distance == 0

    def test_a_mean_that_is_no_more_than_noise_is_like_nothing(self) -> None:
        """Less noise than expected would leave it no size at all, and a cosine of 1 with anything."""
        small, large = mean_of(0.5, 0.1), mean_of(0.0, 9.0)
        assert compared(small, large, n=2.0).cosine < 0.2
        assert compared(small, small, n=2.0).cosine < 0.2

    def test_the_cosine_is_that_of_the_means_without_their_noise(self) -> None:
        first, second = np.zeros((N_FRAMES, 2), np.float32), np.zeros((N_FRAMES, 2), np.float32)
        first[5, 0], second[5, 0], second[5, 1] = 10, 6, 8
        assert compared(first, second).cosine == pytest.approx(0.6, abs=1e-4)
        pair = compare_means(
            Mean.of(first, 1.0, white(2).sigma), Mean.of(second, 2.0, white(2).sigma), white(2), WHOLE, ORIGIN, 0
        )
        a, b = 100 / (1 + RIDGE) - 14, 100 / (1 + RIDGE) - 7
        assert pair.cosine == pytest.approx(60 / (1 + RIDGE) / np.sqrt(a * b), rel=1e-4)

    def test_a_cosine_is_no_more_than_1(self) -> None:
        assert compared(mean_of(3, 2), mean_of(3, 2), n=2.0).cosine == 1
        assert compared(mean_of(0.1, 0), mean_of(0.1, 0), n=1.0).cosine <= 1

    @pytest.mark.parametrize("later", [0, 1])
    def test_swapped_the_lag_is_negative_and_all_else_the_same(self, later: int) -> None:
        first, second = mean_of(20, -8, 3), mean_of(17, -10, 5, later=later)
        noise = replace(white(3), correlation=np.float32([[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]))
        there, back = compared(first, second, noise), compared(second, first, noise)
        assert there.lag == -back.lag == later
        assert there[1:] == pytest.approx(back[1:], rel=0.02)  # the frames at the edge differ

    def test_another_unit_of_the_traces_changes_nothing(self) -> None:
        first, second = mean_of(20, -8, 3), mean_of(17, -10, 5)
        once, again = compared(first, second), compared(1e-3 * first, 1e-3 * second, white(3, 1e-3))
        assert again == pytest.approx(once, rel=1e-4)

    def test_noise_that_channels_share_counts_less_along_their_sum(self) -> None:
        noise = replace(white(2), correlation=np.float32([[1, 0.8], [0.8, 1]]))
        first, second = mean_of(20, 20), mean_of(20, 20)
        second[5] += [3, 3]
        assert compared(first, second, noise).distance == pytest.approx(np.sqrt(18 / (1.8 + RIDGE)), rel=1e-4)
        second[5] += [0, -6]
        assert compared(first, second, noise).distance == pytest.approx(np.sqrt(18 / (0.2 + RIDGE)), rel=1e-4)

    def test_only_the_largest_channels_are_compared(self) -> None:
        first, second = np.full((N_FRAMES, 20), 9, np.float32), np.full((N_FRAMES, 20), 9, np.float32)
        first[:, PAIR_CHANNELS:], second[:, PAIR_CHANNELS:] = 1, -1
        assert compared(first, second).distance == 0

    def test_only_the_temporal_components_count(self) -> None:
        first, second = mean_of(20, 10), mean_of(20, 10)
        second[4] += 50
        components = np.delete(WHOLE, 2, axis=0)  # all but frame 4
        pair = compare_means(
            Mean.of(first, MANY, white(2).sigma), Mean.of(second, MANY, white(2).sigma), white(2), components, ORIGIN, 0
        )
        assert pair.distance == pytest.approx(0, abs=1e-3)


class TestJoinMeans:
    def join(
        self, means: list[np.ndarray], counts: list[float], positions: list[list[float]] | None = None
    ) -> tuple[np.ndarray, list[float]]:
        where = np.zeros((len(means), 2)) if positions is None else np.array(positions, dtype=float)
        noise = white(means[0].shape[1])
        given = np.stack(means), np.array(counts, dtype=float), where
        before = [array.copy() for array in given]
        joined, n = join_means(*given, noise, WHOLE, ORIGIN, MAX_LAG)
        for array, copy in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, copy)  # what was given stays as it was
        return joined, n.tolist()

    def test_groups_that_differ_stay_apart(self) -> None:
        means = [mean_of(20, 0), mean_of(0, 20), mean_of(40, 0)]
        joined, counts = self.join(means, [100, 200, 300])
        np.testing.assert_array_equal(joined, np.stack(means))
        assert counts == [100, 200, 300]

    @pytest.mark.parametrize(("apart", "n"), [(0.98, 1), (1.02, 2)])
    def test_means_that_one_spike_cannot_tell_apart_are_joined(self, apart: float, n: int) -> None:
        second = mean_of(20, 5)
        second[5, 0] += apart * SAME_MEAN * np.sqrt(1 + RIDGE)
        assert len(self.join([mean_of(20, 5), second], [MANY, MANY])[1]) == n

    def test_the_mean_of_two_is_weighted_by_their_spikes(self) -> None:
        first, second = mean_of(20, 5), mean_of(20, 5)
        second[5, 0] += 2
        (joined,), counts = self.join([first, second], [1e6, 3e6])
        np.testing.assert_allclose(joined, first + 0.75 * (second - first), rtol=1e-5)
        assert counts == [4e6]

    def test_means_are_joined_on_the_clock_of_the_first(self) -> None:
        (joined,), _ = self.join([mean_of(20, 5), mean_of(20, 5, later=2)], [1e6, 1e6])
        np.testing.assert_allclose(joined[:-2], mean_of(20, 5)[:-2], atol=0.02)

    def test_the_nearest_are_joined_first(self) -> None:
        # 0, 3 and 5 apart: the last two are one, 4 from the first, which is SAME_MEAN on the edge: 4.2 by the ridge.
        means = [mean_of(20, 5) for _ in range(3)]
        for mean, offset in zip(means, (0, 3.4, 5.2), strict=True):
            mean[5, 0] += offset
        joined, counts = self.join(means, [1e6, 2e6, 2e6])
        assert counts == [1e6, 4e6]
        np.testing.assert_allclose(joined[1][5, 0], means[0][5, 0] + 4.3, rtol=1e-5)

    def test_a_chain_becomes_one_where_its_middle_stays_near(self) -> None:
        means = [mean_of(20, 5) for _ in range(3)]
        for mean, offset in zip(means, (0, 1.5, 3), strict=True):
            mean[5, 0] += offset
        (joined,), counts = self.join(means, [1e6, 1e6, 2e6])
        assert counts == [4e6]
        np.testing.assert_allclose(joined[5, 0], means[0][5, 0] + 1.875, rtol=1e-5)

    def test_groups_that_are_far_from_each_other_are_not_compared(self) -> None:
        means = [mean_of(20, 5)] * 2
        for apart, n in ((MAX_REACH_UM, 1), (MAX_REACH_UM + 1, 2)):
            assert len(self.join(means, [1e6, 1e6], [[0, 0], [0.6 * apart, 0.8 * apart]])[1]) == n

    def test_a_joined_group_lies_where_its_spikes_are(self) -> None:
        # The first two come to lie at 75 um, from where the third is within reach.
        means = [mean_of(20, 5), mean_of(20, 5), mean_of(20, 5)]
        means[2][5, 0] += 1
        positions = [[0, 0], [100, 0], [175, 0]]
        assert self.join(means, [1e6, 3e6, 1e6], positions)[1] == [5e6]
        assert self.join(means[::2], [1e6, 1e6], positions[::2])[1] == [1e6, 1e6]

    def test_two_kinds_of_many(self) -> None:
        kinds = [0, 1, 1, 0, 0, 1, 0]
        means = [mean_of(20, 5) if kind == 0 else mean_of(5, 20) for kind in kinds]
        joined, counts = self.join(means, [1e6 * (k + 1) for k in range(7)])
        assert counts == [(1 + 4 + 5 + 7) * 1e6, (2 + 3 + 6) * 1e6]
        np.testing.assert_allclose(joined, np.stack(means[:2]), rtol=1e-4)


def evidence(
    plain: float = 0, angular: float = 9, detrended: float = 9, both: float = 9, cosine: float = 0.99,
    seen: int = 0, beside: int = 0, others: tuple[Comparison, ...] = (), drifts: float = 0,
) -> float:  # fmt: skip
    results = [Comparison(plain, angular, detrended, both, 0.0), *others]
    parameters = replace(PARAMETERS, merge_unimodality=2.0)
    return same_neuron(results, Pair(0, 3.0, cosine), Refractoriness(seen, beside), drifts, parameters)


class TestSameNeuron:
    @pytest.mark.parametrize(
        ("plain", "cosine", "score"),
        [
            (1.0, 0.85, 1.0),  # the threshold minus the score of unimodality
            (1.0, 0.80, 0.5),  # and ten times what the cosine is above 0.85
            (1.0, 0.70, -0.5),
            (4.0, 0.95, -1.0),
            (4.0, 0.84, -2.1),
        ],
    )
    def test_one_mode_and_likeness_speak_for_one(self, plain: float, cosine: float, score: float) -> None:
        assert evidence(plain, cosine=cosine) == pytest.approx(score)

    def test_likeness_beyond_0_95_weighs_no_more_against_modes(self) -> None:
        assert evidence(4.0, cosine=1.0) == evidence(4.0, cosine=0.95) == pytest.approx(-1)

    @pytest.mark.parametrize("explanation", ["angular", "detrended", "both"])
    def test_a_burst_or_drift_explains_two_modes(self, explanation: str) -> None:
        assert evidence(4.0, cosine=0.94, drifts=1) < 0
        assert evidence(4.0, cosine=0.94, drifts=1, **{explanation: 1.0}) == pytest.approx(2 - 1 + 0.4)

    def test_drift_that_is_not_seen_explains_nothing(self) -> None:
        """Any two units that fire at different times have one mode at any time."""
        assert evidence(4.0, cosine=0.94, detrended=1.0, both=1.0) == pytest.approx(-1.1)
        assert evidence(4.0, cosine=0.94, others=(Comparison(9, 9, 1.0, 1.0, 0.0),)) == pytest.approx(-1.1)

    def test_so_does_jitter(self) -> None:
        assert evidence(4.0, cosine=0.94, others=(Comparison(1.0, 9, 9, 9, 0.0),)) == pytest.approx(1.4)
        assert evidence(4.0, cosine=0.94, others=(Comparison(9, 0.5, 9, 9, 0.0),)) == pytest.approx(1.9)
        seen = evidence(4.0, cosine=0.94, drifts=1, others=(Comparison(9, 9, 9, 0.5, 0.0),))
        assert seen == pytest.approx(1.9)

    def test_only_of_units_that_look_alike(self) -> None:
        assert evidence(4.0, 1.0, cosine=0.85) == pytest.approx(2 - 1 - 0.5)
        assert evidence(4.0, 1.0, cosine=0.84) == pytest.approx(-2.1)

    def test_and_do_not_fire_within_the_refractory_time(self) -> None:
        assert evidence(4.0, 1.0, cosine=0.94, seen=3, beside=40) == pytest.approx(1.4)
        assert evidence(4.0, 1.0, cosine=0.94, seen=12, beside=40) == pytest.approx(-1.1)  # they fire like two
        assert evidence(4.0, 1.0, cosine=0.94, seen=2, beside=1) == pytest.approx(1.4)  # too few to tell

    def test_nearly_equal_units_that_avoid_each_other_are_one_whatever_their_modes(self) -> None:
        assert evidence(9.0, cosine=0.97, beside=40) == pytest.approx(0.03)
        assert evidence(9.0, cosine=0.95, beside=40) == pytest.approx(0.01)
        assert evidence(9.0, cosine=0.94, beside=40) < 0
        assert evidence(9.0, cosine=0.97, beside=15) < 0  # too few to tell
        assert evidence(9.0, cosine=0.97, seen=12, beside=40) < 0

    def test_drift_that_is_seen_makes_one_of_pieces_that_are_less_alike(self) -> None:
        assert evidence(9.0, detrended=1.0, cosine=0.75, drifts=1) == pytest.approx(2 - 0.6 - 1 - 0.1)
        assert evidence(9.0, detrended=1.0, cosine=0.75) < 0
        assert evidence(9.0, detrended=1.4, cosine=0.75, drifts=1) < 0  # two modes at any time
        assert evidence(9.0, detrended=1.0, cosine=0.75, drifts=1, seen=12, beside=40) < 0
        assert evidence(9.0, 1.0, cosine=0.75, drifts=1) < 0  # which is nothing that drift explains

    def test_of_less_alike_ones_those_that_drift_explains_best_are_surest(self) -> None:
        """A neighbour may be where a neuron was: half of the difference is between spikes that are close in time."""
        by_share = [evidence(9.0, detrended=1.0, cosine=0.75, drifts=share) for share in (1, 0.8, 0.5)]
        assert by_share == pytest.approx([0.3, 0.24, 0.15])
        assert evidence(9.0, detrended=1.0, cosine=0.94, drifts=0.5) == evidence(
            9.0, detrended=1.0, cosine=0.94, drifts=1
        )

    def test_of_less_alike_ones_drift_without_jitter_leaves_nearly_one_mode(self) -> None:
        """Two small neighbours have one mode where all of what jitter and drift can make is taken out."""
        both = (Comparison(1.0, 9, 1.0, 9, 0.0),)
        assert evidence(9.0, detrended=1.7, cosine=0.83, drifts=1, others=both) == pytest.approx(2 - 0.6 - 1 - 0.02)
        assert evidence(9.0, detrended=1.9, cosine=0.83, drifts=1, others=both) < 0


def tolerated(
    first: np.ndarray, second: np.ndarray, size_std: float = 1.0, sigma: float = 1.0, **limits: float
) -> bool:
    infinite = dict.fromkeys(
        ("max_latency_diff_sequences", "max_amp_median_diff_sequences", "max_root_amp_median_std_sequences"), np.inf
    )
    wide = {"clip_latency_diff_factor": 1e9, "clip_amp_median_diff_factor": 1e9}
    parameters = replace(PARAMETERS, **{**infinite, **wide, **limits})
    n = np.full(first.shape[1], sigma, dtype=np.float32)
    return within_sequence_tolerances(first, second, size_std, n, parameters, FS)


class TestSequenceTolerances:
    def test_the_same_mean_is_within_the_narrowest(self) -> None:
        assert tolerated(
            mean_of(20, -8, 3), mean_of(20, -8, 3), max_latency_diff_sequences=0.0,
            max_amp_median_diff_sequences=1e-6, max_root_amp_median_std_sequences=1e-6,
        )  # fmt: skip

    def test_or_within_none_at_all(self) -> None:
        one = np.float32([0, -4, 2])[:, None] * np.float32([8, 4])
        limits = ("max_latency_diff_sequences", "max_amp_median_diff_sequences", "max_root_amp_median_std_sequences")
        assert tolerated(one, one, **dict.fromkeys(limits, 0.0))
        assert tolerated(one, one * np.float32(1.25), max_root_amp_median_std_sequences=0.25, scale_std=0.5)

    def test_latency_is_the_mean_of_frames_weighted_by_size(self) -> None:
        second = mean_of(30, -10)
        second[:, 1] = np.roll(second[:, 1], 2)
        late = 2 * 10 / 40
        assert tolerated(mean_of(30, -10), second, max_latency_diff_sequences=1.01 * late)
        assert not tolerated(mean_of(30, -10), second, max_latency_diff_sequences=0.99 * late)
        # Clipped at one and a half times the limit, it counts less.
        clipped = {"max_latency_diff_sequences": 0.3, "clip_latency_diff_factor": 1.5}
        assert tolerated(mean_of(30, -10), second, **clipped)

    def test_a_peak_is_looked_for_within_ms_after_and_of_the_same_sign(self) -> None:
        first, second = mean_of(30, 0), mean_of(30, 0)
        second[9, 0] = -90  # larger, but five frames away, and 0.5 ms are two
        second[5, 0] = 80
        assert tolerated(first, second, max_latency_diff_sequences=0.1, max_amp_median_diff_sequences=0.01)
        assert not tolerated(first, second, max_latency_diff_sequences=0.1, ms_after=1.25)

    def test_amplitudes_are_compared_after_a_common_scale(self) -> None:
        assert tolerated(mean_of(30, 10), mean_of(60, 20), max_amp_median_diff_sequences=1e-5)
        # 30 and 10 against 30 and 20: the scale is (900 + 200) / 1000, they are off by 1/11 and 9/11, weights 3 to 1
        off = (3 / 11 + 9 / 11) / 4
        assert tolerated(mean_of(30, 10), mean_of(30, 20), max_amp_median_diff_sequences=1.01 * off)
        assert not tolerated(mean_of(30, 10), mean_of(30, 20), max_amp_median_diff_sequences=0.99 * off)
        clipped = {"max_amp_median_diff_sequences": 0.2, "clip_amp_median_diff_factor": 1.5}
        assert tolerated(mean_of(30, 10), mean_of(30, 20), **clipped)

    def test_a_peak_of_the_other_sign_has_no_size(self) -> None:
        # 10 against nothing: the scale is 0.9, they are off by 1/9 and 1.
        second = mean_of(30, -10, width=3)
        second[:, 1] = np.abs(second[:, 1])
        first = np.copy(second) * [1, -1]
        off = (3 * (1 / 9) + 1) / 4
        assert tolerated(first, second, max_amp_median_diff_sequences=1.01 * off)
        assert not tolerated(first, second, max_amp_median_diff_sequences=0.99 * off)

    @pytest.mark.parametrize(("size", "within"), [(0.71, True), (0.69, False), (1.29, True), (1.31, False)])
    def test_the_size_of_the_whole_is_in_deviations_of_it(self, size: float, within: bool) -> None:
        limits = {"max_root_amp_median_std_sequences": 1.0, "scale_std": 0.2}
        assert tolerated(mean_of(30, 10), mean_of(30 * size, 10 * size), size_std=0.3, **limits) == within

    def test_the_deviation_is_no_less_than_the_usual_one(self) -> None:
        for size, within in ((1.19, True), (1.21, False)):
            limits = {"max_root_amp_median_std_sequences": 1.0, "scale_std": 0.2}
            assert tolerated(mean_of(30, 10), mean_of(30 * size, 10 * size), size_std=0.05, **limits) == within

    def test_only_electrodes_of_two_sigma_count_the_largest_at_least(self) -> None:
        second = mean_of(30, -5)
        second[:, 1] = 0
        limits = {"max_amp_median_diff_sequences": 0.01}
        assert tolerated(mean_of(30, -5), second, sigma=2.6, **limits)  # 1.9 sigma
        assert not tolerated(mean_of(30, -5), second, sigma=2.4, **limits)
        assert tolerated(mean_of(30, -5), second, sigma=20.0, **limits)  # 1.5 and 0.25 sigma: the first all the same


class TestSmall:
    def test_without_takes_out_the_directions(self) -> None:
        features = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
        directions = np.array([[1, 0, 0], [0, 0.6, 0.8]], np.float32)
        left = without(features, directions)
        np.testing.assert_allclose(left @ directions.T, 0, atol=1e-5)
        np.testing.assert_allclose(left[0], [0, 2 - 0.6 * 3.6, 3 - 0.8 * 3.6], atol=1e-5)

    @pytest.mark.parametrize(("scales", "expected"), [([], 0), ([1.3], 0), ([0.8, 1.2], 0.2)])
    def test_deviation_of_sizes(self, scales: list[float], expected: float) -> None:
        assert deviation(np.array(scales, np.float32)) == pytest.approx(expected)


N_EXAMPLES = 40


def learnt_of(
    means: list[np.ndarray], frames: list[np.ndarray], seed: int = 0, channels: list[list[int]] | None = None,
    sigma: float = 1.0, sizes: list[np.ndarray] | None = None,
) -> Learnt:  # fmt: skip
    """What is learnt of units with these means: examples are the mean and noise, at evenly chosen spikes."""
    rng = np.random.default_rng(seed)
    n_channels = means[0].shape[1]
    examples, example_frames, scales = [], [], []
    listed = channels or [list(np.argsort(-np.abs(mean).max(axis=0), kind="stable")) for mean in means]
    padded = np.full((len(means), max(map(len, listed)) + 1), -1)
    for u, mean in enumerate(means):
        padded[u, : len(listed[u])] = listed[u]
        some = np.linspace(0, len(frames[u]) - 1, min(N_EXAMPLES, len(frames[u]))).astype(int)
        size = np.ones(len(frames[u])) if sizes is None else sizes[u]
        windows = rng.normal(0, sigma, (len(some), padded.shape[1], N_FRAMES))
        windows[:, : len(listed[u])] += size[some, None, None] * mean.T[listed[u]]
        windows[:, len(listed[u]) :] = 0
        examples.append(windows.astype(np.float32))
        example_frames.append(np.asarray(frames[u])[some])
        scales.append(size.astype(np.float32))
    assert n_channels > max(map(max, listed))
    return Learnt(
        np.stack(means).astype(np.float32), np.array([len(f) for f in frames]), tuple(map(np.asarray, frames)),
        tuple(scales), padded, tuple(examples), tuple(example_frames),
    )  # fmt: skip


def components_of_three() -> np.ndarray:
    t = np.arange(LENGTH) - N_BEFORE + ORIGIN
    shapes = [-np.exp(-((t / 1.2) ** 2)), np.exp(-(((t - 2) / 1.2) ** 2)), t * np.exp(-((t / 1.2) ** 2))]
    return np.linalg.qr(np.array(shapes).T)[0].T.astype(np.float32)


def units_of(
    learnt: Learnt, components: np.ndarray | None = None, peaks: np.ndarray | None = None,
    noise: Noise | None = None, **parameters: float,
) -> Units:  # fmt: skip
    return Units(
        learnt, noise or white(learnt.means.shape[2]), components_of_three() if components is None else components,
        ORIGIN, FS, replace(PARAMETERS, **parameters), np.empty(0, PEAK) if peaks is None else peaks,
    )  # fmt: skip


def trains(*counts: int, seed: int = 0) -> list[np.ndarray]:
    """Spikes of units that share them by chance, all at least 10 ms from each other."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(40, 200, sum(counts))) + 20
    owner = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return [times[owner == u] for u in range(len(counts))]


class TestUnits:
    def test_lags_are_looked_at_as_far_as_the_window_has_room(self) -> None:
        learnt = learnt_of([mean_of(20, 8, 5)], trains(50))
        assert units_of(learnt).max_lag == 2  # 0.5 ms; 2 frames before, 11 - 2 - 7 behind
        assert units_of(learnt, WHOLE[:, :6]).max_lag == 2
        assert units_of(learnt, np.eye(8, dtype=np.float32)).max_lag == 1
        noise = white(3)
        assert Units(learnt, noise, WHOLE, 1, FS, PARAMETERS, np.empty(0, PEAK)).max_lag == 1

    @pytest.mark.parametrize(("ms", "lags"), [(0.3, 3), (0.5, 5), (0.9, 5)])
    def test_nor_further_than_half_a_millisecond(self, ms: float, lags: int) -> None:
        # At 10 kHz; the window has room for as many frames as `ms` on both sides.
        learnt = learnt_of([mean_of(20, 8, 5)], trains(50))
        room = round(10 * ms)
        means = np.zeros((1, 3 + 2 * room, 3), np.float32)
        units = Units(
            replace(learnt, means=means), white(3), WHOLE[:, :3], room, 10_000.0, PARAMETERS, np.empty(0, PEAK)
        )
        assert units.max_lag == lags

    def test_near_are_units_of_which_one_lists_the_main_channel_of_the_other(self) -> None:
        means = [mean_of(9, 8, 0, 0), mean_of(0, 0, 8, 9), mean_of(8, 9, 0, 0), mean_of(5, 0, 0, 9)]
        learnt = learnt_of(means, trains(40, 40, 40, 40), channels=[[0, 1], [3, 2], [1], [3, 0]])
        units = units_of(learnt)
        near = {(i, j) for i in range(4) for j in range(4) if i != j and units.near(i, j)}
        assert near == {(0, 2), (2, 0), (0, 3), (3, 0), (1, 3), (3, 1)}

    def test_features_are_whitened_examples_seen_by_the_temporal_components(self) -> None:
        learnt = learnt_of([mean_of(5, 20, 8, 3)], trains(50), channels=[[1, 2, 0]])
        correlation = np.eye(4, dtype=np.float32)
        correlation[0, 1] = correlation[1, 0] = 0.6
        noise = replace(white(4), sigma=np.array([1, 2, 3, 4], np.float32), correlation=correlation)
        units = units_of(learnt, noise=noise)
        found = units.features(0, np.array([0, 1]), 1)
        windows = learnt.examples[0][:, [2, 0]] / np.array([1, 2])[:, None]  # where channels 0 and 1 are listed
        values, vectors = np.linalg.eigh(np.array([[1.02, 0.6], [0.6, 1.02]]))
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        expected = np.einsum("dc,nct,kt->ndk", root, windows[:, :, ORIGIN + 1 : ORIGIN + 1 + LENGTH], units.components)
        np.testing.assert_allclose(found, expected.reshape(N_EXAMPLES, -1), atol=1e-4)

    @pytest.mark.parametrize("lag", [0, 1])
    def test_jitter_moves_a_spike_within_the_directions(self, lag: int) -> None:
        true = mean_of(20, -8, 5, later=lag, width=1.6)
        noise = replace(white(3), sigma=np.array([1, 2, 4], np.float32))
        units = units_of(learnt_of([mean_of(9, 9, 9), true], trains(30, 30)), WHOLE, noise=noise)
        directions = units._jitter(((1, lag),), np.array([0, 1, 2]))
        np.testing.assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-5)
        assert len(directions) == 2
        for shift in (-0.4, 0.3):
            moved = mean_of(20, -8, 5, later=lag + shift, width=1.6)
            change = ((moved - true) / noise.sigma)[ORIGIN + lag : ORIGIN + lag + LENGTH].T.reshape(1, -1)
            assert np.linalg.norm(without(change, directions)) < 0.2 * np.linalg.norm(change)

    def test_a_mean_beside_is_that_of_the_examples_closest_to_the_other_unit(self) -> None:
        # Unit 0 drifts: its examples are 1, 2, 3... in size. Unit 1 fires near its last ones.
        frames = [np.arange(0, 100_000, 1000), np.arange(70_300, 100_000, 1000)]
        sizes = [np.arange(1.0, 101.0), np.ones(30)]
        learnt = learnt_of([mean_of(1, 0.5), mean_of(1, 0.5)], frames, sizes=sizes, sigma=0.0)
        units = units_of(learnt)
        at = learnt.example_frames[0]  # 40 of the hundred
        learnt_sizes = 1 + at / 1000
        chosen = learnt_sizes[np.argsort([np.abs(frames[1] - f).min() for f in at], kind="stable")[:N_BESIDE]]
        expected = chosen.mean() * mean_of(1, 0.5)
        np.testing.assert_allclose(units._mean_beside(0, 1, np.array([0, 1])), expected, rtol=1e-5)

    def test_few_of_many_examples_are_beside(self) -> None:
        n = 3 * N_BESIDE
        frames = [np.arange(0, 1000 * n, 1000), np.array([1000 * n + 5, 1000 * n + 900])]
        learnt = learnt_of([mean_of(1, 0.5), mean_of(1, 0.5)], frames, sigma=0.0)
        many = np.arange(1.0, n + 1)[:, None, None] * np.pad(mean_of(1, 0.5).T, ((0, 1), (0, 0)))
        learnt = replace(
            learnt, examples=(many.astype(np.float32), learnt.examples[1]), example_frames=tuple(frames)
        )  # fmt: skip
        found = units_of(learnt)._mean_beside(0, 1, np.array([1]))
        np.testing.assert_allclose(found[:, 0], (n - (N_BESIDE - 1) / 2) * mean_of(1, 0.5)[:, 1], rtol=1e-5)
        # The other way round: the other unit's first spike is beside the first ones, its later ones beyond the last.
        early = replace(
            learnt, examples=(learnt.examples[0], np.repeat(learnt.examples[1][:1], 3, axis=0)),
            example_frames=(frames[0], np.array([-5, 2000 * n, 3000 * n])),
        )  # fmt: skip
        found_early = units_of(early)._mean_beside(0, 1, np.array([1]))
        np.testing.assert_allclose(found_early[:, 0], (N_BESIDE + 1) / 2 * mean_of(1, 0.5)[:, 1], rtol=1e-5)
        # One example of the other unit is enough to look for.
        alone = replace(
            learnt, examples=(learnt.examples[0], learnt.examples[1][:1]), example_frames=(frames[0], frames[1][:1])
        )
        np.testing.assert_allclose(units_of(alone)._mean_beside(0, 1, np.array([1])), found, rtol=1e-6)


def peaks_at(frames: np.ndarray, channel: int, logit: float = 9.0) -> np.ndarray:
    peaks = np.zeros(len(frames), PEAK)
    peaks["frame"], peaks["channel"], peaks["logit"] = frames, channel, logit
    return peaks


class TestTolerated:
    def test_without_limits_everything_is(self) -> None:
        units = units_of(learnt_of([mean_of(20, 8, 5), mean_of(-5, 9, 40)], trains(40, 40)))
        assert units.tolerated(0, 1, 0)

    @pytest.mark.parametrize("lag", [0, 2])
    def test_latencies_are_compared_on_one_clock(self, lag: int) -> None:
        means = [mean_of(40, 18, 15), mean_of(40, 18, 15, later=lag)]
        units = units_of(learnt_of(means, trains(40, 40)), max_latency_diff_sequences=0.5)
        assert units.tolerated(0, 1, lag)
        assert not units.tolerated(0, 1, lag - 2)

    def test_sizes_are_compared_in_the_deviation_of_the_wider(self) -> None:
        sizes = [np.tile([0.5, 1.5], 20), np.ones(40)]
        means = [mean_of(40, 18, 15), mean_of(26, 12, 10)]  # 0.66 of it
        for which, within in ((sizes, True), (sizes[::-1], True), ([np.ones(40)] * 2, False)):
            units = units_of(
                learnt_of(means, trains(40, 40), sizes=which), max_root_amp_median_std_sequences=1.0
            )  # fmt: skip
            assert units.tolerated(0, 1, 0) == within

    @pytest.mark.parametrize(("share", "within"), [(0.0, True), (0.5, True), (0.66, True), (0.67, False), (1.0, False)])
    def test_electrodes_on_which_the_network_sees_both(self, share: float, within: bool) -> None:
        # Unit 0 is seen on three electrodes, unit 1 on two of them.
        frames = trains(30, 30)
        peaks = [peaks_at(frames[0], channel) for channel in (0, 1, 2)]
        peaks += [peaks_at(frames[1], channel) for channel in (0, 1)]
        peaks += [peaks_at(frames[1], 2, logit=-9.0)]
        together = np.concatenate(peaks)
        together = together[np.argsort(together["frame"], kind="stable")]
        learnt = learnt_of([mean_of(20, 8, 5), mean_of(20, 8, 5)], frames)
        for what in (learnt, replace(learnt, frames=learnt.frames[::-1])):
            units = units_of(what, peaks=together, min_loose_detections_r_sequences=share)
            assert units.tolerated(0, 1, 0) == within

    def test_the_network_is_asked_at_the_time_of_the_spike(self) -> None:
        # Unit 1 is two frames late in its window, so its spikes are two frames after the frames they go by.
        frames = trains(30, 30)
        peaks = np.concatenate([peaks_at(frames[0], 0), peaks_at(frames[1] + 2, 0)])
        peaks = peaks[np.argsort(peaks["frame"], kind="stable")]
        learnt = learnt_of([mean_of(20, 8, 5), mean_of(20, 8, 5, later=2)], frames)
        units = units_of(learnt, peaks=peaks, min_loose_detections_r_sequences=0.5, ms_after=0.25)  # 1 frame
        assert units._loose(1, 2) == {0}
        assert units._loose(1, 0) == set()
        assert units.tolerated(0, 1, 2)


class TestJudge:
    one, other = mean_of(20, 12, 8), mean_of(8, 12, 20)

    def test_one_neuron_is_one(self) -> None:
        units = units_of(learnt_of([self.one, self.one], trains(60, 60)))
        result = units.weigh(0, 1)
        assert result.score > 0
        assert result.lag == 0

    @pytest.mark.parametrize("lag", [-2, 1])
    def test_one_neuron_is_one_on_another_clock(self, lag: int) -> None:
        means = [self.one, mean_of(20, 12, 8, later=lag)]
        result = units_of(learnt_of(means, trains(60, 60))).weigh(0, 1)
        assert result.score > 0
        assert result.lag == lag

    def test_another_neuron_is_none(self) -> None:
        assert units_of(learnt_of([self.one, self.other], trains(60, 60))).weigh(0, 1).score < 0

    def test_a_cosine_below_the_least_ends_it(self) -> None:
        learnt = learnt_of([self.one, self.one], trains(60, 60))
        assert units_of(learnt, merge_similarity=1.01).weigh(0, 1).score == -np.inf
        assert units_of(learnt, merge_similarity=0.9).weigh(0, 1).score > 0

    @pytest.mark.parametrize(("channels", "one"), [([0, 1, 2], True), ([3, 1, 2], False), ([0, 3], False)])
    def test_units_must_have_three_electrodes_in_common(self, channels: list[int], one: bool) -> None:
        means = [mean_of(20, 12, 8, 0), mean_of(20, 12, 8, 0)]
        learnt = learnt_of(means, trains(60, 60), channels=[[0, 1, 2], channels])
        assert (units_of(learnt).weigh(0, 1).score > 0) == one

    def test_or_all_that_there_are(self) -> None:
        learnt = learnt_of([mean_of(20, 12), mean_of(20, 12)], trains(60, 60))
        assert units_of(learnt).weigh(0, 1).score > 0

    def test_limits_between_sequences_end_it(self) -> None:
        learnt = learnt_of([self.one, 0.7 * self.one], trains(60, 60))
        assert units_of(learnt, max_root_amp_median_std_sequences=1.0).weigh(0, 1).score == -np.inf

    def test_a_burst_is_one_neuron_unless_it_fires_like_two(self) -> None:
        learnt = learnt_of([2 * self.one, 1.2 * self.one], trains(60, 60))
        assert units_of(learnt).weigh(0, 1).score > 0
        # The same units, each of whose spikes have one of the other 1.25 ms before or behind.
        both = trains(60)[0]
        close = replace(learnt, frames=(both, both + np.tile([5, -5], 30)))
        assert units_of(close).weigh(0, 1).score < 0  # 5.4 by chance, 60 seen

    def test_coincidences_are_counted_on_one_clock(self) -> None:
        # On unit 1's own clock its spikes are 9 frames behind, beyond the refractory time; at lag -2 they are 7.
        both = trains(60)[0]
        learnt = learnt_of([2 * self.one, 1.2 * mean_of(20, 12, 8, later=-2)], [both, both + 9])
        units = units_of(learnt)
        assert units.weigh(0, 1).lag == -2
        assert units.weigh(0, 1).score < 0

    def test_pieces_that_are_aligned_to_the_trough_and_to_the_crest_are_one(self) -> None:
        first, second = mean_of(40, 25, 16, 9), mean_of(40, 25, 16, 9, later=4)  # 1 ms
        units = units_of(learnt_of([first, second], trains(60, 60)))
        there, back = units.weigh(0, 1), units.weigh(1, 0)
        assert (there.lag, back.lag) == (4, -4)
        assert there.score > 0
        assert back.score > 0

    def test_but_not_if_they_fire_like_two_or_are_not_the_same(self) -> None:
        first, second = mean_of(40, 25, 16, 9), mean_of(40, 25, 16, 9, later=4)
        both = trains(60)[0]
        close = learnt_of([first, second], [both, both - 4 + np.tile([5, -5], 30)])
        assert units_of(close).weigh(0, 1).score < 0
        other = mean_of(40, 9, 25, 16, later=4)
        assert units_of(learnt_of([first, other], trains(60, 60))).weigh(0, 1).score < 0

    @pytest.mark.parametrize("drift", [True, False])
    @pytest.mark.parametrize(("far", "least", "most"), [(1.0, 0.6, 0.85), (0.6, 0.85, 0.95)])
    def test_a_unit_that_drifts_is_one_and_two_that_follow_each_other_are_two(
        self, far: float, least: float, most: float, drift: bool
    ) -> None:
        begin, end = mean_of(40, 14, 0, 2), mean_of(-4, 14, 36, 2)
        frames = np.arange(40, 12040, 100)
        way = far * (np.linspace(0, 1, 120) if drift else np.repeat([0.25, 0.75], 60))
        spikes = begin.T + way[:, None, None] * (end - begin).T
        means = [spikes[:60].mean(axis=0).T, spikes[60:].mean(axis=0).T]
        learnt = learnt_of(means, [frames[:60], frames[60:]])
        noise = np.random.default_rng(1).normal(0, 1, spikes.shape)
        some = np.linspace(0, 59, N_EXAMPLES).astype(int)
        examples = []
        for u in range(2):
            channels = learnt.channels[u][:4]
            own = (spikes + noise)[60 * u + some][:, channels].astype(np.float32)
            examples.append(np.concatenate([own, np.zeros((N_EXAMPLES, 1, N_FRAMES), np.float32)], axis=1))
        units = units_of(replace(learnt, examples=tuple(examples)), merge_similarity=0.6)
        pair = compared(*means)
        assert least < pair.cosine < most
        assert (units.weigh(0, 1).score > 0) == (drift or least == merging.ALIKE)  # a jump, if they are alike
        units.frames[1] = units.frames[1] + 20_000  # long after: not seen to be one
        assert (units.weigh(0, 1).score > 0) == drift

    @pytest.mark.parametrize("second", [one, other, 0.6 * one, mean_of(17, 14, 8)])
    def test_either_way_round_the_judgement_is_the_same(self, second: np.ndarray) -> None:
        learnt = learnt_of([self.one, second], trains(60, 60))
        units = units_of(learnt)
        there, back = units.weigh(0, 1), units.weigh(1, 0)
        assert there.lag == -back.lag
        assert there.score == pytest.approx(back.score, rel=1e-3, abs=1e-3)

    def test_another_unit_of_the_traces_changes_nothing(self) -> None:
        learnt = learnt_of([self.one, mean_of(17, 14, 8)], trains(60, 60))
        small = replace(
            learnt, means=1e-3 * learnt.means, examples=tuple(np.float32(1e-3) * e for e in learnt.examples)
        )
        there, again = units_of(learnt).weigh(0, 1), units_of(small, noise=white(3, 1e-3)).weigh(0, 1)
        assert again == pytest.approx(there, rel=1e-3)


frames_of_a_train = st.lists(st.integers(0, 10_000), min_size=1, max_size=30).map(sorted)


class TestJoin:
    @given(frames_of_a_train, frames_of_a_train, st.integers(-MAX_LAG, MAX_LAG))
    @settings(max_examples=40)
    def test_the_joined_train_is_both_on_the_clock_of_the_first(
        self, first: list[int], second: list[int], lag: int
    ) -> None:
        # A spike of unit 1 at frame f looks like one of unit 0 at frame f + lag.
        units = units_of(learnt_of([mean_of(20, 8)] * 2, [np.array(first), np.array(second)]))
        units.join(0, 1, lag)
        assert units.frames[0].tolist() == sorted([*first, *(frame + lag for frame in second)])
        assert units.counts[0] == len(first) + len(second)
        assert units.alive.tolist() == [True, False]

    @pytest.mark.parametrize("lag", [-2, -1, 0, 1, 2])
    def test_spikes_that_were_matched_with_either_template_are_at_their_true_times(self, lag: int) -> None:
        # One neuron; the template of its second half is `lag` frames late in its window.
        true = np.arange(20, 420, 20)
        means = [mean_of(30, 18, 9), mean_of(30, 18, 9, later=lag)]
        frames = [matched(means[0], true[:10]), matched(means[1], true[10:])]
        units = units_of(learnt_of(means, frames))
        judgement = units.weigh(0, 1)
        units.join(0, 1, judgement.lag)
        assert units.frames[0].tolist() == true.tolist()

    def test_the_mean_is_weighted_and_on_the_clock_of_the_first(self) -> None:
        first, second = mean_of(20, 8), mean_of(26, 8, later=1)
        units = units_of(learnt_of([first, second], trains(30, 10)))
        units.join(0, 1, 1)
        expected = 0.75 * first + 0.25 * mean_of(26, 8)
        np.testing.assert_allclose(units.means[0][:-1], expected[:-1], rtol=1e-4)

    def test_sizes_of_both_are_kept(self) -> None:
        sizes = [np.linspace(0.8, 1.2, 30), np.linspace(0.5, 0.6, 10)]
        units = units_of(learnt_of([mean_of(20, 8)] * 2, trains(30, 10), sizes=sizes))
        units.join(0, 1, 0)
        np.testing.assert_allclose(np.sort(units.scales[0]), np.sort(np.concatenate(sizes)), rtol=1e-6)

    def test_what_was_learnt_is_not_changed(self) -> None:
        learnt = learnt_of([mean_of(20, 8)] * 2, trains(30, 10))
        before = learnt.means.copy(), [f.copy() for f in learnt.frames], [e.copy() for e in learnt.examples]
        units_of(learnt).join(0, 1, 1)
        np.testing.assert_array_equal(learnt.means, before[0])
        for after, old in zip([*learnt.frames, *learnt.examples], [*before[1], *before[2]], strict=True):
            np.testing.assert_array_equal(after, old)

    def test_examples_of_both_are_on_the_channels_and_the_clock_of_the_first(self) -> None:
        # Listed largest first: 0, 1, 2 and 3, 1, 0. Of channel 2 the second unit knows nothing, of 3 the first.
        means = [mean_of(20, 8, 5, 0), mean_of(4, 9, 0, 30, later=1)]
        learnt = learnt_of(means, trains(30, 30), channels=[[0, 1, 2], [3, 1, 0]], sigma=0.0)
        units = units_of(learnt)
        units.join(0, 1, 1)
        ours, theirs = np.split(units.examples[0], 2)
        np.testing.assert_allclose(ours[:, :3], np.broadcast_to(means[0].T[:3], (15, 3, N_FRAMES)), rtol=1e-6)
        # What they do not know is the mean's: channel 2 and the last frame.
        moved = units.means[0].T[:4].copy()
        moved[:2, :-1] = means[1].T[:2, 1:]
        np.testing.assert_allclose(theirs[:, :3], np.broadcast_to(moved[:3], (15, 3, N_FRAMES)), rtol=1e-6)
        assert not units.examples[0][:, 3].any()
        assert units.channels[0].tolist() == [0, 1, 2, -1]
        assert set(units.example_frames[0][15:]) <= set(learnt.frames[1] + 1)
        assert set(units.example_frames[0][:15]) <= set(learnt.frames[0])

    @pytest.mark.parametrize(
        ("counts", "shares"),
        [
            ((60, 60), (20, 20)),
            ((300, 100), (30, 10)),
            ((60, 95), (15, 25)),
            ((95, 60), (25, 15)),
            ((9000, 3), (39, 1)),
        ],
    )
    def test_examples_are_shared_as_spikes_are(self, counts: tuple[int, int], shares: tuple[int, int]) -> None:
        learnt = learnt_of([mean_of(20, 8), mean_of(-20, 8)], trains(*counts), sigma=0.0)
        units = units_of(learnt)
        units.join(0, 1, 0)
        troughs = units.examples[0][:, 0, N_BEFORE]
        assert (np.sum(troughs < 0), np.sum(troughs > 0)) == shares
        assert len(units.example_frames[0]) == len(units.examples[0])

    def test_examples_are_taken_from_the_whole_of_either_train(self) -> None:
        frames = trains(100, 100)
        units = units_of(learnt_of([mean_of(20, 8)] * 2, frames))
        units.join(0, 1, 0)
        for part, train in zip(np.split(units.example_frames[0], 2), frames, strict=True):
            assert (part.min(), part.max()) == (train[0], train[-1])


def matched(mean: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Frames at which a template finds spikes whose trough is at the frames `true`."""
    bank = bank_from_waveforms([(np.arange(mean.shape[1]), mean.T.copy())], white(mean.shape[1]), FS, PARAMETERS)
    traces = np.zeros((true[-1] + 60, mean.shape[1]), np.float32)
    for frame in true:
        traces[frame - N_BEFORE : frame - N_BEFORE + N_FRAMES] += mean_of(30, 18, 9)
    matcher = Matcher(bank)
    return np.concatenate([matcher.push(traces), matcher.finish()])["frame"]


class Scored:
    """Units that are judged by a table: the score of two is that of their members that fit least."""

    def __init__(self, n: int, scores: dict[tuple[int, int], float], far: tuple[tuple[int, int], ...] = ()) -> None:
        self.alive = np.ones(n, dtype=bool)
        self.scores, self.far = scores, far
        self.members = {u: [u] for u in range(n)}
        self.joined: list[tuple[int, int, int]] = []
        self.judged: list[tuple[int, int]] = []
        self.counts = [float(n - u) for u in range(n)]
        self.energies = self.counts
        self.ghosts: set[tuple[int, int]] = set()

    def energy(self, i: int) -> float:
        return self.energies[i]

    def near(self, i: int, j: int) -> bool:
        assert self.alive[i]
        assert self.alive[j]
        return (i, j) not in self.far

    def weigh(self, i: int, j: int) -> Evidence:
        assert i < j
        self.judged.append((i, j))
        pairs = [tuple(sorted((a, b))) for a in self.members[i] for b in self.members[j]]
        return Evidence(min(self.scores.get(pair, -9.0) for pair in pairs), 10 * i + j)

    def join(self, i: int, j: int, lag: int) -> None:
        self.joined.append((i, j, lag))
        self.members[i] += self.members.pop(j)
        self.alive[j] = False

    def is_ghost(self, i: int, larger: list[int]) -> bool:
        return any((i, j) in self.ghosts for j in larger)


class TestMergeUnits:
    def test_the_clock_is_that_of_the_unit_of_more_spikes(self) -> None:
        units = Scored(3, {(0, 2): 1.0})
        units.counts[2] = 9.0
        assert merge_units(units).tolist() == [1, 2]
        assert units.joined == [(2, 0, -2)]

    def test_ghosts_of_larger_units_go_first_the_smallest_first(self) -> None:
        units = Scored(4, {(0, 1): 1.0, (1, 2): 2.0})
        units.ghosts = {(3, 2), (2, 0), (0, 1)}
        assert merge_units(units).tolist() == [0]
        assert units.joined == [(0, 1, 1)]
        units = Scored(3, {}, far=((0, 2), (2, 0)))
        units.ghosts = {(2, 0)}
        assert merge_units(units).tolist() == [0, 1, 2]

    def test_a_ghost_of_several_units_goes(self) -> None:
        first, second, third = trains(60, 60, 60)
        means = [mean_of(40, 20, 8), mean_of(8, 40, 20), mean_of(20, 8, 40), mean_of(3, 3, 3)]
        tails = np.sort(np.concatenate([first[:20], second[:20], third[:20]])) + 44
        assert merge_units(units_of(learnt_of(means, [first, second, third, tails]))).tolist() == [0, 1, 2]

    def test_a_ghost_is_the_smaller_of_two_that_fire_together(self) -> None:
        train = trains(60)[0]
        units = units_of(learnt_of([mean_of(40, 20, 8), mean_of(3, 8, 2)], [train, train[:40] + 1]))
        assert merge_units(units).tolist() == [0]
        units = units_of(learnt_of([mean_of(3, 8, 2), mean_of(40, 20, 8)], [train, train[:40] + 1]))
        assert merge_units(units).tolist() == [1]
        units = units_of(learnt_of([mean_of(40, 20, 8), mean_of(3, 8, 2)], [train, train[:40] + 40]))
        assert merge_units(units).tolist() == [0, 1]

    def test_the_clearest_are_merged_first_with_their_lag(self) -> None:
        units = Scored(4, {(0, 1): 1.0, (2, 3): 3.0, (1, 3): 2.0})
        assert merge_units(units).tolist() == [0, 2]
        assert units.joined == [(2, 3, 23), (0, 1, 1)]

    def test_only_a_score_above_0_merges(self) -> None:
        assert merge_units(Scored(3, {(0, 1): 0.0, (1, 2): -1.0})).tolist() == [0, 1, 2]

    def test_what_was_merged_is_judged_anew(self) -> None:
        # 1 and 2 are one; 0 fits 1 but not 2, 3 fits both.
        units = Scored(4, {(1, 2): 5.0, (0, 1): 4.0, (1, 3): 1.0, (2, 3): 2.0})
        assert merge_units(units).tolist() == [0, 1]
        assert units.joined == [(1, 2, 12), (1, 3, 13)]

    def test_a_pair_is_judged_once_until_one_of_it_changes(self) -> None:
        units = Scored(4, {(0, 1): 1.0})
        merge_units(units)
        assert sorted(units.judged) == [(0, 1), (0, 2), (0, 2), (0, 3), (0, 3), (1, 2), (1, 3), (2, 3)]

    def test_units_that_are_not_near_are_not_judged(self) -> None:
        units = Scored(3, {(0, 1): 1.0, (1, 2): 1.0, (0, 2): 1.0}, far=((0, 1), (0, 2)))
        assert merge_units(units).tolist() == [0, 1]
        assert units.judged == [(1, 2)]

    def test_units_that_are_not_alive_stay_so(self) -> None:
        units = Scored(3, {(0, 1): 1.0, (0, 2): 1.0})
        units.alive[1] = False
        assert merge_units(units).tolist() == [0]
        assert units.joined == [(0, 2, 2)]

    def test_two_neurons_in_five_units_on_clocks_of_their_own(self) -> None:
        lags, neurons = [0, 1, -1, 2, 0], [0, 1, 0, 0, 1]
        shapes = [(20, 12, 8), (8, 12, 20)]
        means = [mean_of(*shapes[n], later=lag) for n, lag in zip(neurons, lags, strict=True)]
        true = trains(40, 50, 60, 70, 80)
        frames = [train - lag for train, lag in zip(true, lags, strict=True)]
        units = units_of(learnt_of(means, frames))
        left = merge_units(units).tolist()
        assert sorted(neurons[k] for k in left) == [0, 1]
        for place in left:
            unit, own_lag = neurons[place], lags[place]
            expected = np.sort(np.concatenate([true[k] for k in range(5) if neurons[k] == unit])) - own_lag
            assert units.frames[place].tolist() == expected.tolist()
            assert np.corrcoef(units.means[place].ravel(), means[place].ravel())[0, 1] > 0.999
            assert all(np.all(b >= a) for a, b in pairwise(units.frames[place]))


class TestEdges:
    """Where one more or less decides."""

    def test_jitter_explains_what_is_most_of_a_difference(self) -> None:
        rng = np.random.default_rng(0)
        first, second = rng.normal(size=(200, 6)).astype(np.float32), rng.normal(size=(200, 6)).astype(np.float32)
        second[:, 0] += 10
        for across, explained in ((4.0, True), (6.0, False)):
            moved = second.copy()
            moved[:, 1] += across
            left = [group * np.array([0, 1, 1, 1, 1, 1], np.float32) for group in (first, moved)]
            assert is_explained((first, moved), (left[0], left[1])) == explained

    def test_far_lags_join_no_noise_to_a_neuron_and_no_shadow(self) -> None:
        first, second = trains(60, 60)
        large, late = mean_of(40, 20, 8), mean_of(40, 20, 8, later=4)
        assert units_of(learnt_of([large, late], [first, second])).weigh(0, 1).score > 0
        assert units_of(learnt_of([large, 0.2 * late], [first, second])).weigh(0, 1).score < 0
        shared = np.sort(np.concatenate([second[:40], first[:10] - 4]))
        assert units_of(learnt_of([large, late], [first, shared])).weigh(0, 1).score < 0

    def test_jitter_of_a_fiftieth_counts_and_less_does_not(self) -> None:
        """A slow sine wave moves along its cosine; how that changes is smaller by the frequency."""
        t = np.arange(4001)
        for frequency, n in ((0.0225, 2), (0.0175, 1)):
            mean = np.sin(frequency * t).astype(np.float32)[:, None]
            units = units_of(learnt_of([mean_of(9)], trains(30)), WHOLE)
            units.means = [mean]
            units.components, units.origin = np.eye(4001, dtype=np.float32), 0
            assert len(units._jitter(((0, 0),), np.array([0]))) == n

    def test_what_jitter_explains_is_no_second_mode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        units = units_of(learnt_of([mean_of(20, 12, 8)] * 2, trains(60, 60)))
        for explained, one in ((1.0, True), (9.0, False)):
            answers = iter([Comparison(9.0, 9, 9, 9, 0.0), Comparison(explained, 9, 9, 9, 0.0)])
            monkeypatch.setattr(merging, "compare", lambda *_, answers=answers: next(answers))
            assert (units.weigh(0, 1).score > 0) == one

    def test_of_a_cosine_at_the_least_a_unit_is_judged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        units = units_of(learnt_of([mean_of(20, 12, 8)] * 2, trains(60, 60)), merge_similarity=0.75)
        for cosine, judged in ((0.75, True), (0.7499, False)):
            monkeypatch.setattr(merging, "compare_means", lambda *_, cosine=cosine: Pair(0, 3.0, cosine))
            assert np.isfinite(units.weigh(0, 1).score) == judged

    def test_the_network_is_asked_about_some_of_many_spikes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Four of nine, from the first to the last: it sees those, and none of the others."""
        monkeypatch.setattr(merging, "MAX_DESCRIBED", 4)
        frames = np.arange(100, 1000, 100)
        units = units_of(
            learnt_of([mean_of(20, 8, 5)], [frames]), peaks=peaks_at(frames[[0, 2, 5, 8]], 0), loose_thresh=0.9
        )
        assert units._loose(0, 0) == {0}
        units.peaks = peaks_at(frames[[1, 3, 4, 6, 7]], 0)
        assert units._loose(0, 0) == set()

    def test_no_more_than_forty_examples_are_those_beside(self) -> None:
        """Of sixty that grow from 1 to 60; the other unit fires when the last ones do."""
        frames = [np.arange(0, 60_000, 1000), np.arange(30_000, 60_000, 1000) + 1]
        learnt = learnt_of([mean_of(1, 0.5)] * 2, frames, sigma=0.0)
        units = units_of(learnt)
        units.example_frames[0] = frames[0]
        units.examples[0] = (np.arange(1.0, 61)[:, None, None] * learnt.examples[0][:1]).astype(np.float32)
        size = units._mean_beside(0, 1, np.array([0]))[N_BEFORE, 0] / mean_of(1)[N_BEFORE, 0]
        assert size == pytest.approx(np.arange(21.0, 61).mean())
