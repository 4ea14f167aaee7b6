"""Where samples come from: our int16 binary, or any SpikeInterface recording."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import BinaryRecording, Epoch, FloatArray, TraceSource

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording


class SpikeInterfaceTraces:
    """Any single-segment SpikeInterface recording as a source of traces.

    Gains and offsets are applied where the recording has them; traces without are taken to be microvolts already.

    Parameters
    ----------
    recording : BaseRecording
        One segment. The annotation ``spikelab_epochs`` says where its breaks are; without it there are none.
    """

    def __init__(self, recording: BaseRecording) -> None:
        if recording.get_num_segments() != 1:
            raise ValueError(
                f"The recording has {recording.get_num_segments()} segments, expected 1: "
                "join them with spikeinterface.concatenate_recordings"
            )
        self.recording = recording
        self._scale = bool(recording.has_scaleable_traces())
        text = recording.get_annotation("spikelab_epochs")
        self._epochs = (
            (Epoch(0, self.n_samples),) if text is None else tuple(Epoch(**epoch) for epoch in json.loads(text))
        )

    @property
    def n_samples(self) -> int:
        """Length in frames."""
        return int(self.recording.get_num_samples(segment_index=0))

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.recording.get_num_channels())

    @property
    def sampling_frequency(self) -> float:
        """In Hz."""
        return float(self.recording.get_sampling_frequency())

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """Unbroken stretches."""
        return self._epochs

    def read_uv(self, start: int, end: int) -> FloatArray:
        """Frames [start, end) as float32 microvolts, shape (frames, channels)."""
        traces = self.recording.get_traces(segment_index=0, start_frame=start, end_frame=end, return_in_uV=self._scale)
        return np.asarray(traces, dtype=np.float32)


def trace_source(recording: BaseRecording) -> TraceSource:
    """Choose the fast source behind `recording` where it is one of our binaries, else the general one."""
    return BinaryRecording.from_spikeinterface(recording) or SpikeInterfaceTraces(recording)


def read_raw(source: TraceSource, start: int, end: int) -> NDArray[Any]:
    """Frames [start, end) in the source's own unit: counts of a binary, microvolts of anything else.

    Multiply by :func:`scale_uv`. A binary is mapped anew for each call: only the pages that are touched are read, and
    they leave this process's memory with the returned array.
    """
    if not isinstance(source, BinaryRecording):
        return np.ascontiguousarray(source.read_uv(start, end), dtype=np.float32)
    if start >= end:
        return np.empty((0, source.n_channels), dtype=np.int16)
    counts = np.memmap(
        source.path,
        dtype=np.int16,
        mode="r",
        offset=start * source.n_channels * np.dtype(np.int16).itemsize,
        shape=(end - start, source.n_channels),
    )
    return counts.view(np.ndarray)


def scale_uv(source: TraceSource) -> float:
    """Microvolts per unit of :func:`read_raw`."""
    return source.gain_uv if isinstance(source, BinaryRecording) else 1.0


def sample_bytes(source: TraceSource) -> int:
    """Bytes per sample of :func:`read_raw`."""
    return 2 if isinstance(source, BinaryRecording) else 4
