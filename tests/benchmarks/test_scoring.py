"""What a score says of a sorting whose faults are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.rt_sort_scoring import Score, near, score, within
from benchmarks.rt_sort_tasks import on_clock_of
from spikeinterface.core import NumpySorting

FS = 20_000.0
RNG = np.random.default_rng(0)
TRAINS = {unit: np.sort(RNG.choice(1_200_000 // 100, 300, replace=False)) * 100 + unit * 23 for unit in range(4)}
UNITS = [{"snr": snr, "axon": snr > 9} for snr in (4.0, 8.0, 16.0, 32.0)]


def sorting(trains: dict[int, Any]) -> NumpySorting:
    return NumpySorting.from_unit_dict({unit: np.sort(train) for unit, train in trains.items()}, FS)


TRUTH = sorting(TRAINS)


def test_a_perfect_sorting() -> None:
    result = score(TRUTH, TRUTH, UNITS)
    assert result.accuracy == [1.0] * 4
    assert result.reasons == [""] * 4
    assert (result.excess, result.over_merged, result.artefacts) == (0, 0, 0)
    assert result.mean_axonal == result.mean_outside == result.lowest(0.0) == 1.0


def test_a_unit_in_pieces() -> None:
    pieces = {10 + part: TRAINS[3][part::3] for part in range(3)}
    result = score(TRUTH, sorting({**{unit: TRAINS[unit] for unit in (0, 1, 2)}, **pieces}), UNITS)
    assert result.worst(5.0) == 3
    assert "in 3 pieces (0.33, 0.33, 0.33)" in result.reasons[3]
    assert "merged" not in result.reasons[3]
    assert result.lowest(20.0) == result.lowest(15.0) == 0.0


def test_a_unit_merged_with_another() -> None:
    both = np.concatenate([TRAINS[1], TRAINS[2]])
    result = score(TRUTH, sorting({0: TRAINS[0], 1: both, 3: TRAINS[3]}), UNITS)
    assert "merged with 2 (SNR 16.0)" in result.reasons[1]
    assert "merged with 1 (SNR 8.0)" in result.reasons[2]
    assert result.reasons[0] == result.reasons[3] == ""


def test_a_unit_that_is_not_found() -> None:
    result = score(TRUTH, TRUTH.select_units([0, 1, 2]), UNITS)
    assert result.reasons == ["", "", "", "not found"]
    assert score(TRUTH, sorting({}), UNITS).reasons == ["nothing found"] * 4


def test_spikes_after_pulses_do_not_count_outside() -> None:
    pulses = [(start, start + 60) for start in range(0, 1_200_000, 120_000)]
    after = [(start, start + 100) for start, _ in pulses]
    lost = {unit: train[~within(train, after)] for unit, train in TRAINS.items()}
    artefacts = np.array([start + offset for start, _ in pulses for offset in (70, 90)])
    made = score(TRUTH, sorting({**lost, 9: artefacts}), UNITS, {"pulses": pulses, "bursts": []})
    assert made.mean < 1.0
    assert made.outside == [1.0] * 4
    assert made.mean_outside == 1.0
    assert made.artefacts == 1


def test_recall_inside_and_outside_bursts() -> None:
    bursts = [(start, start + 2000) for start in range(0, 1_200_000, 20_000)]
    found = {unit: train[~within(train, bursts) | (np.arange(len(train)) % 2 == 0)] for unit, train in TRAINS.items()}
    made = score(TRUTH, sorting(found), UNITS, {"bursts": bursts})
    assert made.recall_outside == 1.0
    assert made.recall_inside == pytest.approx(0.5, abs=0.2)
    assert score(TRUTH, TRUTH, UNITS).recall_inside is None
    assert score(TRUTH, sorting({}), UNITS, {"bursts": bursts}).recall_inside == 0.0


def test_who_finds_a_small_unit_has_found_no_false_one() -> None:
    small = {7: np.arange(50, 1_200_000, 4_999)}
    found = sorting({**TRAINS, 7: small[7][::5], 8: np.arange(77, 1_200_000, 7_001)})
    assert score(TRUTH, found, UNITS).false_positives == 2
    assert score(TRUTH, found, UNITS, small=sorting(small)).false_positives == 1


def test_within_periods_that_overlap_or_are_not_in_order() -> None:
    frames = np.array([0, 10, 15, 40, 41, 100, 101])
    assert within(frames, [(90, 100), (10, 40), (12, 14)]).tolist() == [False, True, True, True, False, True, False]
    assert not within(frames, []).any()


def test_near() -> None:
    frames = np.array([0, 10, 20])
    assert near(frames, np.array([3, 22]), 2).tolist() == [False, False, True]
    assert not near(frames, np.zeros(0, int), 2).any()


def test_scores_of_before_can_still_be_read() -> None:
    old = Score(accuracy=[1.0], snr=[6.0], found=1, false_positives=0, redundant=0, over_merged=0)
    assert old.mean_outside == 1.0
    assert np.isnan(old.mean_axonal)


def test_a_curated_train_is_compared_on_the_clock_of_the_sorter() -> None:
    """Spikes centred on another peak of the same spikes are no other spikes."""
    before = np.array([100, 400, 900, 2000])
    assert on_clock_of(before, np.array([109, 409, 910])).tolist() == [100, 400, 901]
    assert on_clock_of(before, np.array([92, 892, 1992])).tolist() == [100, 900, 2000]
    assert on_clock_of(before[:1], np.array([103])).tolist() == [100]
    assert on_clock_of(before, np.empty(0, np.int64)).tolist() == []
