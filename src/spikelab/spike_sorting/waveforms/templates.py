"""Which spikes are averaged, and their means and standard deviations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from spikelab.spike_sorting.data import Epoch, FloatArray, IntArray, TraceSource
from spikelab.spike_sorting.data.traces import read_raw, scale_uv
from spikelab.spike_sorting.waveforms._kernels import add_windows, mean_and_std
from spikelab.spike_sorting.waveforms.centring import Centring, epoch_limits
from spikelab.spike_sorting.waveforms.chunks import UnitPool, Visit, visit_spikes
from spikelab.spikedata._windows import whole_frames

HANDED_VALUES = 2**20  # of windows that are cut out at a time: 4 MB
SumArray = NDArray[np.float64]
WindowSink = Callable[[int, FloatArray], None]
"""Takes (unit index, windows): the next windows of that unit in time order, (n, samples, channels) microvolts."""
EpochSink = Callable[[int, int, SumArray, SumArray], None]
"""Takes (epoch index, index of the first unit, sums over the epoch of the units from there on, their sums of squares up
to the end of the epoch) in the source's own unit."""


@dataclass(frozen=True)
class Window:
    """The stretch around a spike: `n_before` frames, the spike's own, `n_after` frames."""

    n_before: int
    n_after: int

    @property
    def n_samples(self) -> int:
        """Length in frames."""
        return self.n_before + 1 + self.n_after

    @classmethod
    def from_ms(cls, ms_before: float, ms_after: float, sampling_frequency: float) -> Window:
        """Milliseconds to whole frames, cut off."""
        return cls(whole_frames(ms_before, sampling_frequency), whole_frames(ms_after, sampling_frequency))


@dataclass(frozen=True)
class Averages:
    """What a set of windows of each unit adds up to, in microvolts.

    Attributes
    ----------
    templates : numpy.ndarray of float32, shape (units, samples, channels)
        Means; zeros where a unit has no window.
    stds : numpy.ndarray of float32, same shape
        Population standard deviations of the same windows.
    epoch_templates : numpy.ndarray of float32, shape (epochs, units, samples, channels), or None
        Means within each epoch, NaN where there is no window; None with a single epoch.
    epoch_stds : numpy.ndarray of float32, shape (epochs, units, samples), or None
        Population standard deviations within each epoch, on the unit's main channel alone; likewise.
    """

    templates: FloatArray
    stds: FloatArray
    epoch_templates: FloatArray | None
    epoch_stds: FloatArray | None


def fitting(frames: IntArray, epochs: Sequence[Epoch], window: Window) -> IntArray:
    """Those of the `frames` whose whole window lies in one epoch."""
    start, end = epoch_limits(frames, epochs)
    return frames[(frames - window.n_before >= start) & (frames + window.n_after < end)]


def draw(frames: IntArray, limit: int, *keys: int) -> IntArray:
    """At most `limit` of the sorted `frames`, drawn without replacement, sorted; `keys` are the seed."""
    if len(frames) <= limit:
        return frames
    rng = np.random.default_rng([key & 0xFFFF_FFFF_FFFF_FFFF for key in keys])
    return frames[np.sort(rng.choice(len(frames), limit, replace=False))]


def gather(source: TraceSource, frames: IntArray, window: Window) -> FloatArray:
    """Cut the windows of a few spikes, shape (spikes, samples, channels), float32 microvolts."""
    windows = np.empty((len(frames), window.n_samples, source.n_channels), dtype=np.float32)
    for row, frame in enumerate(frames.tolist()):
        windows[row] = read_raw(source, frame - window.n_before, frame + window.n_after + 1)
    windows *= np.float32(scale_uv(source))
    return windows


