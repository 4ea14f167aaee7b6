"""Files of a results folder: pickle and npz of the ``SpikeData``, ``sorted.npz``, ``sorted.mat``, waveforms."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spikelab.spike_sorting.compilation.build import compiled_window
from spikelab.spike_sorting.data.epochs import measured_epochs
from spikelab.spike_sorting.decisions.history import DECISIONS, HISTORY
from spikelab.spike_sorting.settings.schema import CompilationConfig
from spikelab.spikedata._pulses import STIM_SITES_KEY, STIM_TIMES_KEY
from spikelab.system import files
from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, Epoch
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig, WaveformConfig
    from spikelab.spikedata import SpikeData

Scale: TypeAlias = "float | NDArray[np.float64]"
CURATED = "sorted_spikedata_curated"
RAW = "sorted_spikedata"
UNKNOWN_ELECTRODE = -1
# What happened when, besides spikes: periods and onsets in s, and the site of each onset.
TIMED = ("dead_time_s", STIM_TIMES_KEY, STIM_SITES_KEY)


def compile_results(
    sd_curated: SpikeData,
    sd_all: SpikeData,
    recording: BinaryRecording,
    config: SortingPipelineConfig,
    folder: Path,
    *,
    waveforms_folder: Path | None = None,
) -> list[Path]:
    """Write the files of one recording into its results folder, each under a temporary name first; returns their paths.

    - ``sorted_spikedata_curated.pkl`` and ``.npz``; with ``save_raw_pkl`` also ``sorted_spikedata.pkl`` and ``.npz``.
    - With ``compile_single_recording``: ``sorted.npz`` (``compile_to_npz``) and ``sorted.mat`` (``compile_to_mat``)
      with ``units``, ``locations`` (channels, 2), ``fs`` and, where there are any, ``dead_time_s``, ``stim_times_s``
      and ``stim_sites``; with 2 to 64 epochs also ``chunk{i}/`` folders with the same files for that epoch: its spikes
      on its own clock, its own templates; with ``compile_waveforms`` ``negative_peaks/`` and
      ``positive_peaks/waveforms_{sorted_index}.npy`` over the compiled window, cut out of
      ``waveforms_{unit_id}.npy`` (spikes, samples, channels) in `waveforms_folder`.

    With ``scale_compiled_waveforms=False`` the voltages in the compiled files are divided by the recording's
    ``source_gains_uv``, which gives counts of the original file; the ``SpikeData`` stay in microvolts.

    ``units`` in ``sorted.npz`` is an object array of dicts, which numpy pickles; ``sorted_spikedata_curated.npz`` holds
    no pickled objects. Apart from ``sorted.mat``, whose header carries a date, files made from equal input are equal
    byte by byte.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = _saving(sd_curated, folder / CURATED)
    if config.compilation.save_raw_pkl:
        tasks += _saving(sd_all, folder / RAW)
    if config.compilation.compile_single_recording:
        scale: Scale = 1.0
        if not config.waveform.scale_compiled_waveforms and recording.source_gains_uv is not None:
            scale = 1.0 / recording.source_gains_uv
        tasks.append(partial(_compile, sd_curated, config, folder, scale, waveforms_folder))
    with ThreadPool(config.execution.n_jobs) as threads:
        return [path for written in threads.map(lambda task: task(), tasks) for path in written]


def _saving(sd: SpikeData, stem: Path) -> list[Callable[[], list[Path]]]:
    def save(path: Path) -> list[Path]:
        sd.save(path)
        return [path]

    return [partial(save, stem.with_suffix(suffix)) for suffix in (".pkl", ".npz")]


