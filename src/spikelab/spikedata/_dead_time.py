"""Dead time: periods in which nothing was recorded that could tell of spikes, ``metadata["dead_time_s"]``.

Rates count live time only, and no interspike interval and no template window crosses an edge of such a period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData

    FloatArray = NDArray[np.float64]

DEAD_TIME_KEY = "dead_time_s"  # start and end of each period in seconds, on the clock of the data


def dead_time_ms(metadata: Mapping[str, Any]) -> FloatArray:
    """Return the periods in ms, (periods, 2), ascending and apart; ValueError where one ends before its start."""
    return _apart(1000 * np.asarray(metadata.get(DEAD_TIME_KEY, ()), dtype=np.float64).reshape(-1, 2))


def _apart(periods: FloatArray) -> FloatArray:
    if not (periods[:, 0] < periods[:, 1]).all():
        raise ValueError(
            f"metadata[{DEAD_TIME_KEY!r}] must be pairs of start < end in seconds, got {(periods / 1000).tolist()}"
        )
    periods = periods[np.argsort(periods[:, 0], kind="stable")]
    ends = np.maximum.accumulate(periods[:, 1])
    begins = np.append(True, periods[1:, 0] > ends[:-1])[: len(periods)]
    return np.column_stack([periods[begins, 0], ends[np.append(begins[1:], True)[: len(periods)]]])


def live_ms(sd: BaseSpikeData) -> float:
    """Return the length of the data without dead time, in ms."""
    if DEAD_TIME_KEY not in sd.metadata:
        return sd.length
    periods = np.clip(dead_time_ms(sd.metadata), sd.start_time, sd.end_time)
    return max(sd.length - float(np.diff(periods).sum()), 0.0)


def dead_in(metadata: Mapping[str, Any], edges: FloatArray) -> FloatArray:
    """Return how much of each of the bins between ascending `edges` (ms) is dead time, in ms."""
    periods = dead_time_ms(metadata)
    if not len(periods):
        return np.zeros(len(edges) - 1)
    # Dead time up to a moment, by which that between two moments is known.
    passed = np.append(0.0, np.cumsum(np.diff(periods)[:, 0]))
    return np.diff(np.interp(edges, periods.ravel(), np.column_stack([passed[:-1], passed[1:]]).ravel()))


def edges_ms(metadata: Mapping[str, Any]) -> FloatArray:
    """Return where dead time begins and ends, ascending."""
    return dead_time_ms(metadata).reshape(-1)


def cut_dead_time(metadata: Mapping[str, Any], start: float, end: float, shift: float) -> dict[str, Any]:
    """Return the entry of the metadata for the time from `start` to `end`, moved by `shift` (ms); none without any."""
    periods = np.clip(dead_time_ms(metadata), start, end)
    periods = periods[periods[:, 0] < periods[:, 1]]
    return {DEAD_TIME_KEY: ((periods + shift) / 1000).tolist()} if len(periods) else {}


def both(first: Mapping[str, Any], second: Mapping[str, Any], shift: float, gap: tuple[float, float]) -> dict[str, Any]:
    """Return the entry for two recordings in a row, the second of which is moved by `shift` (ms), after a `gap`."""
    between = np.array([gap] if gap[0] < gap[1] else [], dtype=np.float64).reshape(-1, 2)
    periods = np.concatenate([dead_time_ms(first), between, dead_time_ms(second) + shift])
    return {DEAD_TIME_KEY: (_apart(periods) / 1000).tolist()} if len(periods) else {}
