"""Spike counts, firing rates and interspike intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from spikelab.spikedata import _epochs
from spikelab.spikedata._dead_time import live_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData


def binned(sd: BaseSpikeData, bin_size: float = 40.0) -> NDArray[np.int64]:
    """Count the spikes of all units together per bin.

    Parameters
    ----------
    sd : SpikeData
    bin_size : float, default 40.0
        In ms.

    Returns
    -------
    numpy.ndarray of int64, shape (ceil(length / bin_size),)
        Bins are half-open and start at `start_time`; a spike at the very end counts in the last one.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> SpikeData([[10, 30], [35, 90]], length=100).binned(25).tolist()
    [1, 2, 0, 1]
    """
    n_bins = _number_of_bins(sd.length, bin_size)
    total = np.zeros(n_bins, dtype=np.int64)
    for times in sd.train:
        total += _bin_counts(times, sd.start_time, bin_size, n_bins)
    return total


def raster(sd: BaseSpikeData, bin_size: float = 1.0) -> NDArray[np.int32]:
    """Count the spikes per unit and bin.

    Parameters
    ----------
    sd : SpikeData
    bin_size : float, default 1.0
        In ms.

    Returns
    -------
    numpy.ndarray of int32, shape (N, ceil(length / bin_size))
        Bins as in :meth:`.SpikeData.binned`.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> SpikeData([[10, 30], [35, 90]], length=100).raster(50).tolist()
    [[2, 0], [1, 1]]
    """
    n_bins = _number_of_bins(sd.length, bin_size)
    counts = np.zeros((sd.N, n_bins), dtype=np.int32)
    for row, times in zip(counts, sd.train, strict=True):
        row[:] = _bin_counts(times, sd.start_time, bin_size, n_bins)
    return counts


def _number_of_bins(length: float, bin_size: float) -> int:
    """Return the number of bins that cover `length`: at least one; a remainder that is rounding error gets none."""
    if not bin_size > 0:
        raise ValueError(f"'bin_size' must be a positive number of ms, got {bin_size}")
    nearest = round(length / bin_size)
    return max(1, nearest if abs(length - nearest * bin_size) < 1e-6 else math.ceil(length / bin_size))


def _bin_counts(times: NDArray[np.float64], start: float, bin_size: float, n_bins: int) -> NDArray[np.int64]:
    """Count spikes per half-open bin; the end of the last bin belongs to that bin."""
    index = np.minimum((times - start) / bin_size, n_bins - 1).astype(np.int64)
    return np.bincount(index, minlength=n_bins)


def rates(sd: BaseSpikeData, unit: Literal["kHz", "Hz"] = "kHz") -> NDArray[np.float64]:
    """Compute the mean firing rate per unit over the whole length, without dead time (``metadata["dead_time_s"]``).

    Parameters
    ----------
    sd : SpikeData
    unit : {"kHz", "Hz"}, default "kHz"

    Returns
    -------
    numpy.ndarray of float64, shape (N,)
        0 where no time is left.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> SpikeData([[10, 30], [35]], length=1000).rates("Hz")
    array([2., 1.])
    """
    if unit not in ("kHz", "Hz"):
        raise ValueError(f"'unit' must be one of {{'kHz', 'Hz'}}, got {unit!r}")
    length = live_ms(sd)
    if length == 0:
        return np.zeros(sd.N)
    return sd.spike_counts / (length if unit == "kHz" else length / 1000)


def interspike_intervals(sd: BaseSpikeData) -> list[NDArray[np.float64]]:
    """Compute the intervals between consecutive spikes of each unit in ms.

    Those across an epoch boundary, or across dead time (``metadata["dead_time_s"]``), are left out.

    Parameters
    ----------
    sd : SpikeData

    Returns
    -------
    list of numpy.ndarray of float64

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> epochs = {"rec_chunks_ms": [[0, 50], [50, 100]]}
    >>> SpikeData([[10, 30, 60, 65]], length=100, metadata=epochs).interspike_intervals()
    [array([20.,  5.])]
    """
    starts = _epochs.starts_ms(sd.metadata)
    return [_epochs.intervals(times, starts) for times in sd.train]
