"""Divide channels into groups that are sorted apart, and lay groups of overlapping coordinates side by side.

Channels that the source gives the same probe, side, group and shank stay together. Two such sets are one group where
their coordinates are common and some of their electrodes can record the same neuron.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.recording.geometry.electrodes import KINDS
from spikelab.spike_sorting.recording.geometry.names import names_of_groups
from spikelab.spike_sorting.recording.geometry.units import median_pitch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.recording.geometry.electrodes import Electrodes, Label

# Distance at which the spikes of most neurons have sunk into the noise.
REACH_UM = 140.0
# Distance between groups that are laid side by side.
GAP_UM = 200.0


def groups_of(electrodes: Electrodes, places: NDArray[np.float64]) -> tuple[IntArray, tuple[str, ...]]:
    """Return the group of each channel, numbered in the order of the channels, and the names of the groups.

    Parameters
    ----------
    electrodes : Electrodes
        For their names.
    places : numpy.ndarray of float64, shape (channels, 2)
        In micrometres; NaN where unknown.
    """
    from scipy.sparse.csgraph import connected_components

    labels = _without_single_contacts(electrodes.labels, places)
    sets = rows_of_labels(labels)
    if len(sets) == 1:
        groups = np.zeros(len(labels), dtype=np.int64)
        return groups, names_of_groups(labels, groups)
    members = list(sets.values())
    common = ~_divided(labels, places) & (_gaps(places, members).max(axis=-1) <= REACH_UM)
    for i, j in np.argwhere(np.triu(common, 1)).tolist():
        common[i, j] = nearest(places[members[i]], places[members[j]]) <= REACH_UM
    _, joined = connected_components(np.triu(common, 1), directed=False)
    of_label = dict(zip(sets, joined.tolist(), strict=True))
    number = {of: new for new, of in enumerate(dict.fromkeys(of_label[label] for label in labels))}
    groups = np.array([number[of_label[label]] for label in labels], dtype=np.int64)
    return groups, names_of_groups(labels, groups)


def rows_of_labels(labels: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], IntArray]:
    """Return the channels of each label, in the order of the first of them."""
    rows: dict[tuple[str, ...], list[int]] = {}
    for channel, label in enumerate(labels):
        rows.setdefault(label, []).append(channel)
    return {label: np.array(channels) for label, channels in rows.items()}


def _without_single_contacts(labels: list[Label], places: NDArray[np.float64]) -> list[Label]:
    """Leave out the shanks, groups, sides or probes of an array that has one contact on each, as a Utah array does."""
    for kind in reversed(range(len(KINDS))):
        contacts = Counter(label[: kind + 1] for label in labels)
        for parent, rows in rows_of_labels([label[:kind] for label in labels]).items():
            single = all(n == 1 for label, n in contacts.items() if label[:kind] == parent)
            known = _known(places[rows])
            if single and len(np.unique(known, axis=0)) == len(known):
                for row in rows.tolist():
                    label = labels[row]
                    labels[row] = (*label[:kind], "", *label[kind + 1 :])
    return labels


def _divided(labels: list[Label], places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find pairs of sets that belong to parts with coordinates of their own, as two parts of the same overlap.

    The parts of a recording are its probes, those of a probe its sides, and so on.
    """
    sets = list(rows_of_labels(labels))
    n_sets = len(sets)
    divided, decided = np.zeros((n_sets, n_sets), dtype=bool), np.eye(n_sets, dtype=bool)
    for kind in range(len(KINDS)):
        parts = rows_of_labels([label[: kind + 1] for label in labels])
        own = _overlaps(places, list(parts.values()))
        parents = {label[:kind] for label in parts}
        for parent in parents:
            siblings = np.array([label[:kind] == parent for label in parts])
            inside = np.array([label[:kind] == parent for label in sets])
            values = np.array([label[kind] for label in sets])
            differ = inside[:, None] & inside & (values[:, None] != values) & ~decided
            divided |= differ & bool(own[np.ix_(siblings, siblings)].any())
            decided |= differ
    return divided


def nearest(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the distance between the nearest electrodes of two sets; infinity where a set has no known place."""
    from scipy.spatial import cKDTree

    first, second = _known(first), _known(second)
    if not len(first) or not len(second):
        return float("inf")
    return float(np.min(cKDTree(first).query(second)[0]))


def _known(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return places[np.isfinite(places).all(axis=1)]


def _gaps(places: NDArray[np.float64], members: list[IntArray]) -> NDArray[np.float64]:
    """Return the gap along each axis between the rectangles around sets, shape (sets, sets, 2); NaN if unknown."""
    known = [_known(places[rows]) for rows in members]
    low, high = (
        np.array([edge(of_set, axis=0) if len(of_set) else [np.nan, np.nan] for of_set in known])
        for edge in (np.min, np.max)
    )
    return np.asarray(np.maximum(low[:, None] - high, low - high[:, None]))


def _overlaps(places: NDArray[np.float64], members: list[IntArray]) -> NDArray[np.bool_]:
    """Find pairs of sets whose rectangles overlap.

    A rectangle reaches a quarter of the pitch beyond its electrodes, as a column of electrodes has no width.
    """
    edges = np.array([(median_pitch(places[rows]) or 0.0) / 4 for rows in members])
    overlap = (_gaps(places, members) < (edges[:, None] + edges + 1e-9)[..., None]).all(axis=-1)
    np.fill_diagonal(overlap, False)
    return np.asarray(overlap)


def laid_out(places: NDArray[np.float64], groups: IntArray) -> NDArray[np.float64]:
    """Move groups along x that have an electrode within `REACH_UM` of one of a group before; all others stay."""
    placed = places.copy()
    for number in range(1, int(groups.max(initial=0)) + 1):
        own, before = groups == number, groups < number
        if nearest(placed[own], placed[before]) <= REACH_UM:
            placed[own, 0] += np.nanmax(placed[before, 0]) + GAP_UM - np.nanmin(placed[own, 0])
    return placed
