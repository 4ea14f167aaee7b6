"""Open one file, or one folder that is a recording, as SpikeInterface sees it: raw counts, lazily."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.formats import (
    BIOCAM,
    FILE_FORMATS,
    FOLDER_FORMATS,
    HEADERLESS,
    MAXWELL,
    MCS_H5,
    MEAREC,
    NIX,
    NWB,
    SPIKEINTERFACE,
    ZARR,
    Format,
)
from spikelab.spike_sorting.recording.hdf5 import open_hdf5, require_all_filters
from spikelab.spike_sorting.recording.source import require_headerless_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.config import RecordingConfig

FORMATS: Mapping[str, Format] = {known.name: known for known in (*FILE_FORMATS, *FOLDER_FORMATS)}
HDF5_FORMATS = (BIOCAM, MCS_H5, MEAREC, NIX)
# What readers raise on files that are not what they seem.
READER_ERRORS = (AssertionError, LookupError, TypeError, ValueError, struct.error)


def read_file(path: Path, format_name: str, config: RecordingConfig) -> BaseRecording:
    """Open the raw recording at `path`.

    Parameters
    ----------
    path : Path
        A file, or a folder that is itself a recording.
    format_name : str
        From :func:`.source.resolve_source`.
    config : RecordingConfig

    Returns
    -------
    BaseRecording
        As stored: counts and gains, possibly several segments. `probe_path` is applied.

    Raises
    ------
    ValueError
        If the file cannot be read as this format, or it is not clear which part of it is meant.
    HDF5PluginMissingError
        If the data are compressed with a filter that is not installed.
    """
    known = FORMATS[format_name]
    if config.stream_id is not None and known not in (MAXWELL, NWB) and not known.has_streams:
        raise ValueError(f"{path} ({known.name}) has no streams to choose from: leave stream_id out")
    reader = _READERS.get(known.name)
    recording = _read_with_spikeinterface(path, known, config) if reader is None else reader(path, config)
    return recording if config.probe_path is None else with_probe(recording, Path(config.probe_path))


def stream_ids(path: Path, known: Format) -> list[str] | None:
    """List wells, ElectricalSeries or streams of the recording at `path`; None where the format has none."""
    if known is MAXWELL:
        from spikelab.spike_sorting.recording.maxwell import list_recordings

        with open_hdf5(path) as file:
            return list(list_recordings(file))
    if known is NWB:
        return electrical_series(path)
    if not known.has_streams:
        return None
    with _reading(path, known):
        return [str(stream) for stream in _neo_reader(known).get_streams(str(path))[1]]


@contextmanager
def _reading(path: Path, known: Format) -> Iterator[None]:
    """Give what a reader raises on a file that is not what it seems one class, ValueError, and the file's name."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is incomplete: {error}") from error
    except READER_ERRORS as error:
        raise ValueError(f"{path} cannot be read as {known.name}: {type(error).__name__}: {error}") from error


def _neo_reader(known: Format) -> Any:
    from spikeinterface.extractors.neoextractors import neo_recording_class_dict

    return neo_recording_class_dict[known.reader]


def _read_with_spikeinterface(path: Path, known: Format, config: RecordingConfig) -> BaseRecording:
    from spikeinterface.extractors.extractor_classes import recording_extractor_full_dict
    from spikeinterface.extractors.neoextractors import neo_recording_class_dict

    if known in HDF5_FORMATS:
        require_all_filters(path)
    options = {} if (stream := _chosen_stream(path, known, config)) is None else {"stream_id": stream}
    reader = neo_recording_class_dict.get(known.reader) or recording_extractor_full_dict[known.reader]
    with _reading(path, known):
        return reader(str(path), **options)


def _chosen_stream(path: Path, known: Format, config: RecordingConfig) -> str | None:
    streams = stream_ids(path, known)
    if streams is None:
        return None
    if config.stream_id is None and len(streams) > 1:
        raise ValueError(f"{path} has several streams; set stream_id to one of {streams}")
    if config.stream_id is not None and config.stream_id not in streams:
        raise ValueError(f"{path} has no stream {config.stream_id!r}. It has {streams}")
    return config.stream_id


