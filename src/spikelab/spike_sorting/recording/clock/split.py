"""Split a recording where its clock jumps: one segment for each stretch without a break."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.recording.clock.readers import Clock

LISTED = 3


@dataclass(frozen=True)
class Stretched:
    """A segment of the split recording: where its frames are in the file, and when they were recorded."""

    source_segment: int
    source_start_frame: int
    start_s: float | None


class RetimedRecording(BasePreprocessor):  # type: ignore[misc]  # SpikeInterface has no types
    """The same traces at another sampling rate, which is the one of the file's clock."""

    def __init__(self, recording: BaseRecording, sampling_frequency: float) -> None:
        super().__init__(recording, sampling_frequency=sampling_frequency)
        for parent in recording.segments:
            segment = _SameTraces(parent)
            segment.sampling_frequency = sampling_frequency
            self.add_recording_segment(segment)
        self._kwargs = {"recording": recording, "sampling_frequency": sampling_frequency}


class _SameTraces(BasePreprocessorSegment):  # type: ignore[misc]  # SpikeInterface has no types
    def get_traces(self, start_frame: Any, end_frame: Any, channel_indices: Any) -> NDArray[Any]:
        """Read the parent's traces."""
        traces: NDArray[Any] = self.parent_recording_segment.get_traces(start_frame, end_frame, channel_indices)
        return traces


def split_at_breaks(
    recording: BaseRecording, clock: Clock, where: str, fewest_frames: int
) -> tuple[BaseRecording, list[Stretched]]:
    """Return the recording with a segment for each stretch without a break, and what is known of each.

    Stretches shorter than `fewest_frames`, which cannot be filtered, are left out. Both are told in a warning.
    """
    if clock.rate is not None and clock.rate != recording.get_sampling_frequency():
        recording = RetimedRecording(recording, clock.rate)
    parts = [(segment, part) for segment, of_segment in enumerate(clock.segments) for part in of_segment]
    long = [(segment, part) for segment, part in parts if part.end - part.start >= fewest_frames]
    _tell(recording, clock, where, n_short=len(parts) - len(long) if long else 0)
    if not long:
        return recording, [Stretched(segment, 0, None) for segment in range(recording.get_num_segments())]
    stretched = [Stretched(segment, part.start, part.start_s) for segment, part in long]
    whole = [(s, 0, int(recording.get_num_samples(s))) for s in range(recording.get_num_segments())]
    if [(segment, part.start, part.end) for segment, part in long] == whole:
        return recording, stretched
    from spikeinterface.core import append_recordings

    pieces = []
    for segment, part in long:
        one = recording
        if recording.get_num_segments() > 1:
            # select_segments takes the segments away from its parent, which may be the user's: here it is a wrapper.
            one = recording.select_channels(recording.channel_ids).select_segments([segment])
        pieces.append(one.frame_slice(part.start, part.end))
    return append_recordings(pieces) if len(pieces) > 1 else pieces[0], stretched


def _tell(recording: BaseRecording, clock: Clock, where: str, n_short: int) -> None:
    fs = float(recording.get_sampling_frequency())
    gaps = []
    for parts in clock.segments:
        for before, after in pairwise(parts):
            if before.start_s is None or after.start_s is None:
                continue
            end = before.start_s + (before.end - before.start) / fs
            gaps.append(f"{(after.start_s - end):.6g} s after {end:.6g} s")
    if gaps:
        listed = ", ".join(gaps[:LISTED]) + (f" and {len(gaps) - LISTED} more" if len(gaps) > LISTED else "")
        warn(
            f"{where} is not continuous: by its own clock frames are missing at {len(gaps)} places ({listed}). Each "
            "stretch is an epoch of its own"
        )
    if n_short:
        warn(f"{where} has {n_short} segments that are too short to filter: they are left out")
