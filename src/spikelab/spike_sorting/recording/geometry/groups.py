"""Divide channels into groups that are sorted apart, and lay groups of overlapping coordinates side by side.

Channels that the source gives the same probe, group, shank and side stay together. Two such sets are one group where
their coordinates are common and some of their electrodes can record the same neuron.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.recording.geometry.units import median_pitch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.recording.geometry.electrodes import Electrodes

# Distance at which the spikes of most neurons have sunk into the noise.
REACH_UM = 140.0
# Distance between groups that are laid side by side.
GAP_UM = 200.0
KINDS = ("probe", "group", "shank", "side")


def groups_of(electrodes: Electrodes, places: NDArray[np.float64]) -> tuple[IntArray, tuple[str, ...]]:
    """Return the group of each channel, numbered in the order of the channels, and the names of the groups.

    Parameters
    ----------
    electrodes : Electrodes
        For their names.
    places : numpy.ndarray of float64, shape (channels, 2)
        In micrometres; NaN where unknown.
    """
    labels = electrodes.labels
    sets = {label: np.array([i for i, other in enumerate(labels) if other == label]) for label in dict.fromkeys(labels)}
    members = list(sets.values())
    joined = list(range(len(members)))
    for i, first in enumerate(members):
        for j in range(i):
            if joined[i] != joined[j] and _record_together(places[first], places[members[j]]):
                joined = [joined[j] if number == joined[i] else number for number in joined]
    order = {number: new for new, number in enumerate(dict.fromkeys(joined))}
    groups = np.empty(len(labels), dtype=np.int64)
    for number, channels in zip(joined, members, strict=True):
        groups[channels] = order[number]
    return groups, _names(labels, groups)


def _record_together(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Return whether two sets of electrodes share their coordinates, and are near enough to share neurons."""
    from scipy.spatial import cKDTree

    first, second = first[np.isfinite(first).all(axis=1)], second[np.isfinite(second).all(axis=1)]
    if not len(first) or not len(second) or overlap(first, second):
        return False
    distances = np.asarray(cKDTree(first).query(second)[0])
    return bool(distances.min() <= REACH_UM)


def overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Return whether the rectangles around two sets of electrodes overlap, so that each has coordinates of its own.

    A rectangle reaches a quarter of the pitch beyond its electrodes, as a column of electrodes has no width.
    """
    edge = sum((median_pitch(places) or 0.0) / 4 for places in (first, second)) + 1e-9
    low = np.maximum(first.min(axis=0), second.min(axis=0))
    high = np.minimum(first.max(axis=0), second.max(axis=0))
    return bool((high - low > -edge).all())


def _names(labels: Sequence[tuple[str, ...]], groups: IntArray) -> tuple[str, ...]:
    """Name each group by what tells it from the others: ``probe 0, shank 1``."""
    told = [k for k in range(len(KINDS)) if len({label[k] for label in labels}) > 1]
    names = []
    for number in range(int(groups.max(initial=-1)) + 1):
        own = [labels[channel] for channel in np.flatnonzero(groups == number).tolist()]
        parts = [(KINDS[k], list(dict.fromkeys(label[k] for label in own if label[k]))) for k in told]
        names.append(", ".join(f"{kind} {'+'.join(values)}" for kind, values in parts if values))
    return tuple(names)


def laid_out(places: NDArray[np.float64], groups: IntArray) -> NDArray[np.float64]:
    """Move groups along x that overlap with, or come nearer than `REACH_UM` to, one before; all others stay."""
    placed = places.copy()
    for number in range(1, int(groups.max(initial=0)) + 1):
        own, before = groups == number, groups < number
        if not _is_apart(placed[own], placed[before]):
            placed[own, 0] += np.nanmax(placed[before, 0]) + GAP_UM - np.nanmin(placed[own, 0])
    return placed


def _is_apart(own: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    gap = np.maximum(
        np.nanmin(own, axis=0) - np.nanmax(before, axis=0), np.nanmin(before, axis=0) - np.nanmax(own, axis=0)
    )
    return bool(gap.max() > REACH_UM)
