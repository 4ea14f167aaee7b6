"""Noise of each channel while the recording runs: MAD sigmas in blocks, of 50 ms by default.

Blocks are counted from the first frame. The sigma of a block is the median of those measured in up to `N_PAST` blocks
before, so that a stream in any chunk size computes the same numbers as a whole recording. In the first block none is
known yet: it is infinite, and no amplitude exceeds it. Blocks of which a tenth is silent (an artefact) do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spikedata._windows import MAD_TO_STD
from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray


BLOCK_MS = 50.0
N_PAST = 9  # blocks
SMALLEST_SIGMA = 0.5  # in microvolts: the rounding of a dead channel is no spike
EVERY = 2  # samples that are used: neighbours are nearly the same
IGNORED_BITS = 11  # lowest bits of the mantissa that are not searched for: sigma is exact to one part in 4096
TILE = 64  # channels that are searched together
MOST_SILENT = 0.1  # share of a block that may be silent: its medians would be too small


def block_frames(sampling_frequency: float, block_ms: float = BLOCK_MS) -> int:
    """Frames of a block."""
    return max(1, round(sampling_frequency * block_ms / 1000))


def block_sigmas(traces_uv: FloatArray, n_block_frames: int) -> FloatArray:
    """Measure sigma, median ``|x|`` / 0.6745 and no less than 0.5 uV, in each whole block, shape (blocks, channels).

    `traces_uv`, shape (frames, channels) in C order, starts with a block. An incomplete last block is ignored.
    """
    n_blocks = len(traces_uv) // n_block_frames
    sigmas = np.empty((n_blocks, traces_uv.shape[1]), dtype=np.float32)
    for block in range(n_blocks):
        rows = traces_uv[block * n_block_frames : (block + 1) * n_block_frames : EVERY]
        median_bits(rows.view(np.int32), sigmas[block].view(np.int32))
    sigmas /= np.float32(MAD_TO_STD)
    return np.maximum(sigmas, np.float32(SMALLEST_SIGMA), out=sigmas)


def median_of_past(sigmas: FloatArray) -> FloatArray:
    """Take the median over blocks; of an even number, the larger of the two in the middle."""
    middle: FloatArray = np.sort(sigmas, axis=0)[len(sigmas) // 2]
    return middle


def is_silent(block: FloatArray) -> bool:
    """Test whether more than a tenth of the frames of a block (frames, channels) are zero on all channels."""
    silent = block[:, 0] == 0
    if np.mean(silent) <= MOST_SILENT:
        return False
    silent &= ~block.any(axis=1)
    return bool(np.mean(silent) > MOST_SILENT)


class SigmaStream:
    """Measures the sigma of each block in frames that come in pieces; `n_frames` is the number fed so far."""

    def __init__(self, n_channels: int, n_block_frames: int) -> None:
        self.n_block_frames = n_block_frames
        self.n_frames = 0
        self._block = np.empty((self.n_block_frames, n_channels), dtype=np.float32)
        self._past = np.empty((0, n_channels), dtype=np.float32)

    def feed(self, traces_uv: FloatArray) -> FloatArray:
        """Take the next frames, shape (frames, channels); return the sigmas of the blocks that they make known.

        The row of block 0 is infinite and comes with the first frames; that of a block comes when it begins.
        """
        rows = [] if self.n_frames else [np.full(self._block.shape[1], np.inf, dtype=np.float32)]
        done = 0
        while done < len(traces_uv):
            filled = self.n_frames % self.n_block_frames
            taken = min(self.n_block_frames - filled, len(traces_uv) - done)
            self._block[filled : filled + taken] = traces_uv[done : done + taken]
            done += taken
            self.n_frames += taken
            if filled + taken == self.n_block_frames:
                newest = block_sigmas(self._block, self.n_block_frames)
                if not (len(self._past) and is_silent(self._block)):
                    self._past = np.concatenate([self._past, newest])[-N_PAST:]
                rows.append(median_of_past(self._past))
        return np.array(rows, dtype=np.float32).reshape(len(rows), self._block.shape[1])


@compiled
def median_bits(traces: NDArray[np.int32], medians: NDArray[np.int32]) -> None:
    """Find the median size in each channel from the highest bit down; of an even number, the larger in the middle.

    The bits of positive floats have the order of the numbers. Values below the bits found so far are counted, for many
    channels at once.
    """
    n_frames, n_channels = traces.shape
    rank = n_frames // 2
    bits = np.zeros((n_frames, TILE), dtype=np.int32)
    found = np.zeros(TILE, dtype=np.int32)
    trial = np.zeros(TILE, dtype=np.int32)
    smaller = np.zeros(TILE, dtype=np.int32)
    for first in range(0, n_channels, TILE):
        width = min(TILE, n_channels - first)
        copy_sizes(traces, first, width, bits)
        found[:] = 0
        for bit in range(30, IGNORED_BITS - 1, -1):
            for channel in range(TILE):
                trial[channel] = found[channel] | np.int32(1 << bit)
                smaller[channel] = 0
            for frame in range(n_frames):
                for channel in range(TILE):
                    smaller[channel] += np.int32(bits[frame, channel] < trial[channel])
            for channel in range(TILE):
                found[channel] = trial[channel] if smaller[channel] <= rank else found[channel]
        # Half of the ignored bits, so that the medians are not all too small.
        for channel in range(width):
            medians[first + channel] = found[channel] + np.int32(1 << (IGNORED_BITS - 1))


@compiled
def copy_sizes(traces: NDArray[np.int32], first: int, width: int, bits: NDArray[np.int32]) -> None:
    """Copy the bits of some channels without their sign."""
    for frame in range(traces.shape[0]):
        for channel in range(width):
            bits[frame, channel] = traces[frame, first + channel] & np.int32(0x7FFFFFFF)
