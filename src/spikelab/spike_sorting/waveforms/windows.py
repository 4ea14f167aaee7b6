"""Windows around spikes: which of them fit into an epoch, which are drawn, what they hold, and the sinks for them."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data import Epoch
from spikelab.spike_sorting.data.dead_time import in_dead_time
from spikelab.spike_sorting.data.traces import dead_time_in, read_raw, scale_uv
from spikelab.spikedata._windows import whole_frames
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.data import FloatArray, IntArray, TraceSource
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


def stretches(source: TraceSource) -> Sequence[Epoch]:
    """Return the epochs, cut where dead time begins and ends: no window of a spike reaches across any of these."""
    dead = dead_time_in(source)
    if not len(dead):
        return source.epochs
    edges = np.unique([0, source.n_samples, *(epoch.start_frame for epoch in source.epochs), *dead.reshape(-1)])
    return [Epoch(start, end) for start, end in itertools.pairwise(edges.tolist())]


def epoch_limits(frames: IntArray, epochs: Sequence[Epoch]) -> tuple[IntArray, IntArray]:
    """Find the first and the end frame of the epoch that each of the `frames` lies in."""
    starts = np.array([epoch.start_frame for epoch in epochs], dtype=np.int64)
    ends = np.array([epoch.end_frame for epoch in epochs], dtype=np.int64)
    index = np.searchsorted(starts, frames, side="right") - 1
    return starts[index], ends[index]


def fitting(frames: IntArray, source: TraceSource, window: Window) -> IntArray:
    """Select the `frames` whose whole window lies in one epoch, outside dead time."""
    start, end = epoch_limits(frames, stretches(source))
    fits = (frames - window.n_before >= start) & (frames + window.n_after < end)
    return frames[fits & ~in_dead_time(frames, dead_time_in(source))]


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


class FolderSink:
    """Sink that writes ``waveforms_{unit}.npy``, (n, samples, channels) float32 microvolts, without holding them.

    `shapes` are unit id -> (n, samples, channels), in the order of the units.
    """

    def __init__(self, folder: Path, shapes: Mapping[int, tuple[int, int, int]]) -> None:
        self.paths = [folder / f"waveforms_{unit}.npy" for unit in shapes]
        for path, shape in zip(self.paths, shapes.values(), strict=True):
            with path.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})

    @classmethod
    @contextmanager
    def into(cls, folder: Path, shapes: Mapping[int, tuple[int, int, int]]) -> Iterator[FolderSink]:
        """Yield a sink whose files appear in `folder` together at the end of the block, or not at all on an error."""
        folder.mkdir(parents=True, exist_ok=True)
        with files.folder_beside(folder / "waveforms") as temporary:
            sink = cls(temporary, shapes)
            yield sink
            for path in sink.paths:
                path.replace(folder / path.name)

    def add(self, unit: int, windows: FloatArray) -> None:
        """Append the next windows of the unit with this index; no file stays open, as units can be very many."""
        with self.paths[unit].open("ab") as file:
            file.write(np.ascontiguousarray(windows, dtype="<f4").data)


class MemorySink:
    """Sink that fills `arrays`, unit id -> windows of the `shapes`, (n, samples, channels) float32 microvolts."""

    def __init__(self, shapes: Mapping[int, tuple[int, int, int]], arrays: dict[int, FloatArray]) -> None:
        arrays.update({unit: np.empty(shape, dtype=np.float32) for unit, shape in shapes.items()})
        self._arrays = [arrays[unit] for unit in shapes]
        self._filled = [0] * len(shapes)

    def add(self, unit: int, windows: FloatArray) -> None:
        """Store the next windows of the unit with this index."""
        start = self._filled[unit]
        self._filled[unit] = start + len(windows)
        self._arrays[unit][start : start + len(windows)] = windows
