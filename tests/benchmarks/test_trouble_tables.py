"""Tables of recordings with trouble: what is below the ceiling is so of the same seed and sorter."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import NumpySorting

from benchmarks import movement, stimulation, troubles


def cells(table: str) -> list[list[str]]:
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert {len(line) for line in lines} == {len(header)}
    return lines


def test_below_the_ceiling_of_the_same_seed() -> None:
    rows = [
        troubles.Row("stim", seed, "rt_sort", way, accuracy, 9, 1, 1, dead, 0.09, 1.0, 2.0)
        for seed, way, accuracy, dead in [
            (1, "ceiling", 0.9, 0.0), (2, "ceiling", 0.8, 0.0),
            (1, "artifacts = auto", 0.88, 0.12), (2, "artifacts = auto", 0.8, 0.15),
        ]
    ]  # fmt: skip
    ceiling, treated = cells(troubles.table(rows))
    assert (ceiling[0], ceiling[1], ceiling[4], ceiling[5]) == ("stim_none (no stim)", "120", "0.850", "")
    assert treated[4:6] == ["0.840", "0.010 (0.020)"]
    assert treated[8] == "1.50"
    assert treated[-1] == "1, 2"


def test_units_of_artefacts_are_those_that_fire_after_pulses() -> None:
    trains = {0: [10, 1010, 5000], 1: [10, 4000, 5000], 2: []}
    found = NumpySorting.from_unit_dict({unit: np.array(train, dtype=np.int64) for unit, train in trains.items()}, 1e4)
    assert troubles.artefact_units(found, [(0, 30), (1000, 1030)], 1e4) == 1
    assert troubles.artefact_units(found, [], 1e4) == 0


def test_no_spike_counts_in_dead_time() -> None:
    sorting = NumpySorting.from_unit_dict({0: np.array([5, 10, 19, 20], dtype=np.int64)}, 1e4)
    assert troubles._outside(sorting, np.array([[10, 20]])).get_unit_spike_train(0).tolist() == [5, 20]


def test_recall_is_a_share_of_that_without_pulses() -> None:
    rows = [
        stimulation.Row("slow", seed, method, 30, recall, 1.0, 0.9, 0.0, 20, 0, onsets, 1.0)
        for seed, method, recall, onsets in [
            (1, "ceiling", 0.8, None), (2, "ceiling", 1.0, None), (1, "spikelab", 0.8, 1.0), (2, "spikelab", 0.9, 0.98),
        ]
    ]  # fmt: skip
    ceiling, ours = cells(stimulation.table(rows))
    assert (ceiling[3], ceiling[5]) == ("", "")
    assert (ours[2], ours[3], ours[5]) == ("60", "98.0%", "0.950 (0.900)")


def test_the_ceiling_of_movement_is_the_best_way_without() -> None:
    rows = [
        movement.Row(family, 1, "lupin", way, accuracy, 9, 0, None, None, 1.0, 2.0)
        for family, way, accuracy in [("drift0", "none", 0.9), ("drift0", "own", 0.8), ("ramp40", "own", 0.85)]
    ]
    assert [line[5] for line in cells(movement.table(rows))] == ["0.000", "0.100", "0.050"]
