"""Which electrodes lie in columns, as on shanks and linear probes, and in which order along them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.recording.geometry.groups import rows_of_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Geometry, IntArray

# A column: no set of electrodes is wider than a shank, and it is long; a tetrode is neither.
WIDEST_UM, SHORTEST_UM = 100.0, 200.0
MOST_IN_COLUMNS = 0.5  # share of the electrodes; the others are on shanks of a few


def is_known(geometry: Geometry) -> bool:
    """Whether the source says where the electrodes are."""
    return bool(np.isfinite(geometry.own_places).any())


def in_columns(geometry: Geometry) -> NDArray[np.bool_]:
    """Tell which groups are columns of electrodes: long and narrow ones; none where places are unknown."""
    if not is_known(geometry):
        return np.zeros(geometry.n_groups, dtype=np.bool_)
    extents = np.array([np.ptp(geometry.places[group], axis=0) for group in geometry.channels_of_groups()])
    narrow, wide = extents.min(axis=1), extents.max(axis=1)
    return np.asarray((narrow <= WIDEST_UM) & (wide >= SHORTEST_UM) & (wide >= 2 * narrow))


def is_column(geometry: Geometry) -> bool:
    """Whether the electrodes, all but a few short shanks, lie in columns rather than all over a plane."""
    return bool(in_columns(geometry)[geometry.groups].mean() > MOST_IN_COLUMNS)


def nearest_um(geometry: Geometry) -> float:
    """Return the distance from an electrode to the nearest other one, the median over the electrodes."""
    from scipy.spatial import cKDTree

    distances = np.asarray(cKDTree(geometry.places).query(geometry.places, k=[2])[0])
    return float(np.median(distances))


def by_shank(geometry: Geometry) -> Geometry:
    """Return the geometry with every shank as a group of its own, as far as the source names shanks."""
    kinds = {
        "": geometry.names_of_channels(),
        "probe": geometry.probes,
        "side": geometry.sides,
        "shank": geometry.shanks,
    }
    sets = rows_of_labels(list(zip(*kinds.values(), strict=True)))
    if len(sets) == geometry.n_groups:
        return geometry
    groups = np.zeros(len(geometry.groups), dtype=np.int64)
    for number, rows in enumerate(sets.values()):
        groups[rows] = number
    names = [
        ", ".join(f"{kind} {name}".strip() for kind, name in zip(kinds, label, strict=True) if name) for label in sets
    ]
    return replace(geometry, groups=groups, group_names=tuple(names))


def along(geometry: Geometry) -> IntArray:
    """Return the channels group by group, along the longer side of each, whatever their order in the file."""
    groups = dict(zip(geometry.group_names, geometry.channels_of_groups(), strict=True))
    ordered = []
    for name in sorted(groups):
        places = geometry.places[groups[name]]
        ordered.append(groups[name][np.lexsort((*places.T, depths(places)))])
    return np.concatenate(ordered)


def depths(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coordinate along the longer side of some electrodes."""
    width, height = np.ptp(places, axis=0)
    return places[:, 0] if width > height else places[:, 1]
