"""Files of a results folder: pickle and npz of the ``SpikeData``, ``sorted.npz``, ``sorted.mat``, waveforms."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spikelab.spike_sorting.compilation.build import compiled_window
from spikelab.spike_sorting.compilation.units import compiled_units, sorted_order
from spikelab.spike_sorting.settings.schema import CompilationConfig
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


def compile_results(
    sd_curated: SpikeData,
    sd_all: SpikeData,
    recording: BinaryRecording,
    config: SortingPipelineConfig,
    folder: Path,
    *,
    waveforms_folder: Path | None = None,
) -> list[Path]:
    """Write the results of one recording.

    Parameters
    ----------
    sd_curated, sd_all : SpikeData
        The units that passed curation, and all units.
    recording : BinaryRecording
        Sorted recording. With ``scale_compiled_waveforms=False`` the voltages in the compiled files are divided by its
        ``source_gains_uv``, which gives counts of the original file; pickles, the npz of the ``SpikeData`` and the
        attributes in them stay in microvolts.
    config : SortingPipelineConfig
        ``compilation`` chooses the files, ``waveform`` the window and the unit of their voltages.
    folder : Path
        Results folder; made where it is missing.
    waveforms_folder : Path, optional
        Where ``waveforms_{unit_id}.npy`` (spikes, samples, channels) lie; needed by ``compile_waveforms``.

    Returns
    -------
    list of Path
        What was written, each file under a temporary name first:

        - ``sorted_spikedata_curated.pkl`` and ``.npz``; with ``save_raw_pkl`` also ``sorted_spikedata.pkl`` and
          ``.npz``;
        - with ``compile_single_recording``: ``sorted.npz`` (``compile_to_npz``) and ``sorted.mat``
          (``compile_to_mat``) with ``units``, ``locations`` (channels, 2) and ``fs``; with several epochs also
          ``chunk{i}/`` folders with the same files for that epoch: its spikes on its own clock, its own templates;
          with ``compile_waveforms`` ``negative_peaks/`` and ``positive_peaks/waveforms_{sorted_index}.npy``, over the
          compiled window.

    Raises
    ------
    ValueError
        If ``compile_waveforms`` is set and there is no `waveforms_folder`.

    Notes
    -----
    ``units`` in ``sorted.npz`` is an object array of dicts: read it with ``np.load(path, allow_pickle=True)["units"]``,
    and only from a file that you trust. ``sorted_spikedata_curated.npz`` holds no pickled objects. Apart from
    ``sorted.mat``, whose header carries a date, files made from equal input are equal byte by byte.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = _saving(sd_curated, folder / CURATED)
    if config.compilation.save_raw_pkl:
        tasks += _saving(sd_all, folder / RAW)
    if config.compilation.compile_single_recording:
        tasks.append(partial(_compile, sd_curated, config, folder, _scale(recording, config), waveforms_folder))
    with ThreadPool(config.execution.n_jobs) as threads:
        return [path for written in threads.map(lambda task: task(), tasks) for path in written]


def _scale(recording: BinaryRecording, config: SortingPipelineConfig) -> Scale:
    """Return the factor of voltages in the compiled files."""
    if config.waveform.scale_compiled_waveforms or recording.source_gains_uv is None:
        return 1.0
    scale: Scale = 1.0 / recording.source_gains_uv
    return scale


def _saving(sd: SpikeData, stem: Path) -> list[Callable[[], list[Path]]]:
    def save(path: Path) -> list[Path]:
        sd.save(path)
        return [path]

    return [partial(save, stem.with_suffix(suffix)) for suffix in (".pkl", ".npz")]


