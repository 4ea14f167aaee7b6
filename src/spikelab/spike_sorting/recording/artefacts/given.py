"""Periods of artefact that a user gives, in seconds, and words about those that there are."""

from __future__ import annotations

import logging
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data.dead_time import union, within
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikelab.spike_sorting.data import IntArray

logger = logging.getLogger(__name__)
MOST_DEAD = 0.2  # share of the recording above which somebody should look


def periods_of_seconds(
    periods: Sequence[tuple[float, float]], lengths: Sequence[Sequence[int]], sampling_frequency: float
) -> list[list[IntArray]]:
    """Put (start, end) in seconds, on the clock of all segments in a row, into frames of each segment of each file.

    `lengths` are the frames of the segments of each file. A period that does not lie in the recording is a ValueError.
    """
    n_frames = sum(map(sum, lengths))
    for start, end in periods:
        _require_inside(start, end, n_frames / sampling_frequency)
    every = union(np.rint(np.asarray(periods, dtype=np.float64).reshape(-1, 2) * sampling_frequency).astype(np.int64))
    ends = accumulate(length for of_file in lengths for length in of_file)
    return [[_in_segment(every, next(ends), length) for length in of_file] for of_file in lengths]


def _in_segment(periods: IntArray, end: int, length: int) -> IntArray:
    return np.asarray(within(periods, end - length, end) - (end - length))


def _require_inside(start: float, end: float, length_s: float) -> None:
    if 0 <= start < end <= length_s:
        return
    found = f"artifacts has the period ({start:g}, {end:g})"
    if start >= end:
        raise ValueError(f"{found}, which ends before it starts; expected (start, end) in seconds, start below end")
    in_ms = start >= 0 and end <= 1000 * length_s
    raise ValueError(
        f"{found}, but the recording is {length_s:g} s long; expected seconds from its start, before any cut"
        + (f". If these are milliseconds, give ({start / 1000:g}, {end / 1000:g})" if in_ms else "")
    )


def say_what_is_dead(periods: Sequence[Sequence[IntArray]], n_frames: int, sampling_frequency: float) -> None:
    """Say how much of a recording is lost; a ValueError where that is all of it."""
    every = [own for of_file in periods for own in of_file]
    n_periods, n_dead = sum(map(len, every)), sum(int(np.diff(own).sum()) for own in every)
    if n_frames and n_dead == n_frames:
        raise ValueError("artifacts leaves nothing of the recording: every frame lies in a period of artefact")
    share = n_dead / max(n_frames, 1)
    said = f"artefacts: {n_periods} periods, {n_dead / sampling_frequency:.3g} s ({100 * share:.2g} % of the recording)"
    if share > MOST_DEAD:
        warn(f"{said}, are dead time: nothing is sorted there. Is that much of the recording disturbed?")
    else:
        logger.info("%s, are dead time: nothing is sorted there", said)
