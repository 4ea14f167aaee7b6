"""Compare what is there of a recording with the length that its header, or the file beside it, states."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.formats import BIOCAM, BLACKROCK, MCS_H5
from spikelab.spike_sorting.recording.hdf5 import open_hdf5
from spikelab.spike_sorting.recording.open_ephys import index_in_folder
from spikelab.spike_sorting.recording.read_errors import WHAT_TO_COMPARE
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from spikeinterface import BaseRecording

# Bytes of the header and of a record of 1024 samples of the old Open Ephys format; of Neuralynx, of 512 samples.
OLD_OPEN_EPHYS, NEURALYNX = (1024, 2070), (16 << 10, 1044)
EDF_HEADER_BYTES, EDF_SIGNAL_BYTES, EDF_COUNT_AT, EDF_WIDTH_AT = 256, 256, (236, 244), 216


def as_long_as_it_is(recording: BaseRecording, path: Path, format_name: str) -> BaseRecording:
    """Return an opened recording without frames that are not there, and warn where it is shorter than its file says."""
    of_format = _STATED.get(format_name)
    for problem in () if of_format is None else of_format(recording, path):
        warn_of_shorter(problem)
    if format_name == BIOCAM.name and (there := _biocam_frames(recording, path)) < recording.get_num_samples(0):
        return recording.frame_slice(0, there)  # SpikeInterface goes by the header
    return recording


def warn_of_shorter(problem: str) -> None:
    """Warn of a file that is shorter than it says."""
    warn(f"{problem}: was the copy or the recording interrupted? What is there is used")


def shorter(file: Path | str, found: float, stated: float, unit: str, by: str) -> str:
    """Say that a file has `found` of the `stated` units; `by` names what states it."""
    return f"{file} is shorter than it says: it has {found:.10g} of the {stated:.10g} {unit} that {by} states"


def _of_spikeglx(recording: BaseRecording, path: Path) -> Iterator[str]:  # noqa: ARG001  one signature for all formats
    """Compare the .bin with fileSizeBytes, or with fileTimeSecs, of its .meta."""
    fs, stream = float(recording.get_sampling_frequency()), recording.stream_id.removesuffix("-SYNC")
    for (_, name), info in recording.neo_reader.signals_info_dict.items():
        if name != stream:
            continue
        file, meta = Path(info["bin_file"]), info["meta"]
        size, seconds = file.stat().st_size, file.stat().st_size / (2 * int(info["num_chan"])) / fs
        stated_bytes, stated_s = _number(meta.get("fileSizeBytes")), _number(meta.get("fileTimeSecs"))
        if stated_bytes and size < stated_bytes:
            yield shorter(file, size, stated_bytes, "bytes", f"fileSizeBytes of its .meta ({seconds:.4g} s are left)")
        elif stated_s and not stated_bytes and seconds < stated_s - 1 / fs:
            yield shorter(file, seconds, stated_s, "s", "fileTimeSecs of its .meta")


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return 0.0


def _of_open_ephys(recording: BaseRecording, path: Path) -> Iterator[str]:  # noqa: ARG001  one signature for all formats
    """Compare continuous.dat with the sample numbers beside it."""
    streams = recording.neo_reader._sig_streams[recording.block_index]
    index = index_in_folder(recording)
    for segment in range(recording.get_num_segments()):
        info = streams[segment][index]
        file, frame_bytes = Path(info["raw_filename"]), 2 * len(info["channels"])
        size = file.stat().st_size
        numbers = next((n for n in ("sample_numbers.npy", "timestamps.npy") if (file.parent / n).is_file()), None)
        stated = 0 if numbers is None else len(np.load(file.parent / numbers, mmap_mode="r"))
        if size // frame_bytes < stated:
            yield shorter(file, size // frame_bytes, stated, "frames", str(numbers))
        elif size % frame_bytes:
            yield f"{file} ends in the middle of a frame ({size} bytes, {frame_bytes} for each)"


def _of_old_open_ephys(recording: BaseRecording, path: Path) -> Iterator[str]:  # noqa: ARG001  as above
    """Check that each .continuous file ends with a record, and that all are as long."""
    files = [file for of_part in recording.neo_reader._info["continuous"].values() for file in of_part]
    yield from _broken_records(files, *OLD_OPEN_EPHYS)
    for of_part in recording.neo_reader._info["continuous"].values():
        sizes = {Path(file): Path(file).stat().st_size for file in of_part}
        if sizes and min(sizes.values()) < max(sizes.values()):
            file = min(sizes, key=lambda file: sizes[file])
            yield shorter(file, sizes[file], max(sizes.values()), "bytes", "the longest file of the other channels")


def _of_neuralynx(recording: BaseRecording, path: Path) -> Iterator[str]:  # noqa: ARG001  as above
    """Check that each .ncs file ends with a record, and that all of the stream are as long."""
    channels = recording.neo_reader.header["signal_channels"]
    own = channels[channels["stream_id"] == recording.stream_id]
    files = {Path(recording.neo_reader.ncs_filenames[str(c["name"]), str(c["id"])]): 0 for c in own}
    yield from _broken_records(files, *NEURALYNX)


def _broken_records(files: Any, header: int, record: int) -> Iterator[str]:
    for file in map(Path, files):
        size = file.stat().st_size
        if size > header and (size - header) % record:
            yield f"{file} ends in the middle of a record ({size} bytes: a header of {header}, and {record} for each)"


def _of_intan(recording: BaseRecording, path: Path) -> Iterator[str]:
    """Compare the traces of one-file-per-signal folders with time.dat."""
    reader = recording.neo_reader
    if reader.file_format == "header-attached":
        return
    numbers = reader._raw_data["timestamp"]
    stated = int(np.size(numbers[0] if isinstance(numbers, list) else numbers))
    found = int(recording.get_num_samples(0))
    if found < stated:
        yield shorter(path.parent, found, stated, "frames", "time.dat")


def _of_biocam(recording: BaseRecording, path: Path) -> Iterator[str]:
    """Compare the raw values with the number of frames in the header."""
    stated, there = int(recording.get_num_samples(0)), _biocam_frames(recording, path)
    if there < stated:
        yield shorter(path, there, stated, "frames", "NRecFrames")


def _biocam_frames(recording: BaseRecording, path: Path) -> int:
    """Return the frames for which version 3 has values of all channels."""
    with open_hdf5(path) as file:
        raw = file.get("3BData/Raw")
        if raw is None:
            return int(recording.get_num_samples(0))
        return len(raw) if raw.ndim > 1 else len(raw) // int(recording.get_num_channels())


def _of_blackrock(recording: BaseRecording, path: Path) -> Iterator[str]:
    """Refuse a block that claims more than the file has, which fails only when its end is read."""
    frame_bytes = 2 * int(recording.get_num_channels())
    for block in recording.neo_reader._nsx_data_header[int(recording.stream_id)]:
        values = block["memmap_kwargs"]
        found = (path.stat().st_size - int(values["offset"])) // frame_bytes
        if "packet_size" not in values and found < int(values["num_samples"]):
            said = shorter(path, found, int(values["num_samples"]), "frames", "the header of its last block")
            raise ValueError(f"{said}: {WHAT_TO_COMPARE}")
    yield from ()


def _of_mcs(recording: BaseRecording, path: Path) -> Iterator[str]:
    """Compare the traces with the last index in the table of time stamps."""
    with open_hdf5(path) as file:
        table = np.atleast_2d(file[f"{recording.stream_path}/ChannelDataTimeStamps"][()])
    stated, found = int(table[-1][2]) + 1, int(recording.get_num_samples(0))
    if found < stated:
        yield shorter(path, found, stated, "frames", "ChannelDataTimeStamps")


def edf_problem(path: Path) -> str:
    """Say that an EDF or BDF file holds fewer records than its header states; "" where it holds all.

    The reader of the format refuses such a file in words of its own.
    """
    with path.open("rb") as file:
        head = file.read(EDF_HEADER_BYTES)
        stated, n_signals = (_number(head[start : start + 8].split(b"\0")[0]) for start in (EDF_COUNT_AT[0], 252))
        n = int(n_signals)
        if n <= 0 or stated <= 0 or n > 1 << 14:
            return ""
        file.seek(EDF_HEADER_BYTES + n * EDF_WIDTH_AT)
        widths = [_number(file.read(8)) for _ in range(n)]
    sample_bytes = 3 if head[:1] == b"\xff" else 2
    record = int(sum(widths)) * sample_bytes
    found = (path.stat().st_size - EDF_HEADER_BYTES - n * EDF_SIGNAL_BYTES) // record if record else 0
    return shorter(path, found, stated, "records", "its header") if record and found < stated else ""


_STATED: Mapping[str, Callable[[BaseRecording, Path], Iterator[str]]] = {
    "spikeglx": _of_spikeglx,
    "openephysbinary": _of_open_ephys,
    "openephyslegacy": _of_old_open_ephys,
    "neuralynx": _of_neuralynx,
    "intan": _of_intan,
    BIOCAM.name: _of_biocam,
    BLACKROCK.name: _of_blackrock,
    MCS_H5.name: _of_mcs,
}