def _compile(
    sd: SpikeData, config: SortingPipelineConfig, folder: Path, scale: Scale, waveforms_folder: Path | None
) -> list[Path]:
    ordered = sd.subset(sorted_order(sd))
    written = _write_units(ordered, config.compilation, folder, scale)
    if "rec_chunks_ms" in ordered.metadata:
        for index, epoch in enumerate(ordered.split_epochs()):
            written += _write_units(epoch, config.compilation, folder / f"chunk{index}", scale)
    if config.compilation.compile_waveforms:
        if waveforms_folder is None:
            raise ValueError("compile_waveforms=True needs the per-unit waveform files; set save_waveform_files=True")
        written += _copy_waveforms(ordered, config.waveform, folder, scale, waveforms_folder)
    return written


def _write_units(sd: SpikeData, config: CompilationConfig, folder: Path, scale: Scale) -> list[Path]:
    units = compiled_units(sd, config, scale=scale)
    shared = {
        "locations": np.array(sd.metadata["channel_locations"], dtype=np.float64),
        "fs": float(sd.metadata["fs_Hz"]),
    }
    formats = [
        (config.compile_to_npz, "sorted.npz", _write_npz),
        (config.compile_to_mat, "sorted.mat", _write_mat),
    ]
    written = []
    for wanted, name, write in formats:
        if wanted:
            folder.mkdir(exist_ok=True)
            with files.replacing(folder / name) as temporary:
                write(temporary, units, shared)
            written.append(folder / name)
    return written


def _write_npz(path: Path, units: list[dict[str, Any]], shared: dict[str, Any]) -> None:
    array = np.empty(len(units), dtype=object)
    array[:] = units
    np.savez(path, units=array, **shared)


def _write_mat(path: Path, units: list[dict[str, Any]], shared: dict[str, Any]) -> None:
    from scipy.io import savemat

    savemat(path, {"units": _struct_array(units), **shared}, long_field_names=True)


def write_mat(path: Path, sd: SpikeData, epochs: Sequence[Epoch]) -> None:
    """Write units as a MATLAB file of its own.

    Parameters
    ----------
    path : Path
    sd : SpikeData
        Listed as in ``sorted.mat``: negative peaks first, by descending amplitude.
    epochs : sequence of Epoch
        Of the recording.

    Notes
    -----
    The file has ``units``, a struct array with the fields of ``sorted.mat`` with ``save_dl_data`` and snr, std_norm and
    amplitude (uV); ``locations`` (channels, 2) in micrometres; ``fs`` in Hz; ``n_samples``; and ``epochs``, a struct
    array with name, source_file, start_frame and end_frame. Frames count from 0, and an epoch ends before its
    end_frame.
    """
    ordered = sd.subset(sorted_order(sd))
    units = compiled_units(ordered, CompilationConfig(save_dl_data=True))
    for unit, values in zip(units, ordered.neuron_attributes, strict=True):
        unit.update({name: float(values[name]) for name in ("amplitude", "snr", "std_norm")})
    stretches = [
        {
            "name": epoch.name,
            "source_file": Path(epoch.source_file).name,
            "start_frame": epoch.start_frame,
            "end_frame": epoch.end_frame,
        }
        for epoch in epochs
    ]
    shared = {
        "locations": np.array(sd.metadata["channel_locations"], dtype=np.float64),
        "fs": float(sd.metadata["fs_Hz"]),
        "n_samples": float(sd.metadata["n_samples"]),
        "epochs": _struct_array(stretches),
    }
    _write_mat(path, units, shared)


def _struct_array(units: list[dict[str, Any]]) -> NDArray[np.void]:
    """MATLAB's struct array is numpy's structured array of objects; without units it has the one field unit_id."""
    names = list(units[0]) if units else ["unit_id"]
    array = np.empty(len(units), dtype=[(name, object) for name in names])
    for index, unit in enumerate(units):
        array[index] = tuple(unit[name] for name in names)
    return array


def _copy_waveforms(
    ordered: SpikeData, config: WaveformConfig, folder: Path, scale: Scale, waveforms_folder: Path
) -> list[Path]:
    """Write the compiled window of every unit's waveforms."""
    fs, n_before = ordered.metadata["fs_Hz"], ordered.metadata["template_full_peak_ind"]
    written = []
    for index, unit in enumerate(ordered.neuron_attributes or []):
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
