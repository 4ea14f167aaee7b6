"""Templates, their filters, and the cross-talk of both: small arrays, and every kernel beside a slow version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import toeplitz

from spikelab.spike_sorting.rt_sort._window_kernels import gather_windows
from spikelab.spike_sorting.rt_sort.matching._template_kernels import (
    add_events,
    filter_outputs,
    subtract_spikes,
)
from spikelab.spike_sorting.rt_sort.matching.peeling import SPIKE
from spikelab.spike_sorting.rt_sort.matching.templates import (
    TemplateBank,
    Templates,
    bank_from_waveforms,
    denoise,
    energies_of,
    filter_channels,
    low_rank,
    window_frames,
)
from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
from spikelab.spike_sorting.rt_sort.whitening import Noise

FS = 4000.0  # 4 frames before the peak, 6 after
N_BEFORE, N_FRAMES = 4, 11
# As they are in the code, which a change would have to mean.
LEAST_CROSSTALK, EDGE, MAX_CHANNELS, MAX_FILTER_CHANNELS, MAX_RANK, RIDGE = 0.2, 1.4, 192, 40, 6, 0.02


def white(n_channels: int, sigma: float = 1.0) -> Noise:
    """Noise that is independent on all channels and at all times."""
    return Noise(
        np.full(n_channels, sigma, dtype=np.float32),
        np.eye(n_channels, dtype=np.float32),
        np.array([1, 0, 0, 0], dtype=np.float32),
    )


def bank_of_means(
    means: np.ndarray, counts: np.ndarray, noise: Noise, sampling_frequency: float, parameters: SequenceParameters
) -> TemplateBank:
    """Bank of mean waveforms (templates, frames, channels), of so many spikes each; and energies are known before."""
    clean = [denoise(mean, count, noise) for mean, count in zip(means, counts, strict=True)]
    bank = bank_from_waveforms(clean, noise, sampling_frequency, parameters)
    np.testing.assert_array_equal(energies_of(clean, noise), bank.limits.norms)
    return bank


def shared(n_channels: int) -> Noise:
    """Noise of unequal size that near channels share and that goes on in time."""
    apart = np.abs(np.subtract.outer(np.arange(n_channels), np.arange(n_channels)))
    return Noise(
        np.linspace(4, 9, n_channels).astype(np.float32),
        np.exp(-apart / 1.5).astype(np.float32),
        np.array([1, 0.6, 0.1, -0.2, -0.1], dtype=np.float32),
    )


def course(n_frames: int = N_FRAMES, at: int = N_BEFORE) -> np.ndarray:
    """A trough at frame `at` and a smaller peak after it, of size 1."""
    t = np.arange(n_frames) - at
    return (-np.exp(-((t / 1.2) ** 2)) + 0.3 * np.exp(-(((t - 3) / 1.5) ** 2))).astype(np.float32)


def spatial(sizes: list[float]) -> np.ndarray:
    """Mean waveform (frames, channels): one time course times `sizes`, whose peaks are exactly `sizes`."""
    shape = course()
    return (shape[:, None] / np.abs(shape).max() * np.array(sizes)).astype(np.float32)


def filters(bank: TemplateBank) -> np.ndarray:
    """Filters on all channels, shape (templates, frames, channels)."""
    dense = np.zeros((bank.n_templates, bank.n_frames, bank.n_channels))
    for u in range(bank.n_templates):
        for k in range(bank.filters.n_channels[u]):
            for r in range(bank.filters.ranks[u]):
                component = bank.filters.temporal[u, r].astype(float)
                dense[u, :, bank.filters.channels[u, k]] += bank.filters.spatial[u, k, r] * component
    return dense


@pytest.mark.parametrize(
    ("rate_hz", "frames"), [(4000, (4, 6)), (12_500, (12, 19)), (20_000, (20, 30)), (30_000, (30, 45))]
)
def test_the_window_is_1_ms_before_the_peak_and_1_5_after(rate_hz: float, frames: tuple[int, int]) -> None:
    assert window_frames(rate_hz) == frames


class TestDenoise:
    def test_channels_come_largest_first_in_units_of_their_noise(self) -> None:
        noise = Noise(np.array([10, 1, 5, 2], np.float32), np.eye(4, dtype=np.float32), np.ones(1, np.float32))
        channels, waveform = denoise(spatial([-100, 40, 200, 25]), 1000, noise)  # 10, 40, 40, 12.5 sigma
        assert channels.tolist() == [1, 2, 3, 0]
        np.testing.assert_allclose(waveform, spatial([-100, 40, 200, 25]).T[[1, 2, 3, 0]], atol=1e-4)

    @pytest.mark.parametrize(
        ("n_spikes", "kept"),
        [
            (1e6, [0, 1, 2, 3]),  # from 0.12 sigma on, however many spikes there are
            (1000, [0, 1, 2]),  # 4.5 / sqrt(1000) = 0.142
            (400, [0, 1]),  # 4.5 / sqrt(400) = 0.225
            (1, [0]),  # 4.5
            (0, [0]),  # not even one spike is one
        ],
    )
    def test_a_channel_is_kept_where_its_peak_is_not_that_of_the_noise_of_a_mean(
        self, n_spikes: float, kept: list[int]
    ) -> None:
        channels, _ = denoise(spatial([20, 0.23, 0.145, 0.121, 0.118]), n_spikes, white(5))
        assert channels.tolist() == kept

    def test_the_largest_channel_is_kept_whatever_it_is(self) -> None:
        channels, waveform = denoise(spatial([0.01, 0.02, 0.01]), 10, white(3))
        assert channels.tolist() == [1]
        assert waveform.shape == (1, N_FRAMES)

    def test_no_more_channels_than_the_most(self) -> None:
        sizes = np.linspace(50, 10, MAX_CHANNELS + 5)
        channels, _ = denoise(spatial(list(sizes)), 1000, white(len(sizes)))
        assert channels.tolist() == list(range(MAX_CHANNELS))

    @pytest.mark.parametrize("above", [False, True])
    def test_a_singular_vector_is_kept_from_the_edge_of_the_noise_on(self, above: bool) -> None:
        n_spikes, n_channels = 100, 3
        edge = EDGE / np.sqrt(n_spikes) * (np.sqrt(n_channels) + np.sqrt(N_FRAMES))
        rng = np.random.default_rng(0)
        left, right = np.linalg.qr(rng.normal(size=(N_FRAMES, 2)))[0], np.linalg.qr(rng.normal(size=(3, 2)))[0]
        second = edge * (1.02 if above else 0.98)
        mean = (left * [60, second]) @ right.T
        channels, waveform = denoise(mean.astype(np.float32), n_spikes, white(3))
        assert sorted(channels) == [0, 1, 2]
        expected = mean if above else 60 * np.outer(left[:, 0], right[:, 0])
        np.testing.assert_allclose(waveform, expected.T[channels], atol=1e-4)

    def test_noise_of_the_mean_is_taken_out(self) -> None:
        rng = np.random.default_rng(1)
        true = spatial([-20, -12, 8, 5, 3, 2])
        noisy = true + rng.normal(0, 0.1, true.shape).astype(np.float32)  # of 100 spikes
        channels, waveform = denoise(noisy, 100, white(6))
        assert sorted(channels) == list(range(6))
        assert np.square(waveform - true.T[channels]).sum() < 0.5 * np.square(noisy - true).sum()


class TestFilterChannels:
    def used(self, sizes: list[float], noise: Noise | None = None) -> int:
        support = np.arange(len(sizes))
        return len(filter_channels(support, spatial(sizes).T, noise or white(len(sizes))))

    def test_those_of_0_4_sigma_and_more_up_to_twelve(self) -> None:
        assert self.used([5, 3, 0.41, 0.39, 0.3]) == 3
        assert self.used([100] + [0.5] * 20) == 12  # 99 % of the energy is on the first one

    def test_more_than_twelve_where_the_energy_needs_them(self) -> None:
        assert self.used([1.0] * 20) == 20  # 99 % of the energy: 19.8 of 20 equal ones
        assert self.used([10.0] * 13 + [1.0] * 7) == 13  # 13 hold 1300 of 1307

    def test_no_more_than_the_most(self) -> None:
        assert self.used([1.0] * (MAX_FILTER_CHANNELS + 10)) == MAX_FILTER_CHANNELS

    def test_a_small_template_uses_the_channels_of_half_its_size(self) -> None:
        assert self.used([0.3, 0.16, 0.14]) == 2

    def test_size_is_in_units_of_the_noise(self) -> None:
        noise = replace(white(3), sigma=np.array([1, 10, 1], np.float32))
        assert self.used([50, 3, 0.5], noise) == 2  # 50, 0.3 and 0.5 sigma: two are large enough
        assert self.used([50, 5, 0.5], noise) == 3

    def test_the_channels_are_those_of_the_support(self) -> None:
        assert filter_channels(np.array([7, 2, 4]), spatial([5, 3, 0.1]).T, white(9)).tolist() == [7, 2]


class TestLowRank:
    @pytest.mark.parametrize(
        ("values", "rank"),
        [
            ([3.0], 1),
            ([10.0, 0.9], 1),  # 100 / 100.81 is more than 99 %
            ([10.0, 1.1], 2),
            ([2.0, 2.0, 2.0], 3),
            ([1.0] * 8, MAX_RANK),
        ],
    )
    def test_as_many_patterns_as_99_percent_of_the_energy_need(self, values: list[float], rank: int) -> None:
        rng = np.random.default_rng(0)
        left = np.linalg.qr(rng.normal(size=(9, len(values))))[0]
        right = np.linalg.qr(rng.normal(size=(N_FRAMES, len(values))))[0]
        whole = (left * values) @ right.T
        patterns, components = low_rank(whole.astype(np.float32))
        assert patterns.shape == (9, rank)
        assert components.shape == (rank, N_FRAMES)
        np.testing.assert_allclose(components @ components.T, np.eye(rank), atol=1e-5)
        lost = np.square(values[rank:]).sum()
        assert np.square(whole - patterns @ components).sum() == pytest.approx(lost, abs=1e-5)

    def test_no_more_than_there_are_channels(self) -> None:
        patterns, components = low_rank(np.eye(2, 5, dtype=np.float32))
        np.testing.assert_allclose(patterns @ components, np.eye(2, 5), atol=1e-6)


class TestBank:
    parameters = SequenceParameters()

    def bank(self, noise: Noise, *sizes: list[float]) -> TemplateBank:
        means = np.stack([spatial(row) for row in sizes])
        return bank_of_means(means, np.full(len(sizes), 1e6), noise, FS, self.parameters)

    def test_in_white_noise_the_norm_is_the_energy_in_squared_sigma(self) -> None:
        bank = self.bank(white(3, 2.0), [-20, 10, 0], [0, 0, 8])
        energy = np.sum(spatial([1.0]) ** 2) / 4 / (1 + RIDGE)
        np.testing.assert_allclose(bank.limits.norms, [500 * energy, 64 * energy], rtol=1e-4)

    def test_in_white_noise_the_filter_is_the_template_over_the_variance(self) -> None:
        bank = self.bank(white(3, 2.0), [-20, 10, 0])
        np.testing.assert_allclose(filters(bank)[0], spatial([-20, 10, 0]) / 4 / (1 + RIDGE), atol=1e-5)

    @pytest.mark.parametrize("sizes", [[60, -30, 20, 10, 5], [0, 10, 80, 40, 0], [3, 2, 1, 0, 0]])
    def test_the_norm_is_the_variance_of_the_output_in_noise(self, sizes: list[float]) -> None:
        # The definition of "energy in squared standard deviations", for noise that is shared and goes on in time.
        noise = shared(5)
        bank = self.bank(noise, sizes)
        autocorrelation = np.zeros(N_FRAMES)
        autocorrelation[: len(noise.autocorrelation)] = noise.autocorrelation
        scaled = filters(bank)[0] * noise.sigma
        covariance = noise.covariance(np.arange(5))
        variance = np.einsum("tc,ts,cd,sd->", scaled, toeplitz(autocorrelation), covariance, scaled)
        assert variance == pytest.approx(bank.limits.norms[0], rel=1e-3)

    def test_the_norm_is_the_output_of_the_filter_to_its_template(self) -> None:
        bank = self.bank(shared(5), [60, -30, 20, 10, 5], [0, 10, 80, 40, 0])
        np.testing.assert_allclose(np.sum(filters(bank) * bank.dense(), axis=(1, 2)), bank.limits.norms, rtol=1e-3)

    def test_twice_as_large_has_four_times_the_norm(self) -> None:
        once, twice = self.bank(shared(3), [20, 10, -5]), self.bank(shared(3), [40, 20, -10])
        np.testing.assert_allclose(twice.limits.norms, 4 * once.limits.norms, rtol=1e-4)

    def test_another_unit_of_the_traces_changes_no_norm(self) -> None:
        noise = shared(3)
        volts = replace(noise, sigma=1e-3 * noise.sigma)
        np.testing.assert_allclose(
            self.bank(volts, [0.020, 0.010, -0.005]).limits.norms,
            self.bank(noise, [20, 10, -5]).limits.norms,
            rtol=1e-4,
        )

    def test_dense_templates_are_the_waveforms_on_their_channels(self) -> None:
        bank = self.bank(white(4), [0, -20, 10, 0], [5, 0, 0, 9])
        expected = np.stack([spatial([0, -20, 10, 0]), spatial([5, 0, 0, 9])])
        np.testing.assert_allclose(bank.dense(), expected, atol=1e-4)
        assert [bank.templates.channels[u, : bank.templates.n_channels[u]].tolist() for u in (0, 1)] == [[1, 2], [3, 0]]

    def test_what_the_parameters_say(self) -> None:
        parameters = replace(
            self.parameters, scale_std=0.5, min_scale=0.4, max_scale=2, match_threshold=33,
            repeated_detection_overlap_time=0.75,
        )  # fmt: skip
        bank = bank_of_means(np.stack([spatial([9.0])] * 2), np.ones(2), white(1), FS, parameters)
        assert bank.limits.scale_precision.tolist() == [4, 4]
        np.testing.assert_allclose([bank.limits.min_scale, bank.limits.max_scale], [[0.4, 0.4], [2, 2]])
        assert bank.limits.threshold == 33
        assert bank.limits.repeat_frames == 3
        assert (bank.n_before, bank.n_after, bank.n_frames, bank.n_channels) == (4, 6, N_FRAMES, 1)
        assert bank.n_templates == 2

    def test_a_long_overlap_is_in_milliseconds(self) -> None:
        parameters = replace(self.parameters, repeated_detection_overlap_time=1000.0)
        bank = bank_of_means(np.stack([spatial([9.0])]), np.ones(1), white(1), FS, parameters)
        assert bank.limits.repeat_frames == FS

    def test_no_templates(self) -> None:
        bank = bank_from_waveforms([], white(3), FS, self.parameters)
        assert bank.n_templates == 0
        assert bank.dense().shape == (0, N_FRAMES, 3)
        assert bank.crosstalk.outputs.shape == (0, 2 * N_FRAMES + 1)

    def test_cross_talk_is_what_the_filters_make_of_the_templates(self) -> None:
        bank = self.bank(shared(6), [60, -30, 20, 10, 5, 0], [0, 10, 80, 40, 0, 0], [0, 0, 0, 0, 20, 50])
        whole, dense = filters(bank), bank.dense().astype(float)
        for j in range(3):
            for q in range(bank.crosstalk.n_filters[j]):
                reply = bank.crosstalk.outputs[bank.crosstalk.rows[j, q]]
                np.testing.assert_allclose(reply, by_lag(whole[bank.crosstalk.filters[j, q]], dense[j]), atol=1e-2)

    def test_listed_are_the_filters_whose_output_a_template_changes(self) -> None:
        # The first two share channels 1 and 2, the last is elsewhere.
        bank = self.bank(white(6), [60, -30, 20, 0, 0, 0], [0, 10, 80, 0, 0, 0], [0, 0, 0, 0, 20, 50])
        lists = [bank.crosstalk.filters[j, : bank.crosstalk.n_filters[j]].tolist() for j in range(3)]
        assert lists == [[0, 1], [0, 1], [2]]
        assert sorted(bank.crosstalk.rows[j, q] for j in range(3) for q in range(bank.crosstalk.n_filters[j])) == [
            0,
            1,
            2,
            3,
            4,
        ]

    def test_cross_talk_of_less_than_a_fifth_of_the_noise_is_none(self) -> None:
        # Both have one course, of energy E; they share channel 1, where the first has 50 of its 100 sigma and the
        # second `size`. The first filter's output to that is 50 size E / (1 + ridge); its noise is the root of
        # 100^2 E / (1 + ridge).
        energy = np.sum(spatial([1.0]) ** 2) / (1 + RIDGE)
        for common, near in ((0.99, [1]), (1.01, [0, 1])):
            size = common * LEAST_CROSSTALK * 100 / 50 / np.sqrt(energy)
            bank = self.bank(white(3), [np.sqrt(100**2 - 50**2), 50, 0], [0, size, 30])
            assert bank.crosstalk.filters[1, : bank.crosstalk.n_filters[1]].tolist() == near

    def test_a_template_changes_its_own_filter_however_small_it_is(self) -> None:
        bank = self.bank(white(2), [0.02, 0.01])
        assert bank.crosstalk.filters[0, : bank.crosstalk.n_filters[0]].tolist() == [0]
        assert bank.crosstalk.outputs[0].max() == pytest.approx(bank.limits.norms[0], rel=1e-4)


def by_lag(kernel: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Output of a filter (frames, channels) to a template, by lag: the filter moved over the template."""
    n = len(kernel)
    reply = np.zeros(2 * n + 1)
    for lag in range(-n, n + 1):
        for t in range(n):
            if 0 <= t + lag < n:
                reply[lag + n] += kernel[t] @ template[t + lag]
    return reply


