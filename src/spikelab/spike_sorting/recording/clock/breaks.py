"""Find breaks in a vector of times or sample numbers without reading all of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# A break is a step of more or less than one frame by this many frames; clocks jitter by less.
LEAST_FRAMES = 1.5
# Entries between those that are compared first: one page of a file of eight-byte numbers holds 512.
STRIDE = 4096


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
        In order; they tile the frames. Times that drift against the expected step are no break.
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
    coarse = _sampled(times, grid)
    steps = np.diff(coarse) / np.diff(grid)
    usual = float(np.median(steps)) if len(steps) else step
    # A clock that runs off the nominal rate by a thousandth still is one; otherwise the nominal step is the measure.
    usual = usual if abs(usual - step) <= 1e-3 * abs(step) else step
    for i in np.flatnonzero(np.abs(steps - usual) * np.diff(grid) > LEAST_FRAMES * abs(usual)):
        first, last = int(grid[i]), int(grid[i + 1])
        block = np.asarray(times[first : last + 1], dtype=np.float64)
        jumps = np.flatnonzero(np.abs(np.diff(block) - usual) > LEAST_FRAMES * abs(usual))
        yield from (first + jumps + 1).tolist()


def _sampled(times: Vector, frames: NDArray[np.int64]) -> NDArray[np.float64]:
    """Read single entries: by stride where the vector can, as HDF5 is slow at picking."""
    sampled = np.asarray(times[::STRIDE], dtype=np.float64)
    return sampled if len(sampled) == len(frames) else np.append(sampled, float(times[int(frames[-1])]))
