"""The value object that every sort returns."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelab.spikedata import _binning, _epochs, _validation, curation
from spikelab.spikedata._compare import same_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from spikelab.spikedata.curation import CriterionResult

FloatArray = NDArray[np.float64]


class SpikeData:
    """Spike trains of N units over a stretch of time, with attributes per unit. Times are milliseconds.

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
    """

    def __init__(
        self,
        train: Sequence[ArrayLike],
        *,
        N: int | None = None,
        length: float | None = None,
        start_time: float = 0,
        neuron_attributes: Sequence[Mapping[str, Any]] | None = None,
        metadata: Mapping[str, Any] | None = None,
        raw_data: ArrayLike | None = None,
        raw_time: float | ArrayLike | None = None,
    ) -> None:
        self.start_time = _validation.finite_time(start_time, "start_time")
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.train = _validation.sorted_trains(train, N)
        self.neuron_attributes = _validation.attributes(neuron_attributes, len(self.train))
        self.raw_data, self.raw_time = _validation.raw_traces(
            raw_data, raw_time, self.start_time, self.metadata.get("fs_Hz")
        )
        self.length = _validation.data_length(length, self.start_time, self.train, self.raw_time)

    @property
    def N(self) -> int:  # noqa: N802  (the name of the specification)
        """Number of units."""
        return len(self.train)

    @property
    def end_time(self) -> float:
        """End of the data in ms: ``start_time + length``."""
        return self.start_time + self.length

    @property
    def unit_ids(self) -> list[Any]:
        """``unit_id`` of each unit; its index where it has none."""
        return [attributes.get("unit_id", index) for index, attributes in enumerate(self.neuron_attributes)]

    @property
    def spike_counts(self) -> NDArray[np.int64]:
        """Number of spikes per unit, shape (N,)."""
        return np.array([len(times) for times in self.train], dtype=np.int64)

    def __repr__(self) -> str:
        return (
            f"SpikeData(N={self.N}, {int(self.spike_counts.sum())} spikes, [{self.start_time:g}, {self.end_time:g}] ms)"
        )

    def __eq__(self, other: object) -> bool:
        """Equal content: same types, dtypes and values throughout; NaN equals NaN."""
        if not isinstance(other, SpikeData):
            return NotImplemented
        return same_value(vars(self), vars(other))

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    def replace(self, **changes: Any) -> SpikeData:
        """Build a copy with some constructor arguments changed.

        Parameters
        ----------
        **changes
            Arguments of :class:`SpikeData`.
        """
        return SpikeData(**{**vars(self), **changes})

    # ---- selection -------------------------------------------------------------------------------------------------

    def subset(self, units: ArrayLike | Iterable[Any], by: str | None = None) -> SpikeData:
        """Keep some units, in the order in which they are named.

        Parameters
        ----------
        units : scalar or sequence
            Indices (negative ones count from the end) or a boolean mask of shape (N,); with `by`, values of that
            attribute.
        by : str, optional
            Name of a neuron attribute, for example ``"unit_id"``. Every unit with a named value is kept.

        Returns
        -------
        SpikeData

        Raises
        ------
        IndexError
            An index is out of range, or a mask has another length than N.
        ValueError
            A unit is named twice, or no unit has a named value.
        """
        index = _validation.unit_index(units, self.N, self.neuron_attributes, by)
        return self.replace(
            train=[self.train[i] for i in index], neuron_attributes=[self.neuron_attributes[i] for i in index]
        )

    def subtime(self, start: float, end: float, shift_to: float | None = None) -> SpikeData:
        """Cut out the time from `start` to `end`: spikes, raw data, ``spike_train_samples`` and epochs.

        Half-open: a spike at `end` is left out, except at the very end of the data, so that cutting from `start_time`
        to `end_time` keeps every spike.

        Parameters
        ----------
        start, end : float
            In ms, on the clock of the data. An `end` past the data is clipped with a warning.
        shift_to : float, optional
            Time in ms that `start` becomes. By default the clock is kept.

        Returns
        -------
        SpikeData

        Raises
        ------
        ValueError
            `start` is before the data, or not before `end`.
        """
        if not self.start_time <= start < min(end, self.end_time):
            raise ValueError(
                f"Invalid time range [{start}, {end}) ms: expected start < end within "
                f"[{self.start_time}, {self.end_time}] ms"
            )
        if end > self.end_time:
            warnings.warn(f"end ({end} ms) is past the data; clipped to {self.end_time} ms", UserWarning, stacklevel=2)
            end = self.end_time
        return _epochs.cut(self, start, end, start if shift_to is None else shift_to)

    def split_epochs(self) -> list[SpikeData]:
        """Split at the epochs in ``metadata["rec_chunks_ms"]``; without them, return a copy as the only element.

        Every epoch keeps all units, starts at 0 and has its own length, raw data, ``spike_train_samples`` (relative
        to the epoch's start) and, from the attribute ``epoch_templates``, its own ``template``, ``template_full`` and
        ``template_windowed``: NaN for a unit without an averaged spike in that epoch. Its ``snr`` and ``std_norm`` are
        taken from ``epoch_snr`` and ``epoch_std_norm``. Other attributes (``amplitude``, a ``template_full`` longer
        than the epoch templates) stay those of the whole. Metadata gain
        ``epoch_index`` and, where known, ``epoch_name``; ``source_file`` is taken from ``rec_chunk_source_files``
        where there is such a list.

        Returns
        -------
        list of SpikeData

        Raises
        ------
        ValueError
            Epochs overlap, are not in ascending order or lie outside of the data.
        """
        return _epochs.split(self)

    # ---- counting --------------------------------------------------------------------------------------------------

    def binned(self, bin_size: float = 40.0) -> NDArray[np.int64]:
        """Spikes of all units together per bin.

        Parameters
        ----------
        bin_size : float, default 40.0
            In ms.

        Returns
        -------
        numpy.ndarray of int64, shape (ceil(length / bin_size),)
            Bins are half-open and start at `start_time`; a spike at the very end counts in the last one.
        """
        n_bins = _binning.number_of_bins(self.length, bin_size)
        total = np.zeros(n_bins, dtype=np.int64)
        for times in self.train:
            total += _binning.bin_counts(times, self.start_time, bin_size, n_bins)
        return total

    def raster(self, bin_size: float = 1.0) -> NDArray[np.int32]:
        """Spikes per unit and bin.

        Parameters
        ----------
        bin_size : float, default 1.0
            In ms.

        Returns
        -------
        numpy.ndarray of int32, shape (N, ceil(length / bin_size))
            Bins as in :meth:`binned`.
        """
        n_bins = _binning.number_of_bins(self.length, bin_size)
        raster = np.zeros((self.N, n_bins), dtype=np.int32)
        for row, times in zip(raster, self.train, strict=True):
            row[:] = _binning.bin_counts(times, self.start_time, bin_size, n_bins)
        return raster

    def rates(self, unit: Literal["kHz", "Hz"] = "kHz") -> FloatArray:
        """Mean firing rate per unit over the whole length.

        Parameters
        ----------
        unit : {"kHz", "Hz"}, default "kHz"

        Returns
        -------
        numpy.ndarray of float64, shape (N,)
            NaN where the length is zero.
        """
        if unit not in ("kHz", "Hz"):
            raise ValueError(f"'unit' must be one of {{'kHz', 'Hz'}}, got {unit!r}")
        if self.length == 0:
            return np.full(self.N, np.nan)
        return self.spike_counts / (self.length if unit == "kHz" else self.length / 1000)

    def interspike_intervals(self) -> list[FloatArray]:
        """Intervals between consecutive spikes of each unit in ms, without those that cross an epoch boundary."""
        starts = _epochs.starts_ms(self.metadata)
        return [_epochs.intervals(times, starts) for times in self.train]

    # ---- curation --------------------------------------------------------------------------------------------------

    def curate_by_min_spikes(self, min_spikes: int | None = 30) -> tuple[SpikeData, CriterionResult]:
        """See :func:`spikelab.spikedata.curation.curate_by_min_spikes`."""
        return curation.curate_by_min_spikes(self, min_spikes)

    def curate_by_firing_rate(self, min_rate_hz: float | None = 0.05) -> tuple[SpikeData, CriterionResult]:
        """See :func:`spikelab.spikedata.curation.curate_by_firing_rate`."""
        return curation.curate_by_firing_rate(self, min_rate_hz)

    def curate_by_isi_violations(
        self,
        max_violation: float | None = 0.01,
        threshold_ms: float = 1.5,
        min_isi_ms: float = 0.0,
        method: Literal["percent", "hill"] = "percent",
    ) -> tuple[SpikeData, CriterionResult]:
        """See :func:`spikelab.spikedata.curation.curate_by_isi_violations`."""
        return curation.curate_by_isi_violations(self, max_violation, threshold_ms, min_isi_ms, method)

    def curate_by_snr(
        self, min_snr: float | None = 5.0, ms_before: float = 1.0, ms_after: float = 2.0
    ) -> tuple[SpikeData, CriterionResult]:
        """See :func:`spikelab.spikedata.curation.curate_by_snr`."""
        return curation.curate_by_snr(self, min_snr, ms_before, ms_after)

    def curate_by_std_norm(
        self,
        max_std_norm: float | None = 1.0,
        at_peak: bool = True,
        window_ms_before: float = 0.5,
        window_ms_after: float = 1.5,
        ms_before: float = 1.0,
        ms_after: float = 2.0,
    ) -> tuple[SpikeData, CriterionResult]:
        """See :func:`spikelab.spikedata.curation.curate_by_std_norm`."""
        return curation.curate_by_std_norm(
            self, max_std_norm, at_peak, window_ms_before, window_ms_after, ms_before, ms_after
        )

    def curate_by_merge_duplicates(
        self,
        dist_um: float = 24.8,
        max_violation_rate: float = 0.04,
        isi_threshold_ms: float = 1.5,
        cosine_threshold: float = 0.5,
        max_lag: int = 10,
        delta_ms: float = 0.4,
        max_isi_increase: float = 0.04,
    ) -> tuple[SpikeData, CriterionResult]:
        """See :func:`spikelab.spikedata.curation.curate_by_merge_duplicates`."""
        return curation.curate_by_merge_duplicates(
            self, dist_um, max_violation_rate, isi_threshold_ms, cosine_threshold, max_lag, delta_ms, max_isi_increase
        )

    def curate(
        self,
        min_spikes: int | None = None,
        min_rate_hz: float | None = None,
        isi_max: float | None = None,
        isi_threshold_ms: float = 1.5,
        isi_min_ms: float = 0.0,
        isi_method: Literal["percent", "hill"] = "percent",
        min_snr: float | None = None,
        max_std_norm: float | None = None,
        std_at_peak: bool = True,
        std_window_ms_before: float = 0.5,
        std_window_ms_after: float = 1.5,
        snr_ms_before: float = 1.0,
        snr_ms_after: float = 2.0,
    ) -> tuple[SpikeData, dict[str, CriterionResult]]:
        """See :func:`spikelab.spikedata.curation.curate`."""
        return curation.curate(
            self,
            min_spikes,
            min_rate_hz,
            isi_max,
            isi_threshold_ms,
            isi_min_ms,
            isi_method,
            min_snr,
            max_std_norm,
            std_at_peak,
            std_window_ms_before,
            std_window_ms_after,
            snr_ms_before,
            snr_ms_after,
        )

    def compute_waveform_metrics(
        self,
        ms_before: float = 1.0,
        ms_after: float = 2.0,
        at_peak: bool = True,
        window_ms_before: float = 0.5,
        window_ms_after: float = 1.5,
    ) -> tuple[SpikeData, dict[str, FloatArray]]:
        """See :func:`spikelab.spikedata.curation.compute_waveform_metrics`."""
        return curation.compute_waveform_metrics(self, ms_before, ms_after, at_peak, window_ms_before, window_ms_after)

    # ---- other packages --------------------------------------------------------------------------------------------

    def to_pynapple(self) -> Any:
        """Convert to a ``pynapple.TsGroup``: times in seconds, one entry per unit.

        Entries are named by ``unit_id`` where these are distinct integers. Its metadata are the attributes that are
        single values (channel, x, y, snr, amplitude, ...); its ``time_support`` are the epochs, of which an end is
        half a sample earlier than the next one's start, for pynapple joins intervals that touch.

        Returns
        -------
        pynapple.TsGroup

        Raises
        ------
        ImportError
            pynapple is not installed (``pip install 'spikelab[pynapple]'``).
        """
        from spikelab.spikedata import _pynapple

        return _pynapple.to_pynapple(self)

    # ---- files -----------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write to `path`; see :func:`spikelab.spikedata.io.save`."""
        from spikelab.spikedata import io

        io.save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> SpikeData:
        """Read from `path`; see :func:`spikelab.spikedata.io.load`. Reading a ``.pkl`` executes code from the file."""
        from spikelab.spikedata import io

        return io.load(path)
