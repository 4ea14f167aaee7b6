"""Compute which frames of the concatenated recording are kept, and which frames of which file each epoch holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data import Epoch, Pulses
from spikelab.spike_sorting.data.dead_time import union, within
from spikelab.spike_sorting.settings.validation import require_cuts
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spike_sorting.recording.parts import FrameRange
    from spikelab.spike_sorting.settings.schema import RecordingConfig


def kept_ranges(n_frames: int, sampling_frequency: float, config: RecordingConfig) -> list[FrameRange]:
    """Return the half-open frame ranges to keep of the concatenated recording, ascending and apart.

    ``first_n_mins`` comes first; what it leaves is cut by ``start_time_s``/``end_time_s`` and by ``rec_chunks_s``, or
    by ``rec_chunks``. All of them are on the clock of the concatenated recording. A range that lies outside the
    recording is refused ("Invalid time range"); one that reaches out of it is clipped, with a warning.
    """
    require_cuts(config)
    if config.rec_chunks:
        return [_clipped(int(start), int(end), n_frames, 1.0, "frames") for start, end in config.rec_chunks]
    fs = sampling_frequency
    if config.first_n_mins is not None:
        _, n_frames = _from_seconds(0, config.first_n_mins * 60, n_frames, fs)
    window = 0, n_frames
    if config.start_time_s is not None or config.end_time_s is not None:
        window = _from_seconds(config.start_time_s or 0, config.end_time_s, n_frames, fs)
    if not config.rec_chunks_s:
        return [window]
    return [_within(_from_seconds(start, end, n_frames, fs), window, fs) for start, end in config.rec_chunks_s]


def _from_seconds(start: float, end: float | None, n_frames: int, fs: float) -> FrameRange:
    return _clipped(round(start * fs), n_frames if end is None else round(end * fs), n_frames, fs, "s")


def _clipped(start: int, end: int, n_frames: int, per_unit: float, unit: str) -> FrameRange:
    """Move the end of a range to the recording's; `per_unit` and `unit` are for messages."""
    asked, length = f"{start / per_unit:g} to {end / per_unit:g} {unit}", f"{n_frames / per_unit:g} {unit}"
    if not start < min(end, n_frames):
        raise ValueError(f"Invalid time range: {asked} of a recording of {length}")
    if end > n_frames:
        warn(f"the range {asked} ends past the recording, and is clipped to {length}")
    return start, min(end, n_frames)


def _within(piece: FrameRange, window: FrameRange, fs: float) -> FrameRange:
    start, end = max(piece[0], window[0]), min(piece[1], window[1])
    asked = f"the piece {piece[0] / fs:g} to {piece[1] / fs:g} s of rec_chunks_s"
    limits = f"start_time_s and end_time_s ({window[0] / fs:g} to {window[1] / fs:g} s)"
    if start >= end:
        raise ValueError(f"Invalid time range: {asked} lies outside {limits}")
    if (start, end) != piece:
        warn(f"{asked} reaches out of {limits}, and is clipped to {start / fs:g} to {end / fs:g} s")
    return start, end


@dataclass(frozen=True)
class Segment:
    """One segment of one file, before any cut."""

    source_index: int  # position of the file among the files
    segment: int  # position in the opened recording
    n_frames: int
    name: str = ""  # stem of the file
    source_file: str = ""  # "" in memory
    source_segment: int = 0  # position in the file
    source_start_frame: int = 0  # first frame in that segment of the file
    clock_start_s: float | None = None  # time of the first frame on the file's clock
    clock_zero: str = ""  # date and time at which that clock shows 0
    clock_scale: float = 1.0  # seconds on that clock for each second by the sampling rate
    short_before: int = 0  # frames beside it that are left out as too short, and that times and cuts count
    short_after: int = 0

    @property
    def n_told(self) -> int:
        """Number of frames that times and cuts count."""
        return self.short_before + self.n_frames + self.short_after


