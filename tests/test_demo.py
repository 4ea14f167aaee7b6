"""The demo compares as SpikeInterface does, without the packages that its comparison takes."""

from __future__ import annotations

import numpy as np
import pytest
from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.core import NumpySorting

from spikelab import SpikeData
from spikelab.demo import MATCH_WINDOW_MS, compare

FS = 20_000.0


def of_trains(trains: dict[int, np.ndarray]) -> SpikeData:
    units = [{"unit_id": unit, "spike_train_samples": train} for unit, train in trains.items()]
    return SpikeData([train / FS * 1000 for train in trains.values()], length=5000.0, neuron_attributes=units)


def moved(rng: np.random.Generator, train: np.ndarray, share: float) -> np.ndarray:
    kept = train[rng.random(len(train)) < share]
    return np.unique(np.clip(kept + rng.integers(-9, 10, len(kept)), 0, 99_999))


@pytest.mark.parametrize("seed", range(12))
def test_the_numbers_are_those_of_spikeinterface(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = {unit: np.unique(rng.integers(0, 100_000, rng.integers(5, 600))) for unit in range(6)}
    found = {
        10 + k: moved(rng, np.unique(np.concatenate([true[k % 6], true[rng.integers(6)][::3]])), rng.uniform(0.3, 1))
        for k in rng.permutation(8)
    }
    truth = NumpySorting.from_unit_dict(true, FS)
    ours = compare(of_trains(found), truth)

    theirs = compare_sorter_to_ground_truth(
        truth, NumpySorting.from_unit_dict(found, FS), delta_time=MATCH_WINDOW_MS, exhaustive_gt=True
    )
    table = theirs.get_performance()
    for name in ("accuracy", "recall", "precision"):
        np.testing.assert_array_equal(getattr(ours, name), table[name].to_numpy(float))
    best = np.where(ours.accuracy > 0, theirs.best_match_12.to_numpy(), -1)
    np.testing.assert_array_equal(ours.best_ids, best)
    assert np.count_nonzero(ours.accuracy) > 0


def test_a_neuron_without_spikes_and_units_that_share_nothing_score_zero() -> None:
    nothing = np.array([], dtype=np.int64)
    truth = NumpySorting.from_unit_dict({0: nothing, 1: np.arange(100, 5000, 100)}, FS)
    ours = compare(of_trains({3: np.arange(150, 5000, 100)}), truth)
    assert ours.accuracy.tolist() == ours.recall.tolist() == ours.precision.tolist() == [0, 0]
    assert ours.best_ids.tolist() == [-1, -1]
