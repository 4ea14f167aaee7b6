"""The waveform extractor that sorter backends hand out, and the way back from anybody's."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.data import FloatArray, SpikeTrains, Waveforms
from spikelab.spike_sorting.data.traces import trace_source
from spikelab.spike_sorting.waveforms.chunks import UnitPool
from spikelab.spike_sorting.waveforms.engine import (
    MAX_BLOCK_BYTES,
    CentredUnits,
    averaged_spikes,
    compute_waveforms,
    measure,
)
from spikelab.spike_sorting.waveforms.noise import epoch_noise_levels, noise_levels
from spikelab.spike_sorting.waveforms.templates import Averages, Window, average_windows, gather, running_sums
from spikelab.spikedata._windows import whole_frames
from spikelab.system import files

if TYPE_CHECKING:
    from spikeinterface import BaseRecording, BaseSorting

    from spikelab.spike_sorting.settings.schema import WaveformConfig


MODES = ("average", "median", "std")


class WaveformExtractor:
    """Centred spikes, templates and the windows behind them.

    Parameters
    ----------
    recording : BaseRecording
        What the waveforms were read from.
    result : Waveforms
        From :func:`compute_waveforms`.
    config : WaveformConfig
        As it was given there, like `seed`: medians are read from the very spikes that were averaged.
    seed : int
    root_folder : Path
        Where ``waveforms_{unit}.npy`` are, if any were written.
    waveforms : dict, optional
        Unit id -> averaged windows (n, samples, channels) float32 microvolts; None where they are not in memory.

    Attributes
    ----------
    recording : BaseRecording
    waveforms_result : Waveforms
    root_folder : Path
    waveforms : dict or None
    sampling_frequency : float
        In Hz.
    peak_ind : int
        Sample of the peak in every template.
    chans_max_all : dict of int to int
        Unit id -> index of the main channel.
    use_pos_peak : dict of int to bool
        Unit id -> whether the peak is positive.
    """

    def __init__(
        self,
        recording: BaseRecording,
        result: Waveforms,
        config: WaveformConfig,
        *,
        seed: int,
        root_folder: Path,
        waveforms: dict[int, FloatArray] | None = None,
    ) -> None:
        self.recording, self.waveforms_result, self.waveforms = recording, result, waveforms
        self.root_folder = Path(root_folder)
        self.sampling_frequency = float(recording.get_sampling_frequency())
        self.peak_ind = result.n_before
        ids: list[int] = result.unit_ids.tolist()
        self.chans_max_all: dict[int, int] = dict(zip(ids, result.main_channels.tolist(), strict=True))
        self.use_pos_peak: dict[int, bool] = dict(zip(ids, result.has_pos_peak.tolist(), strict=True))
        self._rows = {unit: row for row, unit in enumerate(ids)}
        self._config, self._seed = config, seed

    @cached_property
    def sorting(self) -> BaseSorting:
        """The units with their centred spike times."""
        trains = SpikeTrains(self.waveforms_result.unit_ids, self.waveforms_result.spikes)
        return trains.to_spikeinterface(self.sampling_frequency)

    def ms_to_samples(self, ms: float) -> int:
        """Milliseconds to whole samples, cut off."""
        return whole_frames(ms, self.sampling_frequency)

    def get_computed_template(self, unit_id: int, mode: str = "average") -> FloatArray:
        """Template of a unit, shape (samples, channels), float32 microvolts.

        Parameters
        ----------
        unit_id : int
        mode : {"average", "median", "std"}
            Mean, median or population standard deviation of the same windows. Medians are worked out on demand.

        Raises
        ------
        ValueError
            There is no such unit or mode.
        """
        if unit_id not in self._rows:
            raise ValueError(f"Unknown unit {unit_id!r}; there are {list(self._rows)}")
        if mode not in MODES:
            raise ValueError(f"Unknown mode {mode!r}; there are {', '.join(map(repr, MODES))}")
        row, result = self._rows[unit_id], self.waveforms_result
        if mode != "median":
            template: FloatArray = (result.templates if mode == "average" else result.template_stds)[row]
            return template
        windows = self._windows(unit_id) if self.waveforms is None else self.waveforms[unit_id]
        if len(windows) == 0:
            return np.zeros_like(result.templates[row])
        return np.asarray(np.median(windows, axis=0), dtype=np.float32)

    def _windows(self, unit_id: int) -> FloatArray:
        source, result = trace_source(self.recording), self.waveforms_result
        window = Window(result.n_before, result.templates.shape[1] - 1 - result.n_before)
        spikes, limit = result.spikes[self._rows[unit_id]], self._config.max_waveforms_per_unit
        return gather(source, averaged_spikes(spikes, unit_id, source.epochs, window, limit, self._seed), window)


def extract(
    recording: BaseRecording,
    sorting: BaseSorting,
    waveforms_folder: Path,
    curation_folder: Path,
    config: WaveformConfig,
    *,
    seed: int,
    n_jobs: int = 1,
    total_memory: str | int = "16G",
    sorter: str = "",
) -> WaveformExtractor:
    """Centre and average the spikes of a sorting: what ``SorterBackend.extract_waveforms`` does for most sorters.

    Parameters
    ----------
    recording : BaseRecording
        Filtered, one segment; one of our own binaries is read directly as int16.
    sorting : BaseSorting
        Its unit ids become 0, 1, 2, ... where they are no integers.
    waveforms_folder : Path
        The extractor's ``root_folder``; per-unit files are written there with ``config.save_waveform_files``.
    curation_folder : Path
        Gets the initial ``unit_ids.npy``, ``spike_times.npy`` and ``spike_clusters.npy`` (centred, in time order).
    config : WaveformConfig
        With ``streaming`` off, the averaged windows stay in memory on the extractor.
    seed, n_jobs, total_memory, sorter
        As in :func:`compute_waveforms`.

    Raises
    ------
    InsufficientActivityError
        There are no units.
    """
    folder = Path(waveforms_folder)
    keep: dict[int, FloatArray] | None = None if config.streaming else {}
    result = compute_waveforms(
        trace_source(recording),
        SpikeTrains.from_spikeinterface(sorting),
        config,
        seed=seed,
        n_jobs=n_jobs,
        total_memory=total_memory,
        waveforms_folder=folder if config.save_waveform_files else None,
        sorter=sorter,
        keep=keep,
    )
    write_initial_units(Path(curation_folder), result)
    return WaveformExtractor(recording, result, config, seed=seed, root_folder=folder, waveforms=keep)


def write_initial_units(folder: Path, result: Waveforms) -> None:
    """Write ``unit_ids.npy``, ``spike_times.npy`` (frames, ascending) and ``spike_clusters.npy`` (their units)."""
    times = np.concatenate(result.spikes)
    clusters = np.repeat(result.unit_ids, [len(train) for train in result.spikes])
    order = np.argsort(times, kind="stable")
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"unit_ids": result.unit_ids, "spike_times": times[order], "spike_clusters": clusters[order]}
    for name, values in arrays.items():
        with files.replacing(folder / f"{name}.npy") as temporary:
            np.save(temporary, values)


def waveforms_from_extractor(
    extractor: Any, config: WaveformConfig | None = None, *, seed: int = 0, n_jobs: int = 1
) -> Waveforms:
    """Gather a :class:`Waveforms` from any object with the attributes that the specification asks of an extractor.

    Spikes, templates, main channels and polarity are taken as they are; noise and, with several epochs, what is known
    of each epoch are measured on ``extractor.recording``.

    Parameters
    ----------
    extractor : object
        With sorting, recording, sampling_frequency, peak_ind, chans_max_all, use_pos_peak and
        ``get_computed_template(unit_id, mode)``.
    config : WaveformConfig, optional
        How std_norm is measured and how many spikes are averaged; the defaults without.
    seed, n_jobs : int
        As in :func:`compute_waveforms`.
    """
    result = getattr(extractor, "waveforms_result", None)
    if isinstance(result, Waveforms):
        return result
    if config is None:
        from spikelab.spike_sorting.settings.schema import WaveformConfig as Defaults

        config = Defaults()
    source = trace_source(extractor.recording)
    originals, trains = _numbered(extractor.sorting)
    averages = Averages(
        np.stack([np.asarray(extractor.get_computed_template(unit, "average"), np.float32) for unit in originals]),
        np.stack([np.asarray(extractor.get_computed_template(unit, "std"), np.float32) for unit in originals]),
        None,
        None,
    )
    window = Window(int(extractor.peak_ind), averages.templates.shape[1] - 1 - int(extractor.peak_ind))
    chosen = [
        averaged_spikes(spikes, unit, source.epochs, window, config.max_waveforms_per_unit, seed)
        for unit, spikes in zip(trains.unit_ids.tolist(), trains.samples, strict=True)
    ]
    units = CentredUnits(
        trains.unit_ids,
        trains.samples,
        np.array([extractor.chans_max_all[unit] for unit in originals], dtype=np.int64),
        np.array([extractor.use_pos_peak[unit] for unit in originals], dtype=np.bool_),
    )
    if len(source.epochs) > 1:
        with UnitPool(n_jobs) as pool:
            memory = running_sums(source, len(chosen), window, MAX_BLOCK_BYTES)
            own = average_windows(source, chosen, units.channels, window, pool, memory)
        averages = replace(averages, epoch_templates=own.epoch_templates, epoch_stds=own.epoch_stds)
    return measure(
        units,
        averages,
        noise_levels(source, seed, n_jobs=n_jobs),
        epoch_noise_levels(source, seed, n_jobs=n_jobs),
        config,
        n_before=window.n_before,
        n_averaged=[len(frames) for frames in chosen],
        sampling_frequency=source.sampling_frequency,
        n_jobs=n_jobs,
    )


def _numbered(sorting: BaseSorting) -> tuple[list[Any], SpikeTrains]:
    """Return the sorting's own unit ids in the order of the trains, and the trains, whose ids are integers."""
    trains = SpikeTrains.from_spikeinterface(sorting)
    originals = list(sorting.unit_ids)
    if not originals:
        raise InsufficientActivityError("The sorting has no units, so there are no templates.", sorter="")
    try:
        return sorted(originals, key=int), trains
    except ValueError:
        return originals, trains
