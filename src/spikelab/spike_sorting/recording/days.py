"""Bring the files of a folder to the same electrodes and one sampling rate, whatever channels they are routed to."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.read_errors import list_some
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import Geometry, IntArray

logger = logging.getLogger(__name__)

SAME, SHARED = "same", "shared"
# Positions of one electrode, written by two programs, differ by less.
SAME_PLACE_UM = 1.0
_MOVED = "channel locations differ between {} and {}: those of the first are used"


@dataclass(frozen=True)
class Day:
    """One opened file of a folder.

    Attributes
    ----------
    path : str
        For messages.
    recording : BaseRecording
        As it is stored.
    geometry : Geometry
        Of its channels.
    """

    path: str
    recording: BaseRecording
    geometry: Geometry


def on_same_electrodes(days: Sequence[Day], wanted: str, rate_tolerance_ppm: float) -> list[Day]:
    """Return the files with the same electrodes in the order of the first file, called as in the first file.

    Parameters
    ----------
    days : sequence of Day
        At least one.
    wanted : {"shared", "same"}
        Keep the electrodes that all files have, or refuse files that have not all the same.
    rate_tolerance_ppm : float
        Largest difference of sampling rates, in millionths.

    Raises
    ------
    ValueError
        If rates differ more, or it is not clear which electrodes are the same.

    Warns
    -----
    UserWarning
        If channels were left out, or electrodes found on other channels than in the first file.
    """
    first, *others = days
    if not others:
        return [first]
    for other in others:
        _require_rate(first, other, rate_tolerance_ppm)
    matches = [np.arange(first.recording.get_num_channels()), *(_match(first, other) for other in others)]
    shared = np.flatnonzero(np.all([match >= 0 for match in matches], axis=0))
    _tell_left_out(days, matches, shared, wanted)
    ids = np.asarray(first.recording.channel_ids)[shared].tolist()
    rate = float(first.recording.get_sampling_frequency())
    return [_routed(day, match[shared], ids, rate) for day, match in zip(days, matches, strict=True)]


def _require_rate(first: Day, other: Day, tolerance_ppm: float) -> None:
    expected, found = (float(day.recording.get_sampling_frequency()) for day in (first, other))
    ppm = abs(found / expected - 1) * 1e6
    if ppm > tolerance_ppm:
        raise ValueError(
            f"files of one folder differ: {first.path} has {expected:.10g} Hz, {other.path} has {found:.10g} Hz, "
            f"{ppm:.3g} ppm apart. Recordings are not resampled: sort them one by one, or set rate_tolerance_ppm above "
            f"that if {ppm * 3.6:.3g} ms per hour do not matter"
        )
    if ppm > 0:
        warn(
            f"{other.path} has {found:.10g} Hz, {first.path} {expected:.10g} Hz: it is sorted as if it had those of "
            f"the first, so that its times in the recording are off by {ppm * 3.6:.3g} ms per hour"
        )


def _match(first: Day, other: Day) -> IntArray:
    """Return the channel of `other` at the electrode of each channel of `first`; -1 where it has none."""
    match = _by_name(_electrodes(first), _electrodes(other))
    if match is not None:
        _tell_routing(first, other, match, "electrode")
        _tell_moved(first, other, match)
        return match
    match = _by_place(first.geometry, other.geometry)
    if match is not None and (match >= 0).any():
        _tell_routing(first, other, match, "place")
        return match
    if match is not None:
        warn(_MOVED.format(first.path, other.path))
    match = _by_name(_channels(first), _channels(other))
    if match is not None and (match >= 0).any():
        return match
    n_first, n_other = (day.recording.get_num_channels() for day in (first, other))
    if n_first != n_other:
        raise ValueError(
            f"files of one folder differ: {first.path} has {n_first} channels, {other.path} has {n_other} channels, "
            "and no electrode or channel of one is in the other"
        )
    warn(
        f"channel ids differ between {first.path} and {other.path}: channels are matched by position, and called as in "
        "the first"
    )
    return np.arange(n_first)


def _electrodes(day: Day) -> Sequence[Any] | None:
    values = day.recording.get_property("electrode")
    return None if values is None else list(values)


def _channels(day: Day) -> Sequence[Any]:
    return [str(channel) for channel in day.recording.channel_ids]


def _by_name(first: Sequence[Any] | None, other: Sequence[Any] | None) -> IntArray | None:
    if first is None or other is None or len(set(first)) < len(first) or len(set(other)) < len(other):
        return None
    rows = {name: row for row, name in enumerate(other)}
    return np.array([rows.get(name, -1) for name in first], dtype=np.int64)


def _by_place(first: Geometry, other: Geometry) -> IntArray | None:
    """Match electrodes at the same place of the same group of coordinates."""
    from scipy.spatial import cKDTree

    if not (_has_places(first) and _has_places(other)) or set(first.group_names) != set(other.group_names):
        return None
    places = [_with_groups(geometry, first.group_names) for geometry in (other, first)]
    distance, row = cKDTree(places[0]).query(places[1], distance_upper_bound=SAME_PLACE_UM)
    return np.where(np.isfinite(distance), row, -1).astype(np.int64)


def _with_groups(geometry: Geometry, names: Sequence[str]) -> NDArray[np.float64]:
    """Return places with the group, numbered as in `names`, as a third coordinate, so that no two groups meet."""
    return np.column_stack([geometry.own_places, [1e6 * names.index(name) for name in geometry.names_of_channels()]])


def _has_places(geometry: Geometry) -> bool:
    return bool(np.isfinite(geometry.own_places).all())


def _tell_routing(first: Day, other: Day, match: IntArray, how: str) -> None:
    """Say where electrodes are on channels of other names or order."""
    known = match >= 0
    own, others = np.array(_channels(first))[known], np.array(_channels(other))[match[known]]
    if not np.array_equal(own, others):
        warn(
            f"channel ids differ between {first.path} and {other.path}: electrodes are matched by {how}, and called as "
            "in the first"
        )


def _tell_moved(first: Day, other: Day, match: IntArray) -> None:
    """Say where the same electrodes are at other places."""
    known = match >= 0
    own, others = first.geometry.own_places[known], other.geometry.own_places[match[known]]
    if not np.allclose(own, others, rtol=0, atol=SAME_PLACE_UM, equal_nan=True):
        warn(_MOVED.format(first.path, other.path))


def _tell_left_out(days: Sequence[Day], matches: Sequence[IntArray], shared: IntArray, wanted: str) -> None:
    if not len(shared):
        raise ValueError(f"no electrode is in all of {', '.join(day.path for day in days)}: sort them one by one")
    counts, left_out = [], []
    for day, match in zip(days, matches, strict=True):
        left = np.setdiff1d(np.arange(day.recording.get_num_channels()), match[shared])
        counts.append(f"{day.path} has {day.recording.get_num_channels()} channels")
        if len(left):
            left_out.append(f"{len(left)} of {day.path} ({list_some([_channels(day)[channel] for channel in left])})")
    if not left_out:
        return
    if wanted == SAME:
        raise ValueError(
            f"files of one folder differ: {', '.join(counts)}; not in all files are the electrodes of channels "
            f"{'; '.join(left_out)}. Set days='{SHARED}' to sort the {len(shared)} electrodes that all files have"
        )
    warn(f"the {len(shared)} electrodes that all files have are sorted; left out are channels {'; '.join(left_out)}")


def _routed(day: Day, channels: IntArray, ids: Sequence[Any], rate: float) -> Day:
    own = np.asarray(day.recording.channel_ids)[channels].tolist()
    recording = day.recording
    if own != list(day.recording.channel_ids):
        recording = recording.select_channels(own)
    if own != list(ids):
        recording = recording.rename_channels(list(ids))
    if recording.get_sampling_frequency() != rate:
        from spikelab.spike_sorting.recording.pieces import RetimedRecording

        recording = RetimedRecording(recording, rate)
    return replace(day, recording=recording, geometry=day.geometry.take(channels))
