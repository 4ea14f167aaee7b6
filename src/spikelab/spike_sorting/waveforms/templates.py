"""Running sums over windows, and the means and standard deviations that come of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikelab.spike_sorting.data.epochs import measured_epochs
from spikelab.spike_sorting.waveforms._kernels import add_windows, mean_and_std

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikelab.spike_sorting.data import FloatArray, IntArray, TraceSource
    from spikelab.spike_sorting.waveforms.chunks import Chunk, UnitPool
    from spikelab.spike_sorting.waveforms.windows import Window

SumArray = NDArray[np.float64]


@dataclass(frozen=True)
class Accumulator:
    """Running sums over the windows of a block of units, in the source's own unit.

    Sums are exact for the counts of a binary; float64 values are added in time order otherwise. No result depends on
    the blocks, the chunks or the workers.
    """

    units: slice  # the block among all units
    counts: IntArray  # windows that were added, by unit
    sums: SumArray  # of the windows, shape (units, samples, channels)
    squares: SumArray  # sums of the squares, same shape; empty where only means are asked for
    spare: SumArray  # memory for `snapshot`, same shape; empty with a single epoch

    @property
    def n_units(self) -> int:
        """Number of units of the block."""
        return len(self.sums)

    def clear(self, rows: slice) -> None:
        """Set the sums of some units to zero."""
        self.counts[rows], self.sums[rows], self.squares[rows] = 0, 0, 0

    def add(self, chunk: Chunk, frames: IntArray, picked: IntArray, n_before: int) -> None:
        """Add the windows around ``frames[picked]`` that lie in a chunk, restricted to the picked spikes."""
        rows = slice(chunk.unit - self.units.start, chunk.units.stop - self.units.start)
        add_windows(chunk, frames, picked, n_before, self.sums[rows], self.squares[rows])
        self.counts[rows] += chunk.n_spikes

    def snapshot(self, channels: IntArray) -> Snapshot:
        """Copy the present state; of the squares those on the main `channels`, shape (all units,), are kept."""
        main = channels[self.units]
        self.spare[:] = self.sums
        return Snapshot(self.counts.copy(), self.spare, self.squares[np.arange(self.n_units), :, main], main)


@dataclass(frozen=True)
class Snapshot:
    """Counts, sums and, on each unit's main channel, squares of an :class:`Accumulator` before an epoch."""

    counts: IntArray
    sums: SumArray
    squares: SumArray
    channels: IntArray


def running_sums(source: TraceSource, n_units: int, window: Window, block_bytes: int) -> SumArray:
    """Allocate memory for the running sums of at most `block_bytes`, or of one unit where that is more.

    Both passes use the same memory, as the system clears what is new.
    """
    n_arrays = 3 if measured_epochs(len(source.epochs)) else 2
    unit_bytes = 8 * n_arrays * window.n_samples * source.n_channels
    n_at_once = min(n_units, max(1, block_bytes // max(1, unit_bytes)))
    return np.empty(n_at_once * unit_bytes // 8)


@dataclass(frozen=True)
class Workspace:
    """Traces, window, threads and memory that both passes through a recording share."""

    source: TraceSource
    window: Window
    pool: UnitPool
    memory: SumArray

    def accumulators(self, n_units: int, *, squares: bool, by_epoch: bool) -> Iterator[Accumulator]:
        """Yield an empty accumulator for each block of as many units as fit into the memory, which blocks reuse."""
        shape, n_arrays = (self.window.n_samples, self.source.n_channels), 1 + squares + by_epoch
        step = min(n_units, self.memory.size // max(1, n_arrays * shape[0] * shape[1]))
        arrays = self.memory[: n_arrays * step * shape[0] * shape[1]].reshape(n_arrays, step, *shape)
        none = np.empty((step, 0, 0))
        for start in range(0, n_units, step):
            block = slice(start, min(start + step, n_units))
            sums, squared, spare = (
                array[: block.stop - block.start]
                for array in (arrays[0], arrays[1] if squares else none, arrays[-1] if by_epoch else none)
            )
            accumulator = Accumulator(block, np.empty(len(sums), dtype=np.int64), sums, squared, spare)
            self.pool.run(len(sums), accumulator.clear)
            yield accumulator


@dataclass(frozen=True)
class Averages:
    """Means and population standard deviations of the windows of each unit, in microvolts.

    Values within each epoch are NaN where there is no window, and None where :func:`measured_epochs` counts none.
    """

    counts: IntArray  # number of windows, by unit
    templates: FloatArray  # means, shape (units, samples, channels); zeros where a unit has no window
    stds: FloatArray  # same shape
    epoch_templates: FloatArray | None = None  # shape (epochs, units, samples, channels)
    epoch_stds: FloatArray | None = None  # on the unit's main channel alone, shape (epochs, units, samples)

    @classmethod
    def empty(cls, source: TraceSource, n_units: int, window: Window) -> Averages:
        """Make averages of no windows, to be filled block by block."""
        shape, n_epochs = (n_units, window.n_samples, source.n_channels), measured_epochs(len(source.epochs))
        counts, templates, stds = np.zeros(n_units, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        if not n_epochs:
            return cls(counts, templates, stds)
        epoch_templates = np.full((n_epochs, *shape), np.nan, dtype=np.float32)
        return cls(counts, templates, stds, epoch_templates, np.full((n_epochs, *shape[:2]), np.nan, dtype=np.float32))

    def fill(self, block: Accumulator, scale: float, rows: slice) -> None:
        """Write the averages of some units of a finished block."""
        for row in range(rows.start, rows.stop):
            unit, count = block.units.start + row, int(block.counts[row])
            self.counts[unit] = count
            if count:
                mean_and_std(block.sums[row], block.squares[row], count, scale, self.templates[unit], self.stds[unit])

    def fill_epoch(self, epoch: int, block: Accumulator, before: Snapshot, scale: float) -> None:
        """Write the averages within an epoch, of what a block gained since the snapshot `before` the epoch."""
        if self.epoch_templates is None or self.epoch_stds is None:
            return
        for row in np.flatnonzero(block.counts - before.counts).tolist():
            unit, channel, count = block.units.start + row, before.channels[row], block.counts[row] - before.counts[row]
            total = np.subtract(block.sums[row], before.sums[row], out=before.sums[row])
            self.epoch_templates[epoch, unit] = total * (scale / count)
            squared = block.squares[row, :, channel] - before.squares[row]
            deviations = np.maximum(squared - total[:, channel] ** 2 / count, 0)
            self.epoch_stds[epoch, unit] = np.sqrt(deviations / count) * abs(scale)
