"""Sequences: roots, latencies, sizes and probabilities of waveforms whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from small import peaks_of, row_of_electrodes
from spikelab.spike_sorting.rt_sort.parameters import resolve
from spikelab.spike_sorting.rt_sort.sequences import (
    Sequences,
    describe,
    find_root,
    mean_probability,
    peak_of,
    shift,
)


def bump(at: int, size: float, n: int = 11) -> np.ndarray:
    waveform = np.zeros(n, dtype=np.float32)
    waveform[at - 1 : at + 2] = [size / 2, size, size / 4]
    return waveform


# Peaks and roots


def test_the_peak_is_the_largest_deviation_within_reach() -> None:
    waveform = np.array([0, 9, 0, -3, 1, 2, 0, -8], dtype=np.float32)
    assert peak_of(waveform, 4, 2) == (3, -3)
    assert peak_of(waveform, 4, 3) == (1, 9)
    assert peak_of(waveform, 1, 3) == (1, 9)  # the window ends where the waveform begins
    assert peak_of(waveform, 6, 1) == (7, -8)
    assert peak_of(waveform, 6, 0) == (6, 0)


def root_of(sizes: list[float], frames: list[int], sigma: list[float], **parameters: Any) -> tuple[int, int]:
    """Root among three channels whose peaks are at these frames."""
    waveform = np.stack([bump(frame, size) for frame, size in zip(frames, sizes, strict=True)])
    channels = np.array([2, 0, 1])
    return find_root(channels, waveform, np.array(sigma, dtype=np.float32), 5, 4, resolve("mea", parameters))


def test_the_root_is_the_largest_relative_to_its_noise() -> None:
    assert root_of([-10, -9, -8], [5, 5, 5], [1, 1, 1]) == (0, 5)
    assert root_of([-10, -9, -8], [5, 5, 5], [1, 0.5, 2]) == (2, 5)  # channel 1 has half of the noise


def test_an_earlier_electrode_that_is_nearly_as_large_is_the_root() -> None:
    assert root_of([-10, -8, -7], [6, 4, 3], [1, 1, 1]) == (1, 4)  # 80 % and two frames: the least that will do
    assert root_of([-10, -8, -7], [6, 5, 3], [1, 1, 1]) == (0, 6)
    assert root_of([-10, -8, -7], [6, 4, 3], [1, 1, 1], relocate_root_min_amp=0.7) == (2, 3)
    assert root_of([-10, -8, -8], [6, 3, 4], [1, 1, 1]) == (1, 3)  # the earliest
    assert root_of([-10, -8, -7], [6, 4, 3], [1, 1, 1], relocate_root_max_latency=-3.0) == (0, 6)


def test_moving_a_waveform_repeats_its_edge() -> None:
    waveform = np.array([[1.0, 2, 3, 4]])
    assert shift(waveform, 1).tolist() == [[2, 3, 4, 4]]
    assert shift(waveform, -2).tolist() == [[1, 1, 1, 2]]
    assert shift(waveform, 0).tolist() == waveform.tolist()


# Probabilities


def sure(logit: float) -> float:
    return 1 / (1 + np.exp(-logit))


def probability(spikes: list[int], wanted: list[int], reach: int = 2) -> list[float]:
    frames = np.array([8, 10, 11, 12, 13, 30, 31], dtype=np.int64)
    channels = np.array([1, 0, 1, 1, 1, 0, 3], dtype=np.int32)
    logits = np.array([2.0, 1.0, -1.0, 0.5, 9.0, 0.0, 9.0], dtype=np.float32)
    found = mean_probability(frames, channels, logits, np.array(spikes), np.array(wanted), reach, 4)
    return [float(value) for value in found]


def test_probabilities_are_means_over_spikes_of_the_largest_within_reach() -> None:
    assert probability([10], [0, 1, 2]) == pytest.approx([sure(1), sure(2), 0])
    assert probability([10], [1, 0], reach=1) == pytest.approx([sure(-1), sure(1)])
    assert probability([10, 30], [0, 1]) == pytest.approx([(sure(1) + sure(0)) / 2, sure(2) / 2])
    assert probability([11], [1]) == pytest.approx([sure(9)])
    assert probability([], [0, 1]) == [0, 0]


# Description


def described(**parameters: Any) -> Sequences:
    """Two sequences: the second one's root is two frames earlier than its largest electrode."""
    first = (np.array([1, 0]), np.stack([bump(5, -12), bump(6, -4)]))
    second = (np.array([3, 2, 1]), np.stack([bump(6, -10), bump(4, -9), bump(7, 5)]))
    peaks = peaks_of([(50, 1, 2.0), (51, 0, 1.0), (90, 1, 0.0), (98, 2, 3.0), (100, 3, 1.0)])
    return describe(
        [first, second], np.array([2, 1]),
        [(np.array([50, 90]), np.array([1.0, 1.4])), (np.array([99]), np.array([1.0]))], peaks,
        np.array([2, 1, 1, 2], dtype=np.float32), 5, 3, resolve("mea", parameters),
    )  # fmt: skip


