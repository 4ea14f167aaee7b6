"""Divide units that are two neurons: one of them had no template, and matching gave its spikes to the other's.

Of a neuron that fires a dozen times, or is largest on another electrode from spike to spike, too few events look alike
to make a group. Once its spikes are gathered by the template of a neighbour and aligned, the two are easily told apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.rt_sort.learning.clustering import N_DIMENSIONS, reduce
from spikelab.spike_sorting.rt_sort.learning.means import PAIR_CHANNELS
from spikelab.spike_sorting.rt_sort.learning.merging import Units, join_alike, without_tolerances
from spikelab.spike_sorting.rt_sort.learning.splitting import split
from spikelab.spike_sorting.rt_sort.learning.waveforms import Learnt

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikelab.spike_sorting.data import IntArray

LEAST_DIVIDED = 10  # examples: of fewer, one that is odd for another reason is a large part
# Principal components, one number after the other: a rare neuron is seen in more of them, one that moves in fewer.
DIMENSIONS = (N_DIMENSIONS, N_DIMENSIONS // 2, 2 * N_DIMENSIONS)
# Of the changes from one part to the other that there are by chance: tissue that moves back and forth makes parts, too.
LEAST_TURNS = 0.5


def divide(units: Units, left: IntArray, least: int, seed: int, join: Callable[[Units], None] = join_alike) -> IntArray:
    """Divide those of the units in `left` whose examples are of several neurons; return `left` and the new units.

    Neurons have `least` examples or more; `join` joins what is one neuron. The spikes of a new unit are its examples:
    others are found by matching.
    """
    new: list[int] = []
    for unit in left.tolist():
        parts = parts_of(units, unit, least, seed, join)
        if parts is None:
            continue
        kept, *others = np.flatnonzero(parts.alive).tolist()
        _take(units, unit, parts, kept)
        new += [_append(units, parts, other) for other in others]
    return np.concatenate([left, np.array(new, dtype=np.int64)])


def parts_of(
    units: Units, unit: int, least: int, seed: int, join: Callable[[Units], None] = join_alike
) -> Units | None:
    """Split the examples of a unit and join the parts that are one neuron; None where that is all of them.

    The published tolerances are for sequences that were found apart. The small spikes of a burst are beyond that on
    sizes, and would be a neuron of their own once they are split off, whatever the evidence says.
    """
    if len(units.examples[unit]) < 2 * least:
        return None
    channels = units.channels[unit]
    features = units.features(unit, np.sort(channels[channels >= 0][:PAIR_CHANNELS]), 0)
    for n_dimensions in DIMENSIONS:
        labels = split(reduce(features, n_dimensions), seed=seed, min_size=least)
        if labels.max() > 0:
            parts = _parts(units, unit, labels)
            join(parts)
            if parts.alive.sum() > 1 and (n_dimensions == N_DIMENSIONS or _take_turns(parts)):
                return parts
    return None


def _take_turns(parts: Units) -> bool:
    """Test whether parts fire in turns, as two neurons do, rather than at times of their own, as one that moves."""
    alive = np.flatnonzero(parts.alive).tolist()
    frames = np.concatenate([parts.frames[part] for part in alive])
    owners = np.repeat(alive, [len(parts.frames[part]) for part in alive])
    turns = np.mean(np.diff(owners[np.argsort(frames, kind="stable")]) != 0)
    shares = np.unique(owners, return_counts=True)[1] / len(owners)
    return bool(turns >= LEAST_TURNS * (1 - np.sum(shares**2)))


def _parts(units: Units, unit: int, labels: IntArray) -> Units:
    """Make a unit of the examples of each label."""
    channels, examples, frames = units.channels[unit], units.examples[unit], units.example_frames[unit]
    n_parts = int(labels.max()) + 1
    each = [labels == part for part in range(n_parts)]
    means = np.repeat(units.means[unit][None], n_parts, axis=0)
    used = channels >= 0
    middle = examples.mean(axis=0)
    for mean, own in zip(means, each, strict=True):
        mean[:, channels[used]] += (examples[own].mean(axis=0) - middle)[used].T
    learnt = Learnt(
        means=means,
        counts=np.bincount(labels),
        frames=tuple(np.sort(frames[own]) for own in each),
        scales=tuple(units.scales[unit] for _ in each),
        channels=np.repeat(channels[None], n_parts, axis=0),
        examples=tuple(examples[own] for own in each),
        example_frames=tuple(frames[own] for own in each),
    )
    parts = units.like(learnt)
    parts.parameters = without_tolerances(units.parameters)
    return parts


def _take(units: Units, unit: int, parts: Units, part: int) -> None:
    units.means[unit], units.counts[unit] = parts.means[part], parts.counts[part]
    units.frames[unit], units.scales[unit] = parts.frames[part], parts.scales[part]
    units.examples[unit], units.example_frames[unit] = parts.examples[part], parts.example_frames[part]


def _append(units: Units, parts: Units, part: int) -> int:
    units.means.append(parts.means[part])
    units.counts.append(parts.counts[part])
    units.frames.append(parts.frames[part])
    units.scales.append(parts.scales[part])
    units.channels.append(parts.channels[part])
    units.examples.append(parts.examples[part])
    units.example_frames.append(parts.example_frames[part])
    units.alive = np.append(units.alive, True)
    return len(units.means) - 1