class _Walk:
    """What is done at the visits of one block of units.

    Spikes are moved first where there is a `centring`; of those of each unit, `picked` are summed, or all.
    """

    def __init__(
        self,
        trains: Sequence[IntArray],
        picked: Sequence[IntArray] | None,
        centring: Centring | None,
        first_unit: int,
        n_before: int,
    ) -> None:
        offsets = np.cumsum([0, *(len(train) for train in trains)])
        self._picked = np.arange(offsets[-1])
        if picked is not None:
            self._picked = np.concatenate([own + offset for own, offset in zip(picked, offsets[:-1], strict=True)])
        self._frames = np.concatenate(trains)
        if centring is not None:
            first = centring.offsets[first_unit]
            self._frames = centring.frames[first : first + offsets[-1]]
        self._centring, self._first_unit, self._n_before = centring, first_unit, n_before

    def add(self, visit: Visit, sums: SumArray, squares: SumArray, units: slice) -> None:
        """Add the windows of some units to their sums."""
        if self._centring is not None:
            self._centring.move(visit, self._first_unit, units)
        spikes = self._frames, self._picked, *self._of(visit, units)
        add_windows(visit.traces, visit.base, *spikes, self._n_before, sums[units], squares[units])

    def hand_over(self, visit: Visit, window: Window, scale: float, sink: WindowSink, units: slice) -> None:
        """Give the windows of some units to `sink`; they have been added, and so moved, before."""
        around = np.arange(window.n_samples) - window.n_before - visit.base
        for unit, first, last in zip(range(units.start, units.stop), *self._of(visit, units), strict=True):
            at_a_time = max(1, HANDED_VALUES // (window.n_samples * visit.traces.shape[1]))
            for some in range(first, last, at_a_time):
                frames = self._frames[self._picked[some : min(some + at_a_time, last)]]
                sink(self._first_unit + unit, visit.traces[frames[:, None] + around] * np.float32(scale))

    def _of(self, visit: Visit, units: slice) -> tuple[IntArray, IntArray]:
        """Which of the picked spikes are visited."""
        bounds = np.searchsorted(self._picked, (visit.first[units], visit.last[units]))
        return bounds[0], bounds[1]


def running_sums(source: TraceSource, n_units: int, window: Window, block_bytes: int) -> SumArray:
    """Memory for the running sums of at most `block_bytes`, or of one unit where that is more.

    One pass after the other uses it, as the system clears what is new.
    """
    n_arrays = 2 if len(source.epochs) == 1 else 3
    unit_bytes = 8 * n_arrays * window.n_samples * source.n_channels
    n_at_once = min(n_units, max(1, block_bytes // max(1, unit_bytes)))
    return np.empty(n_at_once * unit_bytes // 8)


def unit_sums(
    source: TraceSource,
    trains: Sequence[IntArray],
    window: Window,
    pool: UnitPool,
    memory: SumArray,
    *,
    label: str,
    squares: bool = True,
    picked: Sequence[IntArray] | None = None,
    centring: Centring | None = None,
    epoch_sink: EpochSink | None = None,
    sink: WindowSink | None = None,
) -> Iterator[tuple[slice, SumArray, SumArray]]:
    """Yield (units, sums, sums of squares) over the windows of each unit, block by block, in the source's own unit.

    Running sums are kept for as many units at a time as fit into `memory`; each block is one pass through the
    recording in time order. They are exact for the counts of a binary and float64 otherwise, so that no result
    depends on the blocks, the chunks or the workers.

    Parameters
    ----------
    source : TraceSource
    trains : sequence of numpy.ndarray of int64
        Sorted frames per unit; every window that is summed must fit into its epoch.
    window : Window
    pool : UnitPool
    memory : numpy.ndarray of float64
        From :func:`running_sums`.
    label : str
        What the progress bar says.
    squares : bool
        Whether squares are summed as well; otherwise the third item is empty.
    picked : sequence of numpy.ndarray of int64, optional
        Which spikes of each train are summed, ascending; all by default.
    centring : Centring, optional
        Of the same `trains`; moves each spike before its window is summed.
    epoch_sink : callable, optional
        Is handed the sums over each epoch; needs `squares`.
    sink : callable, optional
        Is handed the windows themselves.

    Yields
    ------
    tuple of (slice, numpy.ndarray (units, samples, channels), numpy.ndarray (units, samples, channels))
        The arrays are overwritten when the next item is asked for.
    """
    shape, n_arrays = (window.n_samples, source.n_channels), 1 + squares + (epoch_sink is not None)
    step = min(len(trains), memory.size // max(1, n_arrays * shape[0] * shape[1]))
    arrays = memory[: n_arrays * step * shape[0] * shape[1]].reshape(n_arrays, step, *shape)
    sums, squared = arrays[0], arrays[1] if squares else np.empty((step, 0, 0))
    earlier = None if epoch_sink is None else arrays[-1]
    reach = 0 if centring is None else centring.radius
    for start in range(0, len(trains), step):
        block = trains[start : start + step]
        pool.run(len(block), partial(_clear, sums, squared))
        walk = _Walk(block, None if picked is None else picked[start : start + step], centring, start, window.n_before)
        visits = visit_spikes(source, block, window.n_before + reach, window.n_after + reach, label)
        for epoch, epoch_visits in groupby(visits, attrgetter("epoch")):
            if earlier is not None:
                earlier[:] = sums
            for visit in epoch_visits:
                pool.run(len(block), partial(walk.add, visit, sums, squared), visit.n_spikes)
                if sink is not None:
                    hand_over = partial(walk.hand_over, visit, window, scale_uv(source), sink)
                    pool.run(len(block), hand_over, visit.n_spikes)
            if epoch_sink is not None and earlier is not None:
                epoch_sink(epoch, start, np.subtract(sums, earlier, out=earlier)[: len(block)], squared)
        yield slice(start, start + len(block)), sums[: len(block)], squared[: len(block)]


def _clear(sums: SumArray, squares: SumArray, units: slice) -> None:
    sums[units], squares[units] = 0, 0


def average_windows(
    source: TraceSource,
    trains: Sequence[IntArray],
    channels: IntArray,
    window: Window,
    pool: UnitPool,
    memory: SumArray,
    *,
    picked: Sequence[IntArray] | None = None,
    centring: Centring | None = None,
    sink: WindowSink | None = None,
) -> Averages:
    """Mean and population standard deviation of the windows of each unit.

    `channels` are the main channels, shape (units,); other parameters as in :func:`unit_sums`.
    """
    shape, scale = (len(trains), window.n_samples, source.n_channels), scale_uv(source)
    templates, stds = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    summed = trains if picked is None else [train[own] for train, own in zip(trains, picked, strict=True)]
    by_epoch = _EpochAverages(source, summed, channels, window) if len(source.epochs) > 1 else None
    counts = [len(train) for train in summed]
    for units, sums, squares in unit_sums(
        source,
        trains,
        window,
        pool,
        memory,
        label="averaging waveforms",
        picked=picked,
        centring=centring,
        epoch_sink=by_epoch,
        sink=sink,
    ):
        results = counts[units], templates[units], stds[units]
        pool.run(len(sums), partial(_mean_and_std, sums, squares, scale, *results))
    if by_epoch is None:
        return Averages(templates, stds, None, None)
    return Averages(templates, stds, by_epoch.templates, by_epoch.stds)


def _mean_and_std(
    sums: SumArray,
    squares: SumArray,
    scale: float,
    counts: Sequence[int],
    templates: FloatArray,
    stds: FloatArray,
    units: slice,
) -> None:
    for unit in range(units.start, units.stop):
        if counts[unit]:
            mean_and_std(sums[unit], squares[unit], counts[unit], scale, templates[unit], stds[unit])


class _EpochAverages:
    """An epoch sink that fills the ``epoch_templates`` and ``epoch_stds`` of :class:`Averages`."""

    def __init__(self, source: TraceSource, trains: Sequence[IntArray], channels: IntArray, window: Window) -> None:
        shape = (len(source.epochs), len(trains), window.n_samples)
        self.templates = np.full((*shape, source.n_channels), np.nan, dtype=np.float32)
        self.stds = np.full(shape, np.nan, dtype=np.float32)
        self._epochs, self._trains, self._channels, self._scale = source.epochs, trains, channels, scale_uv(source)
        self._earlier_squares = np.zeros(shape[1:])

    def __call__(self, index: int, first_unit: int, sums: SumArray, squares: SumArray) -> None:
        epoch = self._epochs[index]
        for row, (total, squared) in enumerate(zip(sums, squares, strict=False)):
            unit = first_unit + row
            low, high = np.searchsorted(self._trains[unit], (epoch.start_frame, epoch.end_frame))
            count, channel = high - low, self._channels[unit]
            if not count:
                continue
            self.templates[index, unit] = total * (self._scale / count)
            own = squared[:, channel] - self._earlier_squares[unit]
            self._earlier_squares[unit] = squared[:, channel]
            deviations = np.maximum(own - total[:, channel] ** 2 / count, 0)
            self.stds[index, unit] = np.sqrt(deviations / count) * abs(self._scale)
