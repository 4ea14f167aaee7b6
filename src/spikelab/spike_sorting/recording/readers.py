"""Open one file, or one folder that is a recording, as a lazy SpikeInterface recording of raw counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from spikelab.spike_sorting.recording.completeness import (
    n_bytes,
    read_table,
    require_chunk_files,
    require_plain_numbers,
    require_written,
)
from spikelab.spike_sorting.recording.formats import (
    BIOCAM,
    BLACKROCK,
    EDF,
    FILE_FORMATS,
    FOLDER_FORMATS,
    HEADERLESS,
    INTAN,
    MAXWELL,
    MCS_H5,
    MEAREC,
    NIX,
    NWB,
    OPEN_EPHYS,
    SPIKEINTERFACE,
    ZARR,
    Format,
    intan_header,
)
from spikelab.spike_sorting.recording.hdf5 import items_by_name, open_hdf5, require_filters
from spikelab.spike_sorting.recording.metadata_checks import doubt_byte_order, doubt_channels, require_sane
from spikelab.spike_sorting.recording.open_ephys import require_one_experiment
from spikelab.spike_sorting.recording.probes import attach, read_probe
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.spike_sorting.recording.source import require_headerless_fields
from spikelab.spike_sorting.recording.stated_length import as_long_as_it_is, edf_problem, shorter, warn_of_shorter
from spikelab.spike_sorting.recording.streams import Stream, chosen_stream, streams_of_reader
from spikelab.spike_sorting.recording.trust import (
    read_description,
    refuse_foreign_storage,
    vet_folder,
    vet_links,
    vet_store,
)
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.settings.schema import RecordingConfig

FORMATS: Mapping[str, Format] = {known.name: known for known in (*FILE_FORMATS, *FOLDER_FORMATS)}
HDF5_FORMATS = (BIOCAM, MCS_H5, MEAREC, NIX)
# Frames that are missing are found by :mod:`.clock`; without these options the readers refuse such files.
WITH_GAPS: Mapping[str, dict[str, Any]] = {
    INTAN.name: {"ignore_integrity_checks": True},
    BLACKROCK.name: {"gap_tolerance_ms": 0.0},
}


def read_file(path: Path, format_name: str, config: RecordingConfig) -> BaseRecording:
    """Open the raw recording at `path`, a file or a folder that is itself a recording.

    `format_name` is from :func:`.source.resolve_source`. The recording has stored counts and gains, possibly several
    segments, and the contacts of `probe_path`. A ValueError says that the file cannot be read as this format, or that
    it is not clear which part of it is meant.
    """
    known = FORMATS[format_name]
    if config.stream_id is not None and known not in (MAXWELL, NWB) and not known.has_streams:
        raise ValueError(f"{path} ({known.name}) has no streams to choose from: leave stream_id out")
    reader = _READERS.get(known.name)
    with reading(path, f"as {known.name}"):
        if not config.trust_input:
            vet(path, known)
        recording = _read_with_spikeinterface(path, known, config) if reader is None else reader(path, config)
        require_sane(recording, str(path))
        recording = as_long_as_it_is(recording, path, known.name)
    if config.probe_path is None:
        return recording
    group = read_probe(Path(config.probe_path))
    if known is HEADERLESS:
        doubt_channels(recording, group.get_contact_count(), path)
    return attach(recording, group, Path(config.probe_path))


def vet(path: Path, known: Format) -> None:
    """Refuse an input that would run code or lead to other places; see :mod:`.trust`."""
    if known is SPIKEINTERFACE:
        vet_folder(path)
    elif known is ZARR:
        vet_store(path)
    elif known in (MAXWELL, NWB, *HDF5_FORMATS):
        vet_links(path)


def streams_of(path: Path, known: Format, *, trust_input: bool = False) -> list[Stream] | None:
    """List wells, ElectricalSeries or streams of the recording at `path`; None where the format has none."""
    with reading(path, f"as {known.name}"):
        if not trust_input:
            vet(path, known)
        if known is MAXWELL:
            from spikelab.spike_sorting.recording.maxwell import list_recordings

            with open_hdf5(path) as file:
                return [Stream(well) for well in list_recordings(file)]
        if known is MCS_H5:
            from spikelab.spike_sorting.recording.mcs_recording import list_mcs_streams

            with open_hdf5(path) as file:
                return list_mcs_streams(file)
        if known is NWB:
            return [Stream(series, series.rpartition("/")[2]) for series in electrical_series(path)]
        if not known.has_streams:
            return None
        from spikeinterface.extractors.neoextractors import neo_recording_class_dict

        if known is OPEN_EPHYS:
            require_one_experiment(path)
        return streams_of_reader(neo_recording_class_dict[known.name], _neo_options(path, known))


def _read_with_spikeinterface(path: Path, known: Format, config: RecordingConfig) -> BaseRecording:
    from spikeinterface.extractors.extractor_classes import recording_extractor_full_dict
    from spikeinterface.extractors.neoextractors import neo_recording_class_dict

    if known in HDF5_FORMATS:
        _require_readable(path, config)
    options = dict(WITH_GAPS.get(known.name, {}))
    if (stream := _chosen_stream(path, known, config)) is not None:
        options["stream_id"] = stream
    if known is EDF and (problem := edf_problem(path)):
        warn_of_shorter(problem)
    reader = neo_recording_class_dict.get(known.name) or recording_extractor_full_dict[known.name]
    return reader(str(_to_open(path, known)), **options)


def _to_open(path: Path, known: Format) -> Path:
    """Return the file that the reader takes: of an Intan folder, its header."""
    return (intan_header(path) or path) if known is INTAN and path.is_dir() else path


def _neo_options(path: Path, known: Format) -> dict[str, Any]:
    """Return what SpikeInterface's reader hands to neo."""
    from spikeinterface.extractors.neoextractors import neo_recording_class_dict

    path = _to_open(path, known)
    options = neo_recording_class_dict[known.name].map_to_neo_kwargs(str(path), **WITH_GAPS.get(known.name, {}))
    if known is BLACKROCK:  # of the files of other rates beside it, and of the spikes, nothing is read
        options |= {"load_nev": False, "nsx_to_load": int(path.suffix[-1])}
    return dict(options)


