"""The noise of each channel while the recording runs: a track of MAD sigmas in blocks, of 50 ms by default.

The recording is cut into blocks, counted from its first frame. The sigma that applies within a block is the median of
those of up to `N_PAST` blocks before it: it never looks ahead, and depends on nothing but the frames, so that a stream
in any chunk size computes the same numbers as a whole recording. In the first block there is none yet (infinity, which
no amplitude exceeds).

::

    block_frames(sampling_frequency, block_ms)       frames of a block
    block_sigmas(traces_uv, n_block_frames)          sigma of each whole block, (blocks, channels)
    sigma_track(sigmas)                              what applies in each block: one more row than `sigmas`
    SigmaStream(n_channels, n_block_frames)          the same, fed in pieces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spikedata._windows import MAD_TO_STD
from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

BLOCK_MS = 50.0
N_PAST = 9  # blocks
# In microvolts: a channel that is cut off or quantised to nothing must not turn its rounding into spikes.
SMALLEST_SIGMA = 0.5
# Neighbouring samples of a band-passed recording say nearly the same.
EVERY = 2
# The lowest bits of the mantissa that are not searched for: sigma is exact to one part in 4096.
IGNORED_BITS = 11
TILE = 64  # channels that are searched together


def block_frames(sampling_frequency: float, block_ms: float = BLOCK_MS) -> int:
    """Frames of a block."""
    return max(1, round(sampling_frequency * block_ms / 1000))


def block_sigmas(traces_uv: Floats, n_block_frames: int) -> Floats:
    """Sigma of each whole block, median ``|x|`` / 0.6745, no smaller than 0.5 uV.

    Parameters
    ----------
    traces_uv : numpy.ndarray of float32, shape (frames, channels)
        In C order; its first frame is the first one of a block. An incomplete last block is ignored.
    n_block_frames : int

    Returns
    -------
    numpy.ndarray of float32, shape (blocks, channels)
    """
    n_blocks = len(traces_uv) // n_block_frames
    sigmas = np.empty((n_blocks, traces_uv.shape[1]), dtype=np.float32)
    for block in range(n_blocks):
        rows = traces_uv[block * n_block_frames : (block + 1) * n_block_frames : EVERY]
        median_sizes(rows, sigmas[block])
    sigmas /= np.float32(MAD_TO_STD)
    return np.maximum(sigmas, np.float32(SMALLEST_SIGMA), out=sigmas)


def sigma_track(sigmas: Floats) -> Floats:
    """Sigma that applies in each block and in the one after the last, shape (blocks + 1, channels).

    Parameters
    ----------
    sigmas : numpy.ndarray of float32, shape (blocks, channels)
        From :func:`block_sigmas`, from the start of the recording on.
    """
    track = np.full((len(sigmas) + 1, sigmas.shape[1]), np.inf, dtype=np.float32)
    for block in range(1, len(track)):
        track[block] = median_of_past(sigmas[max(0, block - N_PAST) : block])
    return track


def median_of_past(sigmas: Floats) -> Floats:
    """Median over blocks; of an even number, the larger of the two in the middle."""
    middle: Floats = np.sort(sigmas, axis=0)[len(sigmas) // 2]
    return middle


class SigmaStream:
    """The sigma track of frames that come in pieces.

    Parameters
    ----------
    n_channels, n_block_frames : int

    Attributes
    ----------
    n_block_frames : int
    n_frames : int
        Frames fed so far.
    """

    def __init__(self, n_channels: int, n_block_frames: int) -> None:
        self.n_block_frames = n_block_frames
        self.n_frames = 0
        self._block = np.empty((self.n_block_frames, n_channels), dtype=np.float32)
        self._past = np.empty((0, n_channels), dtype=np.float32)

    def feed(self, traces_uv: Floats) -> Floats:
        """Take the next frames, shape (frames, channels); return the rows that :func:`sigma_track` gains, in order.

        The first row of all, that of block 0, is infinite and comes with the first frames.
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
                self._past = np.concatenate([self._past, newest])[-N_PAST:]
                rows.append(median_of_past(self._past))
        return np.array(rows, dtype=np.float32).reshape(-1, self._block.shape[1])


def median_sizes(traces: Floats, medians: Floats) -> None:
    """Write the median of ``|traces|`` over frames to `medians`; of an even number, the larger in the middle.

    The bits of a positive float sort like the number.
    """
    median_bits(traces.view(np.int32), medians.view(np.int32))


@compiled
def median_bits(traces: NDArray[np.int32], medians: NDArray[np.int32]) -> None:
    """Find the median of each channel, without its sign, from the highest bit down.

    By counting, for many channels at once, the values that are smaller than what is known of the median so far.
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
        # Half of what was not searched for, so that the medians are not all too small.
        for channel in range(width):
            medians[first + channel] = found[channel] + np.int32(1 << (IGNORED_BITS - 1))


@compiled
def copy_sizes(traces: NDArray[np.int32], first: int, width: int, bits: NDArray[np.int32]) -> None:
    """Copy the bits of some channels without their sign."""
    for frame in range(traces.shape[0]):
        for channel in range(width):
            bits[frame, channel] = traces[frame, first + channel] & np.int32(0x7FFFFFFF)