class TestKernels:
    @pytest.mark.parametrize("rank", [0, 1, 3])
    def test_filter_output_is_a_convolution(self, rank: int) -> None:
        rng = np.random.default_rng(rank)
        waveform = rng.normal(size=(4, 7)).astype(np.float32)
        pattern, temporal = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (3, 7)))
        pattern[2, 0] = 0
        expected = by_lag((pattern[:, :rank] @ temporal[:rank]).T, waveform.T)
        patterns = np.zeros((2, 6, 3), np.float32)
        channels = np.array([4, 1, 0, 5])
        patterns[1, channels] = pattern
        temporals, ranks = np.stack([np.zeros_like(temporal), temporal]), np.array([3, rank])
        found = filter_outputs(waveform, channels, patterns, temporals, ranks, np.array([1, 0]))
        np.testing.assert_allclose(found, [expected, np.zeros_like(expected)], atol=1e-5)

    def test_output_to_a_later_template_is_later(self) -> None:
        waveform, temporal = np.zeros((1, 5), np.float32), np.zeros((1, 5), np.float32)
        waveform[0, 3], temporal[0, 1] = 2, 3
        one = np.array([0])
        reply = filter_outputs(waveform, one, np.ones((1, 1, 1), np.float32), temporal[None], one + 1, one)[0]
        assert reply.tolist() == [0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0]  # two frames after the middle

    def test_events_are_added_to_their_label(self) -> None:
        rng = np.random.default_rng(0)
        traces = rng.normal(size=(40, 3)).astype(np.float32)
        frames, labels = np.array([2, 10, 10, 20, 35]), np.array([1, 0, -1, 1, 1])
        sums, counts = np.ones((2, 6, 3), np.float32), np.zeros(2)
        add_events(traces, frames, labels, 2, sums, counts)
        assert counts.tolist() == [1, 3]
        expected = [1 + traces[8:14], 1 + traces[0:6] + traces[18:24] + traces[33:39]]
        np.testing.assert_allclose(sums, expected, atol=1e-5)

    def test_spikes_are_subtracted_at_their_shift_and_size(self) -> None:
        rng = np.random.default_rng(0)
        waveforms = rng.normal(size=(2, 3, 6)).astype(np.float32)
        supports, n_supports = np.array([[4, 1, 0], [2, 0, 0]]), np.array([3, 1])
        frames, templates = np.array([-1, 9, 11, 30, 31]), np.array([0, 1, 0, 0, 1])
        scales = np.array([1, 0.5, 2, 1.5, 1], np.float32)
        shifts = np.array([0, 0.25, -0.4, 0.5, -0.5], np.float32)
        traces = rng.normal(size=(32, 5)).astype(np.float32)
        expected = traces.astype(float)
        for frame, u, scale, shift in zip(frames, templates, scales, shifts, strict=True):
            for k in range(n_supports[u]):
                own = waveforms[u, k].astype(float)
                moved = np.r_[own[0], own[:-1]] if shift >= 0 else np.r_[own[1:], own[-1]]
                for t in range(6):
                    if 0 <= frame - 2 + t < 32:
                        value = (1 - abs(shift)) * own[t] + abs(shift) * moved[t]
                        expected[frame - 2 + t, supports[u, k]] -= scale * value
        spikes = np.zeros(5, dtype=SPIKE)
        spikes["frame"], spikes["template"], spikes["scale"], spikes["shift"] = frames, templates, scales, shifts
        subtract_spikes(traces, spikes, Templates(supports, n_supports, waveforms, 2))
        np.testing.assert_allclose(traces, expected, atol=1e-5)

    def test_windows_are_gathered_channel_by_channel(self) -> None:
        traces = np.arange(60, dtype=np.float32).reshape(20, 3)
        windows = np.zeros((2, 2, 4), np.float32)
        gather_windows(traces, np.array([1, 17]), np.array([[2, 0], [1, -1]]), 1, np.float32(1), windows)
        assert windows[0].tolist() == [[2, 5, 8, 11], [0, 3, 6, 9]]
        assert windows[1].tolist() == [[49, 52, 55, 58], [0, 0, 0, 0]]
