"""Places: where on the array a footprint can be moved to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.validation.donors import Donor

NEAR = 0.3  # of the distance of neighbours: how far an electrode may be from where the footprint has one
KEPT_ENERGY = 0.9  # share of the footprint that must find electrodes
MIRRORS = ((1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0))
FEW = 8  # channels of a group whose places tell nothing: any order of them is a place


@dataclass(frozen=True)
class Place:
    """Where a footprint is put.

    Attributes
    ----------
    main : int
        Channel that its main one becomes.
    channels : numpy.ndarray of int64, shape (channels,)
        Channel that each channel of the donor becomes; -1: beyond the array.
    """

    main: int
    channels: IntArray


def places_of(
    donor: Donor,
    locations: NDArray[np.float64],
    groups: IntArray,
    works: NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[Place]:
    """List the places of a donor's footprint, other than its own, on a channel that `works`, in a random order.

    Footprints are moved as they are, or mirrored, so that electrodes fall on electrodes; a tenth of the energy may fall
    beyond the array. Of tetrodes and other groups of few channels, any order of the channels is a place.
    """
    energy = np.sum(donor.mean**2, axis=0)
    found: list[Place] = []
    for group in np.unique(groups).tolist():
        channels = np.flatnonzero(groups == group)
        if len(channels) <= FEW:
            found += _orders(donor, channels, groups, rng)
        else:
            found += _moves(donor, locations, channels, energy)
    shuffled = [found[index] for index in rng.permutation(len(found))]
    return [place for place in shuffled if works[place.main]]


def _moves(
    donor: Donor, locations: NDArray[np.float64], channels: IntArray, energy: NDArray[np.floating]
) -> list[Place]:
    from scipy.spatial import cKDTree

    tree = cKDTree(locations[channels])
    neighbours: Any = tree.query(locations[channels], k=2)[0]
    pitch = float(np.median(neighbours[:, 1]))
    offsets = locations[donor.channels] - locations[donor.main]
    found: dict[bytes, Place] = {}  # a row of electrodes, mirrored, is the same row
    for mirror in MIRRORS:
        wanted = locations[channels][:, None, :] + offsets[None] * mirror
        distance, nearest = _nearest(tree, wanted, max(NEAR * pitch, 1e-6))
        hit = np.isfinite(distance)
        enough = (hit * energy).sum(axis=1) >= KEPT_ENERGY * energy.sum()
        for target in np.flatnonzero(enough).tolist():
            moved = np.where(hit[target], channels[np.minimum(nearest[target], len(channels) - 1)], -1).astype(np.int64)
            used = moved[moved >= 0]
            if len(np.unique(used)) == len(used) and not np.array_equal(moved, donor.channels):
                found.setdefault(moved.tobytes(), Place(int(channels[target]), moved))
    return list(found.values())


def _nearest(tree: Any, wanted: NDArray[np.float64], reach: float) -> tuple[NDArray[np.float64], IntArray]:
    """Find the electrode nearest to each place, and how far it is: infinitely where none is in reach."""
    distance, nearest = tree.query(wanted, distance_upper_bound=reach)
    return distance, nearest


def _orders(donor: Donor, channels: IntArray, groups: IntArray, rng: np.random.Generator) -> list[Place]:
    if len(donor.channels) > len(channels) or len(channels) < 2:
        return []
    (main,) = np.flatnonzero(donor.channels == donor.main)
    found = []
    for _ in range(2 * len(channels)):
        moved = rng.permutation(channels)[: len(donor.channels)].astype(np.int64)
        if groups[donor.main] != groups[moved[main]] or not np.array_equal(moved, donor.channels):
            found.append(Place(int(moved[main]), moved))
    return found