def _compile(
    sd: SpikeData, config: SortingPipelineConfig, folder: Path, scale: Scale, waveforms_folder: Path | None
) -> list[Path]:
    ordered = sd.subset(_sorted_order(sd), preserve_order=True)
    written = _write_units(ordered, config.compilation, folder, scale)
    if measured_epochs(len(ordered.metadata.get("rec_chunks_ms", ()))):
        for index, epoch in enumerate(ordered.split_epochs()):
            written += _write_units(epoch, config.compilation, folder / f"chunk{index}", scale)
    if config.compilation.compile_waveforms:
        if waveforms_folder is None:
            raise ValueError("compile_waveforms=True needs the per-unit waveform files; set save_waveform_files=True")
        written += _copy_waveforms(ordered, config.waveform, folder, scale, waveforms_folder)
    return written


def _write_units(sd: SpikeData, config: CompilationConfig, folder: Path, scale: Scale) -> list[Path]:
    units, shared = _compiled_units(sd, config, scale), _shared(sd)
    formats = ((config.compile_to_npz, "sorted.npz", _write_npz), (config.compile_to_mat, "sorted.mat", _write_mat))
    written = []
    for wanted, name, write in formats:
        if wanted:
            folder.mkdir(exist_ok=True)
            with files.replacing(folder / name) as temporary:
                write(temporary, units, shared)
            written.append(folder / name)
    return written


def _shared(sd: SpikeData) -> dict[str, Any]:
    """Return what the units of a compiled file share: places of channels (um), rate (Hz), dead time and pulses (s)."""
    locations = np.array(sd.metadata["channel_locations"], dtype=np.float64)
    timed = {name: np.array(sd.metadata[name]) for name in TIMED if name in sd.metadata}
    return {"locations": locations, "fs": float(sd.metadata["fs_Hz"]), **timed}


def _sorted_order(sd: SpikeData) -> list[int]:
    """Order the units as the compiled files list them: negative peaks first, by descending amplitude, then unit id."""
    units = sd.unit_attributes
    return sorted(range(sd.N), key=lambda i: (units[i]["has_pos_peak"], -units[i]["amplitude"], units[i]["unit_id"]))


def _compiled_units(sd: SpikeData, config: CompilationConfig, scale: Scale = 1.0) -> list[dict[str, Any]]:
    """Describe each unit as the compiled files do; voltages are multiplied by `scale`.

    Fields: unit_id, spike_train (int64 frames), x_max, y_max (um, main channel), template (samples, channels),
    electrode (-1 where the format has no electrode numbers); with ``save_dl_data`` also sorted_index (position in the
    list, over both signs), max_channel_si (index), max_channel_id, peak_sign (-1 or 1), peak_ind (sample of the peak in
    `template`), amplitudes and std_norms (per channel); where a person decided on units also decided and label ("" for
    none), merged_from and split_from (unit ids of the sort). Every array is a fresh copy, so that two files made from
    equal input are equal byte by byte.
    """
    units = [_unit(unit, index, config, scale) for index, unit in enumerate(sd.unit_attributes)]
    if DECISIONS in sd.metadata.get(HISTORY, {}):
        for unit, values in zip(units, sd.unit_attributes, strict=True):
            unit |= {name: values.get(name) or "" for name in ("decided", "label")}
            unit |= {name: np.array(values.get(name, []), dtype=np.int64) for name in ("merged_from", "split_from")}
    return units


def _unit(unit: dict[str, Any], index: int, config: CompilationConfig, scale: Scale) -> dict[str, Any]:
    compiled: dict[str, Any] = {"unit_id": int(unit["unit_id"])}
    if config.save_spike_times:
        compiled["spike_train"] = np.array(unit["spike_train_samples"], dtype=np.int64)
    compiled["x_max"] = float(unit["x"])
    compiled["y_max"] = float(unit["y"])
    compiled["template"] = _scaled(unit["template"], scale)
    if config.save_electrodes:
        electrode = unit["electrode"]
        compiled["electrode"] = UNKNOWN_ELECTRODE if electrode is None else int(electrode)
    if config.save_dl_data:
        compiled["sorted_index"] = index
        compiled["max_channel_si"] = int(unit["channel"])
        compiled["max_channel_id"] = str(unit["channel_id"])
        compiled["peak_sign"] = 1 if unit["has_pos_peak"] else -1
        compiled["peak_ind"] = int(unit["template_peak_ind"])
        compiled["amplitudes"] = _scaled(unit["amplitudes"], scale)
        compiled["std_norms"] = np.array(unit["std_norms_all"], dtype=np.float32)
    return compiled


