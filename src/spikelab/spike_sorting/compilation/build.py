"""``SpikeData`` of all units, from their templates and metrics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spikedata import SpikeData
from spikelab.spikedata._windows import whole_frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.data import BinaryRecording, Epoch, SpikeTrains, Waveforms
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig, WaveformConfig


def build_spikedata(
    recording: BinaryRecording,
    waveforms: Waveforms,
    config: SortingPipelineConfig,
    trains: SpikeTrains | None = None,
    noted: Mapping[str, Any] | None = None,
) -> SpikeData:
    """Build the ``SpikeData`` of all units on the clock of the (concatenated) recording.

    Neuron attributes: unit_id, channel, channel_id, electrode (None where the format has no electrode numbers), x, y
    (um), template = template_windowed (samples, channels) over the compiled window, template_full over the extracted
    window (the same array where the windows are equal), template_peak_ind (sample of the spike in `template`),
    amplitude, amplitudes (uV, extracted window), peak_inds (sample of the largest magnitude in `template`, per
    channel), std_norm, std_norms_all, snr, significance, has_pos_peak, spike_train_samples (frames). With 2 to 64
    epochs also epoch_templates (epochs, samples, channels) over the extracted window, NaN for an epoch without an
    averaged spike, and epoch_snr and epoch_std_norm (epochs,), 0 and infinity for such an epoch. Where channels were
    sorted in groups also group, the name of the unit's; with the `trains` of a sorter whose ids are not unit_id also
    sorter_unit_id, and with those of one that has seen units move also moved_um and size_ratio (largest amplitude over
    the smallest; a run gives moved_um to the others where the tissue was measured); of units that another program
    found, what it says of each, in attributes that begin with imported_.

    Metadata: source_file, source_format, fs_Hz, channel_locations (channels, 2), n_samples, template_full_peak_ind,
    rec_chunk_sources (file, segment and frame of each epoch); clock (where the file has one: of each epoch its start
    ``ms``, the same time on the file's clock, ``clock_s``, the date at which that clock shows 0, ``zero``, and how much
    time passes on it for each second by the sampling rate, ``scale``); with several epochs rec_chunks_frames,
    rec_chunks_ms, rec_chunk_names, rec_chunk_source_files; with several files source_files, those of which nothing was
    kept included; with stimulation stim_times_s, the onsets of the pulses in seconds, and stim_sites, where they have
    names; with dead time dead_time_s, start and end of each period in seconds. What a list of recordings has `noted` of
    this one, such as its condition, is beside these.
    """
    fs = recording.sampling_frequency
    window = compiled_window(config.waveform, fs, waveforms.n_before, waveforms.templates.shape[1])
    attributes = [_attributes(recording, waveforms, unit, window) for unit in range(waveforms.n_units)]
    if trains is not None:
        attributes = [values | _told(trains, values["unit_id"]) for values in attributes]
    return SpikeData(
        [spikes * 1000.0 / fs for spikes in waveforms.spikes],
        N=waveforms.n_units,
        length=recording.n_samples * 1000.0 / fs,
        neuron_attributes=attributes,
        metadata=_metadata(recording, waveforms) | _own_texts(noted or {}),
    )


def _told(trains: SpikeTrains, unit_id: int) -> dict[str, Any]:
    """Collect what the sorter tells of one unit."""
    row = int(np.flatnonzero(trains.unit_ids == unit_id)[0])
    own = {} if trains.sorter_ids is None else {"sorter_unit_id": trains.sorter_ids[row]}
    measured = {name: float(values[row]) for name, values in trains.measures.items()}
    return own | measured | {name: values[row] for name, values in trains.told.items()}


def compiled_window(config: WaveformConfig, fs: float, n_before: int, n_samples: int) -> slice:
    """Select the samples of a template window (`n_samples`, peak at `n_before`) for the compiled templates."""
    start = n_before - whole_frames(config.compiled_ms_before, fs)
    stop = n_before + whole_frames(config.compiled_ms_after, fs) + 1
    if start < 0 or stop > n_samples:
        raise ValueError(
            f"The compiled window (compiled_ms_before={config.compiled_ms_before}, "
            f"compiled_ms_after={config.compiled_ms_after}) is longer than the extracted one "
            f"({n_before} samples before and {n_samples - n_before - 1} after the peak at {fs:g} Hz); "
            "lower it, or raise ms_before and ms_after."
        )
    return slice(start, stop)


def _attributes(recording: BinaryRecording, waveforms: Waveforms, unit: int, window: slice) -> dict[str, Any]:
    """Collect the neuron attributes of one unit."""
    channel = int(waveforms.main_channels[unit])
    full = waveforms.templates[unit]
    template, peak_inds = full, waveforms.peak_inds[unit]
    if window != slice(0, len(full)):
        template = full[window]
        peak_inds = np.argmax(np.abs(template), axis=0).astype(np.int64)
    attributes: dict[str, Any] = {
        "unit_id": int(waveforms.unit_ids[unit]),
        "channel": channel,
        "channel_id": str(recording.channel_ids[channel]),
        "electrode": None if recording.electrodes is None else int(recording.electrodes[channel]),
        "x": float(recording.locations[channel, 0]),
        "y": float(recording.locations[channel, 1]),
        "template": template,
        "template_full": full,
        "template_windowed": template,
        "template_peak_ind": int(waveforms.n_before - window.start),
        "amplitude": float(waveforms.amplitudes[unit, channel]),
        "amplitudes": waveforms.amplitudes[unit],
        "peak_inds": peak_inds,
        "std_norms_all": waveforms.std_norms_all[unit],
        "std_norm": float(waveforms.std_norm[unit]),
        "snr": float(waveforms.snr[unit]),
        "has_pos_peak": bool(waveforms.has_pos_peak[unit]),
        "spike_train_samples": waveforms.spikes[unit],
    }
    if recording.geometry is not None and recording.geometry.n_groups > 1:
        attributes["group"] = recording.geometry.group_names[recording.geometry.groups[channel]]
    if waveforms.significance is not None:
        attributes["significance"] = float(waveforms.significance[unit])
    if waveforms.epoch_templates is not None:
        attributes["epoch_templates"] = waveforms.epoch_templates[:, unit]
    if waveforms.epoch_snr is not None and waveforms.epoch_std_norm is not None:
        attributes["epoch_snr"] = waveforms.epoch_snr[:, unit]
        attributes["epoch_std_norm"] = waveforms.epoch_std_norm[:, unit]
    return attributes


def _metadata(recording: BinaryRecording, waveforms: Waveforms) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "source_file": recording.source_file,
        "source_format": recording.source_format,
        "fs_Hz": float(recording.sampling_frequency),
        "channel_locations": recording.locations,
        "n_samples": int(recording.n_samples),
        "template_full_peak_ind": int(waveforms.n_before),
    }
    if len(recording.source_files) > 1:
        metadata["source_files"] = list(recording.source_files)
    if len(recording.pulses):
        metadata |= _pulse_table(recording)
    if recording.motion is not None:
        metadata["motion"] = recording.motion
    if len(recording.dead_time):
        metadata["dead_time_s"] = (recording.dead_time / recording.sampling_frequency).tolist()
    return metadata | _epoch_table(recording.epochs, recording.sampling_frequency)


def _pulse_table(recording: BinaryRecording) -> dict[str, Any]:
    pulses = recording.pulses
    table: dict[str, Any] = {"stim_times_s": (pulses.frames / recording.sampling_frequency).tolist()}
    if any(pulses.names):
        table["stim_sites"] = [pulses.names[site] for site in pulses.sites]
    return _own_texts(table)


def _epoch_table(epochs: tuple[Epoch, ...], fs: float) -> dict[str, Any]:
    """Describe the epochs in values of JSON; ``rec_chunks_*`` only where there is more than one epoch."""
    sources = [
        {
            "source_file": epoch.source_file,
            "source_segment": epoch.source_segment,
            "source_start_frame": epoch.source_start_frame,
            "source_end_frame": epoch.source_start_frame + epoch.n_frames,
            "source_index": epoch.source_index,
        }
        for epoch in epochs
    ]
    table: dict[str, Any] = {"rec_chunk_sources": sources}
    if any(epoch.clock_start_s is not None for epoch in epochs):
        table["clock"] = [
            {
                "ms": e.start_frame * 1000.0 / fs,
                "clock_s": e.clock_start_s,
                "zero": e.clock_zero,
                "scale": e.clock_scale,
            }
            for e in epochs
        ]
    if len(epochs) > 1:
        table["rec_chunks_frames"] = [[epoch.start_frame, epoch.end_frame] for epoch in epochs]
        table["rec_chunks_ms"] = [[e.start_frame * 1000.0 / fs, e.end_frame * 1000.0 / fs] for e in epochs]
        table["rec_chunk_names"] = [epoch.name for epoch in epochs]
        table["rec_chunk_source_files"] = [epoch.source_file for epoch in epochs]
    return _own_texts(table)


def _own_texts(table: Mapping[str, Any]) -> dict[str, Any]:
    """Make every text an object of its own, as JSON does: pickles of equal tables are equal byte by byte."""
    jsonable: dict[str, Any] = json.loads(json.dumps(dict(table)))
    return jsonable
