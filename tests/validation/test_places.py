"""Places: electrodes fall on electrodes, as they are or mirrored, and never beyond a group."""

from __future__ import annotations

import numpy as np
import pytest
from tests.validation.known import donor_of, footprint, grid

from spikelab.spike_sorting.validation.places import Place, places_of

RNG = np.random.default_rng(0)
ONE_GROUP = np.zeros(25, dtype=np.int64)
WORKS = np.ones(25, dtype=np.bool_)


def offsets(locations: np.ndarray, main: int, channels: np.ndarray) -> np.ndarray:
    return locations[channels] - locations[main]


def test_electrodes_fall_on_electrodes_as_they_are_or_mirrored() -> None:
    locations = grid()
    donor = donor_of(locations, 6)
    found = places_of(donor, locations, ONE_GROUP, WORKS, RNG)
    before = offsets(locations, donor.main, donor.channels)
    mirrors = set()
    for place in found:
        (main,) = np.flatnonzero(donor.channels == donor.main)
        assert place.channels[main] == place.main
        kept = place.channels >= 0
        assert len(set(place.channels[kept])) == kept.sum()
        after = offsets(locations, place.main, place.channels[kept])
        signs = [m for m in ((1, 1), (-1, 1), (1, -1), (-1, -1)) if np.allclose(after, before[kept] * m)]
        assert signs
        mirrors.add(signs[0])
    assert len(mirrors) == 4
    assert {place.main for place in found} > {12, 18}


def test_at_the_edge_a_tenth_of_the_energy_may_be_lost() -> None:
    locations = grid()
    donor = donor_of(locations, 12)
    energy = np.sum(donor.mean**2, axis=0)
    found = places_of(donor, locations, ONE_GROUP, WORKS, RNG)
    lost = [energy[place.channels < 0].sum() / energy.sum() for place in found]
    assert max(lost) <= 0.1
    assert 0 not in {place.main for place in found}  # a corner has a quarter of the neighbours


@pytest.mark.parametrize("columns", [1, 2])
def test_no_place_is_the_donors_own_or_listed_twice(columns: int) -> None:
    """On a linear probe a mirrored footprint is the same one."""
    locations = np.array([[30.0 * (k % columns), 20.0 * (k // columns)] for k in range(16)])
    donor = donor_of(locations, 8)
    found = places_of(donor, locations, np.zeros(16, dtype=np.int64), WORKS, RNG)
    assert found
    assert not [place for place in found if np.array_equal(place.channels, donor.channels)]
    assert len({place.channels.tobytes() for place in found}) == len(found)


def test_of_a_tetrode_any_order_of_the_channels_is_a_place() -> None:
    locations = np.array([[k % 2 * 10.0, k // 2 * 10.0] for k in range(8)])
    locations[4:] += 500
    groups = np.repeat([0, 1], 4)
    donor = donor_of(locations, 1)
    assert donor.channels.tolist() == [0, 1, 2, 3]
    found = places_of(donor, locations, groups, WORKS, RNG)
    assert {int(groups[place.main]) for place in found} == {0, 1}
    for place in found:
        assert len(set(groups[place.channels])) == 1  # within one tetrode
        assert sorted(place.channels % 4) == [0, 1, 2, 3]
        assert place.channels[1] == place.main
        assert place.channels.tolist() != [0, 1, 2, 3]


def test_nothing_falls_on_another_shank() -> None:
    shank = np.array([[0.0, 20.0 * k] for k in range(12)])
    locations = np.concatenate([shank, shank + np.array([20.0, 0.0])])  # so near that a footprint could reach over
    groups = np.repeat([0, 1], 12)
    donor = donor_of(locations[:12], 5)
    found = places_of(donor, locations, groups, WORKS, RNG)
    assert {int(groups[place.main]) for place in found} == {0, 1}
    for place in found:
        assert set(groups[place.channels[place.channels >= 0]]) == {groups[place.main]}


def test_groups_that_are_too_small_have_no_place() -> None:
    locations = grid()
    donor = donor_of(locations, 12)
    alone = np.arange(25)
    assert places_of(donor, locations, alone, WORKS, RNG) == []
    pairs = np.repeat(np.arange(13), 2)[:25]
    assert places_of(donor, locations, pairs, WORKS, RNG) == []


def test_coincident_electrodes_are_no_places() -> None:
    locations = np.zeros((12, 2))
    shape = footprint(grid(), 6, -100.0)[:, :12]
    donor = donor_of(grid(), 6, channels=np.arange(12), shapes=shape[None].astype(np.float32))
    assert places_of(donor, locations, np.zeros(12, dtype=np.int64), WORKS, RNG) == []


def test_no_place_is_on_a_dead_channel() -> None:
    locations, works = grid(), WORKS.copy()
    works[[7, 11]] = False
    found = places_of(donor_of(locations, 12), locations, ONE_GROUP, works, RNG)
    assert found
    assert not {place.main for place in found} & {7, 11}


def test_the_order_follows_the_seed() -> None:
    locations = grid()
    donor = donor_of(locations, 12)

    def order(seed: int) -> list[bytes]:
        found: list[Place] = places_of(donor, locations, ONE_GROUP, WORKS, np.random.default_rng(seed))
        return [place.channels.tobytes() for place in found]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(order(2))