@dataclass(frozen=True)
class Cut:
    """Frames of a segment that are kept: one epoch."""

    segment: Segment
    start: int  # frame of the segment
    end: int


def cuts_of(segments: Sequence[Segment], kept: Sequence[tuple[int, int]]) -> list[Cut]:
    """Intersect the kept ranges with the segments.

    The ranges are half-open frames of the concatenated segments, ascending and apart, with what is left out between
    these. A boundary of a file, a segment or a kept range starts a new cut.
    """
    told = accumulate(segment.n_told for segment in segments)
    ends = [end - segment.short_after for segment, end in zip(segments, told, strict=True)]
    cuts = []
    for start, end in kept:
        for segment, segment_end in zip(segments, ends, strict=True):
            segment_start = segment_end - segment.n_frames
            first, last = max(start, segment_start), min(end, segment_end)
            if first < last:
                cuts.append(Cut(segment, first - segment_start, last - segment_start))
    return cuts


def epochs_of_cuts(cuts: Sequence[Cut], sampling_frequency: float) -> tuple[Epoch, ...]:
    """Make the epochs of the concatenated cuts, which they tile: where each is in its file, and on its clock."""
    epochs: list[Epoch] = []
    position = 0
    for cut in cuts:
        segment, begun = cut.segment, cut.segment.clock_start_s
        epochs.append(
            Epoch(
                start_frame=position,
                end_frame=position + cut.end - cut.start,
                name=segment.name,
                source_file=segment.source_file,
                source_segment=segment.source_segment,
                source_start_frame=segment.source_start_frame + cut.start,
                source_index=segment.source_index,
                clock_start_s=None if begun is None else begun + segment.clock_scale * cut.start / sampling_frequency,
                clock_zero=segment.clock_zero,
                clock_scale=segment.clock_scale,
            )
        )
        position = epochs[-1].end_frame
    return _with_distinct_names(epochs)


def dead_time_of_cuts(cuts: Sequence[Cut], found: Sequence[Sequence[IntArray]]) -> IntArray:
    """Put dead time on the clock of the concatenated cuts.

    `found` has, for each file, the periods of each of its segments in frames of that segment; an empty entry of a file
    is none. Periods that meet where one cut ends and the next begins become one.
    """
    kept, position = [np.empty((0, 2), dtype=np.int64)], 0
    for cut in cuts:
        segments = found[cut.segment.source_index]
        if segments:
            kept.append(within(segments[cut.segment.segment], cut.start, cut.end) + (position - cut.start))
        position += cut.end - cut.start
    return union(*kept)


def pulses_of_cuts(cuts: Sequence[Cut], found: Sequence[Sequence[IntArray]], names: Sequence[str]) -> Pulses:
    """Put stimulation pulses on the clock of the concatenated cuts.

    `found` has, for each file, frame and site of the pulses of each segment, and for how many frames channels are
    bridged; an empty entry of a file is none.
    """
    kept, position = [np.empty((0, 3), dtype=np.int64)], 0
    for cut in cuts:
        segments = found[cut.segment.source_index]
        if segments:
            own = segments[cut.segment.segment]
            own = own[(own[:, 0] >= cut.start) & (own[:, 0] < cut.end)]
            kept.append(own + np.array([position - cut.start, 0, 0]))
        position += cut.end - cut.start
    frames, sites, bridged = np.concatenate(kept).T
    return Pulses(frames, sites, tuple(names), bridged)


def _with_distinct_names(epochs: list[Epoch]) -> tuple[Epoch, ...]:
    """Number the names of epochs of one file, where it has several: ``name_0``, ``name_1``, ..."""
    totals = Counter(epoch.source_index for epoch in epochs)
    seen: Counter[int] = Counter()
    named = []
    for epoch in epochs:
        name = epoch.name
        if totals[epoch.source_index] > 1:
            name = f"{name}_{seen[epoch.source_index]}"
            seen[epoch.source_index] += 1
        named.append(replace(epoch, name=name))
    return tuple(named)
