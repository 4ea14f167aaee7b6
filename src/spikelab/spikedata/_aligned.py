"""Spikes around events, such as stimulation pulses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from spikelab.spikedata._base import Data
from spikelab.spikedata._epochs import TOLERANCE_MS, stretches_ms

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from spikelab.spikedata._base import BaseSpikeData

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AlignedSpikes(Generic[Data]):
    """Spikes of each unit around each of some events; times are ms relative to the event.

    Attributes
    ----------
    events : numpy.ndarray, shape (events,)
        Times of the events in ms, on the clock of the data, ascending.
    index : numpy.ndarray of int, shape (events,)
        Which of the times that were given each is: those whose window leaves the data, or the epoch that they are in,
        are left out.
    before, after : float
        The window in ms: spikes from ``-before`` up to ``after``.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> aligned = SpikeData([[98, 105, 207, 395]], length=500).align_to([100, 200, 400], 10, 20)
    >>> len(aligned), aligned.trains[0][0].tolist()
    (3, [-2.0, 5.0])
    """

    data: Data
    events: FloatArray
    index: NDArray[np.int64]
    before: float
    after: float
    dead_ms: FloatArray

    @property
    def unit_ids(self) -> list[Any]:
        """``unit_id`` of each unit."""
        return self.data.unit_ids

    @property
    def trains(self) -> list[list[FloatArray]]:
        """Times of the spikes in ms relative to the event, ascending: ``trains[unit][event]``, arrays in lists."""
        every = []
        for train in self.data.train:
            first = np.searchsorted(train, self.events - self.before)
            last = np.searchsorted(train, self.events + self.after)
            every.append([train[low:high] - event for low, high, event in zip(first, last, self.events, strict=True)])
        return every

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return f"AlignedSpikes({self.data.N} units, {len(self)} events, [-{self.before:g}, {self.after:g}] ms)"

    def edges(self, bin_size: float = 1.0) -> FloatArray:
        """Return the edges of the bins in ms relative to the event; 0 is one of them where `before` is whole bins.

        Parameters
        ----------
        bin_size : float, default 1.0
            In ms; the last bin is the last that is whole.

        Returns
        -------
        numpy.ndarray, shape (bins + 1,)

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> SpikeData([[105]], length=500).align_to([100], 10, 20).edges(10).tolist()
        [-10.0, 0.0, 10.0, 20.0]
        """
        if not (math.isfinite(bin_size) and 0 < bin_size <= self.before + self.after):
            raise ValueError(f"bin_size must be above 0 and at most the window, {self.before + self.after:g} ms")
        n_bins = int((self.before + self.after) / bin_size + 1e-9)
        return np.asarray(bin_size * np.arange(n_bins + 1) - self.before, dtype=np.float64)

    def counts(self, bin_size: float = 1.0) -> NDArray[np.int64]:
        """Count the spikes of each unit after each event.

        Parameters
        ----------
        bin_size : float, default 1.0
            In ms.

        Returns
        -------
        numpy.ndarray of int, shape (units, events, bins)

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> SpikeData([[105, 207]], length=500).align_to([100, 200], 10, 20).counts(10).tolist()
        [[[0, 1, 0], [0, 1, 0]]]
        """
        edges = self.edges(bin_size)
        # A time that was computed as a difference is off by a rounding error: it must not lie in the bin before.
        nudged = edges - 1e-6
        counts = np.zeros((self.data.N, len(self), len(edges) - 1), dtype=np.int64)
        for unit, of_events in enumerate(self.trains):
            for event, times in enumerate(of_events):
                counts[unit, event] = np.diff(np.searchsorted(times, nudged))
        return counts

    def live_ms(self, bin_size: float = 1.0) -> FloatArray:
        """Return how long was recorded in each bin, all events together, without dead time.

        Parameters
        ----------
        bin_size : float, default 1.0
            In ms.

        Returns
        -------
        numpy.ndarray, shape (bins,)

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> sd = SpikeData([[105]], length=500, metadata={"dead_time_s": [[0.1, 0.104]]})
        >>> sd.align_to([100, 200], 10, 20).live_ms(10).round(3).tolist()
        [20.0, 16.0, 20.0]
        """
        starts = self.events[:, None] + self.edges(bin_size)[:-1]
        # Dead time up to a moment, by which that between two moments is known.
        known = self.dead_ms.ravel()
        passed = np.concatenate([np.zeros(1), np.cumsum(np.diff(self.dead_ms, axis=1))])
        until = np.column_stack([passed[:-1], passed[1:]]).ravel()
        dead = _interpolated(starts + bin_size, known, until) - _interpolated(starts, known, until)
        live: FloatArray = (bin_size - dead).sum(axis=0)
        return live

    def rates(self, bin_size: float = 1.0) -> FloatArray:
        """Compute the firing rate of each unit around the events, the mean over the events.

        Parameters
        ----------
        bin_size : float, default 1.0
            In ms.

        Returns
        -------
        numpy.ndarray, shape (units, bins)
            In Hz, per live time; NaN where no event has any.

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> SpikeData([[105, 207]], length=500).align_to([100, 200], 10, 20).rates(10).tolist()
        [[0.0, 100.0, 0.0]]
        """
        live = self.live_ms(bin_size)
        spikes = self.counts(bin_size).sum(axis=1)
        enough = live > 1e-6
        return np.where(enough, 1000.0 * spikes / np.where(enough, live, 1.0), np.nan)

    def raster(self, unit: int) -> tuple[NDArray[np.int64], FloatArray]:
        """List the spikes of a unit as points of a raster.

        Parameters
        ----------
        unit : int
            Position of the unit.

        Returns
        -------
        events : numpy.ndarray of int, shape (spikes,)
            Position of the event of each spike.
        times : numpy.ndarray, shape (spikes,)
            In ms relative to it.

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> events, times = SpikeData([[98, 105, 207]], length=500).align_to([100, 200], 10, 20).raster(0)
        >>> events.tolist(), times.tolist()
        ([0, 0, 1], [-2.0, 5.0, 7.0])
        """
        of_events = self.trains[unit]
        events = np.repeat(np.arange(len(of_events)), [len(times) for times in of_events])
        return events, np.concatenate([*of_events, np.zeros(0)])

    def slices(self) -> list[Data]:
        """Cut the data into one :class:`.SpikeData` per event, whose time 0 is the event.

        Returns
        -------
        list of SpikeData

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> SpikeData([[98, 105, 207]], length=500).align_to([100, 200], 10, 20).slices()[1]
        SpikeData(N=1, 1 spikes, [-10, 20] ms)
        """
        from spikelab.spikedata._epochs import subtime

        return [
            subtime(self.data, event - self.before, event + self.after, shift_to=event)
            for event in self.events.tolist()
        ]


def _interpolated(times: FloatArray, known: FloatArray, values: FloatArray) -> FloatArray:
    """Interpolate, and go on with the first and the last value; 0 where nothing is known."""
    return np.interp(times, known, values) if len(known) else np.zeros_like(times)


def _within_one_stretch(sd: BaseSpikeData, starts: FloatArray, ends: FloatArray) -> NDArray[np.bool_]:
    """Tell of each window whether all of it lies in the data, and between the same boundaries of epochs."""
    stretches = stretches_ms(sd.metadata)
    known = np.array([[sd.start_time, sd.end_time]])
    bounds = known if stretches is None else np.clip(stretches, *known[0])
    # Boundaries ascend: the last stretch that begins early enough, or the one before it, is the only one that can do.
    last = np.searchsorted(bounds[:, 0], starts + TOLERANCE_MS, side="right") - 1
    inside: NDArray[np.bool_] = (last >= 0) & (ends <= bounds[last, 1] + TOLERANCE_MS)
    return inside


def align_to(sd: Data, times: ArrayLike, before: float, after: float) -> AlignedSpikes[Data]:
    """Collect the spikes around events, such as the pulses of :meth:`stim_times`.

    Parameters
    ----------
    sd : SpikeData
    times : array_like, shape (events,)
        Times of the events in ms, on the clock of the data, in any order.
    before, after : float
        The window around each event, in ms. Events whose window leaves the data are left out, and those whose window
        leaves their epoch (``rec_chunks_ms``): what comes next in the data is another file, or is later by the clock.

    Returns
    -------
    AlignedSpikes
        Spikes, counts, rates and rasters around the events; ``slices()`` are SpikeData of their own.

    Raises
    ------
    ValueError
        A time is no number, all of them lie outside of the data, or the window is empty.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> sd = SpikeData([[98, 105, 207], [210, 215]], length=500)
    >>> aligned = sd.align_to([100, 200], before=10, after=20)
    >>> aligned
    AlignedSpikes(2 units, 2 events, [-10, 20] ms)
    >>> aligned.rates(10).tolist()
    [[50.0, 100.0, 0.0], [0.0, 0.0, 100.0]]
    """
    events = np.asarray(times, dtype=np.float64).ravel()
    if not (math.isfinite(before) and math.isfinite(after) and before >= 0 and after >= 0 and before + after > 0):
        raise ValueError(f"before and after must be 0 ms or more, and not both 0, got {before} and {after}")
    if not np.isfinite(events).all():
        raise ValueError(f"{int((~np.isfinite(events)).sum())} of {len(events)} times are no numbers")
    order = np.argsort(events, kind="stable")
    inside = _within_one_stretch(sd, events[order] - before, events[order] + after)
    if len(events) and ((events < sd.start_time) | (events > sd.end_time)).all():
        raise ValueError(
            f"all {len(events)} times lie outside of the data, {sd.start_time:g} to {sd.end_time:g} ms: expected ms on "
            f"the clock of the data, got {events.min():g} to {events.max():g}"
        )
    dead = 1000 * np.asarray(sd.metadata.get("dead_time_s", ()), dtype=np.float64).reshape(-1, 2)
    return AlignedSpikes(sd, events[order][inside], order[inside], float(before), float(after), dead)
