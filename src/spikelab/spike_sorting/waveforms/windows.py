"""Windows around spikes: which of them fit into an epoch, which are drawn, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data.traces import read_raw, scale_uv
from spikelab.spikedata._windows import whole_frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spikelab.spike_sorting.data import Epoch, FloatArray, IntArray, TraceSource
    from spikelab.spike_sorting.waveforms.chunks import Chunk

CUT_VALUES = 2**20  # of windows that are cut out at a time: 4 MB


@dataclass(frozen=True)
class Window:
    """Frames around a spike: `n_before` frames, the spike's own, `n_after` frames."""

    n_before: int
    n_after: int

    @property
    def n_samples(self) -> int:
        """Length in frames."""
        return self.n_before + 1 + self.n_after

    @classmethod
    def from_ms(cls, ms_before: float, ms_after: float, sampling_frequency: float) -> Window:
        """Convert milliseconds to whole frames, cut off."""
        return cls(whole_frames(ms_before, sampling_frequency), whole_frames(ms_after, sampling_frequency))


def epoch_limits(frames: IntArray, epochs: Sequence[Epoch]) -> tuple[IntArray, IntArray]:
    """Find the first and the end frame of the epoch that each of the `frames` lies in."""
    starts = np.array([epoch.start_frame for epoch in epochs], dtype=np.int64)
    ends = np.array([epoch.end_frame for epoch in epochs], dtype=np.int64)
    index = np.searchsorted(starts, frames, side="right") - 1
    return starts[index], ends[index]


def fitting(frames: IntArray, epochs: Sequence[Epoch], window: Window) -> IntArray:
    """Select the `frames` whose whole window lies in one epoch."""
    start, end = epoch_limits(frames, epochs)
    return frames[(frames - window.n_before >= start) & (frames + window.n_after < end)]


def draw(frames: IntArray, limit: int, *keys: int) -> IntArray:
    """Draw at most `limit` of the sorted `frames` without replacement, sorted; `keys` are the seed."""
    if len(frames) <= limit:
        return frames
    rng = np.random.default_rng([key & 0xFFFF_FFFF_FFFF_FFFF for key in keys])
    return frames[np.sort(rng.choice(len(frames), limit, replace=False))]


def gather(source: TraceSource, frames: IntArray, window: Window) -> FloatArray:
    """Read the windows of a few spikes, shape (spikes, samples, channels), float32 microvolts."""
    windows = np.empty((len(frames), window.n_samples, source.n_channels), dtype=np.float32)
    for row, frame in enumerate(frames.tolist()):
        windows[row] = read_raw(source, frame - window.n_before, frame + window.n_after + 1)
    windows *= np.float32(scale_uv(source))
    return windows


def cut_windows(
    chunk: Chunk, frames: IntArray, picked: IntArray, window: Window, scale: float
) -> Iterator[tuple[int, FloatArray]]:
    """Yield unit index and next windows, (n, samples, channels) times `scale`, of the picked spikes in a chunk."""
    around = np.arange(window.n_samples) - window.n_before - chunk.base
    at_a_time = max(1, CUT_VALUES // (window.n_samples * chunk.traces.shape[1]))
    for unit, first, last in zip(range(chunk.units.start, chunk.units.stop), chunk.first, chunk.last, strict=True):
        for start in range(first, last, at_a_time):
            rows = frames[picked[start : min(start + at_a_time, last)], None] + around
            yield unit, chunk.traces[rows] * np.float32(scale)
