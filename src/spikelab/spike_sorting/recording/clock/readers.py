"""Read the clock of a file: a table of formats, and what SpikeInterface knows where a format has nothing of its own."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.clock.breaks import Stretch, stretches
from spikelab.spike_sorting.recording.formats import MAXWELL, NWB
from spikelab.spike_sorting.recording.hdf5 import open_hdf5

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.recording.clock.breaks import Vector

logger = logging.getLogger(__name__)

OPEN_EPHYS, OPEN_EPHYS_LEGACY, SPIKEGLX, INTAN = "openephysbinary", "openephyslegacy", "spikeglx", "intan"
# Rates by the clock of a file are believed above this number of frames, and if they are this near to the nominal rate.
FEWEST_FRAMES, FARTHEST_PPM = 1000, 1e4


@dataclass(frozen=True)
class Part:
    """Frames [start, end) of a segment that were recorded without a break.

    Attributes
    ----------
    start, end : int
        Half-open range of frames of the segment.
    start_s : float or None
        Time of the first frame on the clock of the file, in seconds; None where the file has none.
    """

    start: int
    end: int
    start_s: float | None = None


@dataclass(frozen=True)
class Clock:
    """Clock of a file.

    Attributes
    ----------
    segments : tuple of (tuple of Part)
        Parts of each segment; frames in none of them were filled in by the reader, and not recorded.
    zero : str
        Date and time, ISO 8601, at which the clock shows 0; "" where the file does not say.
    rate : float or None
        Sampling rate by the clock, in Hz, where the file has no rate of its own.
    """

    segments: tuple[tuple[Part, ...], ...]
    zero: str = ""
    rate: float | None = None


def read_clock(recording: BaseRecording, format_name: str, path: str) -> Clock:
    """Read the clock of an opened file; `path` is "" for a recording in memory.

    Raises
    ------
    ValueError, OSError
        If the numbers of the frames cannot be read.
    """
    reader = _READERS.get(format_name)
    return _of_spikeinterface(recording) if reader is None else reader(recording, Path(path))


def _of_spikeinterface(recording: BaseRecording) -> Clock:
    """Use the start times and time vectors that a recording has."""
    fs = float(recording.get_sampling_frequency())
    parts: list[tuple[Part, ...]] = []
    for segment in range(recording.get_num_segments()):
        info, n_frames = recording.get_time_info(segment), int(recording.get_num_samples(segment))
        if info["time_vector"] is not None:
            parts.append(_timed(stretches(info["time_vector"], 1 / fs)))
        else:
            start = info["t_start"]
            parts.append((Part(0, n_frames, None if start is None else float(start)),))
    return Clock(tuple(parts))


def _timed(found: Sequence[Stretch], per_unit: float = 1.0, offset: float = 0.0) -> tuple[Part, ...]:
    return tuple(Part(stretch.start, stretch.end, stretch.first * per_unit + offset) for stretch in found)


def _numbered(numbers: Vector, fs: float, offset: float = 0.0) -> tuple[Part, ...]:
    """Make the parts of frames that have consecutive numbers."""
    return _timed(stretches(numbers, 1.0), 1 / fs, offset)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _before(moment: datetime, parts: Sequence[Part]) -> str:
    """Return the time at which a clock showed 0 that shows the time of the first part at `moment`."""
    start = parts[0].start_s if parts else None
    return _iso(moment - timedelta(seconds=start or 0.0))


def _of_maxwell(recording: BaseRecording, path: Path) -> Clock:
    """Use the frame numbers of the device, and the time at which the recording was started."""
    fs = float(recording.get_sampling_frequency())
    n_frames, dataset = int(recording.get_num_samples()), recording.segments[0].dataset.name
    with open_hdf5(path) as file:
        folder = file[dataset.rpartition("/")[0] or "/"]
        if "frame_nos" not in folder:  # legacy files
            begun = _legacy_start(file)
            return Clock(((Part(0, n_frames, 0.0),),), "" if begun is None else _iso(begun))
        numbers = folder["frame_nos"]
        if len(numbers) != n_frames:
            logger.warning("%s has %d frame numbers for %d frames: they are not used", path, len(numbers), n_frames)
            return _of_spikeinterface(recording)
        parts = _numbered(numbers, fs)
        start = file.get(f"{dataset.split('/groups/')[0]}/start_time")
        milliseconds = None if start is None else int(np.ravel(start[()])[0])
    zero = "" if not milliseconds else _before(datetime.fromtimestamp(milliseconds / 1000, UTC), parts)
    return Clock((parts,), zero)


def _legacy_start(file: Any) -> datetime | None:
    if "time" not in file:
        return None
    text = np.ravel(file["time"][()])[0]
    match = re.search(
        r"start:\s*(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", text.decode() if isinstance(text, bytes) else str(text)
    )
    return None if match is None else datetime.fromisoformat(match[1])


def _of_nwb(recording: BaseRecording, path: Path) -> Clock:
    """Use timestamps, or the starting time, of the ElectricalSeries, and the session's start."""
    series = recording._kwargs["electrical_series_path"]
    with open_hdf5(path) as file:
        group, zero = file[series], ""
        for name in ("timestamps_reference_time", "session_start_time"):
            if name in file:
                text = file[name][()]
                zero = text.decode() if isinstance(text, bytes) else str(text)
                break
        n_frames = int(recording.get_num_samples())
        if "timestamps" not in group:
            start = group["starting_time"][()] if "starting_time" in group else 0.0
            return Clock(((Part(0, n_frames, float(start)),),), zero)
        found = stretches(group["timestamps"], 1 / float(recording.get_sampling_frequency()))
    longest = max(found, key=lambda stretch: stretch.end - stretch.start)
    rate = 1 / longest.step if longest.step and longest.end - longest.start > FEWEST_FRAMES else None
    return Clock((_timed(found),), zero, rate)


