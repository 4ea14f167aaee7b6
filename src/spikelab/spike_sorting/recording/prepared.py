"""The prepared recording, which all later stages read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikeinterface.core import ConcatenateSegmentRecording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import PartReader


class PreparedRecording(ConcatenateSegmentRecording):  # type: ignore[misc]  # SpikeInterface has no types
    """Filtered pieces in a row, in microvolts, with the stored pieces of the files; a piece is a segment.

    `raw_pieces` are the same frames and channels as they are stored; `part_readers`, one for each piece, read a few
    channels at a time, where that is possible. Both are missing when the recording is rebuilt from its description, as
    in another process.
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
