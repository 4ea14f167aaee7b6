"""The value object that every sort returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from spikelab.spikedata import _clock, _counting, _epochs, _files, _pynapple, curation
from spikelab.spikedata._base import BaseSpikeData

if TYPE_CHECKING:
    from pathlib import Path


class SpikeData(BaseSpikeData):
    """Spike trains of N units over a span of time, with attributes per unit. Times are milliseconds.

    A value object: methods return new objects and change nothing; two of equal content are equal.

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
    neuron_attributes : list of dict
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
    subtime = _epochs.subtime
    split_epochs = _epochs.split_epochs

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
