"""Choose the parts of the recording that templates are learnt on: around events, so that rare units have their spikes.

A unit that fires once in half a minute has a few spikes in any three minutes, and hundreds in an hour. What is read is
bounded, and given to the groups of events in equal numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.rt_sort.traces import Traces

# Around an event: spikes that overlap it, and those within the refractory time with as much again to compare with.
AROUND_MS = 10.0


class Part(NamedTuple):
    """Frames [start, end) that are read; spikes in frames [first, last) of them are known to be whole."""

    start: int
    end: int
    first: int
    last: int


class Reach(NamedTuple):
    """Frames of a template before and after its peak."""

    before: int
    after: int

    @property
    def margin(self) -> int:
        """Frames after a cut from which on no spike of before the cut is seen."""
        return self.before + self.after + 1


def whole(traces: Traces) -> list[Part]:
    """List all of the recording, cut at its breaks."""
    return [Part(start, end, start, end) for start, end in traces.pieces()]


def parts_around(
    traces: Traces, frames: IntArray, groups: IntArray, reach: Reach, seconds: float, seed: int
) -> list[Part]:
    """Choose parts of so many seconds in all around events of each group; all of the recording where it is shorter.

    Each group has as many events, chosen by `seed`, as fit in, and those that have fewer all of theirs. Events of a
    `groups` below 0 are left out. No part reaches across a break.
    """
    budget = round(seconds * traces.sampling_frequency)
    if traces.n_frames <= budget:
        return whole(traces)
    frames, groups = frames[groups >= 0], groups[groups >= 0]
    around = round(AROUND_MS * traces.sampling_frequency / 1000) + reach.margin
    rank = rank_within(groups, seed)
    low, high = 1, int(rank.max(initial=0)) + 1
    while low < high:
        middle = (low + high + 1) // 2
        n_read = sum(part.end - part.start for part in _joined(traces, frames[rank < middle], around, reach))
        low, high = (middle, high) if n_read <= budget else (low, middle - 1)
    return _joined(traces, frames[rank < low], around, reach)


def rank_within(groups: IntArray, seed: int) -> IntArray:
    """Number the members of each group from 0, in an order that is drawn by `seed`."""
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    by_group = shuffled[np.argsort(groups[shuffled], kind="stable")]
    _, counts = np.unique(groups, return_counts=True)
    rank = np.empty(len(groups), dtype=np.int64)
    rank[by_group] = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def _joined(traces: Traces, frames: IntArray, around: int, reach: Reach) -> list[Part]:
    frames = np.sort(frames)
    parts: list[Part] = []
    for start, end in traces.pieces():
        here = frames[np.searchsorted(frames, start) : np.searchsorted(frames, end)]
        if not len(here):
            continue
        lows, highs = np.maximum(here - around, start), np.minimum(here + around + 1, end)
        apart = lows[1:] > highs[:-1]  # of equal widths: the latest end so far is that of the event before
        for low, high in zip(lows[np.r_[True, apart]], highs[np.r_[apart, True]], strict=True):
            first = low if low == start else low + reach.margin
            parts.append(Part(int(low), int(high), int(first), int(high if high == end else high - reach.margin)))
    return parts


def inside(parts: list[Part], frames: IntArray) -> NDArray[np.bool_]:
    """Find the frames whose spikes count."""
    return _within(frames, [part.first for part in parts], [part.last for part in parts])


def complete(parts: list[Part], frames: IntArray, reach: Reach) -> NDArray[np.bool_]:
    """Find the frames whose spikes count and lie in the part with their whole window."""
    lows = [max(part.first, part.start + reach.before) for part in parts]
    return _within(frames, lows, [min(part.last, part.end - reach.after) for part in parts])


def _within(frames: IntArray, lows: list[int], highs: list[int]) -> NDArray[np.bool_]:
    if not lows:
        return np.zeros(len(frames), dtype=bool)
    bounds = np.asarray(lows), np.asarray(highs)
    index = np.searchsorted(bounds[0], frames, side="right") - 1
    found: NDArray[np.bool_] = (index >= 0) & (frames < bounds[1][index])
    return found
