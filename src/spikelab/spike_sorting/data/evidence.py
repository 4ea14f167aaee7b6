"""Evidence on every spike: how large it was and where, and a stretch of traces to look at."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Evidence:
    """Size and place of every spike, and what of the recording is shown as traces.

    Spikes are those of :class:`Waveforms`, unit after unit, in time order within each.

    Attributes
    ----------
    unit_ids : numpy.ndarray of int64, shape (units,)
        As in the waveforms.
    counts : numpy.ndarray of int64, shape (units,)
        Number of spikes of each unit.
    amplitudes : numpy.ndarray of float32, shape (spikes,)
        The trace on the unit's main channel at the aligned frame, in uV: negative for a negative peak.
    places : numpy.ndarray of float32, shape (spikes, 2)
        Centre, in um, of the squared voltages at that frame on the channels near the main one, of those that have its
        sign; the main channel's position where none has.
    spreads : numpy.ndarray of float32, shape (units, samples)
        Standard deviation of the averaged windows on the main channel, in uV.
    noise : numpy.ndarray of float32, shape (channels,)
        Noise of each channel in uV, as in the waveforms.
    traces : numpy.ndarray of int16, shape (frames, channels)
        Some of the filtered channels over a fraction of a second.
    traces_start : int
        Frame of the first row of `traces`.
    traces_channels : numpy.ndarray of int64, shape (channels,)
        Channels of `traces`.
    traces_gain_uv : float
        Microvolts per count of `traces`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import Evidence
    >>> found = Evidence(
    ...     unit_ids=np.array([3, 5]), counts=np.array([1, 2]), amplitudes=np.float32([-80, -40, -50]),
    ...     places=np.zeros((3, 2), dtype=np.float32), spreads=np.ones((2, 81), dtype=np.float32),
    ...     noise=np.float32([5, 6]),
    ... )
    >>> found.spikes_of(1)
    slice(1, 3, None)
    """

    unit_ids: IntArray
    counts: IntArray
    amplitudes: FloatArray = field(repr=False)
    places: FloatArray = field(repr=False)
    spreads: FloatArray = field(repr=False)
    noise: FloatArray = field(repr=False)
    traces: NDArray[np.int16] = field(default_factory=lambda: np.empty((0, 0), dtype=np.int16), repr=False)
    traces_start: int = 0
    traces_channels: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False)
    traces_gain_uv: float = 1.0

    def spikes_of(self, unit: int) -> slice:
        """Select the spikes of the unit at a row among `amplitudes` and `places`."""
        start = int(self.counts[:unit].sum())
        return slice(start, start + int(self.counts[unit]))

    def save(self, folder: Path) -> None:
        """Write ``evidence.npz`` without pickled objects."""
        np.savez(folder / "evidence.npz", **{entry.name: getattr(self, entry.name) for entry in fields(self)})

    @classmethod
    def load(cls, folder: Path) -> Evidence:
        """Read the file that :meth:`save` wrote."""
        with np.load(folder / "evidence.npz") as data:
            arrays = dict(data)
        start, gain = int(arrays.pop("traces_start")), float(arrays.pop("traces_gain_uv"))
        return cls(traces_start=start, traces_gain_uv=gain, **arrays)
