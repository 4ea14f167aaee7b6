"""Read the clock of a file: a table of formats, and what SpikeInterface knows where a format has nothing of its own."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.clock.breaks import LEAST_FRAMES, Stretch, stretches
from spikelab.spike_sorting.recording.formats import BIOCAM, BLACKROCK, EDF, INTAN, MAXWELL, MCS_H5, NWB, OPEN_EPHYS
from spikelab.spike_sorting.recording.hdf5 import open_hdf5
from spikelab.spike_sorting.recording.open_ephys import index_in_folder
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.recording.clock.breaks import Vector

logger = logging.getLogger(__name__)

# Rates by the clock of a file are believed above this number of frames, and if they are this near to the nominal rate.
FEWEST_FRAMES, FARTHEST_PPM = 1000, 1e4
# Samples of a record of the old Open Ephys format; times that are counted from 1970 are larger than these seconds.
OLD_RECORD, UNIX_SECONDS = 1024, 1e9
# Samples of a record of Neuralynx; of fewer records than these the usual distance is not known.
NEURALYNX_RECORD, FEWEST_RECORDS = 512, 4


@dataclass(frozen=True)
class Part:
    """Frames [start, end) of a segment that were recorded without a break.

    Attributes
    ----------
    start, end : int
        Half-open range of frames of the segment.
    start_s : float or None
        Time of the first frame on the clock of the file, in seconds; None where the file has none.
    step_s : float or None
        Mean time from frame to frame on that clock, in seconds; None where it is that of the sampling rate.
    """

    start: int
    end: int
    start_s: float | None = None
    step_s: float | None = None


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
    if reader is None:
        return _of_neo(recording) if path and hasattr(recording, "neo_reader") else _of_spikeinterface(recording)
    return reader(recording, Path(path))


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


def _of_neo(recording: BaseRecording) -> Clock:
    """Use the start times of neo's segments, and the date of the recording where neo has it."""
    clock, annotations = _of_spikeinterface(recording), recording.neo_reader.raw_annotations["blocks"][0]
    begun = next((a["rec_datetime"] for a in (annotations, *annotations["segments"]) if a.get("rec_datetime")), None)
    return Clock(clock.segments, _before(begun, clock.segments[0]) if isinstance(begun, datetime) else "")


def _timed(found: Sequence[Stretch], per_unit: float = 1.0, offset: float = 0.0) -> tuple[Part, ...]:
    return tuple(
        Part(
            stretch.start,
            stretch.end,
            stretch.first * per_unit + offset,
            stretch.step * per_unit if stretch.step and stretch.end - stretch.start > FEWEST_FRAMES else None,
        )
        for stretch in found
    )


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
        if len(group["timestamps"]) < n_frames:
            warn(
                f"{path}: {series} has {n_frames} frames and {len(group['timestamps'])} timestamps, which are not used"
            )
            return Clock(((Part(0, n_frames),),), zero)
        times = _First(group["timestamps"], n_frames)
        found = stretches(times, 1 / float(recording.get_sampling_frequency()))
    longest = max(found, key=lambda stretch: stretch.end - stretch.start)
    rate = 1 / longest.step if longest.step and longest.end - longest.start > FEWEST_FRAMES else None
    return Clock((_timed(found),), zero, rate)


def _of_open_ephys(recording: BaseRecording, path: Path) -> Clock:  # noqa: ARG001  one signature for all readers
    """Use the sample numbers beside the traces of each segment."""
    streams = getattr(recording.neo_reader, "_sig_streams", None)
    if streams is None:
        return _of_spikeinterface(recording)
    fs, zero, index = float(recording.get_sampling_frequency()), "", index_in_folder(recording)
    parts: list[tuple[Part, ...]] = []
    for segment in range(recording.get_num_segments()):
        traces = Path(streams[recording.block_index][segment][index]["raw_filename"])
        found = _sample_numbers(traces.parent)
        n_frames = int(recording.get_num_samples(segment))
        if found is None or len(found[0]) < n_frames:
            parts.append((Part(0, n_frames, None),))
            continue
        numbers, start = found
        offset = 0.0 if start is None else start - float(numbers[0]) / fs
        parts.append(_numbered(_First(numbers, n_frames), fs, offset))
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


