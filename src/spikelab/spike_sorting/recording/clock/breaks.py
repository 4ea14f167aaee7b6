"""Find breaks in a vector of times or sample numbers without reading all of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# A break is a step that differs from one frame by more than this many frames.
LEAST_FRAMES = 1.5
# Entries between those that are compared first: a vector of eight-byte numbers has 32 kB from one to the next.
STRIDE = 4096
# A break is at least three times as large as jitter: the smallest range, over windows of 64 frames, of times about a
# straight line. Steps of Gaussian jitter are that large once in 10^10 frames; breaks are missed where no 64 frames are
# without one.
WINDOW, RANGES = 64, 3.0
# Entries before and after a step that say whether times have moved, or one entry is wrong.
NEIGHBOURS = 8


class Vector(Protocol):
    """Times or sample numbers of the frames of a recording, in memory or on disk."""

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def __getitem__(self, index: Any) -> Any:
        """Return the entries of a slice."""
        ...


@dataclass(frozen=True)
class Stretch:
    """Frames that were recorded without a break.

    Attributes
    ----------
    start, end : int
        Half-open range of frames.
    first, last : float
        Time or sample number of its first and its last frame.
    """

    start: int
    end: int
    first: float
    last: float

    @property
    def step(self) -> float | None:
        """Mean step from frame to frame; None with one frame."""
        return (self.last - self.first) / (self.end - self.start - 1) if self.end - self.start > 1 else None


def stretches(times: Vector, step: float) -> list[Stretch]:
    """Divide frames where their times jump.

    Parameters
    ----------
    times : vector
        One entry per frame.
    step : float
        Expected step from frame to frame, in the unit of the times: of the nominal sampling rate.

    Returns
    -------
    list of Stretch
        In order; they tile the frames. Times that jitter, single entries that are wrong, and times that drift against
        the expected step are no break.
    """
    n_frames = len(times)
    if not n_frames:
        return []
    starts = [0, *_breaks(times, step), n_frames]
    return [Stretch(start, end, float(times[start]), float(times[end - 1])) for start, end in pairwise(starts)]


def _breaks(times: Vector, step: float) -> Iterator[int]:
    """Yield the frames before which the times jump."""
    n_frames = len(times)
    grid = np.unique(np.append(np.arange(0, n_frames, STRIDE), n_frames - 1))
    if len(grid) < 2:
        return
    coarse = _sampled(times, grid)
    lengths = np.diff(grid)
    steps = np.diff(coarse) / lengths
    typical = int(np.argsort(steps)[len(steps) // 2])
    usual, least = _measured(_block(times, int(grid[typical]), int(grid[typical + 1])), step)
    # Blocks are read where half a break is missing, for their first and last entries jitter too.
    for i in np.flatnonzero(np.abs(steps - usual) * lengths > least / 2).tolist():
        first, last = max(int(grid[i]) - NEIGHBOURS, 0), min(int(grid[i + 1]) + NEIGHBOURS, n_frames - 1)
        for jump in _jumps(_block(times, first, last), usual, least):
            if grid[i] < first + jump <= grid[i + 1]:
                yield first + jump


def _sampled(times: Vector, frames: NDArray[np.int64]) -> NDArray[np.float64]:
    """Read single entries: by stride where the vector can, as HDF5 is slow at picking."""
    sampled = np.asarray(times[::STRIDE], dtype=np.float64)
    return sampled if len(sampled) == len(frames) else np.append(sampled, float(times[int(frames[-1])]))


def _block(times: Vector, first: int, last: int) -> NDArray[np.float64]:
    return np.asarray(times[first : last + 1], dtype=np.float64)


def _measured(block: NDArray[np.float64], step: float) -> tuple[float, float]:
    """Return the usual step from frame to frame of a block that may have breaks, and the least size of a break."""
    mean = (block[-1] - block[0]) / (len(block) - 1)
    jitter, slope = min((_jitter(block, slope), slope) for slope in (mean, step))
    least = max(LEAST_FRAMES * abs(slope), RANGES * jitter)
    steps = np.diff(block)
    if np.median(steps) == 0 and steps.any():  # the frames of a packet have one time
        least = max(least, RANGES * float(np.median(np.abs(steps[steps != 0]))))
    edges = [0, *_jumps(block, slope, least), len(block)]
    frames = len(block) - len(edges) + 1
    return float(sum(block[end - 1] - block[start] for start, end in pairwise(edges))) / max(frames, 1) or slope, least


def _jitter(block: NDArray[np.float64], slope: float) -> float:
    """Return the smallest range of times about a straight line."""
    line = block - slope * np.arange(len(block))
    return float(min(np.ptp(window) for window in np.array_split(line, max(1, len(line) // WINDOW))))


def _jumps(block: NDArray[np.float64], usual: float, least: float) -> list[int]:
    """Find the entries of a block before which the times move by more than `least`, and stay."""
    line = block - usual * np.arange(len(block))
    found = []
    for jump in (np.flatnonzero(np.abs(np.diff(line)) > least) + 1).tolist():
        before, after = line[max(jump - NEIGHBOURS, 0) : jump], line[jump : jump + NEIGHBOURS]
        if abs(float(np.median(after)) - float(np.median(before))) > least:
            found.append(jump)
    return found
