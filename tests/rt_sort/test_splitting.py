from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from spikelab.spike_sorting.rt_sort.learning import splitting
from spikelab.spike_sorting.rt_sort.learning._linear import discriminant
from spikelab.spike_sorting.rt_sort.learning.splitting import (
    by_size,
    compare,
    detrended,
    dip_test,
    mixture_1d,
    of_one_size,
    split,
    unimodality,
)

SHAPES = {
    "uniform": lambda rng, n: rng.random(n),
    "normal": lambda rng, n: rng.normal(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(3, size=n),
    "skewed": lambda rng, n: np.exp(rng.normal(size=n)),
    "integers": lambda rng, n: rng.poisson(3, n).astype(float),
    "rounded": lambda rng, n: np.round(rng.normal(size=n), 1),
}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def two_modes(rng, sizes, distance):
    return np.concatenate([rng.normal(size=sizes[0]), distance + rng.normal(size=sizes[1])])


class TestUnimodality:
    @pytest.mark.parametrize("n", [20, 100, 1000])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_few_unimodal_samples_reach_the_threshold(self, rng, shape, n):
        scores = [unimodality(SHAPES[shape](rng, n)).score for _ in range(200)]
        assert np.mean(np.array(scores) > 2) <= (0.04 if shape == "uniform" else 0.01)

    @pytest.mark.parametrize(
        ("sizes", "distance"), [((500, 500), 4), ((60, 60), 7), ((1000, 50), 8), ((1000, 20), 10), ((5000, 30), 10)]
    )
    def test_two_modes_are_seen_and_cut_between(self, rng, sizes, distance):
        scores, cuts = zip(*[unimodality(two_modes(rng, sizes, distance)) for _ in range(20)], strict=True)
        assert np.mean(np.array(scores) > 2) >= 0.9
        assert np.all((np.array(cuts) > 0.25 * distance) & (np.array(cuts) < 0.75 * distance))

    def test_further_apart_scores_higher(self, rng):
        noise = two_modes(rng, (300, 300), 0)
        apart = np.repeat([0.0, 1.0], 300)
        scores = [unimodality(noise + distance * apart).score for distance in (3, 4, 5, 6, 8)]
        assert scores == sorted(scores)

    def test_neither_order_nor_unit_nor_direction_matters(self, rng):
        values = two_modes(rng, (200, 100), 6)
        score, cut = unimodality(values)
        assert unimodality(rng.permutation(values)) == (score, cut)
        for scale in (1e-6, -1.0, 1e4):
            assert unimodality(scale * values + 3) == pytest.approx((score, scale * cut + 3), rel=1e-6)

    @pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [0.0, 0.0, 5.0, 5.0, 5.0], np.full(50, 3.0)])
    def test_too_few_or_equal_values_score_nothing(self, values):
        assert unimodality(values).score == 0

    def test_levels_of_integers_are_a_histogram(self):
        assert unimodality(np.repeat([2, 3, 4], [200, 300, 250])).score == pytest.approx(0)
        score, cut = unimodality(np.repeat([2, 3, 4, 5, 6], [200, 100, 3, 150, 90]))
        assert score > 2
        assert 3 < cut < 5

    @given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60))
    @settings(max_examples=200)
    def test_any_sample_has_a_finite_score_and_a_cut_inside(self, values):
        score, cut = unimodality(values)
        assert 0 <= score < 100
        assert min(values) <= cut <= max(values)


class TestDip:
    def test_known_values(self):
        assert dip_test(np.arange(20)).dip == pytest.approx(1 / 40)  # the least there is: 1 / (2 n)
        assert dip_test(np.repeat([0.0, 1.0], 50)).dip == pytest.approx(0.25)  # the most there is
        assert dip_test(np.r_[0.0, 0.0, 0.0]).p == 1
        assert dip_test([]) == (0, 1)

    @pytest.mark.parametrize(("n", "dip"), [(10, 0.1392), (50, 0.0705), (100, 0.0511), (200, 0.0369), (1000, 0.0169)])
    def test_uniform_quantiles_are_those_that_are_published(self, n, dip):
        # The 95 % points of the dip of n uniform values, from a simulation apart from that of the table.
        rng = np.random.default_rng(n)
        dips = [dip_test(rng.random(n)).dip for _ in range(2000)]
        assert np.quantile(dips, 0.95) == pytest.approx(dip, rel=0.03)

    @pytest.mark.parametrize("n", [40, 300, 8000])
    def test_p_is_even_for_uniform_samples_between_and_beyond_the_sizes_of_the_table(self, rng, n):
        p = np.array([dip_test(rng.random(n)).p for _ in range(400)])
        assert np.quantile(p, [0.1, 0.25, 0.5, 0.75]) == pytest.approx([0.1, 0.25, 0.5, 0.75], abs=0.08)

    def test_two_modes_are_significant_and_one_is_not(self, rng):
        assert dip_test(two_modes(rng, (100, 100), 5)).p < 0.001
        assert dip_test(rng.normal(size=200)).p > 0.1


