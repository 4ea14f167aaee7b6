"""Templates, noise and metrics of all units."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data.arrays import FloatArray, IntArray

LARGE = ("templates", "template_stds", "epoch_templates")


@dataclass(frozen=True)
class Waveforms:
    """Templates, noise and metrics of all units. Voltages are microvolts.

    Attributes
    ----------
    unit_ids : numpy.ndarray of int64, shape (units,)
        Unit ids, ascending.
    spikes : tuple of numpy.ndarray of int64
        Spike frames of each unit, each aligned to its peak on the unit's main channel.
    n_before : int
        Samples before the peak; a window has ``n_before + n_after + 1`` samples.
    templates, template_stds : numpy.ndarray of float32, shape (units, samples, channels)
        Mean and population standard deviation of the averaged windows.
    main_channels : numpy.ndarray of int64, shape (units,)
        Index of the channel with the largest peak.
    has_pos_peak : numpy.ndarray of bool, shape (units,)
        True for units whose main peak is positive.
    amplitudes : numpy.ndarray of float32, shape (units, channels)
        Largest absolute value of the template on each channel.
    peak_inds : numpy.ndarray of int64, shape (units, channels)
        Sample of that value in the window.
    std_norms_all : numpy.ndarray of float32, shape (units, channels)
        Standard deviation over amplitude on each channel.
    noise : numpy.ndarray of float32, shape (channels,)
        Noise of each channel, MAD / 0.6745.
    snr, std_norm : numpy.ndarray of float32, shape (units,)
        Amplitude over noise, and standard deviation over amplitude, on the main channel.
    n_averaged : numpy.ndarray of int64, shape (units,)
        Number of spikes in each template.
    significance : numpy.ndarray of float32, shape (units,), or None
        By how many standard deviations the spikes are more than noise makes of their size.
    epoch_templates : numpy.ndarray of float32, shape (epochs, units, samples, channels), or None
        Mean over the averaged spikes of each epoch; NaN where an epoch has none. None with a single epoch, and
        with more than 64.
    epoch_snr, epoch_std_norm : numpy.ndarray of float32, shape (epochs, units), or None
        On the main channel, from the template, the standard deviation and the noise of each epoch alone; 0 and infinity
        where an epoch has no averaged spike. None with a single epoch, and with more than 64.

    Examples
    --------
    >>> import numpy as np
    >>> from spikeinterface.core import NumpyRecording
    >>> from spikelab.spike_sorting.config import WaveformConfig
    >>> from spikelab.spike_sorting.data import SpikeInterfaceTraces, SpikeTrains
    >>> from spikelab.spike_sorting.waveforms import compute_waveforms
    >>> traces = np.zeros((20_000, 2), dtype=np.float32)
    >>> traces[1000::1000, 1] = -80.0  # a unit on the second channel
    >>> source, trains = SpikeInterfaceTraces(NumpyRecording([traces], 20_000.0)), {4: range(1000, 20_000, 1000)}
    >>> waveforms = compute_waveforms(
    ...     source, SpikeTrains.from_dict(trains), WaveformConfig(), seed=1, n_jobs=1, total_memory="1G"
    ... )
    >>> int(waveforms.main_channels[0]), float(waveforms.templates.min())
    (1, -80.0)
    """

    unit_ids: IntArray
    spikes: tuple[IntArray, ...] = field(repr=False)
    n_before: int
    templates: FloatArray = field(repr=False)
    template_stds: FloatArray = field(repr=False)
    main_channels: IntArray
    has_pos_peak: NDArray[np.bool_]
    amplitudes: FloatArray = field(repr=False)
    peak_inds: IntArray = field(repr=False)
    std_norms_all: FloatArray = field(repr=False)
    noise: FloatArray = field(repr=False)
    snr: FloatArray
    std_norm: FloatArray
    n_averaged: IntArray
    significance: FloatArray | None = None
    epoch_templates: FloatArray | None = field(default=None, repr=False)
    epoch_snr: FloatArray | None = field(default=None, repr=False)
    epoch_std_norm: FloatArray | None = field(default=None, repr=False)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.unit_ids)

    def save(self, folder: Path, n_jobs: int = 1) -> None:
        """Write ``waveforms.npz``, and an ``.npy`` for each `LARGE` array, as a zip would take longer."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "spikes"}
        large = {name: arrays.pop(name) for name in LARGE if arrays[name] is not None}
        with ThreadPool(n_jobs) as threads:
            list(threads.map(np.save, [folder / f"{name}.npy" for name in large], large.values()))
        np.savez(
            folder / "waveforms.npz",
            spike_times=np.concatenate([np.empty(0, np.int64), *self.spikes]),
            spike_counts=np.array([len(train) for train in self.spikes], dtype=np.int64),
            **{name: value for name, value in arrays.items() if value is not None},
        )

    @classmethod
    def load(cls, folder: Path, n_jobs: int = 1) -> Waveforms:
        """Read the files that :meth:`save` wrote."""
        with np.load(folder / "waveforms.npz") as data:
            arrays: dict[str, Any] = dict(data)
        large = [name for name in LARGE if "epoch_snr" in arrays or not name.startswith("epoch")]
        with ThreadPool(n_jobs) as threads:
            loaded = threads.map(np.load, [folder / f"{name}.npy" for name in large])
            arrays |= dict(zip(large, loaded, strict=True))
        ends = np.cumsum(arrays.pop("spike_counts"))
        spikes = tuple(np.split(arrays.pop("spike_times"), ends[:-1])) if len(ends) else ()
        return cls(spikes=spikes, n_before=int(arrays.pop("n_before")), **arrays)