def _of_old_open_ephys(recording: BaseRecording, path: Path) -> Clock:  # noqa: ARG001  one signature for all readers
    """Use the sample numbers of the records of each channel; zeros that neo filled in are in no part."""
    neo, fs = recording.neo_reader, float(recording.get_sampling_frequency())
    channels = np.flatnonzero(neo.header["signal_channels"]["stream_id"] == recording.stream_id)
    parts: list[tuple[Part, ...]] = []
    for segment in range(recording.get_num_segments()):
        first = int(neo._sig_timestamp0[segment])
        if not any(neo._sig_has_gap[segment][channel] for channel in channels):
            parts.append((Part(0, int(recording.get_num_samples(segment)), first / fs),))
            continue
        records = [neo._sigs_memmap[segment][channel]["timestamp"] for channel in channels]
        common = reduce(np.intersect1d, records)
        starts = [0, *(np.flatnonzero(np.diff(common) != OLD_RECORD) + 1).tolist(), len(common)]
        ranges = [(int(common[a]), int(common[b - 1]) + OLD_RECORD) for a, b in pairwise(starts)]
        parts.append(tuple(Part(start - first, end - first, start / fs) for start, end in ranges))
    created = neo.raw_annotations["blocks"][0]["segments"][0].get("date_created", "")
    return Clock(tuple(parts), _dated(created, ("'%d-%b-%Y %H%M%S'", "%d-%b-%Y %H%M%S"), parts[0]))


def _dated(text: str, patterns: Sequence[str], parts: Sequence[Part]) -> str:
    """Return the time at which the clock showed 0, from the date in a file; "" if it follows none of the patterns."""
    for pattern in patterns:
        try:
            return _before(datetime.strptime(text, pattern), parts)
        except ValueError:
            continue
    return ""


def _of_spikeglx(recording: BaseRecording, path: Path) -> Clock:  # noqa: ARG001  one signature for all readers
    """Use the number of the first sample of each file, and the time at which the first was created."""
    clock, stream = _of_spikeinterface(recording), recording.stream_id.removesuffix("-SYNC")
    meta = recording.neo_reader.signals_info_dict[0, stream]["meta"]
    try:
        created = datetime.fromisoformat(meta.get("fileCreateTime", ""))
    except ValueError:
        return clock
    return Clock(clock.segments, _before(created, clock.segments[0]))


def _of_intan(recording: BaseRecording, path: Path) -> Clock:
    """Use the sample numbers of each block, and the time in the name of the file, or of its folder."""
    neo, n_frames = recording.neo_reader, int(recording.get_num_samples(0))
    fs = float(recording.get_sampling_frequency())
    if fs != float(neo._global_info["sampling_rate"]):  # of auxiliary inputs and supply voltages
        return _of_spikeinterface(recording)
    if not neo.discontinuous_timestamps:
        parts: tuple[Part, ...] = (Part(0, n_frames, int(neo.get_intan_timestamps(0, 1)[0]) / fs),)
    else:
        numbers = neo.get_intan_timestamps()
        parts = _numbered(_First(numbers, n_frames), fs) if len(numbers) >= n_frames else (Part(0, n_frames),)
    name = path.parent.name if path.stem == "info" else path.stem
    match = re.search(r"_(\d{6}_\d{6})$", name)
    return Clock((parts,), "" if match is None else _dated(match[1], ("%y%m%d_%H%M%S",), parts))


def _of_neuralynx(recording: BaseRecording, path: Path) -> Clock:  # noqa: ARG001  one signature for all readers
    """Use the times of the records, which neo counts from the first, and the time at which the file was opened."""
    neo, fs = recording.neo_reader, float(recording.get_sampling_frequency())
    channel = neo.header["signal_channels"][neo.header["signal_channels"]["stream_id"] == recording.stream_id][0]
    segments = []
    for segment, records in enumerate(neo._sigs_memmaps[: recording.get_num_segments()]):
        times = records[str(channel["name"]), str(channel["id"])]["timestamp"].astype(np.float64) / 1e6
        starts = [0, *_late_records(times, 1 / fs), len(times)]
        n_frames = int(recording.get_num_samples(segment))
        ends = [min(end * NEURALYNX_RECORD, n_frames) for end in starts[1:]]
        frames = zip(starts[:-1], ends, strict=True)
        segments.append(tuple(Part(first * NEURALYNX_RECORD, end, float(times[first])) for first, end in frames))
    opened = next((head.get("recording_opened") for head in neo.file_headers.values()), None)
    return Clock(tuple(segments), _before(opened, segments[0]) if isinstance(opened, datetime) else "")


