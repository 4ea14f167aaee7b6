"""The recording that the stages after this one see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from spikeinterface.core import ConcatenateSegmentRecording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikeinterface import BaseRecording

PartReader = Callable[[int, int], Iterator[tuple[slice, NDArray[np.float32]]]]
"""Yields some channels and their traces of the frames [start, end), until all channels have been."""


class PreparedRecording(ConcatenateSegmentRecording):  # type: ignore[misc]  # SpikeInterface has no types
    """Filtered pieces in a row, in microvolts, which remember what was stored in the files.

    Parameters
    ----------
    recording_list : list of BaseRecording
        Filtered pieces, one per epoch.
    raw_pieces : sequence of BaseRecording
        The same pieces with the same channels as they are stored.
    part_readers : sequence of PartReader or None
        Of the pieces that can be read a few channels at a time. This and `raw_pieces` are left out when the recording
        is rebuilt from its description, as in another process.
    """

    def __init__(
        self,
        recording_list: list[BaseRecording],
        raw_pieces: Sequence[BaseRecording] = (),
        part_readers: Sequence[PartReader | None] = (),
        ignore_times: bool = True,
        sampling_frequency_max_diff: float = 0,
    ) -> None:
        super().__init__(recording_list, ignore_times, sampling_frequency_max_diff)
        self.raw_pieces = tuple(raw_pieces)
        self.part_readers = tuple(part_readers)


def read_parts(recording: BaseRecording, start: int, end: int) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
    """Yield the traces of frames [start, end) in parts: a few channels at a time where that is faster.

    Yields
    ------
    tuple of (slice, slice, numpy.ndarray)
        Which frames, counted from `start`, which channels, and their traces, of any float type. These are overwritten
        when the next part is asked for.
    """
    pieces = recording.recording_list if isinstance(recording, PreparedRecording) else [recording]
    readers = getattr(recording, "part_readers", ()) or [None] * len(pieces)
    position = 0
    for piece, reader in zip(pieces, readers, strict=True):
        n_frames = int(piece.get_num_samples())
        first, last = max(start - position, 0), min(end - position, n_frames)
        if first < last:
            frames = slice(position + first - start, position + last - start)
            if reader is None:
                yield frames, slice(0, piece.get_num_channels()), piece.get_traces(0, first, last)
            else:
                for channels, traces in reader(first, last):
                    yield frames, channels, traces
        position += n_frames