class TestMixture:
    @pytest.mark.parametrize("n", [30, 1000])
    def test_one_normal_distribution_is_one_component(self, rng, n):
        assert np.mean([mixture_1d(rng.normal(size=n), 4).max() for _ in range(30)]) < 0.1

    @pytest.mark.parametrize(("sizes", "distance"), [((500, 500), 6), ((900, 100), 6), ((1000, 20), 20), ((20, 20), 8)])
    def test_components_are_found_in_ascending_order(self, rng, sizes, distance):
        labels = mixture_1d(two_modes(rng, sizes, distance), 4)
        truth = np.repeat([0, 1], sizes)
        assert adjusted_rand_score(truth, labels) > 0.95
        assert labels[: sizes[0]].mean() < labels[sizes[0] :].mean()

    def test_four_components(self, rng):
        means = np.repeat([0, 7, 14, 30], 250)
        labels = mixture_1d(means + rng.normal(size=1000), 4)
        assert adjusted_rand_score(means, labels) > 0.98
        assert mixture_1d(means + rng.normal(size=1000), 2).max() == 1

    def test_jitter_of_a_frame_is_one_latency_and_three_frames_are_two(self, rng):
        one = np.round(3.5 + 0.3 * rng.normal(size=300)).astype(int)
        assert mixture_1d(one, 4, least_variance=0.3).max() == 0
        two = np.round(np.repeat([3, 6], [200, 100]) + 0.4 * rng.normal(size=300)).astype(int)
        assert adjusted_rand_score(np.repeat([0, 1], [200, 100]), mixture_1d(two, 4, least_variance=0.3)) > 0.97

    def test_a_large_offset_changes_nothing(self, rng):
        values = two_modes(rng, (300, 100), 7)
        assert np.array_equal(mixture_1d(values, 4), mixture_1d(values + 1e6, 4))

    @pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0, 2.0]])
    def test_nothing_to_part(self, values):
        assert mixture_1d(values, 4).tolist() == [0] * len(values)


