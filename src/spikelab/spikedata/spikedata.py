"""The value object that every sort returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from spikelab.spikedata import (
    _aligned,
    _attributes,
    _clock,
    _constructors,
    _counting,
    _epochs,
    _files,
    _joining,
    _pulses,
    _pynapple,
    curation,
)
from spikelab.spikedata._base import BaseSpikeData

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike


class SpikeData(BaseSpikeData):
    """Spike trains of N units over a span of time, with attributes per unit. Times are milliseconds.

    A value object: methods return new objects and change nothing, but for :meth:`set_neuron_attribute` and
    :meth:`compute_waveform_metrics`, which store attributes; two of equal content are equal. ``sd[start:end]`` is
    :meth:`subtime`, ``sd[units]`` is :meth:`subset`.

    Parameters
    ----------
    train : sequence of array_like
        One sequence of spike times (ms) per unit, in any order; sorted copies are kept.
    N : int, optional
        Number of units; empty trains are appended to reach it.
    length : float, optional
        Duration in ms. By default the data end with the last spike or, if that is later, with `raw_data`.
    start_time : float, default 0
        Time of the beginning in ms. Spikes lie in [start_time, start_time + length].
    neuron_attributes : sequence of mapping, optional
        One dict per unit (copied, not deeply), for example ``unit_id``, ``template``, ``snr``.
    metadata : mapping, optional
        About the recording, for example ``fs_Hz``, ``source_file``, ``rec_chunks_ms`` (copied, not deeply).
    raw_data : array_like, shape (channels, samples), optional
        Traces in microvolts; kept as they are, not copied.
    raw_time : float or array_like, shape (samples,), optional
        Sampling rate of `raw_data` in kHz (its first sample is at `start_time`), or the time of each sample in ms,
        increasing. By default the rate is ``metadata["fs_Hz"]``.

    Attributes
    ----------
    train : list of numpy.ndarray of float64
        Ascending spike times per unit.
    length, start_time : float
    neuron_attributes : list of dict, or None
        None where none were given; `unit_attributes` is a list in any case, to read.
    metadata : dict
    raw_data : numpy.ndarray, shape (channels, samples)
        Shape (0, 0) where there is none.
    raw_time : numpy.ndarray of float64, shape (samples,)

    Raises
    ------
    ValueError
        A time is not finite or outside of the data, or the sizes of the arguments do not fit together.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> sd = SpikeData([[10, 30, 20], [35, 90]], length=100, neuron_attributes=[{"unit_id": 4}, {"unit_id": 8}])
    >>> sd
    SpikeData(N=2, 5 spikes, [0, 100] ms)
    >>> sd.train[0]
    array([10., 20., 30.])
    """

    # Methods are functions of other modules: their parameter `sd` is the object itself.

    times = _clock.times
    stim_times = _pulses.stim_times
    align_to = _aligned.align_to
    subtime = _epochs.subtime
    split_epochs = _epochs.split_epochs
    append = _joining.append
    concatenate_spike_data = _joining.concatenate_spike_data

    get_neuron_attribute = _attributes.get_neuron_attribute
    set_neuron_attribute = _attributes.set_neuron_attribute
    unit_locations = property(_attributes.unit_locations)
    electrodes = property(_attributes.electrodes)

    binned = _counting.binned
    raster = _counting.raster
    rates = _counting.rates
    interspike_intervals = _counting.interspike_intervals

    curate_by_min_spikes = curation.curate_by_min_spikes
    curate_by_firing_rate = curation.curate_by_firing_rate
    curate_by_isi_violations = curation.curate_by_isi_violations
    curate_by_snr = curation.curate_by_snr
    curate_by_significance = curation.curate_by_significance
    curate_by_std_norm = curation.curate_by_std_norm
    curate_by_merge_duplicates = curation.curate_by_merge_duplicates
    curate = curation.curate
    compute_waveform_metrics = curation.compute_waveform_metrics
    build_curation_history = staticmethod(curation.build_curation_history)

    to_pynapple = _pynapple.to_pynapple

    save = _files.save

    __iter__ = None  # an object with `__getitem__` is taken for a sequence otherwise

    def __getitem__(self, selection: slice | ArrayLike) -> Self:
        """Cut out a time, ``sd[start:end]``, or choose units, ``sd[[0, 3]]``."""
        if not isinstance(selection, slice):
            return self.subset(selection)
        if selection.step is not None:
            raise ValueError(f"a time is sd[start:end] in ms, without a step; got {selection}")
        return self.subtime(selection.start, selection.stop)

    @classmethod
    def from_idces_times(
        cls, idces: ArrayLike, times: ArrayLike, N: int | None = None, length: float | None = None, **more: Any
    ) -> Self:
        """Make spike data of a list of spikes: which unit, and when.

        Parameters
        ----------
        idces : array_like of int, shape (spikes,)
            Unit of each spike, from 0 on.
        times : array_like, shape (spikes,)
            Time of each spike in ms, in any order.
        N : int, optional
            Number of units; by default up to the last one that has a spike.
        length : float, optional
            Duration in ms; by default up to the last spike.
        **more
            Further arguments of the constructor.

        Returns
        -------
        SpikeData

        Raises
        ------
        ValueError
            The two have different lengths, or a unit is negative, not whole, or not below `N`.

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> SpikeData.from_idces_times([0, 1, 0], [10, 35, 20], N=3).train
        [array([10., 20.]), array([35.]), array([], dtype=float64)]
        """
        return _constructors.from_idces_times(cls, idces, times, N, length, **more)

    @classmethod
    def from_raster(cls, raster: ArrayLike, bin_size: float = 1.0, **more: Any) -> Self:
        """Make spike data of spike counts per bin; the spikes of a bin are spread evenly in it.

        Parameters
        ----------
        raster : array_like of int, shape (units, bins)
            Spikes of each unit in each bin.
        bin_size : float, default 1.0
            In ms.
        **more
            Further arguments of the constructor. By default `length` is that of all bins; the first bin begins at
            `start_time`.

        Returns
        -------
        SpikeData
            Its ``raster(bin_size)`` is `raster`. One spike lies in the middle of its bin, the first of two after a
            quarter.

        Raises
        ------
        ValueError
            A count is negative or not whole, or the shape is not (units, bins).

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> SpikeData.from_raster([[0, 2, 1]], 10).train
        [array([12.5, 17.5, 25. ])]
        """
        return _constructors.from_raster(cls, raster, bin_size, **more)

    @classmethod
    def from_thresholding(
        cls,
        data: ArrayLike,
        fs: float,
        threshold: float = 5.0,
        direction: Literal["both", "up", "down"] = "both",
        **more: Any,
    ) -> Self:
        """Make spike data of traces: a unit for each channel, a spike where its trace crosses the threshold.

        A spike is the first sample beyond the threshold; the trace has to come back before the next one. Nothing is
        filtered: give traces without slow waves. Multi-unit activity, not neurons; for those sort the recording.

        Parameters
        ----------
        data : array_like, shape (channels, samples)
            Kept as `raw_data`.
        fs : float
            Sampling rate in Hz.
        threshold : float, default 5.0
            In standard deviations of a channel's noise (median absolute deviation / 0.6745) from its median.
        direction : {"both", "up", "down"}, default "both"
            Which excursions count: both, upward, downward.
        **more
            Further arguments of the constructor.

        Returns
        -------
        SpikeData
            One unit per channel, with ``metadata["fs_Hz"]``. A channel without noise has no spikes.

        Raises
        ------
        ValueError
            `data` has another shape, or a parameter is out of range.

        Examples
        --------
        >>> import numpy as np
        >>> from spikelab import SpikeData
        >>> traces = np.random.default_rng(0).normal(size=(1, 20_000))
        >>> traces[0, [2000, 9000]] = -40, 30
        >>> SpikeData.from_thresholding(traces, 20_000, 6, direction="down").train
        [array([100.])]
        """
        return _constructors.from_thresholding(cls, data, fs, threshold, direction, **more)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Reading a ``.pkl`` executes code that the file contains: open only those you trust. ``.npz`` and ``.h5`` are
        safe.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        SpikeData

        Raises
        ------
        ValueError
            The suffix is unknown, or the file is damaged or holds something else.
        OSError
            There is no such file, or it cannot be read.

        Examples
        --------
        >>> import tempfile
        >>> from spikelab import SpikeData
        >>> sd = SpikeData([[10, 30], [35]], length=100)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sd.save(f"{folder}/units.npz")
        ...     SpikeData.load(f"{folder}/units.npz") == sd
        True
        """
        return _files.load(cls, path)
