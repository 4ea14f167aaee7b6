"""Correlograms: how often a spike of one unit comes at some lag after a spike of another one, or of the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

PAIRS_AT_A_TIME = 2**20


def correlogram(
    first: IntArray, second: IntArray, width: int, n_bins: int, starts: IntArray | None = None, *, same: bool = False
) -> IntArray:
    """Count the pairs of spikes by how many frames that of `second` comes after that of `first`.

    Parameters
    ----------
    first, second : numpy.ndarray of int64
        Frames, ascending.
    width : int
        Of a bin, in frames.
    n_bins : int
        On each side of zero.
    starts : numpy.ndarray of int64, optional
        Frames where a new epoch starts, or dead time begins or ends, ascending: no pair across one is counted.
    same : bool, default False
        Both are one train: no spike is paired with itself.

    Returns
    -------
    numpy.ndarray of int64, shape (2 * n_bins,)
        Bin ``n_bins + k`` holds lags in [k * width, (k + 1) * width), as SpikeInterface's do.
    """
    reach = width * n_bins
    if starts is not None and len(starts):  # epochs are moved apart, for between them any time may have passed
        first, second = (
            frames + 2 * reach * np.searchsorted(starts, frames, side="right") for frames in (first, second)
        )
    begin = np.searchsorted(second, first - reach, side="left")
    sums = np.concatenate([[0], np.cumsum(np.searchsorted(second, first + reach, side="left") - begin)])
    counts = np.zeros(2 * n_bins, dtype=np.int64)
    row = 0
    while row < len(first):
        end = max(row + 1, int(np.searchsorted(sums, sums[row] + PAIRS_AT_A_TIME, side="right")) - 1)
        n_pairs = np.diff(sums[row : end + 1])
        which = np.repeat(np.arange(row, end), n_pairs)
        column = np.arange(sums[row], sums[end]) - sums[which] + begin[which]
        counts += np.bincount((second[column] - first[which] + reach) // width, minlength=2 * n_bins)
        row = end
    if same:
        counts[n_bins] -= len(first)
    return counts
