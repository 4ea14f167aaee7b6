"""Compiled inner loop that measures each spike by itself; it releases the GIL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.waveforms.chunks import Chunk


@compiled
def measure_spikes(
    chunk: Chunk,
    frames: IntArray,
    near: IntArray,
    signs: NDArray[np.float64],
    locations: NDArray[np.float64],
    scale: float,
    amplitudes: NDArray[np.float32],
    places: NDArray[np.float32],
) -> None:
    """Write amplitude and place of the chunk's spikes; ``near[u]`` are the channels of unit u, its main one first."""
    traces, base = chunk.traces, chunk.base
    for unit in range(chunk.first.size):
        main, sign = near[unit, 0], signs[unit]
        for spike in range(chunk.first[unit], chunk.last[unit]):
            row = traces[frames[spike] - base]
            amplitudes[spike] = row[main] * scale
            weights, x, y = 0.0, 0.0, 0.0
            for channel in near[unit]:
                value = sign * row[channel] if channel >= 0 else 0.0
                if value > 0.0:
                    weights += value * value
                    x += value * value * locations[channel, 0]
                    y += value * value * locations[channel, 1]
            places[spike, 0] = x / weights if weights > 0.0 else locations[main, 0]
            places[spike, 1] = y / weights if weights > 0.0 else locations[main, 1]
