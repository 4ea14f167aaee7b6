"""Read pieces of a prepared recording: filtered, a few channels at a time, or as stored; nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.read_errors import reading_frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

FrameRange = tuple[int, int]
"""Half-open range of frames."""


def evenly_spaced(length: int, block: int, n_blocks: int) -> list[int]:
    """Return the starts of at most `n_blocks` blocks from the first to the last of `length` items."""
    return [int(start) for start in np.unique(np.linspace(0, max(length - block, 0), n_blocks).astype(np.int64))]


def read_parts(recording: BaseRecording, start: int, end: int) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
    """Yield the filtered traces of frames [start, end): piece by piece, a few channels at a time where that is faster.

    Each item is frames, counted from `start`, channels, and their traces, of any float type. The traces are overwritten
    when the next item is asked for.
    """
    readers = getattr(recording, "part_readers", ())
    pieces = _segments_of(recording.recording_list if readers else [recording])
    for index, position, first, last in _overlaps(pieces, start, end):
        frames = slice(position + first - start, position + last - start)
        with reading_frames(recording, position + first, position + last):
            if readers and readers[index] is not None:
                for channels, traces in readers[index](first, last):
                    yield frames, channels, traces
            else:
                traces = pieces[index].get_traces(first, last, slice(None))
                yield frames, slice(0, traces.shape[1]), traces


def stored_pieces(recording: BaseRecording) -> Sequence[BaseRecording]:
    """Return the recordings that hold the segments of a prepared recording as they are stored, else the recording."""
    return getattr(recording, "raw_pieces", ()) or (recording,)


def read_stored(recording: BaseRecording, start: int, end: int) -> NDArray[Any]:
    """Read frames [start, end) as they are stored."""
    pieces = _segments_of(stored_pieces(recording))
    overlaps = _overlaps(pieces, start, end)
    parts = [pieces[index].get_traces(first, last, slice(None)) for index, _, first, last in overlaps]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _segments_of(recordings: Sequence[BaseRecording]) -> list[Any]:
    return [segment for recording in recordings for segment in recording.segments]


def _overlaps(pieces: Sequence[Any], start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield index, first frame, and own frames [first, last) of each piece that frames [start, end) overlap."""
    position = 0
    for index, piece in enumerate(pieces):
        n_frames = int(piece.get_num_samples())
        first, last = max(start - position, 0), min(end - position, n_frames)
        if first < last:
            yield index, position, first, last
        position += n_frames