def test_sequences_are_described_around_the_peak_of_their_root() -> None:
    found = described()
    assert found.n_sequences == 2
    assert found.root.tolist() == [1, 2]
    assert found.n_channels.tolist() == [2, 3]
    assert found.channels.tolist() == [[1, 0, 0], [3, 2, 1]]
    assert found.latencies.tolist() == [[0, 1, 0], [2, 0, 3]]
    assert found.amplitudes.tolist() == [[12, 2, 0], [5, 9, 5]]
    assert found.n_spikes.tolist() == [2, 1]
    np.testing.assert_allclose(found.root_std, [0.2, 0], rtol=1e-6)
    np.testing.assert_array_equal(found.waveforms[1, 1], bump(5, -9))
    assert not found.waveforms[0, 2].any()
    np.testing.assert_allclose(found.probabilities[0], [(sure(2) + 0.5) / 2, sure(1) / 2, 0], rtol=1e-6)
    np.testing.assert_allclose(found.probabilities[1], [sure(1), sure(3), 0], rtol=1e-6)


def test_no_sequences_are_described_too() -> None:
    found = describe([], np.empty(0, dtype=int), [], peaks_of([]), np.ones(2), 5, 3, resolve("mea"))
    assert found.n_sequences == 0
    assert found.channels.shape == (0, 1)


def test_a_subset_keeps_all_fields_of_the_chosen() -> None:
    second = described().subset(np.array([False, True]))
    assert (second.root.tolist(), second.n_channels.tolist(), second.channels.tolist()) == ([2], [3], [[3, 2, 1]])


def test_loose_electrodes_are_listed_and_of_the_probability() -> None:
    found = described()
    assert found.loose(float(found.probabilities[0, 1])).tolist() == [[True, True, False], [True, True, False]]
    assert found.loose(0.7).tolist() == [[False, False, False], [True, True, False]]
    assert found.loose(0.0).tolist() == [[True, True, False], [True, True, True]]


def seen(**parameters: Any) -> list[bool]:
    chosen = resolve("mea", {"loose_thresh": 0.1, "inner_radius": 20.0, **parameters})
    return described().seen_by_network(row_of_electrodes(4), chosen).tolist()


def test_the_network_sees_a_sequence_on_enough_electrodes_and_not_on_too_many() -> None:
    many = {"min_elecs_for_seq_noise_n": 100}
    assert seen(min_loose_detections_n=2, **many) == [True, True]
    assert seen(min_loose_detections_n=3, **many) == [False, False]
    assert seen(min_inner_loose_detections=2, **many) == [True, True]  # at exactly 20 um
    assert seen(min_inner_loose_detections=2, inner_radius=19.0, **many) == [False, False]
    assert seen(min_elecs_for_seq_noise_n=2, min_elecs_for_seq_noise_f=0.0) == [False, False]
    assert seen(min_elecs_for_seq_noise_n=3, min_elecs_for_seq_noise_f=0.0) == [True, True]
    assert seen(min_elecs_for_seq_noise_n=0, min_elecs_for_seq_noise_f=0.75) == [True, True]  # of four: three
    assert seen(min_elecs_for_seq_noise_n=0, min_elecs_for_seq_noise_f=0.5) == [False, False]