def _scaled(values: NDArray[np.float32], scale: Scale) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32) * np.asarray(scale, dtype=np.float32)


def _write_npz(path: Path, units: list[dict[str, Any]], shared: dict[str, Any]) -> None:
    array = np.empty(len(units), dtype=object)
    array[:] = units
    np.savez(path, units=array, **shared)


def _write_mat(path: Path, units: list[dict[str, Any]], shared: dict[str, Any]) -> None:
    from scipy.io import savemat

    # Texts of different lengths are MATLAB's cells: numpy's array of texts would become a matrix of characters.
    texts = {name: value.astype(object) for name, value in shared.items() if np.asarray(value).dtype.kind == "U"}
    savemat(path, {"units": _struct_array(units), **shared, **texts}, long_field_names=True)


def write_mat(path: Path, sd: SpikeData, epochs: Sequence[Epoch]) -> None:
    """Write units and the epochs of their recording as a MATLAB file of its own.

    ``units`` is a struct array in the order of ``sorted.mat``, with the fields of ``save_dl_data`` and snr, std_norm
    and amplitude (uV); ``locations`` (channels, 2) are micrometres, ``fs`` is in Hz; ``n_samples``; ``epochs`` is a
    struct array with name, source_file, start_frame, end_frame and, on the file's own clock, clock_start_s (NaN where
    the file has none), clock_zero, the date at which that clock shows 0, and clock_scale, the seconds on it for each
    second by the sampling rate. Frames count from 0, and an epoch ends before its end_frame.
    """
    ordered = sd.subset(_sorted_order(sd), preserve_order=True)
    units = _compiled_units(ordered, CompilationConfig(save_dl_data=True))
    for unit, values in zip(units, ordered.unit_attributes, strict=True):
        unit.update({name: float(values[name]) for name in ("amplitude", "snr", "std_norm")})
    table = [
        {
            "name": epoch.name,
            "source_file": Path(epoch.source_file).name,
            "start_frame": epoch.start_frame,
            "end_frame": epoch.end_frame,
            "clock_start_s": np.nan if epoch.clock_start_s is None else epoch.clock_start_s,
            "clock_zero": epoch.clock_zero,
            "clock_scale": epoch.clock_scale,
        }
        for epoch in epochs
    ]
    also = {"n_samples": float(sd.metadata["n_samples"]), "epochs": _struct_array(table)}
    _write_mat(path, units, _shared(sd) | also)


def _struct_array(rows: list[dict[str, Any]]) -> NDArray[np.void]:
    """Make MATLAB's struct array, numpy's structured array of objects; without rows it has the one field unit_id."""
    names = list(rows[0]) if rows else ["unit_id"]
    return np.array([tuple(row[name] for name in names) for row in rows], dtype=[(name, object) for name in names])


def _copy_waveforms(
    ordered: SpikeData, config: WaveformConfig, folder: Path, scale: Scale, waveforms_folder: Path
) -> list[Path]:
    """Write the compiled window of every unit's waveforms."""
    fs, n_before = ordered.metadata["fs_Hz"], ordered.metadata["template_full_peak_ind"]
    written = []
    for index, unit in enumerate(ordered.unit_attributes):
        waveforms = np.load(waveforms_folder / f"waveforms_{unit['unit_id']}.npy", mmap_mode="r")
        target = folder / ("positive_peaks" if unit["has_pos_peak"] else "negative_peaks")
        target.mkdir(exist_ok=True)
        window = compiled_window(config, fs, n_before, waveforms.shape[1])
        scaled = waveforms[:, window] * np.asarray(scale, dtype=np.float32)
        path = target / f"waveforms_{index}.npy"
        with files.replacing(path) as temporary:
            np.save(temporary, scaled)
        written.append(path)
    return written
