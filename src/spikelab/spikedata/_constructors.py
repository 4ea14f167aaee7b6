"""Spike data from lists of spikes, from counts per bin, and from traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from spikelab.spikedata._waveform_metrics import noise_levels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from spikelab.spikedata._base import Data

Direction = Literal["both", "up", "down"]


def from_idces_times(
    cls: type[Data],
    idces: ArrayLike,
    times: ArrayLike,
    N: int | None = None,
    length: float | None = None,
    **more: Any,
) -> Data:
    """Make spike data like :meth:`.SpikeData.from_idces_times`."""
    units, moments = np.asarray(idces).ravel(), np.asarray(times, dtype=np.float64).ravel()
    if units.shape != moments.shape:
        raise ValueError(f"there are {len(units)} unit indices for {len(moments)} spike times; expected as many")
    index = units.astype(np.int64)
    if not (index == units).all() or (index < 0).any():
        raise ValueError("unit indices must be whole numbers from 0 on")
    n_units = int(index.max(initial=-1)) + 1 if N is None else int(N)
    if (index >= n_units).any():
        raise ValueError(f"unit {index.max()} is out of range: N={n_units}, counted from 0")
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index, minlength=n_units))
    return cls(np.split(moments[order], ends[:-1]) if n_units else [], length=length, **more)


def from_raster(cls: type[Data], raster: ArrayLike, bin_size: float = 1.0, **more: Any) -> Data:
    """Make spike data like :meth:`.SpikeData.from_raster`."""
    counts = np.asarray(raster)
    if counts.ndim != 2:
        raise ValueError(f"a raster must have shape (units, bins), got {counts.shape}")
    whole = counts.astype(np.int64)
    if not (whole == counts).all() or (whole < 0).any():
        raise ValueError("a raster must hold spike counts: whole numbers from 0 on")
    if not bin_size > 0:
        raise ValueError(f"'bin_size' must be a positive number of ms, got {bin_size}")
    start = float(more.get("start_time", 0.0))
    train = [start + _spread(row) * bin_size for row in whole]
    return cls(train, **{"length": whole.shape[1] * bin_size, **more})


def _spread(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the places of spikes in units of bins."""
    bins = np.repeat(np.arange(len(counts)), counts)
    nth = np.arange(len(bins)) - np.repeat(np.cumsum(counts) - counts, counts)
    return bins + (nth + 0.5) / counts[bins]


def from_thresholding(
    cls: type[Data],
    data: ArrayLike,
    fs: float,
    threshold: float = 5.0,
    direction: Direction = "both",
    **more: Any,
) -> Data:
    """Make spike data like :meth:`.SpikeData.from_thresholding`."""
    traces = np.asarray(data)
    if traces.ndim != 2:
        raise ValueError(f"data must have shape (channels, samples), got {traces.shape}")
    if not (fs > 0 and threshold > 0):
        raise ValueError(f"'fs' (Hz) and 'threshold' must be positive, got {fs} and {threshold}")
    if direction not in get_args(Direction):
        raise ValueError(f"direction must be one of {', '.join(get_args(Direction))}, got {direction!r}")
    start = float(more.get("start_time", 0.0))
    levels = threshold * noise_levels(traces)
    train = [
        start + _crossings(trace, level, direction) * 1000.0 / fs for trace, level in zip(traces, levels, strict=True)
    ]
    metadata = {"fs_Hz": float(fs), **(more.pop("metadata", None) or {})}
    length = traces.shape[1] * 1000.0 / fs
    return cls(train, metadata=metadata, **{"length": length, "raw_data": traces, "raw_time": fs / 1000, **more})


def _crossings(trace: NDArray[Any], level: float, direction: Direction) -> NDArray[np.int64]:
    """Find the first samples of the excursions of a trace beyond `level` from its median."""
    if not level > 0:
        return np.empty(0, dtype=np.int64)
    size = trace.astype(np.float64) - np.median(trace)
    if direction != "up":
        size = -size if direction == "down" else np.abs(size)
    beyond = np.concatenate([[False], size >= level])
    return np.flatnonzero(beyond[1:] & ~beyond[:-1])
