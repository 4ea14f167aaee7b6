"""Move every spike to its peak on the main channel of its unit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.waveforms._kernels import centre_spikes
from spikelab.spike_sorting.waveforms.chunks import UnitPool, Visit, visit_spikes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting._types import Epoch, IntArray, TraceSource

SEARCH_MS = 0.5


def epoch_limits(frames: IntArray, epochs: Sequence[Epoch]) -> tuple[IntArray, IntArray]:
    """Start and end frame of the epoch each of the `frames` lies in."""
    starts = np.array([epoch.start_frame for epoch in epochs], dtype=np.int64)
    ends = np.array([epoch.end_frame for epoch in epochs], dtype=np.int64)
    index = np.searchsorted(starts, frames, side="right") - 1
    return starts[index], ends[index]


def search_windows(frames: IntArray, epochs: Sequence[Epoch], radius: int) -> tuple[IntArray, IntArray]:
    """First and last frame (inclusive) at which each spike of one unit may have its peak.

    The window is +/- `radius` frames, ends at the edges of the epoch, and is shared out at the middle between
    neighbouring spikes of the same epoch (the earlier one gets the odd frame). The windows of a unit are therefore
    disjoint and each holds its own spike: centring keeps order and distinctness, and no spike passes a neighbour.

    Parameters
    ----------
    frames : numpy.ndarray of int64, shape (spikes,)
        Strictly ascending.
    epochs : sequence of Epoch
        They tile the recording.
    radius : int
        In frames.
    """
    start, end = epoch_limits(frames, epochs)
    low = np.maximum(frames - radius, start)
    high = np.minimum(frames + radius, end - 1)
    middle = (frames[:-1] + frames[1:]) // 2
    together = start[:-1] == start[1:]
    low[1:] = np.maximum(low[1:], np.where(together, middle + 1, low[1:]))
    high[:-1] = np.minimum(high[:-1], np.where(together, middle, high[:-1]))
    return low, high


def centre_trains(
    source: TraceSource,
    trains: Sequence[IntArray],
    channels: IntArray,
    positive: NDArray[np.bool_],
    pool: UnitPool,
) -> list[IntArray]:
    """Centre every spike within +/- 0.5 ms on the minimum (maximum for positive units) of its unit's channel.

    Spikes at the very same frame stay together. Ties go to the earliest frame, and units do not interact.

    Parameters
    ----------
    source : TraceSource
    trains : sequence of numpy.ndarray of int64
        Sorted frames per unit, inside the recording.
    channels : numpy.ndarray of int64, shape (units,)
        Main channel.
    positive : numpy.ndarray of bool, shape (units,)
        True where the peak is a maximum.
    pool : UnitPool

    Returns
    -------
    list of numpy.ndarray of int64
        Of the same lengths as `trains`.
    """
    radius = int(SEARCH_MS * source.sampling_frequency / 1000)
    fresh = [np.diff(train, prepend=train[:1] - 1) > 0 for train in trains]
    distinct = [train[first] for train, first in zip(trains, fresh, strict=True)]
    windows = [search_windows(frames, source.epochs, radius) for frames in distinct]
    low, high = (np.concatenate(side) for side in zip(*windows, strict=True))
    centred = np.concatenate(distinct)
    for visit in visit_spikes(source, distinct, radius, radius, "centring spikes"):
        work = partial(_centre_units, visit, low, high, channels, positive, centred)
        pool.run(len(distinct), work, visit.n_spikes)
    parts = np.split(centred, np.cumsum([len(frames) for frames in distinct])[:-1])
    return [part[np.cumsum(first) - 1] for part, first in zip(parts, fresh, strict=True)]


def _centre_units(
    visit: Visit,
    low: IntArray,
    high: IntArray,
    channels: IntArray,
    positive: NDArray[np.bool_],
    centred: IntArray,
    units: slice,
) -> None:
    first, last = visit.first[units], visit.last[units]
    centre_spikes(visit.traces, visit.base, low, high, first, last, channels[units], positive[units], centred)
