"""Compiled inner loops: windows of a donor's spikes summed and measured, spikes of a neuron added to traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray


@compiled
def measure_windows(
    counts: NDArray[np.int16],
    starts: IntArray,
    channels: IntArray,
    template: FloatArray,
    bins: IntArray,
    sums: NDArray[np.float64],
    sizes: NDArray[np.float64],
) -> None:
    """Add each window to the sums of its stretch, and write its product with the template.

    ``starts[i]`` is the first row of a window in `counts`; `sums` have no rows where only the products are wanted.
    """
    for spike in range(starts.size):
        product = 0.0
        for sample in range(template.shape[0]):
            row = counts[starts[spike] + sample]
            for k in range(channels.size):
                value = float(row[channels[k]])
                product += value * template[sample, k]
                if sums.shape[0] > 0:
                    sums[bins[spike], sample, k] += value
        sizes[spike] = product


@compiled
def add_spikes(
    traces: FloatArray,
    starts: IntArray,
    channels: IntArray,
    shapes: FloatArray,
    lower: IntArray,
    share: FloatArray,
    phases: IntArray,
    sizes: FloatArray,
) -> None:
    """Add spikes to traces; ``starts[i]`` is the row of the first sample of a spike, which may lie outside.

    The shape of a spike is that of its phase in the stretch ``lower[i]``, and by ``share[i]`` in the one after it.
    """
    last = shapes.shape[0] - 1
    for spike in range(starts.size):
        first = shapes[lower[spike], phases[spike]]
        other = shapes[min(lower[spike] + 1, last), phases[spike]]
        for sample in range(shapes.shape[2]):
            at = starts[spike] + sample
            if at < 0 or at >= traces.shape[0]:
                continue
            for k in range(channels.size):
                value = (1.0 - share[spike]) * first[sample, k] + share[spike] * other[sample, k]
                traces[at, channels[k]] += sizes[spike] * value
