"""Read traces a few channels at a time, where that is faster; nothing heavy is imported for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.recording.boundary import reading_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording


def read_parts(recording: BaseRecording, start: int, end: int) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
    """Yield the traces of frames [start, end) in parts: those of the pieces of a prepared recording, else all at once.

    Yields
    ------
    tuple of (slice, slice, numpy.ndarray)
        Which frames, counted from `start`, which channels, and their traces, of any float type. These are overwritten
        when the next part is asked for.
    """
    readers = getattr(recording, "part_readers", ())
    pieces = recording.recording_list if readers else [recording]
    position = 0
    for piece, reader in zip(pieces, readers or [None], strict=True):
        n_frames = int(piece.get_num_samples())
        first, last = max(start - position, 0), min(end - position, n_frames)
        if first < last:
            frames = slice(position + first - start, position + last - start)
            with reading_frames(recording, position + first, position + last):
                if reader is None:
                    yield frames, slice(0, piece.get_num_channels()), piece.get_traces(0, first, last)
                else:
                    for channels, traces in reader(first, last):
                        yield frames, channels, traces
        position += n_frames
