"""Split a recording where its clock jumps: one segment for each stretch without a break."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.recording.clock.readers import Clock, Part

LISTED = 3


@dataclass(frozen=True)
class Stretched:
    """A segment of the split recording: where its frames are in the file, and when they were recorded."""

    source_segment: int
    source_start_frame: int
    start_s: float | None
    scale: float = 1.0  # seconds on the file's clock for each second by the sampling rate


def split_at_breaks(
    recording: BaseRecording, clock: Clock, where: str, fewest_frames: int
) -> tuple[BaseRecording, list[Stretched]]:
    """Return the recording with a segment for each stretch without a break, and what is known of each.

    Stretches shorter than `fewest_frames`, which cannot be filtered, are left out. Both are told in a warning.
    """
    from spikelab.spike_sorting.recording.pieces import PiecesRecording, RetimedRecording

    if clock.rate is not None and clock.rate != recording.get_sampling_frequency():
        recording = RetimedRecording(recording, clock.rate)
    long, n_short = _long(clock, fewest_frames)
    _tell(recording, clock, where, n_short if long else 0)
    if not long:
        return recording, [Stretched(segment, 0, None) for segment in range(recording.get_num_segments())]
    pieces = [(segment, part.start, part.end) for segment, part in long]
    stretched = _stretched(long, float(recording.get_sampling_frequency()))
    return recording if pieces == _whole(recording) else PiecesRecording(recording, pieces), stretched


def _long(clock: Clock, fewest_frames: int) -> tuple[list[tuple[int, Part]], int]:
    """Return segment and part of each stretch that can be filtered, and the number of the others."""
    parts = [(segment, part) for segment, of_segment in enumerate(clock.segments) for part in of_segment]
    long = [(segment, part) for segment, part in parts if part.end - part.start >= fewest_frames]
    return long, len(parts) - len(long)


def _stretched(parts: Sequence[tuple[int, Part]], fs: float) -> list[Stretched]:
    return [
        Stretched(segment, part.start, part.start_s, 1.0 if part.step_s is None else part.step_s * fs)
        for segment, part in parts
    ]


def _whole(recording: BaseRecording) -> list[tuple[int, int, int]]:
    return [(segment, 0, int(recording.get_num_samples(segment))) for segment in range(recording.get_num_segments())]


def _tell(recording: BaseRecording, clock: Clock, where: str, n_short: int) -> None:
    jumps = list(_jumps(clock, float(recording.get_sampling_frequency())))
    if jumps:
        listed = ", ".join(jumps[:LISTED]) + (f" and {len(jumps) - LISTED} more" if len(jumps) > LISTED else "")
        warn(
            f"{where} is not continuous by its own clock: {listed}. Each stretch between is an epoch of its own, and "
            "the times of spikes go on without the gaps; SpikeData.times gives those of the file"
        )
    if n_short:
        pieces = "a segment that is" if n_short == 1 else f"{n_short} segments that are"
        warn(f"{where} has {pieces} too short to filter, and left out")


def _jumps(clock: Clock, fs: float) -> Iterator[str]:
    """Describe the jumps of a clock from stretch to stretch."""
    for parts in clock.segments:
        for before, after in pairwise(parts):
            if before.start_s is None or after.start_s is None:
                continue
            end = before.start_s + (before.end - before.start) * (before.step_s or 1 / fs)
            jump = after.start_s - end
            what = f"{jump:.6g} s are missing" if jump > 0 else f"the clock jumps back by {-jump:.6g} s"
            yield f"{what} after {end:.6g} s"