def _require_readable(path: Path, config: RecordingConfig) -> None:
    """Check that every dataset can be unpacked here, and that the traces, the largest of them, were written."""
    with open_hdf5(path) as file:
        datasets = [item for item in items_by_name(file).values() if isinstance(item, h5py.Dataset)]
        for dataset in datasets:
            require_filters(path, dataset)
            if not config.trust_input:
                refuse_foreign_storage(path, dataset)
        if datasets:
            require_written(path, max(datasets, key=n_bytes))


def _chosen_stream(path: Path, known: Format, config: RecordingConfig) -> str | None:
    streams = streams_of(path, known, trust_input=True)  # the input was vetted before
    if streams is None:
        return None
    chosen = chosen_stream(path, streams, config.stream_id)
    if not chosen.electrodes:
        warn(
            f"stream {chosen.label} of {path} holds no electrodes, by its name or its units, and is opened all the same"
        )
    return chosen.id


def _read_maxwell(path: Path, config: RecordingConfig) -> BaseRecording:
    from spikelab.spike_sorting.recording.maxwell_recording import MaxwellRecording

    recording = MaxwellRecording(path, stream_id=config.stream_id, rec_name=config.rec_name)
    if not config.trust_input:
        refuse_foreign_storage(path, recording.segments[0].dataset)
    return recording


def _read_mcs(path: Path, config: RecordingConfig) -> BaseRecording:
    from spikelab.spike_sorting.recording.mcs_recording import McsRecording

    _require_readable(path, config)
    return McsRecording(path, stream_id=_chosen_stream(path, MCS_H5, config) or "0")


def electrical_series(path: Path) -> list[str]:
    """List the paths of the ElectricalSeries of an NWB file."""
    names = ("ElectricalSeries", b"ElectricalSeries")
    with open_hdf5(path) as file:
        groups = {name: item for name, item in items_by_name(file).items() if isinstance(item, h5py.Group)}
        return [name for name, group in groups.items() if group.attrs.get("neurodata_type") in names]


def _read_nwb(path: Path, config: RecordingConfig) -> BaseRecording:
    from spikeinterface.extractors.extractor_classes import NwbRecordingExtractor

    chosen = _chosen_series(path, config.electrical_series_path or config.stream_id)
    _require_readable(path, config)
    _check_series(path, chosen)
    return NwbRecordingExtractor(str(path), electrical_series_path=chosen)


def _chosen_series(path: Path, wanted: str | None) -> str:
    """Return the ElectricalSeries of this path or name, or the only one."""
    series = electrical_series(path)
    if not series:
        raise ValueError(f"{path} has no ElectricalSeries")
    if wanted is None and len(series) > 1:
        raise ValueError(f"{path} has several ElectricalSeries; set electrical_series_path to one of {series}")
    named = series if wanted is None else [name for name in series if wanted in (name, name.rpartition("/")[2])]
    if len(named) != 1:
        raise ValueError(f"{path} has {'several' if named else 'no'} ElectricalSeries {wanted!r}. It has {series}")
    return named[0]