def blobs(rng, centres, sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = np.asarray(centres, dtype=float)
    return centres[labels] + rng.normal(size=(len(labels), centres.shape[1])), labels


def unequal(rng):
    return blobs(rng, [[0, 0, 0, 0], [10, 0, 0, 0], [0, 10, 0, 0]], (1000, 50, 20))


def long(rng):
    points, labels = blobs(rng, [[0, 0], [0, 6]], (800, 400))
    points[:, 0] *= 12
    return points, labels


def bent(rng):
    angle = np.pi / 2 + 0.6 * rng.normal(size=1000)
    points = np.concatenate([12 * np.c_[np.cos(angle), np.sin(angle)], np.zeros((300, 2))])
    return points + rng.normal(size=points.shape), np.repeat([0, 1], [1000, 300])


def attenuated(rng):
    size = np.where(rng.random(1200) < 0.7, 1, 0.5 + 0.5 * rng.beta(3, 2, 1200))
    labels = np.repeat([0, 1], [800, 400])
    return size[:, None] * np.array([[12, 4, 0], [4, 12, 0]])[labels] + rng.normal(size=(1200, 3)), labels


def many(rng):
    return blobs(rng, 5 * rng.normal(size=(8, 10)), (1500, 800, 500, 200, 100, 60, 40, 30))


class TestSplit:
    @pytest.mark.parametrize(
        ("make", "least"), [(unequal, 0.97), (long, 0.95), (bent, 0.9), (attenuated, 0.98), (many, 0.98)]
    )
    def test_clusters_are_found(self, make, least):
        for seed in range(3):
            points, labels = make(np.random.default_rng(seed))
            assert adjusted_rand_score(labels, split(points, seed)) > least

    @pytest.mark.parametrize("shape", ["uniform", "normal", "exponential", "heavy tails"])
    @pytest.mark.parametrize(("n", "n_dims"), [(20, 2), (300, 10), (2000, 10), (1000, 3)])
    def test_one_cluster_stays_one(self, rng, shape, n, n_dims):
        points = SHAPES[shape](rng, n * n_dims).reshape(n, n_dims)
        assert np.all(split(points, 0) == 0)

    def test_labels_are_contiguous_and_the_largest_first(self):
        points, _ = many(np.random.default_rng(0))
        labels = split(points, 0)
        counts = np.bincount(labels)
        assert labels.dtype == np.int64
        assert np.all(counts > 0)
        assert counts.tolist() == sorted(counts, reverse=True)

    def test_by_size_puts_the_earlier_of_equals_first(self):
        assert by_size(np.array([5, 9, 9, 2, 5, 7])).tolist() == [0, 1, 1, 2, 0, 3]

    def test_no_cluster_is_smaller_than_asked(self):
        points, _ = blobs(np.random.default_rng(0), [[0, 0], [15, 0], [0, 15]], (400, 100, 30))
        assert np.bincount(split(points, 0)).tolist() == [400, 100, 30]
        assert np.bincount(split(points, 0, min_size=31)).tolist() in ([430, 100], [400, 130])

    def test_a_higher_threshold_merges_more(self):
        points, _ = many(np.random.default_rng(1))
        assert split(points, 0, threshold=2.0).max() > split(points, 0, threshold=8.0).max()
        assert split(points, 0, threshold=1e9).max() == 0

    def test_the_same_in_any_thread_memory_order_and_of_either_precision(self):
        points, _ = many(np.random.default_rng(2))
        points = points.astype(np.float32)
        once = split(points, 3)
        with ThreadPoolExecutor(4) as pool:
            again = list(pool.map(lambda _: split(points, 3), range(4)))
        for labels in [*again, split(np.asfortranarray(points), 3), split(points.astype(np.float64), 3)]:
            assert np.array_equal(labels, once)

    def test_few_equal_or_no_points(self):
        assert split(np.empty((0, 3)), 0).size == 0
        assert split(np.ones((1, 3)), 0).tolist() == [0]
        assert np.all(split(np.ones((200, 3), dtype=np.float32), 0) == 0)
        assert np.all(split(np.ones((5, 2)), 0, n_init=50) == 0)

    def test_a_feature_without_variance_is_of_no_account(self):
        points, labels = blobs(np.random.default_rng(0), [[0, 0], [9, 0]], (300, 200))
        assert adjusted_rand_score(labels, split(np.c_[points, np.full(500, 4.0)], 0)) > 0.99


class Spikes:
    """Spikes of a unit, `n_dims` features with unit noise, and when they were."""

    def __init__(self, n_dims=60, seed=0):
        self.rng = np.random.default_rng(seed)
        self.mean = 15 * self.direction(n_dims)

    def direction(self, n_dims=60):
        vector = self.rng.normal(size=n_dims)
        return vector / np.linalg.norm(vector)

    def of(self, n, mean=None, size=1.0):
        mean = self.mean if mean is None else mean
        return np.reshape(size, (-1, 1)) * mean + self.rng.normal(size=(n, len(mean)))

    def times(self, n):
        return np.sort(self.rng.random(n))


class TestCompare:
    @pytest.mark.parametrize("sizes", [(300, 300), (300, 30), (30, 30), (15, 15)])
    def test_one_unit_is_one_by_any_measure(self, sizes):
        spikes = Spikes()
        results = [compare(*[spikes.of(n) for n in sizes], *[spikes.times(n) for n in sizes]) for _ in range(30)]
        assert np.mean(np.array(results)[:, :4] > 2) <= 0.03

    @pytest.mark.parametrize("sizes", [(300, 300), (300, 40), (40, 40)])
    def test_one_unit_cut_in_two_is_one(self, sizes):
        spikes = Spikes()
        scores = []
        for _ in range(30):
            both = spikes.of(sum(sizes))
            both = both[np.argsort(both @ spikes.direction())]
            times = np.arange(len(both))
            groups = both[: sizes[0]], both[sizes[0] :]
            scores.append(compare(*groups, times[: sizes[0]], times[sizes[0] :]).plain)
        assert np.mean(np.array(scores) > 2) <= 0.07

    @pytest.mark.parametrize(("sizes", "distance"), [((300, 300), 5), ((300, 30), 9), ((30, 30), 8)])
    def test_two_units_are_two_by_any_measure(self, sizes, distance):
        spikes = Spikes()
        other = spikes.mean + distance * spikes.direction()
        result = compare(
            spikes.of(sizes[0]), spikes.of(sizes[1], other), spikes.times(sizes[0]), spikes.times(sizes[1])
        )
        assert min(result[:4]) > 2
        assert result.d_prime > 0.85 * distance

    def test_a_burst_is_one_unit_but_for_its_size(self):
        spikes = Spikes()
        a, b = spikes.of(300), spikes.of(200, size=spikes.rng.uniform(0.5, 0.65, 200))
        result = compare(a, b, spikes.times(300), spikes.times(200))
        assert result.plain > 3
        assert result.detrended > 3
        assert result.angular < 2
        assert result.detrended_angular < 2

    def test_a_jump_in_time_is_one_unit_but_for_drift(self):
        spikes = Spikes()
        moved = spikes.mean + 6 * spikes.direction()
        times = spikes.times(600)
        result = compare(spikes.of(300), spikes.of(300, moved), times[:300], times[300:])
        assert result.plain > 3
        assert result.detrended < 2
        assert result.detrended_angular < 2

    def test_units_that_take_turns_every_window_or_so_are_two(self):
        spikes = Spikes()
        other = spikes.mean + 8 * spikes.direction()
        turn = np.arange(600) // 5 % 2 == 0
        result = compare(spikes.of(300), spikes.of(300, other), *[np.flatnonzero(t) for t in (turn, ~turn)])
        assert min(result[:4]) > 2

    def test_precision_and_the_order_of_groups_hardly_matter(self):
        spikes = Spikes()
        a = spikes.of(80).astype(np.float32)
        b = spikes.of(50, spikes.mean + 5 * spikes.direction()).astype(np.float32)
        times = np.arange(80), np.arange(50)
        score, *_, d_prime = compare(a, b, *times)
        swapped, precise = compare(b, a, *times[::-1]), compare(a.astype(float), b.astype(float), *times)
        assert (swapped.plain, swapped.d_prime) == pytest.approx((score, d_prime), rel=1e-6)
        assert (precise.plain, precise.d_prime) == (score, d_prime)

    @pytest.mark.parametrize("n_dims", [1, 2, 12, 13])
    def test_any_number_of_features(self, n_dims):
        spikes = Spikes(n_dims)
        a, b = spikes.of(100), spikes.of(100, spikes.mean + 8 * spikes.direction(n_dims))
        result = compare(a, b, spikes.times(100), spikes.times(100))
        assert result.plain > 2
        assert np.all(np.isfinite(result))

    def test_few_equal_or_empty_looking_spikes_are_no_evidence(self):
        one = np.ones((1, 4), dtype=np.float32)
        assert compare(one, one, np.zeros(1), np.zeros(1)) == (0, 0, 0, 0, 0)
        nothing = np.zeros((20, 4))
        assert compare(nothing, nothing, np.arange(20), np.arange(20))[:4] == (0, 0, 0, 0)

    def test_the_discriminant_is_fishers_for_few_features_and_many_spikes(self, rng):
        mixing = rng.normal(size=(3, 3))
        a, b = (rng.normal(size=(4000, 3)) @ mixing.T + offset for offset in ([0, 0, 0], [3, 1, 0]))
        along = discriminant(np.concatenate([a, b]), len(a))
        axis = np.linalg.solve(mixing @ mixing.T + 0.05 * np.eye(3), [3, 1, 0])
        assert np.corrcoef(along, np.concatenate([a, b]) @ axis)[0, 1] > 0.999

    def test_a_step_is_what_spikes_close_in_time_still_differ_by(self, rng):
        noise, times = rng.normal(0, 1, (400, 6)), np.arange(400)
        drift = np.linspace(0, 12, 400)[:, None] * np.eye(6)[0]
        jump = np.repeat([0.0, 12.0], 200)[:, None] * np.eye(6)[0]
        for way, expected in ((drift, 0.0), (jump, 1.0)):
            points = way + noise
            found = splitting.step_between(points[:200], points[200:], times[:200], times[200:])
            assert found == pytest.approx(expected, abs=0.15)
        turns = np.tile([0.0, 12.0], 200)[:, None] * np.eye(6)[0] + noise
        found = splitting.step_between(turns[::2], turns[1::2], times[::2], times[1::2])
        assert found == pytest.approx(1, abs=0.15)

    def test_detrending_takes_off_the_mean_of_a_window_cut_short_at_the_ends(self):
        values = np.array([1.0, 5.0, 0.0, 4.0, 2.0])
        assert detrended(values, 3) == pytest.approx(values - [3, 2, 3, 2, 3])
        assert detrended(values, 100) == pytest.approx(values - values.mean())


class TestParts:
    """What the loops are given, and small steps with known numbers."""

    def test_spikes_of_one_size_are_scaled_to_the_median_and_small_ones_no_further_than_a_quarter(self):
        points = np.array([[8.0, 1.0], [4.0, -2.0], [4.0, 0.0], [4.0, 1.0], [0.5, 0.0], [-3.0, 0.0]])
        points -= np.array([0.0, points[:, 1].mean()])  # the mean lies along the first axis
        factors = [0.5, 1, 1, 1, 4, 4]  # 0.5 and -3 count as 1, a quarter of 4
        assert of_one_size(points) == pytest.approx(points * np.array(factors)[:, None])

    def test_without_a_mean_or_a_size_nothing_is_scaled(self):
        for points in (np.array([[1.0, 2.0], [-1.0, -2.0]]), np.array([[10.0, 0], [-1, 0], [-1, 0]])):
            assert of_one_size(points) is points

    @pytest.mark.parametrize(
        ("n", "n_init", "cells"),
        [
            (9, None, 1),
            (20, None, 2),
            (99, None, 9),
            (300, None, 10),
            (359, None, 11),
            (1799, None, 59),
            (5000, None, 60),
            (4, 9, 4),
            (9, 4, 4),
            (9, 0, 1),
        ],
    )
    def test_six_rounds_from_a_cell_for_each_30_points_or_10_of_few(self, monkeypatch, n, n_init, cells):
        asked = []

        def k_means(points, draws, n_rounds):
            asked.append((len(points), len(draws), n_rounds))
            return np.zeros(len(points), dtype=np.int64)

        monkeypatch.setattr(splitting, "k_means", k_means)
        monkeypatch.setattr(
            splitting, "merge_unimodal", lambda points, labels, n_cells, threshold: asked.append((n_cells, threshold))
        )
        monkeypatch.setattr(
            splitting, "absorb_small", lambda points, labels, n_cells, least: asked.append((n_cells, least))
        )
        splitting.split(np.zeros((n, 2)), 0, n_init=n_init)
        assert asked == [(n, cells, 6), (cells, 1.5), (cells, 2.0), (cells, 10)]

    @pytest.mark.parametrize("sizes", [(12, 18), (12, 10, 14), (10, 10, 10, 10)])
    def test_units_of_ten_spikes_that_are_far_apart_stay_apart(self, rng, sizes):
        owner = np.repeat(np.arange(len(sizes)), sizes)
        points = rng.normal(0, 1, (len(owner), 4)) + 20 * np.eye(4)[owner]
        assert adjusted_rand_score(owner, splitting.split(points, 0)) == 1

    def test_drift_is_told_over_25_spikes(self, monkeypatch):
        windows = []
        monkeypatch.setattr(splitting, "detrended", lambda values, window: windows.append(window) or values)
        spikes = Spikes(3)
        compare(spikes.of(20), spikes.of(20), spikes.times(20), spikes.times(20))
        assert windows == [25, 25]

    def test_the_distance_of_means_is_in_deviations_within_both(self):
        along = np.array([-1.0, 1, 5, 9])  # variances of 1 and 4
        assert splitting.d_prime_of(along, 2) == pytest.approx(7 / np.sqrt(2.5))
        assert splitting.d_prime_of(-along, 2) == pytest.approx(7 / np.sqrt(2.5))