def test_without_limits_there_are_no_tolerances() -> None:
    assert described().tolerances(resolve("mea")) is None
    for name in ("max_latency_diff_spikes", "max_amp_median_diff_spikes", "max_root_amp_median_std_spikes"):
        assert described().tolerances(resolve("mea", {name: 2.5})) is not None


def test_tolerances_hold_the_electrodes_that_are_large_enough() -> None:
    limits = {
        "max_latency_diff_spikes": 1.5, "max_amp_median_diff_spikes": 0.5, "max_root_amp_median_std_spikes": 2.5,
        "clip_latency_diff_factor": 3.0, "clip_amp_median_diff_factor": 4.0, "min_loose_detections_r_spikes": 0.25,
    }  # fmt: skip
    found = described().tolerances(resolve("mea", limits))
    assert found is not None
    assert found.n_channels.tolist() == [2, 3]  # two sigma are enough
    assert found.latencies.shape == found.amplitudes.shape == (2, 3)
    assert [found.latency, found.amplitude, found.root] == [1.5, 0.5, 2.5]
    assert [found.clip_latency, found.clip_amplitude, found.share] == [3, 4, 0.25]
    assert described().tolerances(resolve("mea", {"min_loose_detections_r_spikes": 0.5})) is not None


def test_at_most_twelve_electrodes_are_checked_and_at_least_one() -> None:
    n = 14
    large = Sequences(
        np.zeros(2, dtype=int), np.array([n, 1]), np.tile(np.arange(n), (2, 1)), np.zeros((2, n, 3)), np.zeros((2, n)),
        np.array([[5.0] * n, [1.0] * n]), np.ones((2, n)), np.ones(2, dtype=int), np.zeros(2), np.zeros(2),
    )  # fmt: skip
    found = large.tolerances(resolve("mea", {"max_latency_diff_spikes": 1.0}))
    assert found is not None
    assert found.n_channels.tolist() == [12, 1]
    assert found.latencies.shape == (2, 12)


@pytest.mark.parametrize(("at", "seen"), [(47, False), (48, True), (50, True), (51, False), (52, False)])
def test_probabilities_are_those_at_the_peak_of_the_root(at: int, seen: bool) -> None:
    """One frame before the frame that the spikes go by, and within one frame of it."""
    found = describe(
        [(np.array([1]), bump(4, -9)[None])], np.array([1]), [(np.array([50]), np.ones(1))], peaks_of([(at, 1, 2.0)]),
        np.ones(2, dtype=np.float32), 5, 1, resolve("mea", {}),
    )  # fmt: skip
    assert found.probabilities[0, 0] == pytest.approx(sure(2) if seen else 0)


def test_electrodes_of_less_than_two_sigma_are_not_checked_but_the_largest() -> None:
    sizes = np.array([[9.0, 2.0, 1.99, 1.0], [9.0, 1.0, 1.0, 1.0], [1.5, 1.0, 1.0, 1.0]])
    three = Sequences(
        np.zeros(3, dtype=int), np.full(3, 4), np.tile(np.arange(4), (3, 1)), np.zeros((3, 4, 3)), np.zeros((3, 4)),
        sizes, np.ones((3, 4)), np.ones(3, dtype=int), np.zeros(3), np.zeros(3),
    )  # fmt: skip
    found = three.tolerances(resolve("mea", {"max_latency_diff_spikes": 1.0}))
    assert found is not None
    assert found.n_channels.tolist() == [2, 1, 1]