def _late_records(times: NDArray[np.float64], per_frame: float) -> list[int]:
    """Return the records before which frames are missing; one that is late while the next is on time is jitter."""
    if len(times) < FEWEST_RECORDS:
        return []
    steps = np.diff(times)
    off = steps - np.median(steps)
    missing = np.abs(off) > LEAST_FRAMES * per_frame
    with_next, with_last = np.append(off[:-1] + off[1:], off[-1]), np.append(off[0], off[:-1] + off[1:])
    stays = (np.abs(with_next) > LEAST_FRAMES * per_frame) & (np.abs(with_last) > LEAST_FRAMES * per_frame)
    return (np.flatnonzero(missing & stays) + 1).tolist()


def _of_blackrock(recording: BaseRecording, path: Path) -> Clock:  # noqa: ARG001  one signature for all readers
    """Use the times of the blocks or frames, and the date of the header, at which they count from."""
    clock = _of_spikeinterface(recording)
    start, head = clock.segments[0][0].start_s or 0.0, recording.neo_reader._nsx_basic_header[int(recording.stream_id)]
    if start > UNIX_SECONDS:  # the clock of a network (PTP)
        return Clock(clock.segments, _iso(datetime.fromtimestamp(0, UTC)))
    if "year" not in (head.dtype.names or ()) or not head["year"]:
        return clock
    fields = [int(head[name]) for name in ("year", "month", "day", "hour", "minute", "second")]
    try:
        begun = datetime(*fields, int(head["millisecond"]) * 1000, tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return clock
    return Clock(clock.segments, _iso(begun))


def _of_mcs(recording: BaseRecording, path: Path) -> Clock:
    """Use the table of time stamps: the time, the first and the last index of each stretch."""
    n_frames = int(recording.get_num_samples(0))
    with open_hdf5(path) as file:
        table = np.atleast_2d(file[f"{recording.stream_path}/ChannelDataTimeStamps"][()])
        ticks = file["Data"].attrs.get("DateInTicks")
    rows = [(int(first), min(int(last) + 1, n_frames), float(time) / 1e6) for time, first, last in table]
    parts = tuple(Part(*row) for row in rows if row[0] < row[1]) or (Part(0, n_frames),)
    begun = None if ticks is None else datetime(1, 1, 1) + timedelta(microseconds=int(ticks) / 10)
    return Clock((parts,), "" if begun is None else _before(begun, parts))


def _of_biocam(recording: BaseRecording, path: Path) -> Clock:
    """Use the table of contents of version 4: the range of frames of each chunk."""
    fs, n_frames = float(recording.get_sampling_frequency()), int(recording.get_num_samples(0))
    with open_hdf5(path) as file:
        toc = None if "TOC" not in file else np.atleast_2d(file["TOC"][()]).astype(np.int64)
    if toc is None or int(np.diff(toc, axis=1).sum()) != n_frames:
        return _of_spikeinterface(recording)
    breaks = [0, *(np.flatnonzero(toc[1:, 0] != toc[:-1, 1]) + 1).tolist(), len(toc)]
    ends = np.concatenate([[0], np.cumsum(toc[:, 1] - toc[:, 0])])
    return Clock((tuple(Part(int(ends[a]), int(ends[b]), int(toc[a, 0]) / fs) for a, b in pairwise(breaks)),))


def _of_edf(recording: BaseRecording, path: Path) -> Clock:
    """Use the date and time of the header, at which the first record begins."""
    with path.open("rb") as file:
        date = file.read(184)[168:].decode("ascii", errors="replace")
    parts = (Part(0, int(recording.get_num_samples(0)), 0.0),)
    return Clock((parts,), _dated(date, ("%d.%m.%y%H.%M.%S",), parts))


_READERS: Mapping[str, Callable[[BaseRecording, Path], Clock]] = {
    MAXWELL.name: _of_maxwell,
    NWB.name: _of_nwb,
    OPEN_EPHYS.name: _of_open_ephys,
    "openephyslegacy": _of_old_open_ephys,
    "spikeglx": _of_spikeglx,
    INTAN.name: _of_intan,
    "neuralynx": _of_neuralynx,
    BLACKROCK.name: _of_blackrock,
    MCS_H5.name: _of_mcs,
    BIOCAM.name: _of_biocam,
    EDF.name: _of_edf,
}


class _First:
    """The first entries of times or sample numbers, read when they are asked for."""

    def __init__(self, numbers: Vector, n: int) -> None:
        self._numbers, self._n = numbers, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: Any) -> Any:
        return self._numbers[slice(*index.indices(self._n)) if isinstance(index, slice) else index]
