"""Interpolate traces to where contacts would have been if they had moved with the tissue, in compiled code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.compiling import contracted

if TYPE_CHECKING:
    from numpy.typing import NDArray


@contracted
def interpolate(
    traces: NDArray[np.float32],
    steps: NDArray[np.int64],
    bounds: NDArray[np.int64],
    sources: NDArray[np.int64],
    weights: NDArray[np.float32],
    moved: NDArray[np.float32],
) -> None:
    """Write `moved` (channels, frames): sums of `traces` (channels, frames) at other contacts.

    In the block of frames from ``bounds[b]`` to ``bounds[b + 1]``, channel c is the sum over k of
    ``weights[s, c, k]`` times the channel ``sources[s, c, k]``, with s being ``steps[b, c]``. The innermost loop runs
    over frames: it becomes vector instructions, and no frame depends on others.
    """
    for block in range(steps.shape[0]):
        first, end = bounds[block], bounds[block + 1]
        for channel in range(steps.shape[1]):
            step = steps[block, channel]
            target = moved[channel, first:end]
            for frame in range(target.size):
                target[frame] = np.float32(0)
            for index in range(sources.shape[2]):
                weight = weights[step, channel, index]
                source = traces[sources[step, channel, index], first:end]
                for frame in range(target.size):
                    target[frame] += weight * source[frame]