def _check_series(path: Path, series: str) -> None:
    """Check that an ElectricalSeries has all its values, and electrodes that are in the table of electrodes."""
    with open_hdf5(path) as file:
        n_channels = _check_values(path, file[series])
        rows = read_table(path, file[series]["electrodes"])
        table = file["general/extracellular_ephys/electrodes"]
        for column in table.values():
            if hasattr(column, "shape"):
                read_table(path, column)
        n_rows = len(table["id"])
    if len(rows) != n_channels or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n_rows:
        raise ValueError(
            f"{path}: {series} has {n_channels} channels, and names the electrodes {_brief(rows)} of a table "
            f"of {n_rows} rows"
        )
    if len(set(rows.tolist())) < len(rows):
        raise ValueError(f"{path}: {series} has channels of the same electrode: {_brief(rows)}")


def _check_values(path: Path, series: Any) -> int:
    """Check that values and timestamps of an ElectricalSeries are there, and return its number of channels."""
    data = series["data"]
    require_plain_numbers(path, data)
    for part in ("data", "timestamps"):
        if part in series:
            require_written(path, series[part])
    if "timestamps" in series and len(data) < len(series["timestamps"]):
        warn_of_shorter(shorter(path, len(data), len(series["timestamps"]), "frames", f"timestamps of {series.name}"))
    if data.ndim > 2:
        raise ValueError(f"{path}: {data.name} has {data.shape} values; (frames, channels) are expected")
    return int(data.shape[1]) if data.ndim == 2 else 1


def _brief(values: Any) -> str:
    return np.array2string(np.asarray(values), threshold=20, max_line_width=200)


def _read_folder(path: Path, config: RecordingConfig) -> BaseRecording:  # noqa: ARG001  one signature for all readers
    from spikeinterface import BaseRecording
    from spikeinterface.core.base import BaseExtractor

    _, description = read_description(path)
    loaded = BaseExtractor.from_dict(description, base_folder=path)
    if not isinstance(loaded, BaseRecording):
        raise ValueError(f"{path} holds a {type(loaded).__name__} of SpikeInterface, not a recording")  # noqa: TRY004  the input is wrong
    _refuse_broken_frames(path, loaded)
    return loaded


def _refuse_broken_frames(path: Path, recording: BaseRecording) -> None:
    """Refuse a binary file that ends in the middle of a frame: it was cut, and SpikeInterface does not notice."""
    description = getattr(recording, "_bin_kwargs", recording._kwargs)  # of a folder, what is in its binary.json
    if not {"file_paths", "num_channels", "dtype"} <= set(description):
        return
    frame_bytes = int(description["num_channels"]) * np.dtype(description["dtype"]).itemsize
    for file in map(Path, description["file_paths"]):
        size = file.stat().st_size - int(description.get("file_offset") or 0)
        if size % frame_bytes:
            raise ValueError(
                f"{path} is truncated: {file.name} has {size} bytes, not a whole number of frames of {frame_bytes} "
                "bytes; was the copy interrupted? Compare its size with the original's"
            )


def _read_zarr(path: Path, config: RecordingConfig) -> BaseRecording:  # noqa: ARG001  one signature for all readers
    from spikeinterface.core.zarrextractors import read_zarr_recording

    require_chunk_files(path)
    return read_zarr_recording(path)


def _read_headerless(path: Path, config: RecordingConfig) -> BaseRecording:
    from spikeinterface.core import BinaryRecordingExtractor

    require_headerless_fields(path, config)
    n_channels, dtype = int(config.num_channels or 0), np.dtype(config.dtype)
    frame_bytes, size = n_channels * dtype.itemsize, path.stat().st_size
    if size % frame_bytes:
        raise ValueError(
            f"{path} has {size} bytes, which is not a whole number of frames of {n_channels} channels of {dtype} "
            f"({frame_bytes} bytes): check num_channels and dtype"
        )
    recording = BinaryRecordingExtractor(
        [str(path)],
        sampling_frequency=float(config.sampling_frequency or 0),
        dtype=dtype,
        num_channels=n_channels,
        channel_ids=[str(channel) for channel in range(n_channels)],
    )
    doubt_byte_order(recording, path)
    return recording


_READERS: Mapping[str, Callable[[Path, RecordingConfig], BaseRecording]] = {
    MAXWELL.name: _read_maxwell,
    MCS_H5.name: _read_mcs,
    NWB.name: _read_nwb,
    SPIKEINTERFACE.name: _read_folder,
    ZARR.name: _read_zarr,
    HEADERLESS.name: _read_headerless,
}