def _read_maxwell(path: Path, config: RecordingConfig) -> BaseRecording:
    from spikelab.spike_sorting.recording.maxwell_recording import MaxwellRecording

    return MaxwellRecording(path, stream_id=config.stream_id, rec_name=config.rec_name)


def electrical_series(path: Path) -> list[str]:
    """List the paths of the ElectricalSeries of an NWB file."""
    import h5py

    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and item.attrs.get("neurodata_type") in (
            "ElectricalSeries",
            b"ElectricalSeries",
        ):
            found.append(name)

    with open_hdf5(path) as file:
        file.visititems(visit)
    return found


def _read_nwb(path: Path, config: RecordingConfig) -> BaseRecording:
    from spikeinterface.extractors.extractor_classes import NwbRecordingExtractor

    series, wanted = electrical_series(path), config.electrical_series_path or config.stream_id
    if not series:
        raise ValueError(f"{path} has no ElectricalSeries")
    if wanted is None and len(series) > 1:
        raise ValueError(f"{path} has several ElectricalSeries; set electrical_series_path to one of {series}")
    if wanted is not None and wanted not in series:
        raise ValueError(f"{path} has no ElectricalSeries {wanted!r}. It has {series}")
    require_all_filters(path)
    with _reading(path, NWB):
        return NwbRecordingExtractor(str(path), electrical_series_path=wanted or series[0])


def _read_folder(path: Path, config: RecordingConfig) -> BaseRecording:  # noqa: ARG001  one signature for all readers
    import spikeinterface

    with _reading(path, SPIKEINTERFACE):
        loaded = spikeinterface.load(path)
    if not isinstance(loaded, spikeinterface.BaseRecording):
        raise ValueError(f"{path} holds a {type(loaded).__name__} of SpikeInterface, not a recording")  # noqa: TRY004  it is the input that is wrong
    _refuse_broken_frames(path, loaded)
    return loaded


def _refuse_broken_frames(path: Path, recording: BaseRecording) -> None:
    """ValueError where a binary file ends in the middle of a frame: it was cut, and SpikeInterface does not say so."""
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

    with _reading(path, ZARR):
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
    return BinaryRecordingExtractor(
        [str(path)],
        sampling_frequency=float(config.sampling_frequency or 0),
        dtype=dtype,
        num_channels=n_channels,
        channel_ids=[str(channel) for channel in range(n_channels)],
    )


def with_probe(recording: BaseRecording, probe_path: Path) -> BaseRecording:
    """Attach the contacts of a probeinterface file; channels without a contact are left out.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or its contacts do not fit the channels.
    """
    from probeinterface import read_probeinterface

    if not probe_path.is_file():
        raise FileNotFoundError(f"there is no probe file {probe_path}")
    try:
        group = read_probeinterface(probe_path)
    except READER_ERRORS as error:
        raise ValueError(f"{probe_path} is not a probe file of probeinterface (json): {error}") from error
    n_contacts, n_channels = group.get_contact_count(), recording.get_num_channels()
    wired = [probe.device_channel_indices is not None for probe in group.probes]
    if not all(wired):
        if n_contacts != n_channels:
            raise ValueError(
                f"{probe_path} has {n_contacts} contacts and does not say which channel each is wired to, but the "
                f"recording has {n_channels} channels: set device_channel_indices in the probe file"
            )
        group.set_global_device_channel_indices(np.arange(n_contacts))
    highest = int(np.max(group.get_global_device_channel_indices()["device_channel_indices"]))
    if highest >= n_channels:
        raise ValueError(
            f"{probe_path} wires a contact to channel {highest}, but the recording has {n_channels} channels"
        )
    return recording.select_channels_with_probegroup(group)


_READERS: Mapping[str, Callable[[Path, RecordingConfig], BaseRecording]] = {
    MAXWELL.name: _read_maxwell,
    NWB.name: _read_nwb,
    SPIKEINTERFACE.name: _read_folder,
    ZARR.name: _read_zarr,
    HEADERLESS.name: _read_headerless,
}
