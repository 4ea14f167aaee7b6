"""Sequences: small templates whose root, latencies, amplitudes and probabilities are known."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.detection import PEAK
from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
from spikelab.spike_sorting.rt_sort.sequences import (
    Sequences,
    describe,
    find_root,
    mean_probability,
    peak_of,
    shift,
)

PARAMETERS = SequenceParameters()
N_BEFORE, N_FRAMES, REACH = 4, 11, 3
MAX_CHECKED, MAX_DESCRIBED = 12, 300  # as in the code, which a change would have to mean
NONE = np.empty(0, PEAK)


def peaks_of(*peaks: tuple[int, int, float]) -> np.ndarray:
    """Peaks (frame, channel, probability) in the order of frames."""
    table = np.zeros(len(peaks), PEAK)
    for row, (frame, channel, probability) in zip(table, sorted(peaks), strict=True):
        row["frame"], row["channel"], row["logit"] = frame, channel, np.log(probability / (1 - probability))
    return table


def spike(size: float, at: int = N_BEFORE) -> np.ndarray:
    """A peak of this size at this frame."""
    return (size * np.exp(-(((np.arange(N_FRAMES) - at) / 1.2) ** 2))).astype(np.float32)


def described(
    *clean: tuple[list[int], list[np.ndarray]], n_channels: int = 6, peaks: np.ndarray = NONE,
    frames: list[list[int]] | None = None, scales: list[list[float]] | None = None, **parameters: float,
) -> Sequences:  # fmt: skip
    rows = [(np.array(channels), np.stack(waveform)) for channels, waveform in clean]
    return describe(
        rows, np.arange(10, 10 + len(rows)),
        [np.array(s, np.float32) for s in scales or [[1.0]] * len(rows)],
        [np.array(f, np.int64) for f in frames or [[100]] * len(rows)],
        peaks, np.full(n_channels, 2, np.float32), N_BEFORE, REACH, replace(PARAMETERS, **parameters),
    )  # fmt: skip


def sequences_of(**given: object) -> Sequences:
    """One sequence on three electrodes, with some fields given."""
    default = {
        "root": [0], "n_channels": [3], "channels": [[0, 1, 2]], "waveforms": np.zeros((1, 3, N_FRAMES)),
        "latencies": [[0.0, 1, 2]], "amplitudes": [[9.0, 5, 3]], "probabilities": [[0.9, 0.5, 0.2]], "n_spikes": [10],
        "root_std": [0.1],
    }  # fmt: skip
    return Sequences(**{name: np.array(value) for name, value in (default | given).items()})


class TestPeakOf:
    waveform = np.array([9, 0, -2, 3, 1, -8, 0, 0], np.float32)

    @pytest.mark.parametrize(
        ("centre", "reach", "expected"),
        [(3, 1, (3, 3)), (3, 2, (5, -8)), (1, 1, (0, 9)), (7, 1, (6, 0)), (1, 3, (0, 9))],
    )
    def test_the_largest_deviation_within_reach(self, centre: int, reach: int, expected: tuple[int, float]) -> None:
        assert peak_of(self.waveform, centre, reach) == expected


@pytest.mark.parametrize("lag", [-3, 0, 2])
def test_shift_moves_earlier_and_repeats_the_edge(lag: int) -> None:
    moved = shift(np.arange(10).reshape(2, 5), lag)
    index = [min(max(t + lag, 0), 4) for t in range(5)]
    assert moved.tolist() == [index, [5 + t for t in index]]


class TestFindRoot:
    sigma = np.array([1, 1, 1, 4], np.float32)

    def root(self, channels: list[int], waveform: list[np.ndarray], **parameters: float) -> tuple[int, int]:
        return find_root(
            np.array(channels), np.stack(waveform), self.sigma, N_BEFORE, REACH, replace(PARAMETERS, **parameters)
        )

    def test_the_largest_electrode_relative_to_its_noise(self) -> None:
        assert self.root([0, 1, 2], [spike(-20, 5), spike(-10, 4), spike(8, 4)]) == (0, 5)
        assert self.root([3, 1], [spike(-20, 5), spike(-10, 4)]) == (1, 4)

    def test_an_earlier_one_that_is_nearly_as_large(self) -> None:
        # 0.8 of it, two frames earlier
        assert self.root([0, 1], [spike(-20, 5), spike(-16.1, 3)]) == (1, 3)
        assert self.root([0, 1], [spike(-20, 5), spike(-15.9, 3)]) == (0, 5)
        assert self.root([0, 1], [spike(-20, 5), spike(-16.1, 4)]) == (0, 5)
        wide = {"relocate_root_min_amp": 0.5, "relocate_root_max_latency": -1.0}
        assert self.root([0, 1], [spike(-20, 5), spike(-10.1, 4)], **wide) == (1, 4)

    def test_the_earliest_of_those(self) -> None:
        assert self.root([0, 1, 2], [spike(-20, 6), spike(-19, 4), spike(-18, 3)]) == (2, 3)
        assert self.root([0, 2, 1], [spike(-20, 6), spike(-19, 3), spike(-18, 4)]) == (1, 3)
        assert self.root([0, 2, 1], [spike(-20, 6), spike(-19, 4), spike(-18, 4)]) == (1, 4)  # the larger of equals

    def test_a_later_one_never(self) -> None:
        anywhere = {"relocate_root_max_latency": 5.0, "relocate_root_min_amp": 0.5}
        assert self.root([0, 1], [spike(-20, 4), spike(-19, 6)], **anywhere) == (0, 4)

    def test_peaks_are_looked_for_within_reach(self) -> None:
        far = spike(-20, 4) + spike(-19.5, 9)
        assert self.root([0], [far]) == (0, 4)
        late = spike(-20, 10)  # beyond reach of frame 4: its largest value within is at frame 7
        assert self.root([0], [late]) == (0, 7)
        # Within reach of the main electrode's peak, not of the middle of the window.
        assert self.root([0, 1], [spike(-20, 2), spike(-19, 0) + spike(-18.9, 6)]) == (1, 0)


class TestDescribe:
    def test_the_root_has_its_peak_in_the_middle_and_the_others_come_after(self) -> None:
        found = described(([4, 1, 5], [spike(-20, 6), spike(-19, 3), spike(8, 7)]))
        assert found.root.tolist() == [1]
        assert found.n_channels.tolist() == [3]
        assert found.channels.tolist() == [[4, 1, 5]]
        assert found.latencies.tolist() == [[3, 0, 4]]
        np.testing.assert_allclose(found.waveforms[0, :, 1:], [spike(-20, 7)[1:], spike(-19, 4)[1:], spike(8, 8)[1:]])
        np.testing.assert_allclose(found.amplitudes, [[10, 9.5, 4]])  # in sigma, which is 2
        assert found.n_spikes.tolist() == [10]

    def test_shorter_ones_are_padded(self) -> None:
        found = described(([2], [spike(-20)]), ([3, 0], [spike(-20), spike(-9)]))
        assert found.n_sequences == 2
        assert found.n_channels.tolist() == [1, 2]
        assert found.channels.tolist() == [[2, 0], [3, 0]]
        assert found.amplitudes[0].tolist() == [10, 0]
        assert found.waveforms.shape == (2, 2, N_FRAMES)
        assert found.n_spikes.tolist() == [10, 11]

    def test_none(self) -> None:
        found = described()
        assert found.n_sequences == 0
        assert found.channels.shape == (0, 1)

    @pytest.mark.parametrize(
        ("scales", "expected"), [([], 0), ([1.4], 0), ([0.9, 1.1], 0.1), ([0.5, 1.5, 1.0], 0.40825)]
    )
    def test_the_deviation_of_sizes(self, scales: list[float], expected: float) -> None:
        assert described(([2], [spike(-20)]), scales=[scales]).root_std[0] == pytest.approx(expected, abs=1e-5)

    def test_probabilities_are_asked_at_the_root_s_peak(self) -> None:
        # The root's peak is two frames after the middle of the window: spikes are two frames after their frames.
        peaks = peaks_of((105, 0, 0.6), (198, 0, 0.8), (202, 1, 0.4))
        found = described(([0, 1], [spike(-20, 6), spike(-8, 6)]), frames=[[100, 200]], peaks=peaks)
        np.testing.assert_allclose(found.probabilities, [[0.3, 0.2]], rtol=1e-5)  # 198 is four frames too early

    def test_many_spikes_are_asked_about_evenly(self) -> None:
        n = 10 * MAX_DESCRIBED
        frames = 100 * np.arange(n)
        chosen = set(np.linspace(0, n - 1, MAX_DESCRIBED).astype(int).tolist())
        seen = [k for k in range(n) if k in chosen or k % 2]
        peaks = np.zeros(len(seen), PEAK)
        peaks["frame"], peaks["logit"] = frames[seen], 99.0
        found = described(([0], [spike(-20)]), frames=[frames.tolist()], peaks=peaks)
        assert found.probabilities[0, 0] == pytest.approx(1)


class TestMeanProbability:
    def mean(self, spikes: list[int], wanted: list[int], *peaks: tuple[int, int, float], reach: int = 3) -> list[float]:
        table = peaks_of(*peaks)
        return mean_probability(
            table["frame"], table["channel"], table["logit"], np.array(spikes, np.int64), np.array(wanted), reach, 5
        ).tolist()

    def test_the_mean_of_the_largest_within_reach(self) -> None:
        peaks = [(100, 2, 0.5), (102, 2, 0.7), (103, 4, 0.9), (201, 2, 0.3)]
        assert self.mean([100, 200], [4, 2], *peaks) == pytest.approx([0.45, 0.5])

    @pytest.mark.parametrize(("frame", "seen"), [(96, 0), (97, 0.8), (103, 0.8), (104, 0)])
    def test_within_reach_is_up_to_so_many_frames(self, frame: int, seen: float) -> None:
        assert self.mean([100], [1], (frame, 1, 0.8)) == pytest.approx([seen])

    def test_electrodes_that_are_not_asked_for_do_not_count(self) -> None:
        assert self.mean([100], [1], (100, 0, 0.9), (100, 3, 0.9)) == [0]

    def test_a_spike_that_no_electrode_sees_counts_as_0(self) -> None:
        assert self.mean([100, 300, 500, 700], [1], (300, 1, 0.8)) == pytest.approx([0.2])

    def test_without_spikes_or_peaks(self) -> None:
        assert self.mean([], [1, 2], (100, 1, 0.8)) == [0, 0]
        assert self.mean([100], [1]) == [0]


class TestSequences:
    def test_a_subset_has_all_fields_of_the_chosen(self) -> None:
        found = described(([2], [spike(-20)]), ([3, 0], [spike(-18), spike(-9)]), ([1], [spike(-16)]))
        part = found.subset(np.array([True, False, True]))
        assert part.n_sequences == 2
        for field in fields(Sequences):
            np.testing.assert_array_equal(getattr(part, field.name), getattr(found, field.name)[[0, 2]])

    def test_loose_electrodes_are_listed_and_seen(self) -> None:
        found = sequences_of(
            root=[0, 0], n_channels=[3, 1], channels=[[0, 1, 2]] * 2, probabilities=[[0.9, 0.1, 0.09], [0.05, 0.9, 0.9]]
        )
        assert found.loose(0.1).tolist() == [[True, True, False], [False, False, False]]
        assert found.loose(0.05).tolist() == [[True, True, True], [True, False, False]]

    # Electrodes at 0, 50 and 51 um from the root, all of which the network sees.
    @pytest.mark.parametrize(
        ("parameters", "seen"),
        [
            ({}, True),
            ({"min_loose_detections_n": 3}, True),
            ({"min_loose_detections_n": 4}, False),
            ({"min_inner_loose_detections": 2}, True),
            ({"min_inner_loose_detections": 3}, False),
            ({"min_inner_loose_detections": 3, "inner_radius": 51.0}, True),
            ({"loose_thresh": 0.21, "min_loose_detections_n": 2}, True),
            ({"loose_thresh": 0.21, "min_loose_detections_n": 3}, False),
            ({"min_elecs_for_seq_noise_n": 4}, True),
            ({"min_elecs_for_seq_noise_n": 3}, False),
            ({"min_elecs_for_seq_noise_n": 0, "min_elecs_for_seq_noise_f": 0.75}, False),  # of four
            ({"min_elecs_for_seq_noise_n": 0, "min_elecs_for_seq_noise_f": 0.8}, True),
            ({"min_elecs_for_seq_noise_n": 4, "min_elecs_for_seq_noise_f": 0.5}, True),  # whichever is more
        ],
    )
    def test_the_network_sees_enough_and_not_too_many(self, parameters: dict[str, float], seen: bool) -> None:
        locations = np.array([[1000, 0], [0, 7], [51, 7], [30, 47]], dtype=float)
        found = sequences_of(root=[1], channels=[[1, 2, 3]])
        assert found.seen_by_network(locations, replace(PARAMETERS, **parameters)).tolist() == [seen]


class TestTolerances:
    LIMITS = (
        "max_latency_diff_spikes", "max_amp_median_diff_spikes", "max_root_amp_median_std_spikes",
        "min_loose_detections_r_spikes",
    )  # fmt: skip

    def test_none_where_nothing_is_limited(self) -> None:
        assert sequences_of().tolerances(PARAMETERS) is None

    @pytest.mark.parametrize("name", LIMITS)
    def test_one_limit_is_enough(self, name: str) -> None:
        assert sequences_of().tolerances(replace(PARAMETERS, **{name: 0.5})) is not None

    def test_every_limit_is_in_its_place(self) -> None:
        given = dict(zip(self.LIMITS, (3.5, 0.65, 2.5, 1 / 3), strict=True))
        clips = {"clip_latency_diff_factor": 4.0, "clip_amp_median_diff_factor": 5.0}
        found = sequences_of().tolerances(replace(PARAMETERS, **given, **clips))
        assert found is not None
        assert [found.latency, found.amplitude, found.root, found.share] == pytest.approx([3.5, 0.65, 2.5, 1 / 3])
        assert (found.clip_latency, found.clip_amplitude) == (4, 5)
        assert found.latencies.tolist() == [[0, 1, 2]]
        assert found.amplitudes.tolist() == [[9, 5, 3]]
        assert found.channels.tolist() == [[0, 1, 2]]
        assert found.root_std.tolist() == [0.1]

    @pytest.mark.parametrize("n", [3, 6, 9, 12])
    def test_a_third_of_the_electrodes_is_a_third(self, n: int) -> None:
        found = sequences_of().tolerances(replace(PARAMETERS, min_loose_detections_r_spikes=1 / 3))
        assert found is not None
        assert found.share * n == n // 3

    @pytest.mark.parametrize(
        ("amplitudes", "n_listed", "n"),
        [([9, 5, 2], 3, 3), ([9, 5, 1.9], 3, 2), ([1.5, 1, 1], 3, 1), ([9, 9, 9], 2, 2)],
    )
    def test_electrodes_of_two_sigma_are_checked_one_at_least(
        self, amplitudes: list[float], n_listed: int, n: int
    ) -> None:
        found = sequences_of(amplitudes=[amplitudes], n_channels=[n_listed])
        tolerances = found.tolerances(replace(PARAMETERS, max_latency_diff_spikes=3.5))
        assert tolerances is not None
        assert tolerances.n_channels.tolist() == [n]

    def test_no_more_than_the_most_are_checked(self) -> None:
        many = MAX_CHECKED + 3
        rows = {name: np.full((1, many), 9) for name in ("channels", "latencies", "amplitudes", "probabilities")}
        found = sequences_of(n_channels=[many], **rows).tolerances(replace(PARAMETERS, max_latency_diff_spikes=3.5))
        assert found is not None
        assert found.n_channels.tolist() == [MAX_CHECKED]
        assert found.channels.shape == found.latencies.shape == found.amplitudes.shape == (1, MAX_CHECKED)
