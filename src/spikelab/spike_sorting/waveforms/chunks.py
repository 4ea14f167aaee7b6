"""Chunk iteration: the traces around the spikes of each chunk, in time order, and threads that share the units."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spikelab.spike_sorting.data.traces import read_raw, sample_bytes
from spikelab.system.progress import Progress
from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Epoch, IntArray, TraceSource
    from spikelab.spike_sorting.waveforms.alignment import Spikes
    from spikelab.spike_sorting.waveforms.windows import Window

CHUNK_BYTES = 64 * 2**20
MIN_CHUNK_FRAMES = 1000


class Chunk(NamedTuple):
    """Traces of one chunk, and the spikes that some units have in that chunk; kernels take such tuples.

    Spikes ``first[u]:last[u]``, of all spikes of all units, belong to unit u and lie in the chunk.
    """

    traces: NDArray[Any]  # in the source's own unit, shape (frames, channels)
    base: int  # frame of the first row of `traces`
    first: IntArray
    last: IntArray
    unit: int  # index, among all units, of the unit that first[0] belongs to
    epoch: int  # index of the epoch that the chunk belongs to

    @property
    def n_spikes(self) -> IntArray:
        """Number of spikes of each unit, shape (units,)."""
        return self.last - self.first

    @property
    def units(self) -> slice:
        """Units of the chunk among all units."""
        return slice(self.unit, self.unit + len(self.first))

    def of(self, rows: slice) -> Chunk:
        """Restrict the chunk to some of its units."""
        return self._replace(first=self.first[rows], last=self.last[rows], unit=self.unit + rows.start)

    def among(self, picked: IntArray) -> Chunk:
        """Restrict the chunk to the `picked` spikes, ascending indices, which `first` and `last` then refer to."""
        first, last = np.searchsorted(picked, (self.first, self.last))
        return self._replace(first=first, last=last)


class UnitPool(ThreadPool):
    """Threads that share the units among themselves; with one worker no thread is started."""

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = max(1, n_jobs)
        super().__init__(self.n_jobs)

    def run(self, n_units: int, work: Callable[[slice], None], weights: IntArray | None = None) -> None:
        """Call `work` with contiguous slices that cover the units; return when all are done.

        The slices have equal numbers of units or, with `weights`, one per unit, about equal sums of weights.
        """
        if self.n_jobs == 1:
            work(slice(0, n_units))
            return
        n_slices = min(self.n_jobs, n_units)
        if weights is None:
            inner = [n_units * k // n_slices for k in range(1, n_slices)]
        else:
            sums = np.cumsum(weights)
            inner = np.searchsorted(sums, sums[-1] * np.arange(1, n_slices) / n_slices).tolist()
        tasks = [self.submit(work, slice(a, b)) for a, b in pairwise([0, *inner, n_units])]
        for task in tasks:
            task.result()


def chunk_grid(epochs: Sequence[Epoch], frames_per_chunk: int) -> tuple[IntArray, IntArray]:
    """Return start frame and epoch index of each chunk; no chunk crosses a break between epochs."""
    starts = [np.arange(epoch.start_frame, epoch.end_frame, frames_per_chunk, dtype=np.int64) for epoch in epochs]
    return np.concatenate(starts), np.repeat(np.arange(len(epochs)), [len(part) for part in starts])


def iterate_chunks(source: TraceSource, spikes: Spikes, units: slice, window: Window, label: str) -> Iterator[Chunk]:
    """Yield each chunk that holds a spike of the `units`, in time order, with all frames that the spikes' windows need.

    The traces reach as far as the windows of spikes that have been aligned, but not out of the chunk's epoch. The grid
    of chunks depends on the recording alone, so that neither workers nor memory change a result.
    """
    before, after = window.n_before + spikes.radius, window.n_after + spikes.radius
    frames_per_chunk = max(MIN_CHUNK_FRAMES, CHUNK_BYTES // (sample_bytes(source) * max(1, source.n_channels)))
    starts, chunk_epochs = chunk_grid(source.epochs, frames_per_chunk)
    edges = np.append(starts, source.n_samples)
    trains = spikes.reported[units]
    frames, offsets = np.concatenate(trains), np.cumsum([0, *(len(train) for train in trains)])
    bounds = np.stack([np.searchsorted(train, edges) for train in trains]) + offsets[:-1, None]
    with Progress(label, len(starts)) as progress:
        for index, epoch_index in enumerate(chunk_epochs.tolist()):
            first, last = bounds[:, index], bounds[:, index + 1]
            busy = first < last
            if busy.any():
                epoch = source.epochs[epoch_index]
                base = max(epoch.start_frame, int(frames[first[busy]].min()) - before)
                end = min(epoch.end_frame, int(frames[last[busy] - 1].max()) + after + 1)
                places = first + spikes.offsets[units.start], last + spikes.offsets[units.start]
                yield Chunk(read_raw(source, base, end), base, *places, units.start, epoch_index)
            progress.update()
