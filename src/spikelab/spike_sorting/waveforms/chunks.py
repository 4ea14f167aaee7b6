"""Walk through the recording in time order, chunk by chunk, visiting only the stretches that hold spikes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from spikelab.spike_sorting.data.traces import read_raw, sample_bytes
from spikelab.system.progress import Progress
from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Epoch, IntArray, TraceSource

CHUNK_BYTES = 64 * 2**20
MIN_CHUNK_FRAMES = 1000


@dataclass(frozen=True)
class Visit:
    """The traces around the spikes of one chunk.

    Attributes
    ----------
    epoch : int
        Index of the epoch the chunk belongs to.
    base : int
        Frame of the first row of `traces`.
    traces : numpy.ndarray, shape (frames, channels)
        In the source's own unit.
    first, last : numpy.ndarray of int64, shape (units,)
        The chunk's spikes of unit u are those from ``first[u]`` to ``last[u]`` of all trains, one after the other.
    """

    epoch: int
    base: int
    traces: NDArray[Any]
    first: IntArray
    last: IntArray

    @property
    def n_spikes(self) -> IntArray:
        """Of each unit, shape (units,)."""
        return self.last - self.first


class UnitPool:
    """Threads that share the units among themselves; with one worker no thread is started."""

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = max(1, n_jobs)
        self._pool = ThreadPool(self.n_jobs) if self.n_jobs > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, n_units: int, work: Callable[[slice], None], weights: IntArray | None = None) -> None:
        """Call `work` with contiguous slices that cover the units; returns when all are done.

        Each slice has as many units, or about as much of the sum of the `weights`, one per unit, as any other.
        """
        if self._pool is None:
            work(slice(0, n_units))
            return
        n_slices = min(self.n_jobs, n_units)
        if weights is None:
            inner = [n_units * k // n_slices for k in range(1, n_slices)]
        else:
            sums = np.cumsum(weights)
            inner = np.searchsorted(sums, sums[-1] * np.arange(1, n_slices) / n_slices).tolist()
        tasks = [self._pool.submit(work, slice(a, b)) for a, b in pairwise([0, *inner, n_units])]
        for task in tasks:
            task.result()


def chunk_grid(epochs: Sequence[Epoch], frames_per_chunk: int) -> tuple[IntArray, IntArray]:
    """Start frame and epoch index of each chunk; no chunk crosses a break between epochs."""
    starts = [np.arange(epoch.start_frame, epoch.end_frame, frames_per_chunk, dtype=np.int64) for epoch in epochs]
    return np.concatenate(starts), np.repeat(np.arange(len(epochs)), [len(part) for part in starts])


def visit_spikes(
    source: TraceSource, trains: Sequence[IntArray], before: int, after: int, label: str
) -> Iterator[Visit]:
    """Yield, in time order, the traces from `before` frames ahead of to `after` frames past the spikes of each chunk.

    What is yielded ends at the edges of the chunk's epoch. The grid depends on the recording alone, so that neither
    workers nor memory change a result.
    """
    frames_per_chunk = max(MIN_CHUNK_FRAMES, CHUNK_BYTES // (sample_bytes(source) * max(1, source.n_channels)))
    starts, chunk_epochs = chunk_grid(source.epochs, frames_per_chunk)
    edges = np.append(starts, source.n_samples)
    offsets = np.cumsum([0, *(len(train) for train in trains)])
    frames = np.concatenate(trains)
    bounds = np.stack([np.searchsorted(train, edges) for train in trains]) + offsets[:-1, None]
    with Progress(label, len(starts)) as progress:
        for chunk, epoch_index in enumerate(chunk_epochs):
            first, last = bounds[:, chunk].copy(), bounds[:, chunk + 1].copy()
            busy = first < last
            if busy.any():
                epoch = source.epochs[epoch_index]
                base = max(epoch.start_frame, int(frames[first[busy]].min()) - before)
                end = min(epoch.end_frame, int(frames[last[busy] - 1].max()) + after + 1)
                yield Visit(int(epoch_index), base, read_raw(source, base, end), first, last)
            progress.update()
