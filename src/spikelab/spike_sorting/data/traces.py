"""Sources of traces: a binary recording, any SpikeInterface recording, or what else reads microvolts by frame range."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spikelab.spike_sorting.data.arrays import FloatArray, IntArray
from spikelab.spike_sorting.data.dead_time import dead_time_of, union
from spikelab.spike_sorting.data.epochs import Epoch, epochs_of
from spikelab.spike_sorting.data.recording import BinaryRecording

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

Part = tuple[slice, FloatArray]
"""Some channels and their traces."""
PartReader = Callable[[int, int], Iterator[Part]]
"""Yields the traces of frames [start, end) channel group by channel group."""


class TraceSource(Protocol):
    """Any recording that the waveform engine can read: microvolts by frame range, and the epochs.

    :class:`BinaryRecording` and :class:`SpikeInterfaceTraces` are such sources.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import Epoch
    >>> class Silence:
    ...     n_samples, n_channels, sampling_frequency, epochs = 1000, 2, 20_000.0, (Epoch(0, 1000),)
    ...     def read_uv(self, start, end):
    ...         return np.zeros((end - start, self.n_channels), dtype=np.float32)
    >>> Silence().read_uv(0, 10).shape
    (10, 2)
    """

    @property
    def n_samples(self) -> int:
        """Number of frames."""
        ...

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        ...

    @property
    def sampling_frequency(self) -> float:
        """Frames per second, in Hz."""
        ...

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """Segments that were recorded without a break, in order; they tile the recording."""
        ...

    def read_uv(self, start: int, end: int) -> FloatArray:
        """Read frames [start, end) as float32 microvolts, shape (frames, channels)."""
        ...


class SpikeInterfaceTraces:
    """Any single-segment SpikeInterface recording as a source of traces.

    Gains and offsets are applied where the recording has them; traces without are taken to be microvolts already.

    Parameters
    ----------
    recording : BaseRecording
        One segment. The annotation ``spikelab_epochs`` lists its epochs; without one, the recording is one epoch.
        ``spikelab_dead_time`` lists its periods of dead time.

    Examples
    --------
    >>> import numpy as np
    >>> from spikeinterface.core import NumpyRecording
    >>> from spikelab.spike_sorting.data import SpikeInterfaceTraces
    >>> source = SpikeInterfaceTraces(NumpyRecording([np.ones((6, 2), dtype=np.float32)], 20_000.0))
    >>> source.read_uv(1, 3).shape
    (2, 2)
    """

    def __init__(self, recording: BaseRecording) -> None:
        if recording.get_num_segments() != 1:
            raise ValueError(
                f"The recording has {recording.get_num_segments()} segments, expected 1: "
                "join them with spikeinterface.concatenate_recordings"
            )
        self.recording = recording
        self.epochs: tuple[Epoch, ...] = epochs_of(recording)
        self.dead_time: IntArray = dead_time_of(recording)
        self.n_samples = int(recording.get_num_samples(segment_index=0))
        self.n_channels = int(recording.get_num_channels())
        self.sampling_frequency = float(recording.get_sampling_frequency())
        self._scale = bool(recording.has_scaleable_traces())

    def read_uv(self, start: int, end: int) -> FloatArray:
        """Read frames [start, end) as float32 microvolts, shape (frames, channels)."""
        traces = self.recording.get_traces(segment_index=0, start_frame=start, end_frame=end, return_in_uV=self._scale)
        return np.asarray(traces, dtype=np.float32)


def trace_source(recording: BaseRecording) -> TraceSource:
    """Choose the binary behind `recording` where `recording` was made from one, else the recording itself."""
    return BinaryRecording.from_spikeinterface(recording) or SpikeInterfaceTraces(recording)


def dead_time_in(source: TraceSource) -> IntArray:
    """Return the dead time of a source, shape (periods, 2); none where it does not say."""
    periods: IntArray = getattr(source, "dead_time", union())
    return periods


def read_raw(source: TraceSource, start: int, end: int) -> NDArray[Any]:
    """Read frames [start, end) in the source's own unit: counts of a binary, microvolts of any other source.

    Multiply by :func:`scale_uv`. A binary is mapped anew for each call: only the pages that are touched are read, and
    they leave this process's memory with the returned array.
    """
    if not isinstance(source, BinaryRecording):
        return np.ascontiguousarray(source.read_uv(start, end), dtype=np.float32)
    if start >= end:
        return np.empty((0, source.n_channels), dtype=np.int16)
    counts = np.memmap(
        str(source.path),  # of a path object, numpy would look up every folder, each time
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
