"""Units of two neurons are divided; what is one neuron, for a reason that is seen, stays whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.rt_sort.waves import COMPONENTS, FS, N_FRAMES, ORIGIN, SPIKE, white_noise

from spikelab.spike_sorting.config import RT_SORT_NEUROPIXELS
from spikelab.spike_sorting.rt_sort.learning import dividing
from spikelab.spike_sorting.rt_sort.learning.dividing import DIMENSIONS, divide, parts_of
from spikelab.spike_sorting.rt_sort.learning.merging import Units
from spikelab.spike_sorting.rt_sort.learning.waveforms import Learnt
from spikelab.spike_sorting.rt_sort.parameters import resolve

N_CHANNELS, LEAST = 12, 10
NOISE = white_noise(N_CHANNELS)


def units_of(*neurons: tuple[int, float], drift: float = 0.0, sizes: tuple[float, float] = (1.0, 1.0)) -> Units:
    """One unit of neurons with so many spikes at a place (in electrodes) each, and another far from it."""
    rng = np.random.default_rng(0)
    channels = np.tile(np.append(np.arange(N_CHANNELS - 1), -1), (2, 1))
    means, examples, frames = [], [], []
    for many in (neurons, ((40, 9.0),)):
        places = np.concatenate([np.full(n, place) for n, place in many])
        order = rng.permutation(len(places))
        places = places[order] + drift * np.linspace(0, 1, len(places))
        size = 25 * np.exp(-((np.arange(N_CHANNELS) - places[:, None]) ** 2) / 2)
        size *= rng.uniform(*sizes, len(places))[:, None]
        windows = size[:, :, None] * SPIKE + rng.normal(0, 2, (len(places), N_CHANNELS, N_FRAMES))
        means.append(windows.mean(axis=0).T)
        windows[:, -1] = 0  # not listed
        examples.append(windows.astype(np.float32))
        frames.append(np.sort(rng.choice(10_000, len(places), replace=False)) * 120)
    counts = np.array([len(own) for own in frames])
    scales = tuple(np.ones(len(own), np.float32) for own in frames)
    learnt = Learnt(
        np.stack(means).astype(np.float32), counts, tuple(frames), scales, channels, tuple(examples), tuple(frames)
    )
    nothing: Any = np.empty(0)
    return Units(learnt, NOISE, COMPONENTS, ORIGIN, FS, resolve("mea"), nothing)


@pytest.mark.parametrize("rare", [12, 40])
def test_a_neuron_that_matching_gave_to_its_neighbour_is_a_unit_of_its_own(rare: int) -> None:
    units = units_of((60, 4.0), (rare, 5.5))
    mean = units.means[0].copy()
    assert divide(units, np.array([0, 1]), LEAST, 0).tolist() == [0, 1, 2]
    assert [units.counts[u] for u in range(3)] == [60, 40, rare]
    assert [len(units.examples[u]) for u in range(3)] == [60, 40, rare]
    assert units.alive.tolist() == [True] * 3
    for unit, place in ((0, 4.0), (2, 5.5)):
        expected = 25 * np.exp(-((np.arange(N_CHANNELS) - place) ** 2) / 2)
        found = -units.means[unit][20]
        assert np.abs(found - expected)[:-1].max() < 4 * 2 / np.sqrt(units.counts[unit])
        assert (units.means[unit][:, -1] == mean[:, -1]).all()  # no example tells of this channel
        assert (units.frames[unit] == units.example_frames[unit]).all()
    both = np.sort(np.concatenate([units.frames[0], units.frames[2]]))
    assert len(np.unique(both)) == 60 + rare


def test_three_neurons_are_three_units() -> None:
    units = units_of((60, 3.0), (30, 5.0), (20, 7.0))
    assert divide(units, np.array([0, 1]), LEAST, 0).tolist() == [0, 1, 2, 3]
    assert sorted(units.counts) == [20, 30, 40, 60]


@pytest.mark.parametrize(
    ("neurons", "how"),
    [
        (((150, 5.0),), {}),
        (((150, 5.0),), {"sizes": (0.5, 1.5)}),  # bursts
        (((150, 4.0),), {"drift": 1.5}),
        (((60, 4.0), (9, 5.5)), {}),  # too few for a unit
        (((9, 4.0), (9, 5.5)), {}),
    ],
)
def test_one_neuron_stays_whole(neurons: tuple[tuple[int, float], ...], how: dict[str, Any]) -> None:
    units = units_of(*neurons, **how)
    mean, counts = units.means[0].copy(), list(units.counts)
    assert divide(units, np.array([0, 1]), LEAST, 0).tolist() == [0, 1]
    assert (units.means[0] == mean).all()
    assert units.counts == counts


def test_a_neuron_that_falls_into_parts_for_a_reason_is_joined_again() -> None:
    """Far drift makes parts; those next to each other in time are one neuron."""
    units = units_of((300, 3.0), drift=3.0)
    assert parts_of(units, 0, LEAST, 0) is None
    assert len(units.means) == 2


def test_parts_of_tissue_that_moves_back_and_forth_do_not_take_turns() -> None:
    units = units_of((60, 3.0))
    middle = (np.arange(60) >= 20) & (np.arange(60) < 40)
    at_random = np.random.default_rng(0).permutation(60) < 20
    assert not dividing._take_turns(dividing._parts(units, 0, middle.astype(np.int64)))
    assert dividing._take_turns(dividing._parts(units, 0, at_random.astype(np.int64)))


def test_published_tolerances_divide_no_unit_by_its_sizes() -> None:
    """In bursts a neuron has large and small spikes; as sequences found apart these would be kept apart."""
    units = units_of((100, 4.0))
    small = np.arange(100) % 2 == 1
    units.examples[0][small] *= 0.4
    units.parameters = resolve("neuropixels", RT_SORT_NEUROPIXELS.rt_sort.params)
    frames = np.arange(100) // 2 * 12_000 + small * 90  # the small one of each pair after 4.5 ms
    units.frames[0] = units.example_frames[0] = frames
    assert parts_of(units, 0, LEAST, 0) is None


def test_only_units_that_are_left_are_divided() -> None:
    units = units_of((60, 4.0), (40, 5.5))
    assert divide(units, np.array([1]), LEAST, 0).tolist() == [1]
    assert divide(units, np.array([], dtype=np.int64), LEAST, 0).tolist() == []


@pytest.mark.parametrize("seen_in", DIMENSIONS)
def test_a_neuron_that_one_number_of_dimensions_shows_is_divided_off(
    seen_in: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = units_of((60, 3.0), (30, 5.0))
    own = dividing.split

    def split_in_some(features: np.ndarray, **how: Any) -> np.ndarray:
        return own(features, **how) if features.shape[1] == seen_in else np.zeros(len(features), dtype=np.int64)

    monkeypatch.setattr(dividing, "split", split_in_some)
    parts = parts_of(units, 0, LEAST, 0)
    assert parts is not None
    assert sorted(len(parts.frames[part]) for part in np.flatnonzero(parts.alive)) == [30, 60]
