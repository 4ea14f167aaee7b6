"""Spikes that are drawn of a long train: the extremes of every stretch of time, and the others evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    IntArray = NDArray[np.int64]


def thinned(frames: IntArray, measures: Sequence[ArrayLike], n_frames: int, most: int) -> IntArray:
    """Choose at most `most` spikes to draw, as ascending indices; all where there are no more.

    A quarter to a half are, of each of many equal stretches of time, those with the smallest and the largest of every
    measure, so that no outlier is lost; the rest are spread evenly over the train, so that what is drawn is as dense
    as the train is.
    """
    if len(frames) <= most:
        return np.arange(len(frames), dtype=np.int64)
    n_stretches = max(1, most // (4 * max(1, len(measures))))
    stretch = np.minimum(frames * n_stretches // max(n_frames, 1), n_stretches - 1)
    chosen = np.zeros(len(frames), dtype=np.bool_)
    starts = np.flatnonzero(np.diff(stretch, prepend=-1))
    for measure in measures:
        order = np.lexsort((np.asarray(measure, dtype=np.float64), stretch))
        chosen[order[starts]] = True  # the smallest of each stretch, as stretches follow one another
        chosen[order[np.append(starts[1:], len(frames)) - 1]] = True
    left = np.flatnonzero(~chosen)
    n_even = most - int(chosen.sum())
    chosen[left[np.linspace(0, len(left) - 1, n_even).astype(np.int64)]] = True
    return np.flatnonzero(chosen).astype(np.int64)


def n_stretches(most: int, n_measures: int) -> int:
    """Return of how many stretches the extremes are drawn."""
    return max(1, most // (4 * max(1, n_measures)))
