"""The waveform extractor that sorter backends return, and :class:`.Waveforms` from any extractor."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.data import FloatArray, SpikeTrains, Waveforms, integer_ids
from spikelab.spike_sorting.data.epochs import measured_epochs
from spikelab.spike_sorting.data.traces import trace_source
from spikelab.spike_sorting.waveforms.alignment import MainChannels, Spikes
from spikelab.spike_sorting.waveforms.chunks import UnitPool
from spikelab.spike_sorting.waveforms.engine import (
    MAX_BLOCK_BYTES,
    average_windows,
    averaged_spikes,
    compute_waveforms,
    measure,
    require_units,
)
from spikelab.spike_sorting.waveforms.templates import Averages, Workspace, running_sums
from spikelab.spike_sorting.waveforms.windows import Window, gather
from spikelab.spikedata._windows import whole_frames
from spikelab.system import files

if TYPE_CHECKING:
    from spikeinterface import BaseRecording, BaseSorting

    from spikelab.spike_sorting.settings.schema import WaveformConfig


MODES = ("average", "median", "std")


class WaveformExtractor:
    """Aligned spikes, templates and the windows that were averaged.

    Parameters
    ----------
    recording : BaseRecording
        Recording that the waveforms were read from.
    result : Waveforms
        From :func:`compute_waveforms`, the attribute ``waveforms_result``.
    config, seed
        As for :func:`compute_waveforms`; by the seed, medians are taken of the very spikes that were averaged.
    root_folder : Path
        Where ``waveforms_{unit}.npy`` are, if any were written.
    waveforms : dict, optional
        Unit id -> averaged windows (n, samples, channels) float32 microvolts; None where they are not in memory.

    Attributes
    ----------
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
        """Units with their aligned spike times."""
        trains = SpikeTrains(self.waveforms_result.unit_ids, self.waveforms_result.spikes)
        return trains.to_spikeinterface(self.sampling_frequency)

    def ms_to_samples(self, ms: float) -> int:
        """Convert milliseconds to whole samples, cut off."""
        return whole_frames(ms, self.sampling_frequency)

    def get_computed_template(self, unit_id: int, mode: str = "average") -> FloatArray:
        """Return the template of a unit, shape (samples, channels), float32 microvolts.

        `mode` "average", "median" or "std" is mean, median or population standard deviation of the same windows.
        ValueError for an unknown unit or mode.
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
        return gather(source, averaged_spikes(spikes, unit_id, source, window, limit, self._seed), window)

    def write_units(self, folder: Path) -> None:
        """Write ``unit_ids.npy``, ``spike_times.npy`` (frames, ascending) and ``spike_clusters.npy`` (their units)."""
        result = self.waveforms_result
        times = np.concatenate(result.spikes)
        clusters = np.repeat(result.unit_ids, [len(train) for train in result.spikes])
        order = np.argsort(times, kind="stable")
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"unit_ids": result.unit_ids, "spike_times": times[order], "spike_clusters": clusters[order]}
        for name, values in arrays.items():
            with files.replacing(folder / f"{name}.npy") as temporary:
                np.save(temporary, values)


def extract(
    recording: BaseRecording,
    sorting: BaseSorting,
    waveforms_folder: Path,
    config: WaveformConfig,
    *,
    seed: int,
    n_jobs: int = 1,
    total_memory: str | int = "16G",
    sorter: str = "",
) -> WaveformExtractor:
    """Align and average the spikes of a sorting, as ``SorterBackend.extract_waveforms`` does for most sorters.

    Parameters
    ----------
    recording : BaseRecording
        Filtered, one segment; a recording made from a :class:`.BinaryRecording` is read directly as int16.
    sorting : BaseSorting
        Its unit ids become 0, 1, 2, ... where they are no integers.
    waveforms_folder : Path
        The extractor's ``root_folder``; per-unit files are written there with ``config.save_waveform_files``.
    config : WaveformConfig
        With ``streaming`` off, the averaged windows stay in memory on the extractor.
    seed, n_jobs, total_memory
        As in :func:`compute_waveforms`.
    sorter : str
        Name in the InsufficientActivityError of a sorting without units.
    """
    source, trains = trace_source(recording), SpikeTrains.from_spikeinterface(sorting)
    require_units(trains, sorter)
    keep: dict[int, FloatArray] | None = None if config.streaming else {}
    result = compute_waveforms(
        source,
        trains,
        config,
        seed=seed,
        n_jobs=n_jobs,
        total_memory=total_memory,
        waveforms_folder=waveforms_folder if config.save_waveform_files else None,
        keep=keep,
    )
    return WaveformExtractor(recording, result, config, seed=seed, root_folder=waveforms_folder, waveforms=keep)


def waveforms_from_extractor(
    extractor: Any, config: WaveformConfig | None = None, *, seed: int = 0, n_jobs: int = 1
) -> Waveforms:
    """Make :class:`.Waveforms` from any object that :meth:`.SorterBackend.extract_waveforms` may return.

    Spikes, templates, main channels and polarity are taken as they are; noise and, with several epochs, the values of
    each epoch are measured on ``extractor.recording``. `config` (the defaults where None) sets how std_norm is
    measured and how many spikes are averaged; `seed` and `n_jobs` are those of :func:`compute_waveforms`.
    """
    result = getattr(extractor, "waveforms_result", None)
    if isinstance(result, Waveforms):
        return result
    if config is None:
        from spikelab.spike_sorting.settings.schema import WaveformConfig as Defaults

        config = Defaults()
    source = trace_source(extractor.recording)
    originals, trains = _numbered(extractor.sorting)
    templates, stds = _templates(extractor, originals, "average"), _templates(extractor, originals, "std")
    window = Window(int(extractor.peak_ind), templates.shape[1] - 1 - int(extractor.peak_ind))
    ids, limit = trains.unit_ids.tolist(), config.max_waveforms_per_unit
    chosen = [
        averaged_spikes(train, unit, source, window, limit, seed)
        for unit, train in zip(ids, trains.samples, strict=True)
    ]
    averages = Averages(np.array([len(frames) for frames in chosen], dtype=np.int64), templates, stds)
    main = MainChannels(
        channels=np.array([extractor.chans_max_all[unit] for unit in originals], dtype=np.int64),
        positive=np.array([extractor.use_pos_peak[unit] for unit in originals], dtype=np.bool_),
        known=np.ones(len(originals), dtype=np.bool_),
    )
    if measured_epochs(len(source.epochs)):
        with UnitPool(n_jobs) as pool:
            work = Workspace(source, window, pool, running_sums(source, len(chosen), window, MAX_BLOCK_BYTES))
            every = [np.arange(len(frames)) for frames in chosen]
            own = average_windows(work, Spikes(chosen), every, main.channels)
        averages = replace(averages, epoch_templates=own.epoch_templates, epoch_stds=own.epoch_stds)
    return measure(source, trains, main, averages, config, n_before=window.n_before, seed=seed, n_jobs=n_jobs)


def _templates(extractor: Any, unit_ids: list[Any], mode: str) -> FloatArray:
    return np.stack([np.asarray(extractor.get_computed_template(unit, mode), np.float32) for unit in unit_ids])


def _numbered(sorting: BaseSorting) -> tuple[list[Any], SpikeTrains]:
    """Return the sorting's own unit ids in the order of the trains, and the trains, whose ids are integers."""
    trains = SpikeTrains.from_spikeinterface(sorting)
    originals = list(sorting.unit_ids)
    if not originals:
        raise InsufficientActivityError("The sorting has no units, so there are no templates.", sorter="")
    return [originals[index] for index in np.argsort(integer_ids(originals))], trains
