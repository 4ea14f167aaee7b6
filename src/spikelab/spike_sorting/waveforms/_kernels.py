"""The inner loops, compiled; they release the GIL, so threads run them side by side.

Spikes are flat arrays in (unit, time) order: ``first[u]:last[u]`` are the spikes of unit u in the chunk at hand, and
``base`` is the frame of the chunk's first row. A unit is only ever touched by one thread and its spikes are added
one by one in time order, in float64, so the sums do not depend on the chunk size or the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting._types import IntArray

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compile on first use; keep the machine code on disk where some cache folder can be written."""
    kernel: Any
    try:
        kernel = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba's word for: no place for a cache (read-only install, no home folder)
        kernel = njit(nogil=True)(function)
    return cast("Kernel", kernel)


@compiled
def centre_spikes(
    traces: NDArray[Any],
    base: int,
    low: IntArray,
    high: IntArray,
    first: IntArray,
    last: IntArray,
    channels: IntArray,
    positive: NDArray[np.bool_],
    centred: IntArray,
) -> None:
    """Write the frame of the extremum within [low, high] on the unit's channel; the earliest of equals wins."""
    for unit in range(first.size):
        channel = channels[unit]
        for spike in range(first[unit], last[unit]):
            best = low[spike]
            for frame in range(low[spike] + 1, high[spike] + 1):
                value = traces[frame - base, channel]
                peak = traces[best - base, channel]
                if (value > peak) if positive[unit] else (value < peak):
                    best = frame
            centred[spike] = best


@compiled
def add_windows(
    traces: NDArray[Any],
    base: int,
    frames: IntArray,
    first: IntArray,
    last: IntArray,
    n_before: int,
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Add each spike's window to ``sums[u]`` and, unless `squares` is empty, its squares to ``squares[u]``."""
    n_samples, n_channels = sums.shape[1], sums.shape[2]
    for unit in range(first.size):
        for spike in range(first[unit], last[unit]):
            start = frames[spike] - n_before - base
            for sample in range(n_samples):
                if squares.size:
                    for channel in range(n_channels):
                        value = np.float64(traces[start + sample, channel])
                        sums[unit, sample, channel] += value
                        squares[unit, sample, channel] += value * value
                else:
                    for channel in range(n_channels):
                        sums[unit, sample, channel] += np.float64(traces[start + sample, channel])


@compiled
def count_values(traces: NDArray[np.int16], first_channel: int, counts: NDArray[np.int32]) -> None:
    """Count how often each int16 value occurs; ``counts[c, value + 32768]`` for channel ``first_channel + c``."""
    for frame in range(traces.shape[0]):
        for channel in range(counts.shape[0]):
            counts[channel, np.int64(traces[frame, first_channel + channel]) + 32768] += 1
