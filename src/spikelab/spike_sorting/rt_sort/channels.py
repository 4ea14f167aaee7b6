"""Channels of a recording beside those that sequences were found on: bad ones may have been left out of either."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.rt_sort.traces import Traces

logger = logging.getLogger(__name__)
SAME_PLACE_UM = 1.0
MOST_MISSING = 0.5  # share of the channels without which nothing is sorted
MOST_NAMED = 10


def on_channels(traces: Traces, channel_ids: Sequence[str], locations: NDArray[np.float64]) -> Traces:
    """Return traces of `channel_ids`: those that `traces` lack are zero, others of theirs are left out.

    Channels are the same by their name and place. As many as there should be, at these places, are taken as they are.

    Raises
    ------
    ValueError
        If the recording lacks too many of the channels.
    """
    if traces.n_channels == len(channel_ids) and np.allclose(traces.locations, locations, atol=SAME_PLACE_UM):
        return traces
    rows = _rows_of(traces, channel_ids, locations)
    silent = [name for name, row in zip(channel_ids, rows.tolist(), strict=True) if row < 0]
    if len(silent) >= MOST_MISSING * len(channel_ids):
        raise ValueError(
            f"The sequences were found on {len(channel_ids)} channels, the recording has {traces.n_channels}, and "
            f"{len(channel_ids) - len(silent)} of them are the same, by name and place: a saved RTSort sorts "
            f"recordings of the same array. It has {_named(channel_ids)}; the recording has "
            f"{_named(traces.channel_ids)}. Where bad_channels has left out too many of this recording, set it to None "
            "or to a list of channels"
        )
    if silent:
        logger.warning(
            "the recording lacks %d of the %d channels that the sequences were found on, as bad_channels leaves them "
            "out: %s. They count as silent; of units that are largest there, spikes are missed",
            len(silent), len(channel_ids), _named(silent),
        )  # fmt: skip
    further = [name for row, name in enumerate(traces.channel_ids) if row not in set(rows.tolist())]
    if further:
        logger.warning(
            "the sequences were not found on %d channels of the recording, which are left out: %s",
            len(further), _named(further),
        )  # fmt: skip
    return _taken(traces, rows, tuple(channel_ids), locations)


def _rows_of(traces: Traces, channel_ids: Sequence[str], locations: NDArray[np.float64]) -> IntArray:
    """Return the position of each channel in `traces`, -1 where they have none of its name at its place."""
    own = {name: row for row, name in enumerate(traces.channel_ids)}
    rows = np.array([own.get(name, -1) for name in channel_ids], dtype=np.int64)
    away = np.abs(traces.locations[rows] - locations).max(axis=1) > SAME_PLACE_UM
    rows[away] = -1
    return rows


def _named(channels: Sequence[str]) -> str:
    listed = ", ".join(channels[:MOST_NAMED])
    return listed if len(channels) <= MOST_NAMED else f"{listed} and {len(channels) - MOST_NAMED} more"


def _taken(traces: Traces, rows: IntArray, channel_ids: tuple[str, ...], locations: NDArray[np.float64]) -> Traces:
    """Read the channels at `rows`, zeros where that is -1."""
    there = np.flatnonzero(rows >= 0)

    def taken(read: Callable[[int, int], NDArray[Any]]) -> Callable[[int, int], NDArray[Any]]:
        def read_channels(start: int, end: int) -> NDArray[Any]:
            found = read(start, end)
            every = np.zeros((len(found), len(rows)), dtype=found.dtype)
            every[:, there] = found[:, rows[there]]
            return every

        return read_channels

    counts = traces._read_counts
    return replace(
        traces, n_channels=len(rows), channel_ids=channel_ids, locations=locations, _read=taken(traces._read),
        _read_counts=None if counts is None else taken(counts),
    )  # fmt: skip
