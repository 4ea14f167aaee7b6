"""A recording at another sampling rate, or in pieces of its frames, each a segment of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeinterface.core.frameslicerecording import FrameSliceRecordingSegment
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording


class PiecesRecording(BasePreprocessor):  # type: ignore[misc]  # SpikeInterface has no types
    """Frames of a recording in pieces (segment, start, end), of which each becomes a segment.

    One recording for all pieces: SpikeInterface copies the probe and the properties for each recording that slices
    another one, which takes minutes where thousands of frames are missing.
    """

    def __init__(self, recording: BaseRecording, pieces: Sequence[tuple[int, int, int]]) -> None:
        super().__init__(recording)
        for segment, start, end in pieces:
            self.add_recording_segment(FrameSliceRecordingSegment(recording.segments[segment], start, end))
        self._kwargs = {"recording": recording, "pieces": [[int(number) for number in piece] for piece in pieces]}


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
