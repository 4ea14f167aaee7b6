"""Split a recording where its clock jumps: one segment for each stretch without a break."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """A segment of the split recording: where its frames are in the file, and when they were recorded.

    ``short_before`` and ``short_after`` are the frames of stretches beside it that are left out as too short: times
    that people note, and cuts, count them.
    """

    source_segment: int
    source_start_frame: int
    start_s: float | None
    scale: float = 1.0  # seconds on the file's clock for each second by the sampling rate
    short_before: int = 0
    short_after: int = 0  # only of the last segment


def split_at_breaks(
    recording: BaseRecording, clock: Clock, where: str, fewest_frames: int
) -> tuple[BaseRecording, list[Stretched]]:
    """Return the recording with a segment for each stretch without a break, and what is known of each.

    Stretches shorter than `fewest_frames`, which cannot be filtered, are left out. Both are told in a warning.
    """
    from spikelab.spike_sorting.recording.pieces import PiecesRecording, RetimedRecording

    if clock.rate is not None and clock.rate != recording.get_sampling_frequency():
        recording = RetimedRecording(recording, clock.rate)
    parts = _parts(clock)
    pieces = [(segment, part.start, part.end) for segment, part in parts if _length(part) >= fewest_frames]
    _tell(recording, clock, where, len(parts) - len(pieces) if pieces else 0)
    if not pieces:
        return recording, [Stretched(segment, 0, None) for segment in range(recording.get_num_segments())]
    stretched = _stretched(parts, fewest_frames, float(recording.get_sampling_frequency()))
    return recording if pieces == _whole(recording) else PiecesRecording(recording, pieces), stretched


def _parts(clock: Clock) -> list[tuple[int, Part]]:
    return [(segment, part) for segment, of_segment in enumerate(clock.segments) for part in of_segment]


def _length(part: Part) -> int:
    return part.end - part.start


def _stretched(parts: Sequence[tuple[int, Part]], fewest_frames: int, fs: float) -> list[Stretched]:
    """Describe the stretches that can be filtered; there is at least one."""
    found: list[Stretched] = []
    short = 0
    for segment, part in parts:
        if _length(part) < fewest_frames:
            short += _length(part)
            continue
        scale = 1.0 if part.step_s is None else part.step_s * fs
        found.append(Stretched(segment, part.start, part.start_s, scale, short))
        short = 0
    found[-1] = replace(found[-1], short_after=short)
    return found


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