def _of_open_ephys(recording: BaseRecording, path: Path) -> Clock:  # noqa: ARG001  one signature for all readers
    """Use the sample numbers beside the traces of each segment."""
    streams = getattr(recording.neo_reader, "_sig_streams", None)
    if streams is None:
        return _of_spikeinterface(recording)
    fs, zero = float(recording.get_sampling_frequency()), ""
    parts: list[tuple[Part, ...]] = []
    for segment in range(recording.get_num_segments()):
        traces = Path(streams[recording.block_index][segment][recording.stream_index]["raw_filename"])
        found = _sample_numbers(traces.parent)
        n_frames = int(recording.get_num_samples(segment))
        if found is None or len(found[0]) < n_frames:
            parts.append((Part(0, n_frames, None),))
            continue
        numbers, start = found
        offset = 0.0 if start is None else start - float(numbers[0]) / fs
        parts.append(_numbered(numbers[:n_frames], fs, offset))
        zero = zero or _software_time(traces.parents[2] / "sync_messages.txt", parts[-1])
    return Clock(tuple(parts), zero)


def _sample_numbers(folder: Path) -> tuple[Vector, float | None] | None:
    """Return sample numbers, mapped, and the time of the first in seconds where the folder has it."""
    numbers, times = folder / "sample_numbers.npy", folder / "timestamps.npy"
    if numbers.is_file():  # from version 0.6 on
        start = float(np.load(times, mmap_mode="r")[0]) if times.is_file() else None
        return np.load(numbers, mmap_mode="r"), start if start is not None and start >= 0 else None
    if times.is_file():
        values = np.load(times, mmap_mode="r")
        return (values, None) if values.dtype.kind in "iu" else None
    return None


def _software_time(messages: Path, parts: Sequence[Part]) -> str:
    if not messages.is_file():
        return ""
    match = re.search(r"Software Time[^:]*:\s*(\d{12,})", messages.read_text(errors="replace"))
    return "" if match is None else _before(datetime.fromtimestamp(int(match[1]) / 1000, UTC), parts)


def _of_spikeglx(recording: BaseRecording, path: Path) -> Clock:  # noqa: ARG001  one signature for all readers
    """Use the number of the first sample, and the time at which the file was created."""
    clock, meta = _of_spikeinterface(recording), _spikeglx_meta(recording)
    if "firstSample" in meta:
        start = float(meta["firstSample"]) / float(recording.get_sampling_frequency())
        clock = Clock(tuple(tuple(replace(part, start_s=start) for part in parts[:1]) for parts in clock.segments))
    try:
        created = datetime.fromisoformat(meta.get("fileCreateTime", ""))
    except ValueError:
        return clock
    return Clock(clock.segments, _before(created, clock.segments[0]))


def _spikeglx_meta(recording: BaseRecording) -> Mapping[str, str]:
    signals = getattr(recording.neo_reader, "signals_info_dict", {})
    for (_, stream), info in signals.items():
        if stream == recording.stream_id:
            return dict(info.get("meta", {}))
    return {}


def _of_intan(recording: BaseRecording, path: Path) -> Clock:  # noqa: ARG001  one signature for all readers
    """Use the sample numbers of each block."""
    try:
        numbers = recording.neo_reader.get_intan_timestamps()
    except (AttributeError, KeyError):
        return _of_spikeinterface(recording)
    return Clock((_numbered(numbers, float(recording.get_sampling_frequency())),))


_READERS: Mapping[str, Callable[[BaseRecording, Path], Clock]] = {
    MAXWELL.name: _of_maxwell,
    NWB.name: _of_nwb,
    OPEN_EPHYS: _of_open_ephys,
    SPIKEGLX: _of_spikeglx,
    INTAN: _of_intan,
}
