"""Dead time of a recording: periods in which nothing can be told of neurons, and the annotation that carries them.

Periods are an array of int64, shape (periods, 2): first frame and end of each, half-open, on the clock of the sorted
(concatenated) recording; ascending, and apart from one another.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data.arrays import IntArray

IntRange: TypeAlias = tuple[int, int]

DEAD_TIME_ANNOTATION = "spikelab_dead_time"


def union(*periods: ArrayLike) -> IntArray:
    """Join periods that overlap or touch, of one or several lists in any order; empty ones are left out.

    Examples
    --------
    >>> from spikelab.spike_sorting.data import dead_time
    >>> dead_time.union([[50, 60], [10, 20]], [[15, 30]]).tolist()
    [[10, 30], [50, 60]]
    """
    every = [np.asarray(each, dtype=np.int64).reshape(-1, 2) for each in periods]
    joined = np.concatenate([np.empty((0, 2), dtype=np.int64), *every])
    joined = joined[joined[:, 0] < joined[:, 1]]
    joined = joined[np.argsort(joined[:, 0], kind="stable")]
    ends = np.maximum.accumulate(joined[:, 1])
    first = np.flatnonzero(np.append(True, joined[1:, 0] > ends[:-1])[: len(joined)])
    last = np.append(first[1:], len(joined))[: len(first)] - 1
    return np.column_stack([joined[first, 0], ends[last]])


def within(periods: IntArray, start: int, end: int) -> IntArray:
    """Return what of the periods lies in frames [start, end), on the same clock.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import dead_time
    >>> dead_time.within(np.array([[10, 30], [50, 60]]), 20, 55).tolist()
    [[20, 30], [50, 55]]
    """
    clipped: IntArray = np.clip(periods, start, end)
    return clipped[clipped[:, 0] < clipped[:, 1]]


def widened(periods: IntArray, before: int, after: int) -> IntArray:
    """Let every period begin `before` frames earlier and end `after` frames later.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import dead_time
    >>> dead_time.widened(np.array([[10, 30], [35, 60]]), 2, 3).tolist()
    [[8, 63]]
    """
    return union(np.asarray(periods, dtype=np.int64).reshape(-1, 2) + np.array([-before, after]))


def live_parts(periods: IntArray, start: int, end: int) -> IntArray:
    """Return what of frames [start, end) is in no period, rows of first frame and end.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import dead_time
    >>> dead_time.live_parts(np.array([[10, 30], [50, 60]]), 20, 80).tolist()
    [[30, 50], [60, 80]]
    """
    return union(np.array([start, *within(periods, start, end).reshape(-1), end]))


def of_live_time(periods: IntArray, ranges: Iterable[tuple[int, int]], start: int, end: int) -> list[list[IntRange]]:
    """Return where ranges that count the live frames of [start, end) from 0 are: for each its pieces of frames.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import dead_time
    >>> dead_time.of_live_time(np.array([[10, 30], [50, 60]]), [(0, 5), (25, 50)], 20, 100)
    [[(30, 35)], [(65, 90)]]
    """
    live = live_parts(periods, start, end)
    passed = np.cumsum(np.diff(live, axis=1)) - np.diff(live, axis=1)[:, 0]
    found = []
    for first, last in ranges:
        pieces = np.column_stack([live[:, 0] + np.maximum(first - passed, 0), live[:, 0] + last - passed])
        pieces[:, 1] = np.minimum(pieces[:, 1], live[:, 1])
        found.append([(int(a), int(b)) for a, b in pieces[pieces[:, 0] < pieces[:, 1]]])
    return found


def live_frames(periods: IntArray, start: int, end: int) -> int:
    """Count the frames of [start, end) that are in no period.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import dead_time
    >>> dead_time.live_frames(np.array([[10, 30], [50, 60]]), 0, 100)
    70
    """
    return max(end - start, 0) - int(np.diff(within(periods, start, end)).sum())


def in_dead_time(frames: ArrayLike, periods: IntArray) -> NDArray[np.bool_]:
    """Tell of every frame whether it lies in a period.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import dead_time
    >>> dead_time.in_dead_time([9, 10, 29, 30], np.array([[10, 30]])).tolist()
    [False, True, True, False]
    """
    # The edges of periods that are apart ascend; an odd number of them lies at or before a frame within a period.
    edges = np.searchsorted(np.asarray(periods).reshape(-1), np.asarray(frames), side="right")
    return np.asarray(edges % 2 == 1)


def windows_in_dead_time(frames: IntArray, before: int, after: int, periods: IntArray) -> NDArray[np.bool_]:
    """Tell of every frame whether its window [frame - before, frame + after) reaches into a period.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import dead_time
    >>> dead_time.windows_in_dead_time(np.array([8, 9, 33, 34]), 4, 2, np.array([[10, 30]])).tolist()
    [False, True, True, False]
    """
    return in_dead_time(frames, widened(periods, after - 1, before))


def annotate_dead_time(recording: BaseRecording, periods: IntArray) -> None:
    """Store the periods as an annotation of `recording`; none where there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from spikeinterface.core import NumpyRecording
    >>> from spikelab.spike_sorting.data import dead_time
    >>> recording = NumpyRecording([np.zeros((100, 2), dtype=np.float32)], 20_000.0)
    >>> dead_time.annotate_dead_time(recording, np.array([[10, 30]]))
    >>> dead_time.dead_time_of(recording).tolist()
    [[10, 30]]
    """
    if len(periods):
        recording.annotate(**{DEAD_TIME_ANNOTATION: json.dumps(np.asarray(periods).tolist())})


def dead_time_of(recording: BaseRecording) -> IntArray:
    """Read the periods of a recording from its annotation; none without one."""
    text = recording.get_annotation(DEAD_TIME_ANNOTATION)
    return union([] if text is None else json.loads(text))
